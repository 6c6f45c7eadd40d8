"""Scored lines as rows: TSV, JSON, a row a token, or text in the colours of its surprise.

Never knows: models, where the lines come from, or where the rows go.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from charnn import files, heat
from charnn.display import visible
from charnn.metrics import NATS_PER_BIT, Score
from charnn.overlap import TextIndex
from charnn.scoring import Scored, Scorer

BEGINNING = 256  # characters that stand for a text which came in pieces
NOTHING = "-"  # in the place of a number that there is none of


@dataclass(frozen=True)
class Token:
    """A token of a line as text, and its bits; NaN where the model does not know it."""

    text: bytes
    bits: float


@dataclass(frozen=True)
class Row:
    """A line as it was scored. `text` is only the beginning of a line that came in pieces.

    `tokens` are those of `text`, where they are asked for. `overlap` is in characters.
    """

    number: int
    text: bytes
    score: Score = field(default_factory=Score)
    tokens: list[Token] = field(default_factory=list)
    overlap: int | None = None


@dataclass(frozen=True)
class Layout:
    """How rows are to look. `safe` shows control characters instead of passing them on."""

    json: bool = False
    per_token: bool = False
    color: bool = False
    safe: bool = False

    def rendered(self, row: Row) -> bytes:
        """The output for a row, line ends and all."""
        if self.json:
            return f"{files.to_json(as_dict(row, per_token=self.per_token))}\n".encode()
        if self.per_token:
            return "".join(
                f"{row.number}\t{number(token.bits)}\t{shown(token.text)}\n" for token in row.tokens
            ).encode()
        columns = [number(row.score.bits_per_char)]
        columns += [] if row.overlap is None else [str(row.overlap)]
        return b"\t".join([*(column.encode() for column in columns), self._text(row)]) + b"\n"

    def _text(self, row: Row) -> bytes:
        if self.color:
            return heat.painted((token.text, token.bits) for token in row.tokens).encode()
        if self.safe or b"\n" in row.text:  # a row is a line
            return visible(row.text.decode("utf-8", "replace"), one_line=True).encode()
        return row.text

    @property
    def needs_tokens(self) -> bool:
        """Whether rows must have their tokens."""
        return self.per_token or self.color


def as_dict(row: Row, *, per_token: bool) -> dict[str, object]:
    """A row under the names it has in JSON."""
    score = row.score
    values: dict[str, object] = {
        "loss": score.loss,
        "perplexity": score.perplexity,
        "bits_per_char": score.bits_per_char,
        "tokens": score.tokens,
        "unknown": score.unknown,
        "text": row.text.decode("utf-8", "replace"),
    }
    if row.overlap is not None:
        values["overlap"] = row.overlap
    if per_token:
        values["per_token"] = [
            {"token": token.text.decode("utf-8", "backslashreplace"), "bits": token.bits}
            for token in row.tokens
        ]
    return values


def shown(token: bytes) -> str:
    r"""A token in a row of its own: nothing that could end the row, bytes as `\xe6`."""
    return visible(token.decode("utf-8", "backslashreplace"), one_line=True)


def number(value: float) -> str:
    """Four decimals, or a dash where there is no number, as for an empty line."""
    return f"{value:.4f}" if math.isfinite(value) else NOTHING


def beginning(data: bytes) -> bytes:
    """So many whole characters from the start of a text that they can stand for it."""
    return data[: BEGINNING * 4].decode("utf-8", "replace")[:BEGINNING].encode()


class Assembler:
    """Makes rows of what has been scored, part by part.

    `index` is the text in which overlaps are looked for; across the pieces of a long line they
    are found up to two pieces long.
    """

    def __init__(self, scorer: Scorer, layout: Layout, index: TextIndex | None = None) -> None:
        self.scorer, self.layout, self.index = scorer, layout, index
        self.number = 0
        self.row = Row(0, b"")
        self.before = b""  # the piece before, of the same line

    def add(self, scored: Scored) -> Iterator[Row]:
        """The rows that this completes; with a row a token, the tokens of each part at once."""
        part = scored.part
        if part.begins:
            self.number += 1
            self.row = self._begun(scored)
        else:
            score = self.row.score + self.scorer.total(scored)
            self.row = replace(self.row, score=score, overlap=self._overlap(part.data))
        self.before = b"" if part.ends else part.data
        if self.layout.per_token and not self.layout.json:
            yield Row(self.number, b"", tokens=self._tokens(scored))
        elif part.ends:
            yield self.row

    def _begun(self, scored: Scored) -> Row:
        data, tokens = scored.part.data, self._tokens(scored) if self.layout.needs_tokens else []
        is_long = not scored.part.is_line
        return Row(
            self.number,
            beginning(data) if is_long else data,
            self.scorer.total(scored),
            tokens[:BEGINNING] if is_long else tokens,
            self._overlap(data),
        )

    def _tokens(self, scored: Scored) -> list[Token]:
        bits = (scored.nats / NATS_PER_BIT).tolist()
        return list(map(Token, self.scorer.spelled(scored), bits))

    def _overlap(self, data: bytes) -> int | None:
        if self.index is None:
            return None
        longest = self.index.longest((self.before + data).decode("utf-8", "replace"))
        return max(longest, self.row.overlap or 0) if self.before else longest
