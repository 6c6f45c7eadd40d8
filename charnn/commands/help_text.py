"""Print help: no blank line before the usage, no type for switches, no name cut short."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO, cast

import typer.core

BLANK_START = re.compile(r"\A(?:(?:[^\S\n]|\x1b\[[\d;]*m)*\n)+")  # blank lines, styled or not


class Command(typer.core.TyperCommand):
    """A command whose help begins with the usage line."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _hide_types_of_switches(self.get_params(ctx))
        _fold_long_words()
        with _without_blank_start():
            super().format_help(ctx, formatter)


class Group(typer.core.TyperGroup):
    """A group of commands whose help begins with the usage line."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _hide_types_of_switches(self.get_params(ctx))
        _fold_long_words()
        with _without_blank_start():
            super().format_help(ctx, formatter)


def _hide_types_of_switches(parameters: Iterable[Any]) -> None:
    """Let the help show no type for options without a value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""


def _fold_long_words() -> None:
    """Let the help break names that are wider than their column, instead of cutting them."""
    from typer import rich_utils  # imports Rich

    rich_utils.highlighter = _folding(rich_utils.OptionHighlighter())
    rich_utils.negative_highlighter = _folding(rich_utils.NegativeOptionHighlighter())


def _folding(highlight: Callable[..., Any]) -> Any:
    def highlighted(text: Any) -> Any:
        shown = highlight(text.replace(",", ", ") if isinstance(text, str) else text)
        shown.overflow = "fold"
        return shown

    return highlighted


class _Stream:
    """A text stream that leaves out blank lines at the start."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._has_begun = stream, False

    def write(self, text: str) -> int:
        shown = text if self._has_begun else BLANK_START.sub("", text)
        self._has_begun = self._has_begun or bool(shown)
        self._stream.write(shown)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _without_blank_start() -> Iterator[None]:
    """Leave out the blank lines at the start of what the block prints."""
    with contextlib.redirect_stdout(cast("TextIO", _Stream(sys.stdout or io.StringIO()))):
        yield
