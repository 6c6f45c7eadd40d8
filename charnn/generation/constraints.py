"""Constrain what may be drawn: banned and allowed characters, a regular expression.

Shapes: V vocab_size, S states of the automaton.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.arrays import Bools, Doubles
from charnn.errors import UsageError
from charnn.generation.token_automaton import Table, compiled

ANY_TEXT = r"[\s\S]*"
SURROGATES = np.arange(0xD800, 0xE000)  # code points that are no characters
LAST = 0x10FFFF


@dataclass(frozen=True)
class Tracks:
    """What may come in each of S states; a sample starts in the first.

    `following`, (S, V), is the state after each token, -1 for one that may not come. `barred`,
    (S, V), marks those of them that are never drawn; to draw one of the others ends the sample.
    `complete`, (S,), marks where nothing can come and the sample ends at once.
    """

    following: Table
    barred: Bools
    complete: Bools


@dataclass(frozen=True)
class Constraint:
    """`bias`, (V,), is to be added to logits: -inf for a token that is never drawn, else 0."""

    bias: Doubles
    tracks: Tracks | None = None


def constrain(
    pieces: Sequence[bytes],
    unk_id: int | None = None,
    *,
    ban: str = "",
    allow: str | None = None,
    match: str | None = None,
) -> Constraint:
    """No character of `ban`, none outside `allow`, the sample as a whole matching `match`.

    `pieces` are the bytes of each token. A sample ends where it matches and either nothing can
    follow or the token drawn would lead out of the language. Raises UsageError where nothing is
    left to draw, and where nothing can match.
    """
    texts = [decoded(piece) for piece in pieces]
    banned, allowed = set(ban), None if allow is None else set(allow)
    drawable = np.array([permitted(text, banned, allowed) for text in texts])
    drawable[[len(piece) == 0 for piece in pieces]] = False
    if unk_id is not None:
        drawable[unk_id] = False
    if not drawable.any():
        raise nothing_left()
    bias = np.where(drawable, 0.0, -np.inf)
    in_parts = None in texts and bool(ban or allow is not None)
    if match is None and not in_parts:
        return Constraint(bias)
    kept = [text for text, may in zip(texts, drawable, strict=True) if may]
    pattern = ANY_TEXT if match is None else match
    automaton = compiled(pattern, pieces, drawable, alphabet(kept, banned, allowed))
    barred: Bools = np.less(automaton.following, 0)
    complete: Bools = np.all(barred, axis=1)
    if match is None and complete[0]:
        raise nothing_left()
    if match is not None:
        barred[automaton.accepting] = False
    return Constraint(bias, Tracks(automaton.following, barred, complete))


def decoded(piece: bytes) -> str | None:
    """The text of a token; None for one that has parts of characters."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def permitted(text: str | None, banned: set[str], allowed: set[str] | None) -> bool:
    """Whether a token may be drawn as far as its own characters go."""
    if text is None:
        return True  # it depends on the tokens beside it
    return banned.isdisjoint(text) and (allowed is None or allowed.issuperset(text))


def alphabet(texts: Iterable[str | None], banned: set[str], allowed: set[str] | None) -> list[str]:
    """The characters that these tokens can spell, as strings of consecutive ones."""
    characters: set[str] = set()
    for text in texts:
        if text is not None:
            characters.update(text)
        elif allowed is not None:
            return consecutive(code_points(allowed - banned))
        else:
            without = np.concatenate([SURROGATES, code_points(banned)])
            return consecutive(np.delete(np.arange(LAST + 1), without))
    return consecutive(code_points(characters))


def code_points(characters: set[str]) -> npt.NDArray[np.intp]:
    """The code points of some characters, in order, without lone surrogates."""
    codes = np.array(sorted(map(ord, characters)), np.intp)
    return codes[~np.isin(codes, SURROGATES)]


def consecutive(codes: npt.NDArray[np.intp]) -> list[str]:
    """Code points in order as strings, cut where one does not follow the one before."""
    runs = np.split(codes.astype("<u4"), np.flatnonzero(np.diff(codes) != 1) + 1)
    return [run.tobytes().decode("utf-32-le") for run in runs]


def nothing_left() -> UsageError:
    """The error for a vocabulary of which nothing may be drawn."""
    return UsageError("--ban and --allow leave no token to draw", "allow more characters")
