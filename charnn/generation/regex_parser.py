"""Parse a regular expression to a tree of characters, sequences, alternatives and repetitions.

The syntax is the regular part of Python's `re`, with the semantics of `re.fullmatch`. The
characters of a class or escape are determined with `re` itself, so that both always agree.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from charnn.errors import UsageError

Range = tuple[int, int]  # first and last code point


@dataclass(frozen=True)
class Characters:
    """One character out of these ranges of code points."""

    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class Chain:
    """A sequence of parts; without parts, the empty string."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    """An alternative: exactly one of the options."""

    options: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    """A part repeated `low` to `high` times; `high` is None if there is no limit."""

    part: "Node"
    low: int
    high: int | None


Node = Characters | Chain | Choice | Repeat

GLOBAL_FLAGS = re.compile(r"\(\?[aisu]+\)")
GROUP = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))")
CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
ESCAPE = re.compile(r"\\(?:x..|u.{4}|U.{8}|N\{[^}]*\}|0[0-7]{0,2}|[^0-9AbBZz])", re.DOTALL)
QUANTIFIER = re.compile(r"(?:([*+?])|\{(?=[\d,])(\d*)(,?)(\d*)\})([?+]?)")
BOUNDS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def parse(pattern: str, alphabet: Sequence[str]) -> Node:
    """Return the tree of a pattern, with character classes restricted to `alphabet`.

    The alphabet is a list of strings of consecutive characters. Raise UsageError if the pattern is
    malformed or not regular: back-references, look-around, anchors inside.
    """
    try:
        return _Parser(pattern, alphabet).parse()
    except (re.error, OverflowError) as error:
        raise UsageError(f"--match {pattern!r} is not a regular expression: {error}") from None
    except RecursionError:
        raise UsageError("--match: the expression is nested too deeply") from None


def absent_characters(pattern: str, alphabet: Sequence[str]) -> list[str]:
    """Return the single characters in a valid pattern that match nothing in the alphabet."""
    parser = _Parser(pattern, alphabet)
    parser.parse()
    absent = [source for source, found in parser.cache.items() if not found.ranges]
    names = [re.sub(r"^\\(?=\W)", "", source) for source in absent if source != "."]
    return [name for name in names if len(name) == 1]


class _Parser:
    """A recursive descent parser for patterns that `re` accepts, with one method per rule."""

    def __init__(self, pattern: str, alphabet: Sequence[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning about syntax that may change
            self.flags = re.compile(pattern).flags
        self.pattern, self.alphabet = pattern, alphabet
        self.cache: dict[str, Characters] = {}
        self.position = 0
        self.end = len(pattern)

    def parse(self) -> Node:
        if flags := GLOBAL_FLAGS.match(self.pattern):
            self.position = flags.end()
        # Anchors around the pattern are redundant, because the whole text is matched.
        if self.pattern.startswith("^", self.position):
            self.position += 1
        if self.pattern.endswith("$") and not self._escaped(self.end - 1):
            self.end -= 1
        return self.choice()

    def choice(self) -> Node:
        options = [self.chain()]
        while self._skip("|"):
            options.append(self.chain())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def chain(self) -> Node:
        parts: list[Node] = []
        while self.position < self.end and self.pattern[self.position] not in "|)":
            parts.append(self.repeat(self.atom()))
        return parts[0] if len(parts) == 1 else Chain(tuple(parts))

    def repeat(self, part: Node) -> Node:
        found = QUANTIFIER.match(self.pattern, self.position, self.end)
        if not found:
            return part
        sign, low, comma, high, mode = found.groups()
        if mode == "+":
            raise self._unsupported(found.group(), "a possessive quantifier")
        self.position = found.end()
        if sign:
            return Repeat(part, *BOUNDS[sign])
        most = int(high) if high else None
        return Repeat(part, int(low or 0), most if comma else int(low))

    def atom(self) -> Node:
        if group := GROUP.match(self.pattern, self.position, self.end):
            self.position = group.end()
            inside = self.choice()
            self._skip(")")
            return inside
        if self.pattern[self.position] in "^$":
            raise self._unsupported(self.pattern[self.position], "an anchor inside the expression")
        if self.pattern[self.position] == "(":
            raise self._unsupported(self.pattern[self.position : self.end][:4], "a special group")
        for kind in (CLASS, ESCAPE):
            if found := kind.match(self.pattern, self.position, self.end):
                self.position = found.end()
                return self.characters(found.group())
        character = self.pattern[self.position]
        if character == "\\":
            raise self._unsupported(self.pattern[self.position :][:2], "a reference or an anchor")
        self.position += 1
        return self.characters(character if character == "." else re.escape(character))

    def characters(self, source: str) -> Characters:
        """Return the characters of the alphabet that a pattern for one character matches."""
        if source not in self.cache:
            self.cache[source] = self._matching(source)
        return self.cache[source]

    def _matching(self, source: str) -> Characters:
        runs = re.compile(f"(?:{source})+", self.flags)
        spans = ((block, run.span()) for block in self.alphabet for run in runs.finditer(block))
        return Characters(
            tuple((ord(block[start]), ord(block[end - 1])) for block, (start, end) in spans)
        )

    def _skip(self, sign: str) -> bool:
        found = self.position < self.end and self.pattern[self.position] == sign
        self.position += found
        return found

    def _escaped(self, position: int) -> bool:
        before = self.pattern[:position]
        return (len(before) - len(before.rstrip("\\"))) % 2 == 1

    def _unsupported(self, what: str, kind: str) -> UsageError:
        return UsageError(
            f"--match {self.pattern!r}: {what} at position {self.position} is {kind}, "
            "which --match does not support",
            "use classes, groups, |, *, +, ? and {m,n}; the whole sample is always matched",
        )
