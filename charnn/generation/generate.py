"""Generate text from a model and a prompt, many samples at once.

Shapes: B samples in flight, V vocab_size.
"""

import codecs
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Literal, NamedTuple

import numpy as np

from charnn.arrays import Ids, Integers
from charnn.config import SampleConfig, UnknownName
from charnn.errors import UsageError
from charnn.generation.constraints import Constraint
from charnn.generation.logit_filters import RECENT, chain, draw, filtered
from charnn.generation.rng import Uniforms
from charnn.generation.stop_strings import StopMatcher
from charnn.model.model_file import ModelFile
from charnn.model.numpy_model import Network, State, log_probs
from charnn.tokenizers.tokenizer import Tokenizer

Finish = Literal["length", "stop", "match"]

BATCH = 64  # samples in flight at once: a matrix product is then limited by arithmetic
BATCH_ON_GPU = 1024


class Context(NamedTuple):
    """Where a text stands: all that the next token depends on.

    `state`, (1, H) for each part, has taken in every token so far; `recent` is the last RECENT
    ids at most, for the repetition penalty; of the random numbers of `seed` so many are `drawn`.
    """

    state: State
    recent: Integers
    seed: int = 0
    drawn: int = 0


@dataclass(frozen=True)
class Request:
    """What to sample. Sample i depends on all of it but `samples`, and on i.

    Raises UsageError where it cannot end as it should.
    """

    config: SampleConfig
    constraint: Constraint
    seed: int
    samples: int = 1
    stop: tuple[str, ...] = ()
    raw: bool = False  # bytes that are not UTF-8 as lone surrogates, not as U+FFFD
    loss: bool = False  # whether samples say theirs

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise UsageError("--stop is empty: every text would end before it begins")
        if self.config.max_new_tokens < 0 and self.samples > 1:
            raise UsageError(
                f"{self.samples} samples without end: the second would never begin",
                "give -n, or one --samples",
            )


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text of sample `index`."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The end of sample `index`, after its last piece.

    `loss` is in nats per token, of the model's own distribution at temperature 1; NaN where it
    was not asked for, or no token was drawn. `context`, of a sample that is alone, is where its
    text stands after the last token drawn, which may be part of a stop string.
    """

    index: int
    tokens: int
    loss: float
    finish: Finish
    context: Context | None


def opening(stepper: Network, start_token: int) -> Context:
    """Where a text stands of which only the start token is known."""
    streams = stepper.streams(stepper.initial_state())
    streams.step(np.array([start_token]))
    return Context(streams.state, np.empty(0, np.int64))


def read(stepper: Network, context: Context, ids: Ids) -> Context:
    """Where the text stands after (T,) more tokens, such as those of a prompt."""
    streams = stepper.streams(context.state)
    streams.feed(ids[None])
    recent = np.concatenate([context.recent, ids[-RECENT:].astype(np.int64)])
    return context._replace(state=streams.state, recent=recent[-RECENT:])


def encode_prompt(tokenizer: Tokenizer, prompt: str | bytes, unknown: UnknownName = "error") -> Ids:
    """The ids of a prompt, (T,); symbols that the model does not know are skipped or replaced.

    Raises UsageError for such a symbol otherwise, naming it and its place.
    """
    ids = tokenizer.encode(prompt)
    if tokenizer.unk_id is None or unknown == "replace":
        return ids
    if unknown == "error" and (found := tokenizer.unknown_positions(prompt)):
        named = ", ".join(f"{symbol!r} at character {place + 1}" for place, symbol in found)
        raise UsageError(
            f"not in the vocabulary: {named} of the prompt",
            "--unk skip leaves such symbols out, --unk replace feeds <unk> in their place",
        )
    known: Ids = ids[ids != tokenizer.unk_id]
    return known


def generate(
    stepper: Network,
    tokenizer: Tokenizer,
    request: Request,
    context: Context,
    in_flight: int = BATCH,
) -> Iterator[Piece | Sample]:
    """Samples in the order of their index: pieces of the text as they come, then how it ended.

    Of the first that is not done nothing is held back but what may begin a stop string or a
    character; those behind it go on meanwhile.
    """
    batch = SampleBatch(stepper, tokenizer, request, context, in_flight)
    queue = deque(batch.runs)
    while queue:
        batch.step()
        queue.extend(batch.replace())
        while queue:
            run = queue[0]
            if text := run.text():
                yield Piece(run.index, text)
            if run.finish is None:
                break
            yield run.sample()
            queue.popleft()


class SampleStream:
    """One sample in flight: its random numbers, its rules, and its text not put out yet."""

    def __init__(self, request: Request, pieces: Sequence[bytes], index: int, drawn: int) -> None:
        self.index, self.pieces, self.limit = index, pieces, request.config.max_new_tokens
        self.uniforms = Uniforms(request.seed, index, drawn)
        self.tracks, self.state = request.constraint.tracks, 0
        self.stops = StopMatcher(stop.encode("utf-8", "surrogateescape") for stop in request.stop)
        errors = "surrogateescape" if request.raw else "replace"
        self.decode = codecs.getincrementaldecoder("utf-8")(errors).decode
        self.waiting = bytearray()
        self.tokens, self.nats, self.knows_loss = 0, 0.0, request.loss
        self.finish: Finish | None = "length" if self.limit == 0 else None
        self.context: Context | None = None

    def uniform(self) -> float:
        """The next random number in [0, 1); for nobody, when it has ended, any will do."""
        return 0.0 if self.finish else self.uniforms.draw()

    def take(self, token: int, log_prob: float) -> bool:
        """Take a token that was drawn, perhaps as the last one; False if it is not taken."""
        if self.finish:
            return False
        if self.tracks:
            after = int(self.tracks.following[self.state, token])
            if after < 0:
                self.end("match")
                return False
            self.state = after
        self.tokens += 1
        self.nats -= log_prob
        self.waiting += self.stops.feed(self.pieces[token])
        if self.stops.matched:
            self.finish = "stop"
        elif self.tracks and self.tracks.complete[self.state]:
            self.end("match")
        elif self.tokens == self.limit:
            self.end("length")
        return True

    def end(self, finish: Finish) -> None:
        """No token comes any more that could complete a stop string."""
        self.finish = finish
        self.waiting += self.stops.flush()

    def text(self) -> str:
        """What can be put out by now."""
        text = self.decode(bytes(self.waiting), self.finish is not None)
        self.waiting.clear()
        return text

    def sample(self) -> Sample:
        """How it ended."""
        assert self.finish
        loss = self.nats / self.tokens if self.knows_loss and self.tokens else math.nan
        return Sample(self.index, self.tokens, loss, self.finish, self.context)


class SampleBatch:
    """Samples that take their steps together; where one is done the next begins."""

    def __init__(
        self,
        stepper: Network,
        tokenizer: Tokenizer,
        request: Request,
        context: Context,
        in_flight: int,
    ) -> None:
        self.stepper, self.request, self.context = stepper, request, context
        self.filters = chain(request.config.model_dump())
        self.unstarted = (
            SampleStream(request, tokenizer.pieces, index, context.drawn)
            for index in range(request.samples)
        )
        self.runs = list(islice(self.unstarted, in_flight))
        size = len(self.runs)
        self.first_logits = stepper.streams(context.state).predict().copy()
        self.streams = stepper.streams(tuple(part.repeat(size, axis=0) for part in context.state))
        self.streams.logits[:] = self.first_logits
        padding = np.full(RECENT - len(context.recent), tokenizer.vocab_size)
        self.window = np.concatenate([padding, context.recent])
        self.recent = self.window[None].repeat(size, axis=0)  # (B, RECENT), a ring
        self.oldest = 0  # where the ring begins

    def step(self) -> None:
        """One token for every sample that is not done."""
        logits = self.streams.logits + self.request.constraint.bias
        if tracks := self.request.constraint.tracks:
            logits[tracks.barred[[run.state for run in self.runs]]] = -np.inf
        logits = filtered(logits, self.filters, self.recent)
        ids = draw(logits, np.array([run.uniform() for run in self.runs]))
        known = log_probs(self.streams.logits, ids).tolist() if self.request.loss else repeat(0.0)
        drawn = zip(self.runs, ids.tolist(), known, strict=False)
        if True in [run.take(token, log_prob) for run, token, log_prob in drawn]:
            self.recent[:, self.oldest] = ids
            self.oldest = (self.oldest + 1) % RECENT
            self.streams.step(ids)

    def replace(self) -> list[SampleStream]:
        """Put new samples, which come back, in the place of those that are done."""
        done = [column for column, run in enumerate(self.runs) if run.finish]
        if done and self.request.samples == 1:
            self.runs[0].context = self._context()
        started = list(islice(self.unstarted, len(done)))
        for column, run in zip(done, started, strict=False):
            self.runs[column] = run
            self.streams.put(slice(column, column + 1), self.context.state)
            self.streams.logits[column] = self.first_logits
            self.recent[column] = np.roll(self.window, self.oldest)
        if len(started) < len(done):
            self._drop_finished()
        return started

    def _drop_finished(self) -> None:
        """Go on without those that are done."""
        left = [column for column, run in enumerate(self.runs) if not run.finish]
        logits = self.streams.logits[left]
        self.streams = self.stepper.streams(tuple(part[left] for part in self.streams.state))
        self.streams.logits[:] = logits
        self.recent = self.recent[left]
        self.runs = [self.runs[column] for column in left]

    def _context(self) -> Context:
        recent = np.roll(self.recent[0], -self.oldest)
        return Context(
            self.streams.state,
            recent[recent < self.streams.logits.shape[1]],
            self.request.seed,
            self.runs[0].uniforms.drawn,
        )


SAMPLE_RECORDS = 3


def sample_text(file: ModelFile, tokens: int, seed: int) -> str:
    """Return text of a model, or a few records of a model of records."""
    from charnn.generation.constraints import constrain
    from charnn.model.numpy_model import Stepper

    stepper = Stepper(file.config, file.tensors)
    tokenizer = file.tokenizer
    constraint = constrain(tokenizer.pieces, tokenizer.unk_id)
    texts = []
    for number in range(SAMPLE_RECORDS if file.records else 1):
        config = SampleConfig.model_validate({"max_new_tokens": tokens})
        request = Request(config, constraint, seed + number, stop=file.stops())
        context = opening(stepper, file.start_token)
        events = generate(stepper, tokenizer, request, context)
        texts.append("".join(event.text for event in events if isinstance(event, Piece)))
    return "\n".join(texts)
