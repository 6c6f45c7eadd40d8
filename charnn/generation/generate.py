"""Generate text from a model and a prompt, many samples in parallel.

Shapes: B samples in parallel, T time, H hidden_size, V vocab_size.
"""

import codecs
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Literal, NamedTuple

import numpy as np

from charnn.arrays import Floats, Ids, Integers
from charnn.config import SampleConfig, UnknownName, validate
from charnn.errors import UsageError
from charnn.generation.constraints import Constraint, constrain
from charnn.generation.logit_filters import (
    RECENT,
    RecentTokens,
    active_filters,
    apply_filters,
    draw_tokens,
)
from charnn.generation.rng import RandomStream
from charnn.generation.stop_strings import StopMatcher
from charnn.model.backend import ModelBackend, State
from charnn.model.model_file import ModelFile
from charnn.model.softmax import target_log_probs
from charnn.tokenizers.tokenizer import Tokenizer

Finish = Literal["length", "stop", "match", "cut"]

# Samples generated at the same time. On a CPU, more than 64 raise the rate by less than a seventh
# (benchmarks/README.md, sampling.py).
BATCH = 64
# On a GPU the limit is memory: the logits of 1,024 samples and a vocabulary of 65,536 tokens take
# 256 MiB in float32. No speed was measured.
BATCH_ON_GPU = 1024
SHOWN_SYMBOLS = 3  # symbols outside the vocabulary that an error names
SAMPLE_RECORDS = 3  # records in a text that `sample_text` draws from a model of records


class Context(NamedTuple):
    """Generation state: everything that the next token depends on.

    `state`, (1, H) for each part, is the hidden state after all tokens so far. `recent`, (≤
    RECENT,), has the last ids, for the repetition penalty. `drawn` is the number of random numbers
    that have been used of the stream of `seed`.
    """

    state: State
    recent: Integers
    seed: int = 0
    drawn: int = 0


@dataclass(frozen=True)
class Request:
    """The parameters of generation. Sample i depends on i and on all of them except `samples`.

    With `records`, a sample that the pattern ends finishes with "match" only where the model ends
    the record, otherwise with "cut".
    Raise UsageError for an empty stop string, and for several samples without a length limit.
    """

    config: SampleConfig
    constraint: Constraint
    seed: int
    samples: int = 1
    stop: tuple[str, ...] = ()
    loss: bool = False  # whether to compute the loss of each sample
    records: bool = False  # whether each sample is a record, which a newline ends

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise UsageError("--stop must not be an empty string", "leave out --stop")
        if self.config.max_new_tokens < 0 and self.samples > 1:
            raise UsageError(
                f"-n -1 is unlimited and allows only one sample, not {self.samples}",
                "set -n to a length, or --samples to 1",
            )


@dataclass(frozen=True, slots=True)
class Piece:
    """The next bytes of sample `index`.

    A character is never divided between two pieces. Bytes that are not UTF-8 are not changed.
    Decoding each piece separately gives the same text as decoding the whole sample.
    """

    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """The end of sample `index`, after its last piece.

    `loss` is in nats per token, under the model's distribution at temperature 1; NaN if it was not
    requested or there are no tokens. `context` is the state after the last token, which may belong
    to a stop string; None if several samples were requested.
    """

    index: int
    tokens: int
    loss: float
    finish: Finish
    context: Context | None


def initial_context(model: ModelBackend, start_token: int) -> Context:
    """Return the state after the start token."""
    streams = model.streams(model.initial_state())
    streams.step(np.array([start_token]))
    return Context(streams.state, np.empty(0, np.int64))


def feed(model: ModelBackend, context: Context, ids: Ids) -> Context:
    """Return the state after feeding (T,) more tokens, such as those of a prompt."""
    streams = model.streams(context.state)
    streams.feed(ids[None])
    recent = np.concatenate([context.recent, ids[-RECENT:].astype(np.int64)])
    return context._replace(state=streams.state, recent=recent[-RECENT:])


