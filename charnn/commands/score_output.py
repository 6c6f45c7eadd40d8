"""Format scored lines as TSV, JSON, one row per token, or colored text."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from charnn.commands import heat
from charnn.escape import visible
from charnn.evaluation.metrics import NATS_PER_BIT, Score
from charnn.evaluation.suffix_array import TextIndex
from charnn.evaluation.surprisal import Scored, Scorer
from charnn.storage import jsonio
from charnn.tokenizers.utf8 import CONTINUATION

BEGINNING = 256  # characters that stand for a long text scored as a whole
LONGEST_TEXT = 1 << 20  # bytes of a line that are put out; all of it is scored
MOST_TOKENS = 1 << 16  # of a line that are put out together
MORE = "…"  # ends what was cut
NOTHING = "-"  # in the place of a number that there is none of


@dataclass(frozen=True)
class Token:
    """A token of a line as text, and its bits; NaN where the model does not know it."""

    text: bytes
    bits: float


@dataclass(frozen=True)
class Row:
    """A line as it was scored.

    `tokens` are there where they are asked for. `overlap` is in characters. `cut` says that `text`
    is only the beginning of the line, `tokens_cut` that `tokens` are only its first ones.
    """

    number: int
    text: bytes
    score: Score = field(default_factory=Score)
    tokens: list[Token] = field(default_factory=list)
    overlap: int | None = None
    cut: bool = False
    tokens_cut: bool = False


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
            return f"{jsonio.to_json(as_dict(row, per_token=self.per_token))}\n".encode()
        if self.per_token:
            return "".join(
                f"{row.number}\t{number(token.bits)}\t{shown(token.text)}\n" for token in row.tokens
            ).encode()
        columns = [number(row.score.bits_per_char)]
        columns += [] if row.overlap is None else [str(row.overlap)]
        return b"\t".join([*(column.encode() for column in columns), self._text(row)]) + b"\n"

    def _text(self, row: Row) -> bytes:
        if self.color:
            painted = heat.painted((token.text, token.bits) for token in row.tokens)
            return (painted + MORE * row.tokens_cut).encode()
        text = row.text
        if self.safe or b"\n" in text:  # a row is a line
            text = visible(text.decode("utf-8", "replace"), one_line=True).encode()
        return text + MORE.encode() * row.cut

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
        "text": row.text.decode("utf-8", "replace") + MORE * row.cut,
    }
    if row.cut or (per_token and row.tokens_cut):
        values["truncated"] = True
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


def shortened(data: bytes) -> bytes:
    """Return at most LONGEST_TEXT bytes from the start of a line, and no part of a character."""
    if len(data) <= LONGEST_TEXT:
        return data
    ends = range(LONGEST_TEXT, LONGEST_TEXT - 4, -1)
    return data[: next((end for end in ends if data[end] not in CONTINUATION), LONGEST_TEXT)]


class Assembler:
    """Makes rows of what has been scored, part by part.

    Of a `whole` text that came in pieces the beginning is kept, of a line as much as the constants
    above say. `index` is the text in which overlaps are looked for; across the pieces of a long
    line they are found up to two pieces long.
    """

    def __init__(
        self,
        scorer: Scorer,
        layout: Layout,
        index: TextIndex | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.scorer, self.layout, self.index, self.whole = scorer, layout, index, whole
        self.number = 0
        self.score, self.overlap = Score(), None if index is None else 0
        self.text, self.tokens = bytearray(), list[Token]()
        self.before = b""  # the piece before, of the same line

    def add(self, scored: Scored) -> Iterator[Row]:
        """The rows that this completes; with a row a token, the tokens of each part at once."""
        part = scored.part
        if part.begins:
            self.number += 1
            self.score, self.overlap = Score(), None if self.index is None else 0
            self.text, self.tokens = bytearray(), []
        if self.layout.per_token and not self.layout.json:
            yield Row(self.number, b"", tokens=self._tokens(scored))
            return
        self.score += self.scorer.total(scored)
        if self.index is not None:
            self.overlap = max(self.overlap or 0, self._longest_copy(part.data, self.index))
            self.before = b"" if part.ends else part.data
        if len(self.text) <= LONGEST_TEXT:
            self.text += part.data
        if self.layout.needs_tokens and len(self.tokens) <= MOST_TOKENS:
            self.tokens += self._tokens(scored)
        if part.ends:
            yield self._row(is_line=part.is_line)

    def _row(self, *, is_line: bool) -> Row:
        text, most = bytes(self.text), MOST_TOKENS
        if self.whole and not is_line:
            kept, most = beginning(text), BEGINNING
        else:
            kept = shortened(text)
        return Row(
            self.number,
            kept,
            self.score,
            self.tokens[:most],
            self.overlap,
            cut=len(kept) < len(text),
            tokens_cut=len(self.tokens) > most,
        )

    def _tokens(self, scored: Scored) -> list[Token]:
        bits = (scored.nats / NATS_PER_BIT).tolist()
        return list(map(Token, self.scorer.spelled(scored), bits))

    def _longest_copy(self, data: bytes, index: TextIndex) -> int:
        return index.longest((self.before + data).decode("utf-8", "replace"))
