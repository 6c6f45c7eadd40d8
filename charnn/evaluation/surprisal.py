"""Score text by surprisal: many lines in parallel, or one long text in parts.

What is computed for a line depends on the line alone, to the last bit: lines go through matrix
products of a fixed width, whose columns do not know each other, however many lines there are.

Shapes: T tokens of a text, B = WIDTH lines side by side.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from charnn.arrays import Doubles, Ids
from charnn.evaluation.line_reader import Part
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.model.numpy_model import NumpyModel
from charnn.tokenizers.tokenizer import Tokenizer

# Lines side by side in one product. Wider ones save little, a line that comes alone would wait
# longer, and from 24 on OpenBLAS rounds some columns otherwise than others.
WIDTH = 16
# No unit of our patterns goes from a non-space over a space, so to cut there changes no token.
CUT = re.compile(r"(?<=\S)(?=\s)")


class Scored(NamedTuple):
    """Tokens of a text, (T,), and -ln p of each, (T,); NaN for one outside the vocabulary.

    `text` is what a long line's part of bytes completed.
    """

    part: Part
    ids: Ids
    nats: Doubles
    text: str = ""


class Reader(Protocol):
    """A network that reads a text, its hidden state carried from call to call."""

    def restart(self) -> None:
        """Forget what has been read."""

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read (T,) ids; ln p of each one's target as the next token, (T,)."""


class ModelReader:
    """Reads with the weights as they were trained."""

    def __init__(self, stepper: NumpyModel) -> None:
        self.stepper = stepper
        self.restart()

    def restart(self) -> None:
        """Forget what has been read."""
        self.streams = self.stepper.streams(self.stepper.initial_state())

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read (T,) ids; ln p of each one's target as the next token, (T,)."""
        log_probs: Doubles = self.streams.log_probs(ids[None], targets[None])[0]
        return log_probs


class Passage:
    """A text that comes in parts, scored in one pass; the first token follows the start token."""

    def __init__(self, reader: Reader, tokenizer: Tokenizer, start_token: int) -> None:
        self.reader, self.tokenizer, self.start_token = reader, tokenizer, start_token
        self.restart()

    def restart(self) -> None:
        """Begin a new text."""
        self.reader.restart()
        self.last = self.start_token  # not yet read: it is with what follows
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""

    def feed(self, part: Part) -> Scored:
        """The next part of the text, as far as its tokens are sure; all of it once it ends."""
        ids, text = self._encode(part)
        nats = np.empty(0)
        if len(ids):
            targets = ids.astype(np.int64)
            inputs = np.concatenate([[self.last], targets[:-1]])
            self.last = int(targets[-1])
            nats = mask_unknown(-self.reader.log_probs(inputs, targets), targets, self.tokenizer)
        return Scored(part, ids, nats, text)

    def _encode(self, part: Part) -> tuple[Ids, str]:
        if self.tokenizer.kind == "byte":
            return self.tokenizer.encode(part.data), ""
        text = self.held + self.decoder.decode(part.data, part.ends)
        cut = len(text) if part.ends or self.tokenizer.kind == "char" else last_cut(text)
        if part.ends:
            self.decoder.reset()
        self.held = text[cut:]
        return self.tokenizer.encode(text[:cut]), text[:cut]


class Scorer:
    """Scores lines, each on its own, or each with the state in which the line before it left off.

    `carry` feeds the line end between two lines, and does not score it. `reader` may be one that
    learns; such lines are read one after the other. Others go to so many `threads` at once.
    """

    def __init__(
        self,
        stepper: NumpyModel,
        tokenizer: Tokenizer,
        start_token: int,
        *,
        carry: bool = False,
        reader: Reader | None = None,
        threads: int = 1,
    ) -> None:
        self.stepper, self.tokenizer, self.start_token = stepper, tokenizer, start_token
        self.carry, self.at_once = carry, not carry and reader is None
        self.passage = Passage(reader or ModelReader(stepper), tokenizer, start_token)
        self.lengths = TokenLengths.of(tokenizer)
        self.threads = ThreadPoolExecutor(threads)

    def score(self, parts: Sequence[Part]) -> Iterator[Scored]:
        """Each part scored, in order; a line in pieces goes on from call to call."""
        together = [part for part in parts if part.is_line] if self.at_once else []
        texts = [encoded(self.tokenizer, part.data) for part in together]
        results = zip(texts, self._lines(texts), strict=True)
        for part in parts:
            if self.at_once and part.is_line:
                yield Scored(part, *next(results))
                continue
            if part.begins and not self.carry:
                self.passage.restart()
            yield self.passage.feed(part)
            if part.ends and self.carry:
                self.passage.feed(Part(b"\n"))

    def total(self, scored: Scored) -> Score:
        """The sums over what has been scored."""
        return self.lengths.score(scored.nats, scored.ids)

    def spelled(self, scored: Scored) -> list[bytes]:
        """The text of each token; of one outside the vocabulary too, where that can be told."""
        if self.tokenizer.kind == "char":
            part = scored.part
            text = part.data.decode("utf-8", "replace") if part.is_line else scored.text
            return [char.encode() for char in text]
        return [self.tokenizer.pieces[index] for index in scored.ids.tolist()]

    def _lines(self, texts: Sequence[Ids]) -> list[Doubles]:
        """Nats of each token of each text, lines of about the same length side by side."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        groups = [order[start : start + WIDTH] for start in range(0, len(order), WIDTH)]
        scored = self.threads.map(self._together, [[texts[i] for i in group] for group in groups])
        results = [np.empty(0)] * len(texts)
        for group, nats in zip(groups, scored, strict=True):
            for index, line in zip(group, nats, strict=True):
                results[index] = line
        return results

    def _together(self, texts: Sequence[Ids]) -> list[Doubles]:
        """Nats of up to WIDTH texts; columns without a text read start tokens."""
        tokens = np.full((WIDTH, max(map(len, texts)) + 1), self.start_token, np.int64)
        for row, text in enumerate(texts):
            tokens[row, 1 : len(text) + 1] = text
        streams = self.stepper.streams(self.stepper.initial_state(WIDTH))
        nats = -streams.log_probs(tokens[:, :-1], tokens[:, 1:])
        return [
            mask_unknown(nats[row, : len(text)], text, self.tokenizer)
            for row, text in enumerate(texts)
        ]


def encoded(tokenizer: Tokenizer, data: bytes) -> Ids:
    """The ids of a text in UTF-8, (T,); what is not UTF-8 reads as U+FFFD, or as bytes."""
    return tokenizer.encode(data if tokenizer.kind == "byte" else data.decode("utf-8", "replace"))


def mask_unknown(nats: Doubles, ids: Ids, tokenizer: Tokenizer) -> Doubles:
    """The nats, NaN where the token is `<unk>`: how likely that is says nothing about a symbol."""
    return nats if tokenizer.unk_id is None else np.where(ids == tokenizer.unk_id, np.nan, nats)


def last_cut(text: str) -> int:
    """The last place where a text that goes on may be cut; its end where there is none."""
    places = [match.start() for match in CUT.finditer(text)]
    return places[-1] if places else len(text)
