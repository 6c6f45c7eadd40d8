"""Compile a regular expression to a deterministic automaton over tokens.

The automaton is built over UTF-8 bytes, so that it is exact for every tokenizer, whether a token
is a character, a word or part of a character.

Shapes: S states, V vocab_size. In every table -1 is the dead state. During construction a table
has an additional last row of dead states, which index -1 refers to.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charnn.arrays import Bools, Transitions
from charnn.errors import UsageError
from charnn.generation.regex_parser import (
    Characters,
    Choice,
    Node,
    Repeat,
    absent_characters,
    parse,
)

ByteRange = tuple[int, int]

# Limits of an automaton. The largest ones took 1 to 15 seconds to compile on two busy cores.
MAX_NFA_STATES = 50_000  # states of the nondeterministic automaton
MAX_STATES = 5_000  # states of the deterministic automaton
MAX_ENTRIES = 1 << 24  # states × tokens of its table: 64 MiB at 4 bytes each
LAST_OF_LENGTH = (0x7F, 0x7FF, 0xFFFF)  # the last code points of one, two and three bytes


@dataclass(frozen=True)
class Automaton:
    """A deterministic automaton over tokens with S states, that begins in the state `start`.

    `next_state`, (S, V), is the state after each token, -1 for a token after which no text can
    match. `accepting`, (S,), marks the states in which the whole text so far matches.
    """

    next_state: Transitions
    accepting: Bools
    start: int = 0


def compile_pattern(
    pattern: str,
    pieces: Sequence[bytes],
    allowed: Bools,
    alphabet: Sequence[str],
    prompt: bytes = b"",
) -> Automaton:
    """Return the automaton of a pattern over the tokens `pieces` that are `allowed`, (V,).

    Character classes are restricted to the alphabet, a list of strings of consecutive characters.
    The automaton begins after the prompt, which is the beginning of the text to match. Raise
    UsageError if the expression is malformed, not regular or too large, or if no text of the
    prompt and allowed tokens matches it.
    """
    byte_table, accepting = determinize(Nfa(parse(pattern, alphabet)))
    start = 0
    for byte in prompt:
        start = int(byte_table[start, byte]) if start >= 0 else start
    table = token_table(byte_table, pieces)
    table[:, ~allowed] = -1
    alive = states_leading_to(accepting, table)
    if start < 0 or not alive[start]:
        after = " after the prompt" if prompt else ""
        absent = ", ".join(map(repr, absent_characters(pattern, alphabet)))
        raise UsageError(
            f"--match {pattern!r}: no text that can be generated{after} matches it",
            "every required character must be in the vocabulary and not be banned"
            + (f", unlike {absent}" if absent else ""),
        )
    table[~alive[table]] = -1
    return Automaton(table[:-1], accepting[:-1], start)


class Nfa:
    """A nondeterministic automaton over bytes, built from a syntax tree by Thompson's construction.

    Thompson, "Regular expression search algorithm", 1968.
    """

    def __init__(self, tree: Node) -> None:
        self.epsilon: list[list[int]] = []  # for each state: states reached without a byte
        self.transitions: list[list[tuple[ByteRange, int]]] = []  # for each state, by bytes
        self.start = self.new_state()
        self.end = self.add(tree, self.start)

    def new_state(self) -> int:
        """Add a state without transitions and return its number."""
        if len(self.transitions) == MAX_NFA_STATES:
            raise too_large()
        self.epsilon.append([])
        self.transitions.append([])
        return len(self.transitions) - 1

    def add(self, node: Node, start: int) -> int:
        """Add the states of `node` after `start`; return the state in which it is matched."""
        if isinstance(node, Characters):
            return self.add_characters(node, start)
        if isinstance(node, Repeat):
            return self.add_repeat(node, start)
        if isinstance(node, Choice):
            end = self.new_state()
            for option in node.options:
                self.epsilon[self.add(option, start)].append(end)
            return end
        for part in node.parts:
            start = self.add(part, start)
        return start

    def add_repeat(self, node: Repeat, start: int) -> int:
        """Add `low` copies of the part, then a loop, or `high - low` optional copies."""
        for _ in range(node.low):
            start = self.add(node.part, self.state_after(start))
        if node.high is None:
            loop = self.state_after(start)
            self.epsilon[self.add(node.part, loop)].append(loop)
            return loop
        end = self.new_state()
        for _ in range(node.high - node.low):
            self.epsilon[start].append(end)
            start = self.add(node.part, self.state_after(start))
        self.epsilon[start].append(end)
        return end

    def state_after(self, state: int) -> int:
        """Add a state reached from `state` without a byte, so that a loop cannot re-enter it."""
        new = self.new_state()
        self.epsilon[state].append(new)
        return new

    def add_characters(self, node: Characters, start: int) -> int:
        """Add a path for each byte sequence of the characters; equal suffixes share states.

        For U+0400–U+04FF the sequence ([D0–D3], [80–BF]) becomes start -[D0–D3]→ s -[80–BF]→ end.
        A sequence ([E0], [A0–BF], [80–BF]) of other characters in the same class then adds one
        state only, r: start -[E0]→ r -[A0–BF]→ s.
        """
        end = self.new_state()
        states: dict[tuple[ByteRange, ...], int] = {(): end}  # by the sequence that leads to `end`
        for low, high in node.ranges:
            for sequence in byte_sequences(low, high):
                for cut in range(len(sequence) - 1, 0, -1):
                    suffix = sequence[cut:]
                    if suffix not in states:
                        states[suffix] = self.new_state()
                        self.transitions[states[suffix]].append((suffix[0], states[suffix[1:]]))
                self.transitions[start].append((sequence[0], states[sequence[1:]]))
        return end

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """Return these states and all states reachable from them without a byte."""
        found, waiting = set(states), list(states)
        while waiting:
            new = [state for state in self.epsilon[waiting.pop()] if state not in found]
            found.update(new)
            waiting += new
        return frozenset(found)


def byte_sequences(low: int, high: int) -> Iterator[tuple[ByteRange, ...]]:
    """Yield the UTF-8 encodings of the code points from `low` to `high` as ranges of bytes.

    A sequence of ranges represents every combination of bytes in them, so a range of code points
    is divided until all of its combinations are encodings. U+0400–U+04FF is D0 80 to D3 BF, and
    since every second byte of 80–BF occurs after every first byte, one sequence is enough:

        ([D0–D3], [80–BF])

    U+0400–U+0450 is D0 80 to D1 90: after D0 the second byte goes up to BF, after D1 to 90. It is
    divided at U+043F, the last code point whose first byte is D0:

        ([D0], [80–BF])  and  ([D1], [80–90])

    Ranges of encodings of different lengths are divided at the last code point of each length.
    Cox, "Regular expression matching in the wild", 2010.
    """
    cuts = [last for last in LAST_OF_LENGTH if low <= last < high]  # a part ends at each cut
    for bits in (6, 12, 18):  # a byte after the first encodes six bits
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


def determinize(nfa: Nfa) -> tuple[Transitions, Bools]:
    """Return the table over bytes, (S + 1, 256), and the accepting states, (S + 1,).

    Subset construction: a state of the table is a set of states of the `nfa`. Rabin and Scott,
    "Finite automata and their decision problems", 1959.
    """
    subsets = [nfa.closure([nfa.start])]
    numbers = {subsets[0]: 0}
    rows: list[Transitions] = []
    for subset in subsets:  # grows while it is iterated over
        targets_of: list[set[int]] = [set() for _ in range(256)]
        for state in subset:
            for (low, high), target in nfa.transitions[state]:
                for byte in range(low, high + 1):
                    targets_of[byte].add(target)
        row = np.full(256, -1, np.int32)
        for byte, targets in enumerate(targets_of):
            if targets:
                following = nfa.closure(targets)
                if following not in numbers:
                    numbers[following] = len(subsets)
                    subsets.append(following)
                row[byte] = numbers[following]
        rows.append(row)
        if len(subsets) > MAX_STATES:
            raise too_large()
    rows.append(np.full(256, -1, np.int32))
    return np.array(rows), np.array([*(nfa.end in subset for subset in subsets), False])


def token_table(byte_table: Transitions, pieces: Sequence[bytes]) -> Transitions:
    """Return the table over tokens, (S + 1, V): the state after all bytes of a token."""
    if len(byte_table) * len(pieces) > MAX_ENTRIES:
        raise too_large()
    lengths = np.array([len(piece) for piece in pieces])
    padded = np.zeros((len(pieces), lengths.max()), np.uint8)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.frombuffer(b"".join(pieces), "u1")
    states = np.arange(len(byte_table), dtype=np.int32)[:, None].repeat(len(pieces), axis=1)
    for position in range(padded.shape[1]):
        longer = lengths > position
        states[:, longer] = byte_table[states[:, longer], padded[longer, position]]
    return states


def states_leading_to(goal: Bools, table: Transitions) -> Bools:
    """Return the states from which a state of `goal` can be reached, (S + 1,)."""
    predecessors: defaultdict[int, list[int]] = defaultdict(list)
    for state, row in enumerate(table[:-1]):
        for target in np.unique(row).tolist():
            predecessors[target].append(state)
    alive = goal.copy()
    waiting = np.flatnonzero(goal).tolist()
    while waiting:
        new = [state for state in predecessors[waiting.pop()] if not alive[state]]
        alive[new] = True
        waiting += new
    return alive


def too_large() -> UsageError:
    """Return the error for an automaton that would need too much memory."""
    return UsageError(
        "--match: the expression is too large",
        "use smaller counts in {m,n}, or [a-z] instead of \\w",
    )
