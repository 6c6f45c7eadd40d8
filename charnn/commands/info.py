"""`charnn info`: describe a dataset, a run or a model file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charnn.commands import options
from charnn.escape import visible
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.model.model_file import ModelFile
    from charnn.tokenizers.tokenizer import Tokenizer

SHOWN_SYMBOLS = 120  # tokens shown of a vocabulary, the first ones


@options.command()
def info(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH",
            help=options.described("Dataset, run or model: name or path.", "newest model"),
            autocompletion=options.complete_any,
        ),
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Describe a dataset, a run or a model: sizes, vocabulary, settings, results."""
    from charnn.display.messages import Display
    from charnn.display.stdout import Output, print_json
    from charnn.model.runs import open_model, run_damage

    display = Display(quiet=quiet)
    found = workspace.find_dataset_or_model(path, data_dir, runs_dir) if path else None
    if found and found.is_dir():
        headline, description = _describe_dataset(found)
        if (runs_dir / str(path) / workspace.MODEL_FILE).is_file():
            display.hint(f"a run has this name too: charnn info {runs_dir / str(path)}")
    else:
        model = open_model(path, runs_dir)
        if model.note:
            display.note(model.note)
        headline, description = _describe_model(model.path, model.file)
        if model.path.name == workspace.MODEL_FILE and (error := run_damage(model.path.parent)):
            display.warning(f"{error.message}; {error.hint}")
    if json:
        print_json(description)
    else:
        output = Output()
        output.line(visible(headline, one_line=True))
        output.write(_as_text(description))
        output.flush()
    return 0


def _describe_dataset(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return a summary of a dataset on one line, and its full description."""
    from charnn.data.dataset import open_dataset

    dataset = open_dataset(folder)
    splits = ", ".join(f"{name} {len(ids):,}" for name, ids in dataset.splits.items())
    headline = f"{dataset.tokenizer.vocab_size:,} {dataset.tokenizer.kind} tokens; {splits}"
    return headline, {
        "kind": "dataset",
        "name": dataset.name,
        "path": str(folder),
        "format": dataset.meta["format_version"],
        "tokenizer": dataset.tokenizer.kind,
        "vocab_size": dataset.tokenizer.vocab_size,
        "vocabulary": _vocabulary(dataset.tokenizer),
        "records": dataset.records,
        **({"record_counts": dataset.meta["records"]} if "records" in dataset.meta else {}),
        "splits": dataset.meta["splits"],
        "sources": dataset.meta["sources"],
        "policies": dataset.meta["policies"],
        "fingerprint": dataset.fingerprint,
    }


def _describe_model(path: Path, model: "ModelFile") -> tuple[str, dict[str, Any]]:
    """Return a summary of a model on one line, and its full description."""
    from charnn.model.spec import textbook_names

    return ", ".join(model.summary()), {
        "kind": "model",
        "name": workspace.model_name(path),
        "path": str(path),
        "format": model.format_version,
        "bytes": path.stat().st_size,
        "config": model.config.model_dump(mode="json"),
        "tokenizer": model.tokenizer.kind,
        "vocabulary": _vocabulary(model.tokenizer),
        "start_token": model.start_token,
        "records": model.records,
        "parameters": model.parameters,
        "tensors": [
            {
                "name": name,
                "textbook": textbook_names(name, model.config.cell),
                "shape": list(tensor.shape),
                "parameters": tensor.size,
            }
            for name, tensor in sorted(model.tensors.items())
        ],
        "metrics": model.metrics,
        "training": model.training,
        "fingerprint": model.fingerprint,
        "sha256": model.sha256,
    }


def _vocabulary(tokenizer: "Tokenizer") -> list[str]:
    """Return the text of each token; that of out-of-vocabulary symbols is `<unk>`."""
    symbols = [piece.decode("utf-8", "replace") for piece in tokenizer.pieces]
    if tokenizer.unk_id is not None:
        symbols[tokenizer.unk_id] = "<unk>"
    return symbols


def _as_text(description: dict[str, Any]) -> str:
    """Return a description as text: single values first, then lists and tables."""
    from charnn.display.messages import table

    plain, parts = [], []
    for name, value in description.items():
        if name == "vocabulary":
            shown = " ".join(repr(symbol)[1:-1] or "''" for symbol in value[:SHOWN_SYMBOLS])
            more = f" … {len(value) - SHOWN_SYMBOLS:,} more" if value[SHOWN_SYMBOLS:] else ""
            parts.append(f"vocabulary\n  {shown}{more}")
        elif isinstance(value, list):
            rows = [[_cell(cell) for cell in row.values()] for row in value]
            parts.append(f"{name}\n{_indented(table(list(value[0]) if value else [], rows))}")
        elif isinstance(value, dict):
            parts.append(f"{name}\n{_indented(_mapping(value))}")
        else:
            plain.append([name, _cell(value)])
    return "\n".join([table(["", ""], plain).strip("\n"), *parts]) + "\n"


def _mapping(value: dict[str, Any]) -> str:
    from charnn.display.messages import table

    if value and all(isinstance(item, dict) for item in value.values()):
        keys = list(next(iter(value.values())))
        rows = [[name, *(_cell(item.get(key)) for key in keys)] for name, item in value.items()]
        return table(["", *keys], rows)
    flat: list[list[str]] = []
    for key, item in value.items():
        if isinstance(item, dict):
            flat += [[f"{key}.{inner}", _cell(cell)] for inner, cell in item.items()]
        elif item is not None:
            flat.append([key, _cell(item)])
    return table(["", ""], flat).strip("\n")


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " × ".join(str(part) for part in value)
    return str(value)


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
