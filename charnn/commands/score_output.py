"""Format scored lines as TSV, JSON, one row per token, or text colored by surprisal."""

import codecs
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from charnn.config import STDIN
from charnn.display import humanize
from charnn.escape import visible
from charnn.evaluation.line_reader import Part
from charnn.evaluation.metrics import NATS_PER_BIT, Score
from charnn.evaluation.suffix_array import TextIndex
from charnn.evaluation.surprisal import Scored, Scorer
from charnn.storage import jsonio
from charnn.tokenizers.tokenizer import Tokenizer
from charnn.tokenizers.utf8 import CONTINUATION

BEGINNING = 256  # characters shown of a long text that is scored as a whole
LONGEST_TEXT = 1 << 20  # maximum bytes shown of a line; all of it is scored
MOST_TOKENS = 1 << 16  # maximum tokens shown of a line
MOST_SYMBOLS = 10_000  # different out-of-vocabulary symbols that are counted
MORE = "…"  # marks truncated text
NOTHING = "-"  # an undefined number, such as the surprisal of an empty line

# (minimum bits, SGR codes for 256 colors: background and foreground), from blue to grey to yellow
# as in cividis, a colormap for color vision deficiency (Nuñez, Anderton and Renslow, 2018).
LEVELS = (
    (0.0, ""),
    (1.0, "\x1b[48;5;17;38;5;255m"),
    (2.0, "\x1b[48;5;60;38;5;255m"),
    (4.0, "\x1b[48;5;102;38;5;16m"),
    (6.0, "\x1b[48;5;144;38;5;16m"),
    (8.0, "\x1b[48;5;227;38;5;16m"),
)
UNKNOWN = "\x1b[7m"  # reverse video for out-of-vocabulary tokens
RESET = "\x1b[0m"


@dataclass(frozen=True)
class Token:
    """The text of a token and its surprisal in bits; NaN if that is not known.

    `unknown` is set if the token is out of vocabulary.
    """

    text: bytes
    bits: float
    unknown: bool


@dataclass(frozen=True)
class Row:
    """A scored line.

    `tokens` is empty unless tokens are shown; `overlap` is in characters. `cut` is set if `text` is
    truncated, `tokens_cut` if `tokens` is. `line` is its number in `file`, from 1.
    """

    text: bytes
    score: Score
    tokens: list[Token]
    overlap: int | None
    cut: bool
    tokens_cut: bool
    line: int = 1
    file: str = STDIN


@dataclass(frozen=True)
class Layout:
    """The output format of rows.

    `safe` escapes control characters; `total` ranks lines by total bits instead of bits per
    character. Lines with fewer than `min_chars` characters are omitted.
    """

    json: bool = False
    per_token: bool = False
    color: bool = False
    safe: bool = False
    total: bool = False
    min_chars: int = 0

    def is_shown(self, row: Row) -> bool:
        """Return whether a row is long enough to be written."""
        return row.score.chars + row.score.unknown_chars >= self.min_chars

    def rendered(self, row: Row) -> bytes:
        """Return the output of a row, including the newline."""
        if self.json:
            return f"{jsonio.to_json(as_dict(row, per_token=self.per_token))}\n".encode()
        columns = [number(ranking(row.score, total=self.total))]
        columns += [] if row.overlap is None else [str(row.overlap)]
        return b"\t".join([*(column.encode() for column in columns), self._text(row)]) + b"\n"

    def _text(self, row: Row) -> bytes:
        if self.color:
            return (painted(row.tokens) + MORE * row.tokens_cut).encode()
        text = row.text
        if self.safe or b"\n" in text:  # a row is always one line
            text = visible(text.decode("utf-8", "replace"), one_line=True).encode()
        return text + MORE.encode() * row.cut

    @property
    def needs_tokens(self) -> bool:
        """Return whether the tokens of a row are needed."""
        return self.per_token or self.color


