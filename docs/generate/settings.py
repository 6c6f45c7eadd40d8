"""The page of settings: name, flag, type, range, default and effect of each."""

from typing import Any

from charnn.commands import options
from charnn.config import PrepareConfig, SampleConfig, Settings, TrainConfig, flag
from charnn.training import presets
from docs.generate import markdown
from docs.generate.commands import commands

INTRODUCTION = """\
A setting has the same name everywhere: `hidden_size` in YAML, in JSON and in Python, and
`--hidden-size` on the command line. Options that are not settings, such as `--name` and `--json`,
are in [Commands](commands.md).

In the column "values", a bracket includes the end of a range and a parenthesis excludes it:
`[0, 1)` means 0 ≤ x < 1. A default of `null` means that the setting is off or computed; its effect
says which."""
TRAIN = """\
`charnn train --config FILE.yaml` reads these keys; flags override the file.
`charnn train --print-config` prints the resolved settings as such a file, and `config.yaml` of a
run records them. "by preset" means that the default depends on the [preset](#presets)."""
SAMPLE = "The same names are parameters of [`Model.generate`](python-api.md#modelgenerate)."
PREPARE = "`meta.json` of the dataset records these settings under `policies`."
PRESETS = """\
A preset sets the defaults marked "by preset" above. `preset: auto` chooses one of them by the
length of the training split and, with `minutes`, by the speed of the machine; it chooses `large`
only with `minutes`. Small texts and large vocabularies change these defaults further.
`charnn train` prints what it chose."""
REGULARIZATION = """\
The regularization depends on the number of epochs, weighted: for a smaller network or a longer
text, the same number of epochs counts as fewer."""
ALIASES = "Other names of options, for users of older tools: "


def page() -> str:
    """Return a page with the settings of train, prepare and sample, and the presets."""
    return markdown.page(
        "Settings",
        INTRODUCTION,
        f"## charnn train\n\n{TRAIN}",
        *train_tables(),
        f"### Presets\n\n{PRESETS}\n\n{preset_table()}\n\n{REGULARIZATION}",
        regularization_table(),
        f"## charnn prepare\n\n{PREPARE}\n\n{table('prepare', PrepareConfig)}",
        f"## charnn sample\n\n{SAMPLE}\n\n{table('sample', SampleConfig)}",
        f"## Aliases\n\n{ALIASES}{aliases()}.",
    )


def train_tables() -> list[str]:
    """Return a heading and a table for each panel of `charnn train --help`."""
    panels: dict[str, list[str]] = {"Data": []}
    for name in TrainConfig.model_fields:
        panel = options.extras(TrainConfig, name)["panel"] or "Data"
        panels.setdefault(panel, []).append(name)
    return [
        f"### {panel}\n\n{table('train', TrainConfig, names)}" for panel, names in panels.items()
    ]


def table(command: str, kind: type[Settings], names: list[str] | None = None) -> str:
    """Return a table of settings of a command; without names, of all."""
    schema = kind.model_json_schema()["properties"]
    rows = [row(command, kind, name, schema[name]) for name in names or kind.model_fields]
    headers = ["setting", "option", "type", "values", "default", "effect"]
    return markdown.table(headers, rows)


def row(command: str, kind: type[Settings], name: str, schema: dict[str, Any]) -> list[str]:
    """Return the cells of a setting with this JSON schema."""
    types = schema.get("anyOf", [schema])  # several where null is allowed
    default = options.extras(kind, name)["shown_default"] or code(schema["default"])
    effect = markdown.first_paragraph(schema["description"])
    return [
        f"`{name}`",
        option(command, name),
        " or ".join(part["type"] for part in types),
        values(types[0]),
        default,
        effect,
    ]


def option(command: str, name: str) -> str:
    """Return the names of the option that sets a field, or of the argument."""
    parameter = next(p for p in commands()[command].params if p.name == name)
    if parameter.param_type_name == "argument":
        return "argument"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def values(schema: dict[str, Any]) -> str:
    """Return the values that a JSON schema allows: a list, a range or a pattern."""
    if schema["type"] == "boolean":
        return "`true`, `false`"
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if "maxLength" in schema:
        return f"up to {schema['maxLength']:,} characters"
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is None and above is None:
        return ""
    left = f"[{number(low)}" if above is None else f"({number(above)}"
    right = f"{number(high)}]" if high is not None else f"{number(below)})"
    return f"{left}, {right}"


def number(value: float | None) -> str:
    """Return a bound of a range: powers as powers, None as infinity."""
    if value is None:
        return "∞"
    bases = [(10, exponent) for exponent in range(5, 13)] + [(2, 31), (2, 63)]
    powers = {base**exponent: f"{base}<sup>{exponent}</sup>" for base, exponent in bases}
    if value + 1 in powers and value not in powers:
        return f"{powers[value + 1]} − 1"
    return powers.get(value, f"{value:,.12g}")


def code(value: Any) -> str:
    """Return a value as YAML writes it."""
    if value is None or isinstance(value, bool):
        value = str(value).lower().replace("none", "null")
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def preset_table() -> str:
    """Return a table of what each preset sets, and from how many tokens `auto` chooses it."""
    keys = ("hidden_size", "embedding_dim", "batch_size", "lr")
    rows = [
        [f"`{name}`"]
        + [code(getattr(preset, key)) for key in keys]
        + [code(preset.epochs), f"{preset.min_text:,}"]
        for name, preset in presets.PRESETS.items()
    ]
    headers = ["preset", *(f"`{key}`" for key in keys), "`epochs`", "minimum tokens"]
    return markdown.table(headers, rows)


def regularization_table() -> str:
    """Return a table of the settings that depend on the number of epochs and on the text."""
    keys = ("dropout", "weight_dropout", "average", "final_lr_frac")
    tables = {"one text": presets.REGULARIZATION, "records": presets.RECORD_REGULARIZATION}
    rows = [
        [text, "more" if most == float("inf") else f"up to {most:g}"]
        + [code(settings.get(key, TrainConfig.model_fields[key].default)) for key in keys]
        for text, table in tables.items()
        for most, settings in table
    ]
    return markdown.table(["dataset", "weighted epochs", *(f"`{key}`" for key in keys)], rows)


def aliases() -> str:
    """Return every hidden alias of an option with the option it sets."""
    pairs = [
        (alias, flag(name))
        for kind in (TrainConfig, SampleConfig, PrepareConfig)
        for name in kind.model_fields
        for alias in options.extras(kind, name)["aliases"]
    ]
    return ", ".join(f"`{alias}` for `{full}`" for alias, full in pairs)