def encode_prompt(tokenizer: Tokenizer, prompt: str, unknown: UnknownName = "error") -> Ids:
    """Return the ids of a prompt, (T,), with out-of-vocabulary symbols skipped or replaced.

    If `unknown` is "error", raise UsageError with the first such symbols and their positions.
    """
    encoded = tokenizer.encode(prompt)
    if not encoded.unknown or unknown == "replace":
        return encoded.ids
    if unknown == "error":
        places = sorted(
            (at, symbol) for symbol, offsets in encoded.unknown.items() for at in offsets
        )
        named = ", ".join(f"{s!r} at character {at + 1}" for at, s in places[:SHOWN_SYMBOLS])
        cases = [(s.lower(), s.upper()) for _, s in places[:SHOWN_SYMBOLS]]
        known_cases = [c for pair in cases for c in pair if not tokenizer.encode(c).unknown]
        also = f"; the vocabulary has {', '.join(map(repr, known_cases))}" if known_cases else ""
        raise UsageError(
            f"not in the vocabulary: {named} of the prompt{also}",
            "leave them out (charnn sample --unk skip), or feed <unk> instead (--unk replace)",
        )
    known: Ids = encoded.ids[encoded.ids != tokenizer.unk_id]
    return known


def generate(
    model: ModelBackend,
    tokenizer: Tokenizer,
    request: Request,
    context: Context,
    in_flight: int = BATCH,
) -> Iterator[Piece | Sample]:
    """Yield all samples in order of their index: the pieces of each, then its end.

    The first unfinished sample is streamed: only text that may begin a stop string and incomplete
    characters are withheld. Later samples are generated in parallel and buffered.
    """
    batch = SampleBatch(model, tokenizer, request, context, in_flight)
    queue = deque(batch.samples)
    while queue:
        batch.step()
        queue.extend(batch.refill())
        yield from drain(queue)


def drain(queue: "deque[SampleStream]") -> Iterator[Piece | Sample]:
    """Yield the output that is ready; remove the samples whose end has been yielded.

    Invariant: the queue contains, in order of index, every sample that has started and whose end
    has not been yielded. Afterwards the first sample in it, if any, is unfinished. So the next step
    of the batch makes progress, and an empty queue means that all samples are done.
    """
    while queue:
        sample = queue[0]
        if data := sample.take_output():
            yield Piece(sample.index, data)
        if sample.finish is None:
            return
        yield sample.result()
        queue.popleft()


class SampleStream:
    """A sample that is being generated: random numbers, constraints, bytes not output yet."""

    def __init__(self, request: Request, pieces: Sequence[bytes], index: int, drawn: int) -> None:
        self.index, self.pieces, self.limit = index, pieces, request.config.max_new_tokens
        self.random = RandomStream(request.seed, index, drawn)
        self.automaton = request.constraint.automaton
        self.state = self.automaton.start if self.automaton else 0
        self.stops = StopMatcher(stop.encode("utf-8", "surrogateescape") for stop in request.stop)
        self.pending = bytearray()
        self.tokens, self.nats, self.with_loss = 0, 0.0, request.loss
        self.is_record = request.records
        self.finish: Finish | None = "length" if self.limit == 0 else None
        self.context: Context | None = None

    def uniform(self) -> float:
        """Return the next random number in [0, 1); 0 if the sample is finished."""
        return 0.0 if self.finish else self.random.draw()

    def add(self, token: int, log_prob: float) -> bool:
        """Add a token and return True; return False if the sample is finished or ends before it."""
        if self.finish:
            return False
        if self.automaton:
            after = int(self.automaton.next_state[self.state, token])
            if after < 0:
                is_cut = self.is_record and self.pieces[token] != b"\n"
                self._end("cut" if is_cut else "match")
                return False
            self.state = after
        self.tokens += 1
        self.nats -= log_prob
        self.pending += self.stops.feed(self.pieces[token])
        is_complete = bool(self.automaton and self.automaton.complete[self.state])
        if self.stops.matched:
            self.finish = "stop"
        elif is_complete and not self.is_record:  # the next token tells whether a record is cut
            self._end("match")
        elif self.tokens == self.limit:
            self._end("cut" if is_complete else "length")
        return True

    def _end(self, finish: Finish) -> None:
        """Finish without a stop string, and output the bytes that were withheld for one."""
        self.finish = finish
        self.pending += self.stops.flush()

    def take_output(self) -> bytes:
        """Return and remove the pending bytes, except an incomplete character at their end."""
        data = bytes(self.pending)
        if self.finish is None and not data.isascii():
            _, size = codecs.utf_8_decode(data, "replace")  # up to an incomplete character
            data = data[:size]
        del self.pending[: len(data)]
        return data

    def result(self) -> Sample:
        """Return the end of the sample."""
        assert self.finish
        loss = self.nats / self.tokens if self.with_loss and self.tokens else math.nan
        return Sample(self.index, self.tokens, loss, self.finish, self.context)


