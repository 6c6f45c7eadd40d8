"""`charnn corpora`: the corpora that have a name."""

from typing import Any

from charnn.commands import options


@options.command()
def corpora(json: options.Json = False) -> int:
    """List the corpora that `charnn prepare` accepts by name."""
    from charnn.data.corpora import Catalogue
    from charnn.display.messages import table
    from charnn.display.stdout import Output, print_json

    catalogue = Catalogue()
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "title": card.title,
            "bytes": catalogue.size(name),
            "license": card.license,
            "language": card.language,
            "embedded": catalogue.is_local(name),
            "lines": card.lines,
            "description": card.description,
            "homepage": card.homepage,
        }
        for name, card in sorted(catalogue.cards.items())
    ]
    if json:
        print_json({"corpora": rows})
    else:
        cells = [
            (
                row["name"],
                "here" if row["embedded"] else "download",
                f"{row['bytes']:,}" if row["bytes"] else "?",
                row["license"],
                "records" if row["lines"] else "text",
                row["title"],
            )
            for row in rows
        ]
        output = Output()
        output.line(table(["name", "where", "bytes", "licence", "kind", "title"], cells))
        output.flush()
    return 0
