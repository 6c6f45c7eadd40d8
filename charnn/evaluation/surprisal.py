"""Score text by surprisal: many lines in parallel, or one long text in parts.

The result for a line depends only on the line, to the last bit: lines are processed in matrix
products of a fixed width, whose columns are independent.

Shapes: T tokens of a text, B = WIDTH lines in parallel.
"""

import codecs
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from charnn.arrays import Doubles, Ids
from charnn.evaluation.line_reader import Part
from charnn.evaluation.metrics import Score, TokenLengths, mask_unknown
from charnn.model.backend import Model
from charnn.tokenizers.tokenizer import Tokenizer

# Lines per product. More columns save little time, make single lines slower, and from 24 on
# OpenBLAS rounds some columns differently (benchmarks/README.md, sampling.py).
WIDTH = 16


class Scored(NamedTuple):
    """The tokens of a part, (T,), and -ln p of each, (T,); NaN for out-of-vocabulary tokens.

    `text` is the text of the tokens if the part is a piece of a long line.
    """

    part: Part
    ids: Ids
    nats: Doubles
    text: str = ""


class Reader(Protocol):
    """A model that reads one text and carries its hidden state from call to call."""

    def restart(self) -> None:
        """Reset the hidden state."""

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read (T,) ids and return ln p of the target after each, (T,).

        A negative target is not scored: its result is NaN.
        """


class ModelReader:
    """A reader with fixed weights."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.restart()

    def restart(self) -> None:
        """Reset the hidden state."""
        self.streams = self.model.streams(self.model.initial_state())

    def log_probs(self, ids: Ids, targets: Ids) -> Doubles:
        """Read (T,) ids and return ln p of the target after each, (T,)."""
        log_probs: Doubles = self.streams.log_probs(ids[None], targets[None])[0]
        return log_probs


class Passage:
    """A text in parts that is scored in one pass; the first token follows the start token."""

    def __init__(self, reader: Reader, tokenizer: Tokenizer, start_token: int) -> None:
        self.reader, self.tokenizer, self.start_token = reader, tokenizer, start_token
        self.restart()

    def restart(self) -> None:
        """Reset the hidden state and start a new text."""
        self.reader.restart()
        self.last = self.start_token  # not read yet: it is the first input of the next part
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""

    def feed(self, part: Part) -> Scored:
        """Score the next part, except text at its end whose tokens depend on the following part."""
        ids, text = self._encode(part)
        inputs = np.concatenate([[self.last], ids]).astype(np.int64)
        self.last = int(inputs[-1])
        targets = mask_unknown(ids, self.tokenizer.unk_id)
        return Scored(part, ids, -self.reader.log_probs(inputs[:-1], targets), text)

    def _encode(self, part: Part) -> tuple[Ids, str]:
        if self.tokenizer.reads_bytes:
            return self.tokenizer.encode(part.data), ""
        text = self.held + self.decoder.decode(part.data, part.ends)
        cut = len(text) if part.ends else self.tokenizer.safe_cut(text)
        if part.ends:
            self.decoder.reset()
        self.held = text[cut:]
        return self.tokenizer.encode(text[:cut]), text[:cut]


class Scorer:
    """A scorer of lines, independently or with the hidden state carried from line to line.

    With `carry` the newline between two lines is fed, but not scored. `reader` replaces the model,
    for instance by one with dynamic evaluation. With either of them, lines are scored in sequence;
    otherwise in parallel on up to `threads` threads.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        start_token: int,
        *,
        carry: bool = False,
        reader: Reader | None = None,
        threads: int = 1,
    ) -> None:
        self.model, self.tokenizer, self.start_token = model, tokenizer, start_token
        self.carry, self.in_parallel = carry, not carry and reader is None
        self.passage = Passage(reader or ModelReader(model), tokenizer, start_token)
        self.lengths = TokenLengths.of(tokenizer)
        self.threads = ThreadPoolExecutor(threads)

    def score(self, parts: Sequence[Part]) -> Iterator[Scored]:
        """Yield the score of each part in order; a line in pieces may span several calls."""
        lines = [i for i, part in enumerate(parts) if self.in_parallel and part.is_line]
        texts = [encoded(self.tokenizer, parts[i].data) for i in lines]
        scored = {
            i: Scored(parts[i], ids, nats)
            for i, ids, nats in zip(lines, texts, self._score_lines(texts), strict=True)
        }
        for i, part in enumerate(parts):
            yield scored[i] if i in scored else self._read(part)

    def total(self, scored: Scored) -> Score:
        """Return the score of a part."""
        return self.lengths.score(scored.nats, scored.ids)

    def spelled(self, scored: Scored) -> list[bytes]:
        """Return the text of each token as UTF-8, including out-of-vocabulary characters."""
        if self.tokenizer.tokens_are_chars:
            part = scored.part
            text = part.data.decode("utf-8", "replace") if part.is_line else scored.text
            return [char.encode() for char in text]
        return [self.tokenizer.pieces[index] for index in scored.ids.tolist()]

    def _read(self, part: Part) -> Scored:
        """Score a part in sequence with the parts before it."""
        if part.begins and not self.carry:
            self.passage.restart()
        scored = self.passage.feed(part)
        if part.ends and self.carry:
            self.passage.feed(Part(b"\n"))
        return scored

    def _score_lines(self, texts: Sequence[Ids]) -> list[Doubles]:
        """Return the nats of the tokens of each text; texts of similar length share a product."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        groups = [order[start : start + WIDTH] for start in range(0, len(order), WIDTH)]
        scored = self.threads.map(self._score_group, [[texts[i] for i in g] for g in groups])
        results = {
            index: nats
            for group, lines in zip(groups, scored, strict=True)
            for index, nats in zip(group, lines, strict=True)
        }
        return [results[index] for index in range(len(texts))]

    def _score_group(self, texts: Sequence[Ids]) -> list[Doubles]:
        """Return the nats of up to WIDTH texts; unused columns are padded with start tokens."""
        tokens = np.full((WIDTH, max(map(len, texts)) + 1), self.start_token, np.int64)
        for row, text in enumerate(texts):
            tokens[row, 1 : len(text) + 1] = text
        targets = mask_unknown(tokens[:, 1:], self.tokenizer.unk_id)
        streams = self.model.streams(self.model.initial_state(WIDTH))
        nats = -streams.log_probs(tokens[:, :-1], targets)
        return [nats[row, : len(text)] for row, text in enumerate(texts)]


def encoded(tokenizer: Tokenizer, data: bytes) -> Ids:
    """Return the ids of a text in UTF-8, (T,); invalid UTF-8 reads as U+FFFD, or as bytes."""
    return tokenizer.encode(data if tokenizer.reads_bytes else data.decode("utf-8", "replace"))
