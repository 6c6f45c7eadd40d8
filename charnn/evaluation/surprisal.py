"""Score text by surprisal: many lines in parallel, or one long text in parts.

The result for a line depends only on the line, to the last bit: lines are processed in matrix
products of a fixed width, whose columns are independent.

Shapes: T tokens of a text, B = WIDTH lines in parallel.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from charnn.arrays import Doubles, Ids
from charnn.evaluation.line_reader import Part
from charnn.evaluation.metrics import Score, TokenLengths, mask_unknown
from charnn.model.backend import ModelBackend
from charnn.tokenizers.incremental import IncrementalEncoder
from charnn.tokenizers.tokenizer import Encoded, Tokenizer
from charnn.tokenizers.unknown_model import UnknownCost, UnknownModel, cost_of
from charnn.tokenizers.utf8 import to_utf8

# Lines per product. More columns save little time, make single lines slower, and from 24 on
# OpenBLAS rounds some columns differently (benchmarks/README.md, sampling.py).
WIDTH = 16
MAX_KNOWN = 2_000_000  # tokens of lines whose scores are kept for repetitions: about 50 MB


class Scored(NamedTuple):
    """The tokens of a part, (T,), and -ln p of each, (T,).

    `unknown` has the symbols of the out-of-vocabulary tokens in order; their nats are those of the
    model of unknown symbols, NaN without one.
    """

    part: Part
    ids: Ids
    nats: Doubles
    unknown: Sequence[str] = ()


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

    def __init__(
        self,
        reader: Reader,
        tokenizer: Tokenizer,
        start_token: int,
        unknown_model: UnknownModel | None = None,
    ) -> None:
        self.reader, self.tokenizer, self.start_token = reader, tokenizer, start_token
        self.unknown_model = unknown_model
        self.lengths = TokenLengths.of(tokenizer, cost_of({}, unknown_model))
        self.restart()

    def restart(self) -> None:
        """Reset the hidden state and start a new text."""
        self.reader.restart()
        self.last = self.start_token  # not read yet: it is the first input of the next part
        self.encoder = IncrementalEncoder(self.tokenizer)

    def feed(self, part: Part) -> Scored:
        """Score the next part, except text at its end whose tokens depend on the following part."""
        encoded = self.encoder.encode(part.data, final=part.ends)
        inputs = np.concatenate([[self.last], encoded.ids]).astype(np.int64)
        self.last = int(inputs[-1])
        targets = mask_unknown(encoded.ids, self.tokenizer.unk_id)
        return self.scored(part, encoded, -self.reader.log_probs(inputs[:-1], targets))

    def scored(self, part: Part, encoded: Encoded, nats: Doubles) -> Scored:
        """Return a scored part, given -ln p of each token, (T,); fill in the unknown ones."""
        unknown = encoded.unknown_in_order
        if unknown and self.unknown_model is not None:
            nats = nats.copy()
            nats[encoded.ids == self.tokenizer.unk_id] = self.unknown_model.nats(unknown)
        return Scored(part, encoded.ids, nats, unknown)

    def total(self, scored: Scored) -> Score:
        """Return the score of a part."""
        lengths = self.lengths
        if scored.unknown:
            chars = sum(map(len, scored.unknown)) / len(scored.unknown)
            nats = float(scored.nats[scored.ids == lengths.unk_id].mean())
            cost = UnknownCost(chars, nats, lengths.unknown.known)
            lengths = replace(lengths, unknown=cost)
        return lengths.score_part(scored.nats, scored.ids)


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
        unknown_model: UnknownModel | None = None,
        carry: bool = False,
        reader: Reader | None = None,
        threads: int = 1,
    ) -> None:
        self.model, self.tokenizer, self.start_token = model, tokenizer, start_token
        self.carry, self.in_parallel = carry, not carry and reader is None
        self.passage = Passage(reader or ModelReader(model), tokenizer, start_token, unknown_model)
        self.threads = ThreadPoolExecutor(threads)
        self._known: dict[bytes, Scored] = {}  # lines scored before
        self._known_tokens = 0

    def score(self, parts: Sequence[Part]) -> Iterator[Scored]:
        """Yield the score of each part in order; a line in pieces may span several calls."""
        if self.in_parallel:
            self._score_new([part.data for part in parts if part.is_line])
        for part in parts:
            if self.in_parallel and part.is_line:
                yield self._known[part.data]._replace(part=part)
            else:
                yield self._read(part)

    def _score_new(self, lines: Sequence[bytes]) -> None:
        """Score the lines that were not scored before, each of them once."""
        if self._known_tokens > MAX_KNOWN:
            self._known.clear()
            self._known_tokens = 0
        new = [line for line in dict.fromkeys(lines) if line not in self._known]
        texts = [self.tokenizer.encode(line) for line in new]
        scores = self._score_lines([text.ids for text in texts])
        if (unknown_model := self.passage.unknown_model) is not None:  # all at once is faster
            unknown_model.nats([symbol for text in texts for symbol in text.unknown])
        for line, text, nats in zip(new, texts, scores, strict=True):
            self._known[line] = self.passage.scored(Part(line), text, nats)
            self._known_tokens += len(text.ids) + 1

    def total(self, scored: Scored) -> Score:
        """Return the score of a part."""
        return self.passage.total(scored)

    def spelled(self, scored: Scored) -> list[bytes]:
        """Return the text of each token as UTF-8, including out-of-vocabulary symbols."""
        pieces, unk_id, unknown = self.tokenizer.pieces, self.tokenizer.unk_id, iter(scored.unknown)
        return [
            to_utf8(next(unknown)) if index == unk_id else pieces[index]
            for index in scored.ids.tolist()
        ]

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
