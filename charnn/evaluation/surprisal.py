"""Score text by surprisal: many lines in parallel, or one long text in parts.

The result for a line depends only on the line, to the last bit: lines are processed in matrix
products of a fixed width, whose columns are independent.

Shapes: T tokens of a text, B = WIDTH lines in parallel.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from charnn.arrays import Doubles, Ids
from charnn.evaluation.line_reader import Part
from charnn.evaluation.metrics import Score, TokenLengths, mask_unknown
from charnn.model.backend import ModelBackend
from charnn.tokenizers.incremental import IncrementalEncoder
from charnn.tokenizers.tokenizer import Tokenizer

# Lines per product. More columns save little time, make single lines slower, and from 24 on
# OpenBLAS rounds some columns differently (benchmarks/README.md, sampling.py).
WIDTH = 16
MAX_KNOWN = 2_000_000  # tokens of lines whose scores are kept for repetitions: about 50 MB


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

    def __init__(self, model: ModelBackend) -> None:
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
        self.encoder = IncrementalEncoder(self.tokenizer)

    def feed(self, part: Part) -> Scored:
        """Score the next part, except text at its end whose tokens depend on the following part."""
        ids, text = self.encoder.encode(part.data, final=part.ends)
        inputs = np.concatenate([[self.last], ids]).astype(np.int64)
        self.last = int(inputs[-1])
        targets = mask_unknown(ids, self.tokenizer.unk_id)
        return Scored(part, ids, -self.reader.log_probs(inputs[:-1], targets), text)


class Scorer:
    """A scorer of lines, independently or with the hidden state carried from line to line.

    With `carry` the newline between two lines is fed, but not scored. `reader` replaces the model,
    for instance by one with dynamic evaluation. With either of them, lines are scored in sequence;
    otherwise in parallel on up to `threads` threads.
    """

    def __init__(
        self,
        model: ModelBackend,
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
        self._known: dict[bytes, tuple[Ids, Doubles]] = {}  # lines scored before
        self._known_tokens = 0

    def score(self, parts: Sequence[Part]) -> Iterator[Scored]:
        """Yield the score of each part in order; a line in pieces may span several calls."""
        if self.in_parallel:
            self._score_new([part.data for part in parts if part.is_line])
        for part in parts:
            if self.in_parallel and part.is_line:
                yield Scored(part, *self._known[part.data])
            else:
                yield self._read(part)

    def _score_new(self, lines: Sequence[bytes]) -> None:
        """Score the lines that were not scored before, each of them once."""
        if self._known_tokens > MAX_KNOWN:
            self._known.clear()
            self._known_tokens = 0
        new = [line for line in dict.fromkeys(lines) if line not in self._known]
        texts = [self.tokenizer.encode(line).ids for line in new]
        for line, ids, nats in zip(new, texts, self._score_lines(texts), strict=True):
            self._known[line] = (ids, nats)
            self._known_tokens += len(ids) + 1

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