class SampleBatch:
    """A batch of samples, one per row; each finished sample is replaced by the next one.

    Row i of `streams`, `logits` and `recent` belongs to entry i of `samples`. `logits`, (B, V), are
    the logits of the next token of each row.
    """

    def __init__(
        self,
        model: ModelBackend,
        tokenizer: Tokenizer,
        request: Request,
        context: Context,
        in_flight: int,
    ) -> None:
        self.model, self.request, self.context = model, request, context
        self.filters = active_filters(request.config.model_dump())
        self.unstarted = (
            SampleStream(request, tokenizer.pieces, index, context.drawn)
            for index in range(request.samples)
        )
        self.samples = list(islice(self.unstarted, in_flight))
        size = len(self.samples)
        self.first_logits = model.streams(context.state).predict()
        states = tuple(part.repeat(size, axis=0) for part in context.state)
        self._set_streams(states, self.first_logits)
        self.recent = RecentTokens(context.recent, size, tokenizer.vocab_size)

    def step(self) -> None:
        """Sample one token for every unfinished sample."""
        logits = self.logits + self.request.constraint.bias
        if automaton := self.request.constraint.automaton:
            logits[automaton.barred[[sample.state for sample in self.samples]]] = -np.inf
        logits = apply_filters(logits, self.filters, self.recent.ids)
        ids = draw_tokens(logits, np.array([sample.uniform() for sample in self.samples]))
        log_probs = (
            target_log_probs(self.logits, ids).tolist() if self.request.loss else repeat(0.0)
        )
        drawn = zip(self.samples, ids.tolist(), log_probs, strict=False)
        added = [sample.add(token, log_prob) for sample, token, log_prob in drawn]
        if any(added):
            self.recent.append(ids)
            self.logits[:] = self.streams.step(ids)

    def refill(self) -> list[SampleStream]:
        """Replace finished samples by the next ones, or drop them; return the new samples."""
        finished = [row for row, sample in enumerate(self.samples) if sample.finish]
        if finished and self.request.samples == 1:
            self.samples[0].context = self._context()
        started = list(islice(self.unstarted, len(finished)))
        for row, sample in zip(finished, started, strict=False):
            self.samples[row] = sample
            self.streams.put(slice(row, row + 1), self.context.state)
            self.logits[row] = self.first_logits
            self.recent.reset(row)
        if len(started) < len(finished):
            self._drop_finished()
        return started

    def _drop_finished(self) -> None:
        """Remove the rows of finished samples."""
        rows = [row for row, sample in enumerate(self.samples) if not sample.finish]
        self._set_streams(tuple(part[rows] for part in self.streams.state), self.logits[rows])
        self.recent.keep(rows)
        self.samples = [self.samples[row] for row in rows]

    def _set_streams(self, state: State, logits: Floats) -> None:
        """Replace the streams by new ones with these states and logits of the next token."""
        self.streams = self.model.streams(state)
        self.logits = np.empty_like(self.streams.predict())  # keeps the memory layout
        self.logits[:] = logits

    def _context(self) -> Context:
        """Return the generation state of the only sample."""
        drawn = self.samples[0].random.drawn
        return Context(self.streams.state, self.recent.in_order(0), self.request.seed, drawn)


def generate_text(
    model_file: ModelFile,
    model: ModelBackend,
    config: SampleConfig,
    *,
    prompt: str = "",
    stop: Sequence[str] = (),
    match: str | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Return an iterator over the text of one sample, without the prompt, as it is generated.

    U+FFFD replaces bytes that are not UTF-8. Raise UsageError if the prompt contains
    out-of-vocabulary symbols, or if `match` is not a regular expression or matches no text.
    """
    tokenizer = model_file.tokenizer
    constraint = constrain(tokenizer.pieces, tokenizer.unk_id, match=match)
    request = Request(config, constraint, seed, stop=model_file.stops(stop))
    context = initial_context(model, model_file.start_token)
    if prompt:
        context = feed(model, context, encode_prompt(tokenizer, prompt))
    events = generate(model, tokenizer, request, context)
    return (event.data.decode("utf-8", "replace") for event in events if isinstance(event, Piece))


def sample_text(model_file: ModelFile, model: ModelBackend, tokens: int, seed: int) -> str:
    """Return a text of at most `tokens` tokens, or SAMPLE_RECORDS records, one per line.

    It is generated with the default settings and without a prompt.
    """
    config = validate(SampleConfig, {"max_new_tokens": tokens})
    count = SAMPLE_RECORDS if model_file.records else 1
    texts = [generate_text(model_file, model, config, seed=seed + i) for i in range(count)]
    return "\n".join("".join(text) for text in texts)
