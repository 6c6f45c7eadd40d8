"""A regular expression as a table over tokens: what may come next, and what has been matched.

Built on the bytes of UTF-8, so that it is exact for every tokenizer, whether a token is a
character, a word or half a character.

Shapes: S states, V vocab_size. In every table -1 stands for a dead end; a last row and entry of
dead ends is there for -1 to point at, until the table is done.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.arrays import Bools
from charnn.errors import UsageError
from charnn.generation.regex_parser import Characters, Choice, Node, Repeat, parse

Table = npt.NDArray[np.int32]
ByteRange = tuple[int, int]

MAX_FRAGMENTS = 50_000  # states of the expression as it stands, where many may be taken at once
MAX_STATES = 5_000  # states of the automaton, of which one is taken at a time
MAX_ENTRIES = 1 << 24  # of its table over tokens: 64 MB
LAST_OF_LENGTH = (0x7F, 0x7FF, 0xFFFF)  # the last code points of one, two and three bytes


@dataclass(frozen=True)
class Automaton:
    """What may follow in each of S states, the first of which is the start.

    `following`, (S, V), is the state after each token, -1 for a token after which nothing can
    match any more; `accepting`, (S,), says whether the text so far matches as a whole.
    """

    following: Table
    accepting: Bools


def compiled(
    pattern: str, pieces: Sequence[bytes], drawable: Bools, alphabet: Sequence[str]
) -> Automaton:
    """The automaton of a pattern over the tokens `pieces` that may be drawn, (V,).

    The alphabet is what the pattern's classes choose from: strings of consecutive characters.
    Raises UsageError for an expression that is malformed, not regular or too large, and for one
    that no text of these tokens matches.
    """
    rows, accepting = determined(Fragments(parse(pattern, alphabet)))
    following = over_tokens(rows, pieces)
    following[:, ~drawable] = -1
    alive = leading_to(accepting, following)
    if not alive[0]:
        raise UsageError(
            f"--match {pattern!r}: no text that can be drawn matches it",
            "every character it needs must be in the vocabulary, and not banned",
        )
    following[~alive[following]] = -1
    return Automaton(following[:-1], accepting[:-1])


class Fragments:
    """An expression as states with jumps and steps, any number of which may be taken at once.

    Thompson, "Regular expression search algorithm", 1968.
    """

    def __init__(self, tree: Node) -> None:
        self.jumps: list[list[int]] = []  # to states that are taken without a byte
        self.steps: list[list[tuple[ByteRange, int]]] = []  # to states that a byte leads to
        self.start = self.state()
        self.end = self.add(tree, self.start)

    def state(self, *jumps: int) -> int:
        """A new state, with jumps to others."""
        if len(self.steps) == MAX_FRAGMENTS:
            raise too_large()
        self.jumps.append(list(jumps))
        self.steps.append([])
        return len(self.steps) - 1

    def add(self, node: Node, start: int) -> int:
        """States that lead from `start` through `node`; the state where it is matched."""
        if isinstance(node, Characters):
            return self.add_characters(node, start)
        if isinstance(node, Repeat):
            return self.add_repeat(node, start)
        if isinstance(node, Choice):
            end = self.state()
            for option in node.options:
                self.jumps[self.add(option, start)].append(end)
            return end
        for part in node.parts:
            start = self.add(part, start)
        return start

    def add_repeat(self, node: Repeat, start: int) -> int:
        """The part `low` times, then again and again, or `high - low` times if at all."""
        for _ in range(node.low):
            start = self.add(node.part, self.after(start))
        if node.high is None:
            again = self.after(start)
            self.jumps[self.add(node.part, again)].append(again)
            return again
        end = self.state()
        for _ in range(node.high - node.low):
            self.jumps[start].append(end)
            start = self.add(node.part, self.after(start))
        self.jumps[start].append(end)
        return end

    def after(self, state: int) -> int:
        """A new state that `state` jumps to: loops must not lead into what others go on from."""
        self.jumps[state].append(new := self.state())
        return new

    def add_characters(self, node: Characters, start: int) -> int:
        """One path for each run of characters whose bytes are ranges; equal tails are shared."""
        end = self.state()
        tails: dict[tuple[ByteRange, ...], int] = {(): end}
        for low, high in node.ranges:
            for sequence in byte_sequences(low, high):
                for cut in range(len(sequence) - 1, 0, -1):
                    tail = sequence[cut:]
                    if tail not in tails:
                        tails[tail] = self.state()
                        self.steps[tails[tail]].append((tail[0], tails[tail[1:]]))
                self.steps[start].append((sequence[0], tails[sequence[1:]]))
        return end

    def taken(self, states: Iterable[int]) -> frozenset[int]:
        """These states and all that they jump to."""
        found, waiting = set(states), list(states)
        while waiting:
            new = [jump for jump in self.jumps[waiting.pop()] if jump not in found]
            found.update(new)
            waiting += new
        return frozenset(found)


def byte_sequences(low: int, high: int) -> Iterator[tuple[ByteRange, ...]]:
    """The UTF-8 of the characters from `low` to `high`, as sequences of ranges of bytes.

    A range is cut wherever a byte but the first starts over: Cox, "Regular expression matching in
    the wild", 2010.
    """
    cuts = [last for last in LAST_OF_LENGTH if low <= last < high]
    for bits in (6, 12, 18):
        block = 1 << bits
        if low // block != high // block and low > LAST_OF_LENGTH[0]:
            if low % block:
                cuts.append(low | (block - 1))
            if (high + 1) % block:
                cuts.append(high // block * block - 1)
    if cuts:
        yield from byte_sequences(low, cuts[0])
        yield from byte_sequences(cuts[0] + 1, high)
    else:
        yield tuple(zip(chr(low).encode(), chr(high).encode(), strict=True))


def determined(fragments: Fragments) -> tuple[Table, Bools]:
    """The table over bytes, (S + 1, 256), and which states accept, (S + 1,).

    A state is a set of fragments taken at once. Rabin and Scott, "Finite automata and their
    decision problems", 1959.
    """
    sets = [fragments.taken([fragments.start])]
    numbers = {sets[0]: 0}
    rows: list[Table] = []
    for taken in sets:
        reached: list[set[int]] = [set() for _ in range(256)]
        for state in taken:
            for (low, high), target in fragments.steps[state]:
                for byte in range(low, high + 1):
                    reached[byte].add(target)
        row = np.full(256, -1, np.int32)
        for byte, targets in enumerate(reached):
            if targets:
                following = fragments.taken(targets)
                if following not in numbers:
                    numbers[following] = len(sets)
                    sets.append(following)
                row[byte] = numbers[following]
        rows.append(row)
        if len(sets) > MAX_STATES:
            raise too_large()
    rows.append(np.full(256, -1, np.int32))
    return np.array(rows), np.array([*(fragments.end in taken for taken in sets), False])


def over_tokens(rows: Table, pieces: Sequence[bytes]) -> Table:
    """The table over tokens, (S + 1, V), from that over bytes: a token is its bytes in turn."""
    if len(rows) * len(pieces) > MAX_ENTRIES:
        raise too_large()
    lengths = np.array([len(piece) for piece in pieces])
    padded = np.zeros((len(pieces), lengths.max()), np.uint8)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.frombuffer(b"".join(pieces), "u1")
    states = np.arange(len(rows), dtype=np.int32)[:, None].repeat(len(pieces), axis=1)
    for place in range(padded.shape[1]):
        longer = lengths > place
        states[:, longer] = rows[states[:, longer], padded[longer, place]]
    return states


def leading_to(goal: Bools, following: Table) -> Bools:
    """The states from which one of `goal` can be reached, (S + 1,)."""
    before: defaultdict[int, list[int]] = defaultdict(list)
    for state, row in enumerate(following[:-1]):
        for target in np.unique(row).tolist():
            before[target].append(state)
    alive = goal.copy()
    waiting = np.flatnonzero(goal).tolist()
    while waiting:
        new = [state for state in before[waiting.pop()] if not alive[state]]
        alive[new] = True
        waiting += new
    return alive


def too_large() -> UsageError:
    """The error for an automaton that would take too much room."""
    return UsageError(
        "--match: the expression is too large to follow",
        "smaller counts in {m,n}, or [a-z] in the place of \\w",
    )