def ranking(score: Score, *, total: bool) -> float:
    """Return the bits of a line, in total or per character; NaN for an empty line.

    A model from an older file has no bits for out-of-vocabulary characters, so they are left out;
    return infinity if there are no others.
    """
    if math.isnan(score.bits_per_char_all):
        if score.unknown and not score.chars:
            return math.inf
        return score.nats / NATS_PER_BIT if total and score.chars else score.bits_per_char
    return (score.nats + score.charge) / NATS_PER_BIT if total else score.bits_per_char_all


def as_dict(row: Row, *, per_token: bool) -> dict[str, object]:
    """Return a row as a JSON object. Numbers that are not finite become null."""
    score = row.score
    values: dict[str, object] = {
        "line": row.line,
        "file": row.file,
        "loss": score.loss,
        "perplexity": score.perplexity,
        "bits_per_char": score.bits_per_char,
        "bits": ranking(score, total=True),
        "tokens": score.tokens,
        "unknown": score.unknown,
        "coverage": score.coverage,
        "bits_per_char_all": score.bits_per_char_all,
        "text": row.text.decode("utf-8", "replace") + MORE * row.cut,
    }
    if row.cut or (per_token and row.tokens_cut):
        values["truncated"] = True
    if row.overlap is not None:
        values["overlap"] = row.overlap
    if per_token:
        values["per_token"] = list(map(token_dict, row.tokens))
    return values


def token_dict(token: Token) -> dict[str, object]:
    """Return a token as a JSON object; only out-of-vocabulary tokens have the key `unknown`."""
    values = {"token": token.text.decode("utf-8", "backslashreplace"), "bits": token.bits}
    return {**values, "unknown": True} if token.unknown else values


def token_rows(line: int, tokens: Iterable[Token]) -> bytes:
    """Return a TSV row per token: line number, bits, token."""
    rows = (f"{line}\t{number(token.bits)}\t{shown(token.text)}\n" for token in tokens)
    return "".join(rows).encode()


def shown(token: bytes) -> str:
    r"""Return a token as text on one line, with invalid UTF-8 escaped as `\xe6`."""
    return visible(token.decode("utf-8", "backslashreplace"), one_line=True)


def number(value: float) -> str:
    """Return a number with four decimals, "inf", or "-" for NaN."""
    return NOTHING if math.isnan(value) else f"{value:.4f}"


