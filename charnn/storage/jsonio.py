"""Write JSON that every parser accepts, and read JSON without trust."""

import json
import math
from pathlib import Path
from typing import Any

from charnn import escape
from charnn.errors import DataError
from charnn.storage.atomic import read_bytes


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that every parser accepts and no terminal obeys.

    Numbers that are not finite become null, lone surrogates U+FFFD; controls and format characters
    are escaped, whose value stays the same.
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
    """A JSON object without repeated keys or NaN. Raises DataError naming `name`."""
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
        raise ValueError("a key is repeated")
    return unique


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a torn last line is left out. Raises DataError."""
    lines = read_bytes(path).split(b"\n")
    complete = lines[:-1]  # what follows the last newline was never finished
    return [parse_json_object(line, f"{path}: line {i}") for i, line in enumerate(complete, 1)]
