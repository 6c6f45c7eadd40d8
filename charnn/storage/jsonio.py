"""Write JSON that every parser accepts, and parse JSON strictly."""

import json
import math
from pathlib import Path
from typing import Any

from charnn import escape
from charnn.errors import DataError
from charnn.storage.atomic import read_bytes


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON that every parser accepts and that cannot control a terminal.

    Non-finite numbers become null and lone surrogates U+FFFD; control and format characters are
    escaped.
    """
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)
    return escape.escape_json(text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def parse_json_object(data: bytes | str, name: str) -> dict[str, Any]:
    """Parse a JSON object. Raise DataError if it is invalid, has duplicate keys, or has NaN."""
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is damaged: {_short(error)}") from None
    if not isinstance(value, dict):
        raise DataError(f"{name} is damaged: not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("duplicate key")
    return unique


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file. Raise DataError if a complete line is invalid."""
    lines = read_bytes(path).split(b"\n")
    complete = lines[:-1]  # the last one has no newline: it is empty or incomplete
    return [parse_json_object(line, f"{path}: line {i}") for i, line in enumerate(complete, 1)]