def painted(tokens: Iterable[Token]) -> str:
    """Return the text of tokens on one line, colored by surprisal, with control characters escaped.

    A character of several tokens has the color of the last one.
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    painted, current = [], ""
    for token in tokens:
        text = decode(token.text)
        if not text:
            continue
        style = UNKNOWN if token.unknown else style_of(token.bits)
        if style != current:
            painted.append((RESET if current else "") + style)
            current = style
        painted.append(visible(text, one_line=True))
    painted.append((RESET if current else "") + visible(decode(b"", True), one_line=True))
    return "".join(painted)


def style_of(bits: float) -> str:
    """Return the SGR codes of the highest level whose minimum is at most `bits`."""
    return [style for least, style in LEVELS if bits >= least or least == 0][-1]


def beginning(data: bytes) -> bytes:
    """Return the first BEGINNING characters of a text."""
    return data[: BEGINNING * 4].decode("utf-8", "replace")[:BEGINNING].encode()


def shortened(data: bytes) -> bytes:
    """Return at most LONGEST_TEXT bytes of a line, without splitting a UTF-8 character."""
    if len(data) <= LONGEST_TEXT:
        return data
    for end in range(LONGEST_TEXT, LONGEST_TEXT - 4, -1):
        if data[end] not in CONTINUATION:
            return data[:end]
    return data[:LONGEST_TEXT]  # not UTF-8


def tokens_of(scorer: Scorer, scored: Scored) -> list[Token]:
    """Return the tokens of a scored part, with their surprisal in bits."""
    bits = (scored.nats / NATS_PER_BIT).tolist()
    unknown = (scored.ids == scorer.tokenizer.unk_id).tolist()
    return list(map(Token, scorer.spelled(scored), bits, unknown))


class LineAccumulator:
    """A sum of the scored parts of a line. A long line has several parts.

    Up to LONGEST_TEXT bytes and MOST_TOKENS tokens of a line are kept, of a `whole` text in several
    parts only BEGINNING. With `index`, `overlap` is the length of the longest substring that occurs
    in the indexed text, at most two parts.
    """

    def __init__(
        self,
        scorer: Scorer,
        index: TextIndex | None = None,
        *,
        with_tokens: bool = False,
        whole: bool = False,
    ) -> None:
        self.scorer, self.index = scorer, index
        self.with_tokens, self.whole = with_tokens, whole
        self._begin_line()

    def _begin_line(self) -> None:
        self.score, self.overlap = Score(), 0
        self.text, self.tokens = bytearray(), list[Token]()
        self.previous = b""  # the last part

    def add(self, scored: Scored) -> Row | None:
        """Add a part; return the row of the line if it ends here."""
        part = scored.part
        if part.begins:
            self._begin_line()
        self.score += self.scorer.total(scored)
        if self.index is not None:
            both = (self.previous + part.data).decode("utf-8", "replace")
            self.overlap = max(self.overlap, self.index.longest(both))
            self.previous = part.data
        if len(self.text) <= LONGEST_TEXT:
            self.text += part.data
        if self.with_tokens and len(self.tokens) <= MOST_TOKENS:
            self.tokens += tokens_of(self.scorer, scored)
        return self._row(is_long=not part.is_line) if part.ends else None

    def _row(self, *, is_long: bool) -> Row:
        text = bytes(self.text)
        is_beginning = self.whole and is_long
        kept = beginning(text) if is_beginning else shortened(text)
        most = BEGINNING if is_beginning else MOST_TOKENS
        return Row(
            kept,
            self.score,
            self.tokens[:most],
            None if self.index is None else self.overlap,
            cut=len(kept) < len(text),
            tokens_cut=len(self.tokens) > most,
        )


class InputCounts:
    """Counts of lines with invalid UTF-8 and of out-of-vocabulary symbols in what was scored.

    If the text is scored as a `whole`, each file is one line.
    """

    def __init__(self, tokenizer: Tokenizer, *, whole: bool = False) -> None:
        self.tokenizer, self.whole = tokenizer, whole
        self.lines = self.invalid = self.unknown = 0
        self.symbols = Counter[str]()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_valid = True  # the current line, up to now

    def add(self, scored: Scored) -> None:
        """Count a part; those of one line are in sequence."""
        part = scored.part
        if part.begins:
            self._decoder.reset()
            self._is_valid = True
            self.lines += 1
        if not self.tokenizer.reads_bytes:
            self._check(part)
        for symbol in scored.unknown:
            self.unknown += 1
            if symbol in self.symbols or len(self.symbols) < MOST_SYMBOLS:
                self.symbols[symbol] += 1

    def _check(self, part: Part) -> None:
        if not self._is_valid or (part.is_line and part.data.isascii()):
            return
        try:
            self._decoder.decode(part.data, part.ends)
        except UnicodeDecodeError:
            self._is_valid = False
            self.invalid += 1

    def summary(self) -> str:
        """Return a line for each count that is not 0, and how to avoid both."""
        found = []
        if self.invalid:
            lines = "files" if self.whole else "lines"
            found.append(
                f"{self.invalid:,} of {self.lines:,} {lines} with invalid UTF-8, read as U+FFFD"
            )
        if self.unknown:
            found.append(
                f"{self.unknown:,} out-of-vocabulary symbol{'' if self.unknown == 1 else 's'}: "
                f"{humanize.most_frequent(self.symbols)}"
            )
        if found:
            found.append("a dataset prepared with --tokenizer byte has a token for every byte")
        return "\n".join(found)
