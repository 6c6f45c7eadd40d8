"""Read and write YAML files of settings.

A file is one document with one mapping of keys to scalars. Aliases, tags and duplicate keys are
errors. Unlike in YAML 1.1, 1e-3 is a number, 017 is decimal, and `no` is a string.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from charnn.config import Settings, unknown_key, validate
from charnn.errors import StorageError, UsageError

# Limits that no file of settings reaches, so that a hostile one is refused at once.
MAX_BYTES = 1_000_000  # size of the file
MAX_DEPTH = 20  # nested levels; settings have one or two
MAX_DIGITS = 40  # digits of an integer; longer ones are out of every range

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}


def read_settings(path: Path, kind: type[Settings]) -> dict[str, Any]:
    """Return the settings in a YAML file: fields of `kind`, within their ranges and consistent.

    Fields that are not in the file are not returned, so that other defaults apply to them. Raise
    UsageError with file and line if the file is invalid, StorageError if it cannot be read.
    """
    values: dict[str, Any] = {}
    for key, node in _entries(path):
        line = f"{path}: {_line(node)}"
        if key not in kind.model_fields:
            raise unknown_key(kind, key, line)
        if key in values:
            raise UsageError(f"{line}: key {key!r} is given twice", "remove one of them")
        if not isinstance(node, yaml.ScalarNode):
            raise UsageError(f"{line}: {key} must be a single value, not a list or a section")
        values[key] = _scalar(node)
        _check_value(kind, key, values[key], line)
    validate(kind, values, str(path))
    return values


def dump_settings(settings: Settings) -> str:
    """Return the settings as YAML that `read_settings` parses to the same values."""
    values = settings.model_dump(mode="json")
    return yaml.dump(values, Dumper=_EscapingDumper, sort_keys=False, allow_unicode=True)


class _EscapingDumper(yaml.SafeDumper):
    """A dumper that escapes invisible characters (U+0085, U+2028), which YAML would not keep."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_EscapingDumper.add_representer(str, _represent_text)


def _check_value(kind: type[Settings], key: str, value: Any, line: str) -> None:
    """Raise UsageError with the line of an invalid value; ignore rules that involve other keys."""
    try:
        validate(kind, {key: value}, line)
    except UsageError as error:
        if key in error.message:
            raise


def _entries(path: Path) -> list[tuple[str, yaml.Node]]:
    text = _read(path)
    try:
        _refuse_unsafe_yaml(text, path)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: {_describe(error)}", "write one `key: value` per line") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply", "write one `key: value` per line") from None
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise UsageError(f"{path}: line 1: no settings found", "write one `key: value` per line")
    for key, _ in root.value:
        if not isinstance(key, yaml.ScalarNode):
            message = f"{path}: {_line(key)}: a key must be a single word"
            raise UsageError(message, "write one `key: value` per line")
    return [(key.value, value) for key, value in root.value]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: larger than {MAX_BYTES:,} bytes", "name a YAML file of settings")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}: line {line}: not UTF-8", "save the file as UTF-8") from None


def _refuse_unsafe_yaml(text: str, path: Path) -> None:
    """Raise UsageError for aliases (unbounded expansion), tags, a second document, or depth."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = f"{path}: {_line(event)}"
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UsageError(f"{line}: anchors and aliases are not supported in settings")
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise UsageError(f"{line}: tags such as {tag} are not supported in settings")
        if documents > 1:
            raise UsageError(f"{line}: a second document starts here", "use one document per file")
        if depth > MAX_DEPTH:
            raise UsageError(f"{line}: nested too deeply", "write one `key: value` per line")


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style in ("'", '"', "|", ">"):
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < MAX_DIGITS else math.inf
    if _NUMBER.fullmatch(text):
        return float(text.replace(".inf", "inf"))
    return float("nan") if text.lower() == ".nan" else text


def _line(part: yaml.Node | yaml.Event) -> str:
    mark = part.start_mark
    return f"line {mark.line + 1}" if mark else "line ?"


def _describe(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    return f"line {mark.line + 1}: {problem}" if mark else f"line 1: {problem}"
