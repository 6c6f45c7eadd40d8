"""Constrain which tokens can be sampled: banned and allowed characters, a regular expression.

Shapes: V vocab_size, S states of the automaton.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from charnn.arrays import Bools, Doubles, Indices, Transitions
from charnn.errors import UsageError
from charnn.generation.token_automaton import compile_pattern

ANY_TEXT = r"[\s\S]*"
SURROGATES = np.arange(0xD800, 0xE000)  # code points that are not characters
LAST = 0x10FFFF  # the highest code point


@dataclass(frozen=True)
class SamplingAutomaton:
    """The tokens that can follow in each of S states; a sample begins in the state `start`.

    `next_state`, (S, V), is the state after each token, -1 for a token that the pattern does not
    allow. Of these, tokens marked in `barred`, (S, V), are never sampled; sampling one of the
    others ends the sample before it. `complete`, (S,), marks states after which no token can
    follow: the sample ends there.
    """

    next_state: Transitions
    barred: Bools
    complete: Bools
    start: int = 0


@dataclass(frozen=True)
class Constraint:
    """`bias`, (V,), is added to the logits: -inf for tokens that are never sampled, otherwise 0."""

    bias: Doubles
    automaton: SamplingAutomaton | None = None


def constrain(
    pieces: Sequence[bytes],
    unk_id: int | None = None,
    *,
    ban: str = "",
    allow: str | None = None,
    match: str | None = None,
    prompt: str = "",
) -> Constraint:
    """Exclude characters in `ban`, characters not in `allow`, and samples that fail `match`.

    `pieces` are the bytes of each token; `prompt` is the beginning of the text that `match`
    concerns. A sample ends where it matches and either no token can follow or the sampled token
    would make it fail to match. Raise UsageError if no token or no matching text is left.
    """
    texts = [decoded(piece) for piece in pieces]
    banned, allowed = set(ban), None if allow is None else set(allow)
    allowed_tokens = np.array([permitted(text, banned, allowed) for text in texts])
    allowed_tokens[[len(piece) == 0 for piece in pieces]] = False
    if unk_id is not None:
        allowed_tokens[unk_id] = False
    if not allowed_tokens.any():
        raise nothing_left()
    bias = np.where(allowed_tokens, 0.0, -np.inf)
    # Whether part of a character is allowed depends on the tokens around it: see the automaton.
    needs_automaton = None in texts and bool(ban or allow is not None)
    if match is None and not needs_automaton:
        return Constraint(bias)
    allowed_texts = [text for text, keep in zip(texts, allowed_tokens, strict=True) if keep]
    pattern = ANY_TEXT if match is None else match
    if None not in texts:  # otherwise a class with these characters would let tokens form them
        allowed_texts.append(prompt)
    characters = alphabet(allowed_texts, banned, allowed)
    beginning = prompt.encode("utf-8", "surrogateescape") if match is not None else b""
    automaton = compile_pattern(pattern, pieces, allowed_tokens, characters, beginning)
    barred: Bools = np.less(automaton.next_state, 0)
    complete: Bools = np.all(barred, axis=1)
    if match is None and complete[automaton.start]:
        raise nothing_left()
    if match is not None:
        barred[automaton.accepting] = False
    return Constraint(
        bias, SamplingAutomaton(automaton.next_state, barred, complete, automaton.start)
    )


def decoded(piece: bytes) -> str | None:
    """Return the text of a token; None if the token contains an incomplete character."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def never_generated(pieces: Sequence[bytes], unk_id: int | None, characters: str) -> set[str]:
    """Return those of the characters that are in no token; none if tokens can form any."""
    texts = [decoded(piece) for index, piece in enumerate(pieces) if index != unk_id]
    known = [text for text in texts if text is not None]
    return set(characters).difference(*known) if len(known) == len(texts) else set()


def permitted(text: str | None, banned: set[str], allowed: set[str] | None) -> bool:
    """Return whether the characters of a token are allowed; True for incomplete characters."""
    if text is None:
        return True  # depends on the tokens around it
    return banned.isdisjoint(text) and (allowed is None or allowed.issuperset(text))


def alphabet(texts: Iterable[str | None], banned: set[str], allowed: set[str] | None) -> list[str]:
    """Return the characters that tokens can form, as strings of consecutive characters."""
    characters: set[str] = set()
    for text in texts:
        if text is not None:
            characters.update(text)
        elif allowed is not None:
            return consecutive(sorted_code_points(allowed - banned))
        else:
            excluded = np.concatenate([SURROGATES, sorted_code_points(banned)])
            return consecutive(np.delete(np.arange(LAST + 1), excluded))
    return consecutive(sorted_code_points(characters))


def sorted_code_points(characters: set[str]) -> Indices:
    """Return the sorted code points of characters, without lone surrogates."""
    codes = np.array(sorted(map(ord, characters)), np.intp)
    return codes[~np.isin(codes, SURROGATES)]


def consecutive(codes: Indices) -> list[str]:
    """Return sorted code points as strings, one for each run of consecutive code points."""
    runs = np.split(codes.astype("<u4"), np.flatnonzero(np.diff(codes) != 1) + 1)
    return [run.tobytes().decode("utf-32-le") for run in runs]


def nothing_left() -> UsageError:
    """Return the error for constraints that exclude every token of the vocabulary."""
    return UsageError(
        "--ban and --allow exclude every token",
        "allow more characters: a token is generated only if all its characters are allowed",
    )
