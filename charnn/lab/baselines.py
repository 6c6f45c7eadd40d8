"""What a text costs a model that knows much or little of what came before it: one ladder of bits.

The cost of a text under a model, −Σ log2 P(x_t | x_1 … x_{t−1}), is the length that it could be
coded in (Shannon, "A mathematical theory of communication", 1948). The models differ in what they
keep of x_1 … x_{t−1}: nothing; the n − 1 tokens before (n-grams, smoothed after Kneser and Ney,
1995); one of S symbols, in a hidden Markov model, whose states are learnt but hold log2 S bits at
most; a vector, in a network; all of it as it was, in xz. The claim: whoever keeps more and learns
what to keep pays less; a hidden Markov model with fewer states than there are tokens passes the
2-gram, whose state is a token, yet no good n-gram; and a trained network pays least of all.

Protocol: all learn from the same tokens, the end of the training split, and are scored on the same
characters, those of the val split, which follow on them; tokens outside the vocabulary cost
nothing. The order n is the one at which this very text costs least, which flatters n-grams; n goes
up until it costs more. Runs were trained at their own expense and on all of the training split,
and are scored in one carried pass.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from charnn.arrays import Doubles, Ids
from charnn.data.dataset import Dataset
from charnn.display import humanize
from charnn.display.charts import Bars, Lines
from charnn.errors import CharnnError, DataError
from charnn.evaluation.baselines import MAX_TRAIN_TOKENS, kneser_ney_nats, unigram_nats, xz_bits
from charnn.evaluation.evaluate import default_streams, evaluate_carried
from charnn.evaluation.metrics import TokenLengths
from charnn.lab import hmm
from charnn.lab.experiment import Check, Finding, Table, Tell, verdict_of
from charnn.model.language_model import with_weights
from charnn.model.model_file import ModelFile, read_model
from charnn.storage.workspace import MODEL_FILE

MOST_SCORED = 300_000  # tokens of the val split; bounds the time
MOST_ORDER = 12
MOST_RUNS = 8  # the best ones


@dataclass(frozen=True)
class Effort:
    """How much is tried: tokens to learn from, numbers of hidden states, blocks that they see."""

    learnt: int
    states: tuple[int, ...]
    blocks: int


FULL = Effort(MAX_TRAIN_TOKENS, (4, 16, 64, 128), 1500)
QUICK = Effort(300_000, (4, 16, 64), 300)


@dataclass(frozen=True)
class Rung:
    """A model of the text, what it costs under it, and what it keeps of the text before."""

    kind: str
    name: str
    bits_per_char: float
    keeps: str
    size: int = 0  # n of an n-gram, S of a hidden Markov model


@dataclass(frozen=True)
class Texts:
    """What is learnt from and what is scored: ids, what each is spelled, what it is worth."""

    train: Ids
    val: Ids
    pieces: Sequence[bytes]
    lengths: TokenLengths

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.pieces)

    @property
    def known(self) -> Ids:
        """The val tokens that are in the vocabulary."""
        return (
            self.val if self.lengths.unk_id is None else self.val[self.val != self.lengths.unk_id]
        )

    @property
    def scored_chars(self) -> int:
        """Characters that these stand for."""
        return int(self.lengths.chars[self.known].sum())

    def bits_per_char(self, nats: Doubles) -> float:
        """Of the val tokens, from -ln p of each."""
        return self.lengths.score(nats, self.val).bits_per_char


def run(dataset: Dataset, runs_dir: Path, *, seed: int, quick: bool, tell: Tell) -> Finding:
    """Climb the ladder on a dataset; runs of it are looked for in `runs_dir`."""
    effort = QUICK if quick else FULL
    tokenizer = dataset.tokenizer
    texts = Texts(
        dataset.split("train")[-effort.learnt :],
        dataset.split("val")[:MOST_SCORED],
        tokenizer.pieces,
        TokenLengths.of(tokenizer),
    )
    if not texts.scored_chars:
        raise DataError(f"the val split of {dataset.name} has no character in the vocabulary")
    rungs = [
        *simple_rungs(texts, tell),
        *n_gram_rungs(texts, tell),
        *hidden_rungs(texts, effort, seed, tell),
        *run_rungs(texts, runs_of(dataset.fingerprint, runs_dir), tell),
    ]
    return judged(rungs, texts, dataset.name)


def simple_rungs(texts: Texts, tell: Tell) -> list[Rung]:
    """What the text costs under models that keep nothing or everything."""
    tell("uniform, unigram, xz")
    train, val, size = texts.train, texts.val, texts.vocab_size
    spelled = [b"".join([texts.pieces[i] for i in tokens]) for tokens in (train, texts.known)]
    uniform = texts.bits_per_char(np.full(len(val), math.log(size)))
    unigram = texts.bits_per_char(unigram_nats(train, val, size))
    xz = xz_bits(*spelled) / texts.scored_chars
    return [
        Rung("uniform", "uniform", uniform, f"nothing; all {size:,} tokens are alike"),
        Rung("unigram", "unigram", unigram, "nothing; a token costs by its frequency"),
        Rung("xz", "xz", xz, "all of it; the bytes added to its archive"),
    ]


def n_gram_rungs(texts: Texts, tell: Tell) -> Iterator[Rung]:
    """Kneser-Ney n-grams from n = 2 up to the first that costs more than the one before."""
    least = math.inf
    for order in range(2, MOST_ORDER + 1):
        tell(f"{order}-grams")
        nats = kneser_ney_nats(texts.train, texts.val, texts.vocab_size, order)
        cost = texts.bits_per_char(nats)
        before = "the token before" if order == 2 else f"the {order - 1} tokens before"  # noqa: PLR2004 - a bigram
        yield Rung("n-gram", f"{order}-gram", cost, before, order)
        if cost > least:
            return
        least = cost


def hidden_rungs(texts: Texts, effort: Effort, seed: int, tell: Tell) -> Iterator[Rung]:
    """Hidden Markov models of several sizes."""
    for states in effort.states:
        model = hmm.random_model(states, texts.vocab_size, seed)
        learning = hmm.learnt(model, texts.train, seed)
        for block, learner in enumerate(itertools.islice(learning, effort.blocks), 1):
            model = learner
            tell(f"hidden Markov model of {states} states: block {block} of {effort.blocks}")
        cost = texts.bits_per_char(hmm.nats(model, texts.train, texts.val))
        keeps = f"one of {states} learnt states, {math.log2(states):.0f} bits"
        yield Rung("hmm", f"HMM of {states}", cost, keeps, states)


def runs_of(fingerprint: str, runs_dir: Path) -> Iterator[tuple[str, ModelFile]]:
    """The models that were trained on a dataset, and the names of their runs; damaged ones not."""
    for path in sorted(runs_dir.glob(f"*/{MODEL_FILE}")):
        with suppress(CharnnError):
            model = read_model(path)
            if model.fingerprint == fingerprint:
                yield path.parent.name, model


def run_rungs(texts: Texts, models: Iterable[tuple[str, ModelFile]], tell: Tell) -> list[Rung]:
    """The trained models that cost least."""
    rungs = []
    for name, model in models:
        tell(f"run {name}")
        shape, weights = model.config, humanize.compact(model.parameters)
        parts = 2 if shape.cell == "lstm" else 1
        numbers = parts * shape.num_layers * shape.hidden_size
        keeps = f"a vector of {numbers:,} ({shape.cell}, {weights} weights)"
        rungs.append(Rung("run", name, _cost_of_run(texts, model), keeps))
    return sorted(rungs, key=lambda rung: rung.bits_per_char)[:MOST_RUNS]


def _cost_of_run(texts: Texts, model: ModelFile) -> float:
    network = with_weights(model.config, model.tensors)
    streams = default_streams(len(texts.val))
    score = evaluate_carried(network, texts.val, texts.lengths, model.start_token, streams)
    return score.bits_per_char


def judged(rungs: Sequence[Rung], texts: Texts, name: str) -> Finding:
    """Table, charts and verdict of the costs measured."""
    ladder = sorted(rungs, key=lambda rung: -rung.bits_per_char)
    checks = _checks(rungs, texts.vocab_size)
    title = (
        f"{len(texts.val):,} val tokens of {name} after {len(texts.train):,} of its training "
        "split (bits a character)"
    )
    rows = [[rung.name, f"{rung.bits_per_char:.3f}", rung.keeps] for rung in ladder]
    header = ["model", "bits/char", "keeps of the text before"]
    return Finding(
        tables=[Table(title, header, rows)],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            Bars({rung.name: rung.bits_per_char for rung in ladder}, name, "bits per character"),
            Lines(
                {"n-grams": [(r.size, r.bits_per_char) for r in rungs if r.kind == "n-gram"]},
                "n-grams, and the best of the others",
                "order n",
                "bits per character",
                levels={r.name: r.bits_per_char for r in _least(rungs, "hmm", "xz", "run")},
            ),
        ],
        data={
            "learnt": len(texts.train),
            "scored": len(texts.val),
            "rungs": [asdict(rung) for rung in ladder],
        },
    )


def _least(rungs: Sequence[Rung], *kinds: str) -> list[Rung]:
    """Of each kind the one that costs least, where there is one."""
    of_kinds = [[rung for rung in rungs if rung.kind == kind] for kind in kinds]
    return [min(some, key=lambda rung: rung.bits_per_char) for some in of_kinds if some]


def _checks(rungs: Sequence[Rung], vocab_size: int) -> list[Check]:
    uniform, unigram, n_gram, hidden = _least(rungs, "uniform", "unigram", "n-gram", "hmm")
    costs = [r.bits_per_char for r in rungs if r.kind in ("uniform", "unigram", "n-gram")]
    climbed = costs[: costs.index(n_gram.bits_per_char) + 1]
    sizes = [r.bits_per_char for r in rungs if r.kind == "hmm"]
    bigram = next(r.bits_per_char for r in rungs if r.kind == "n-gram")
    small = [r for r in rungs if r.kind == "hmm" and r.size < vocab_size]
    fewer = min(small, key=lambda rung: rung.bits_per_char, default=hidden)
    checks = [
        Check(
            f"a character costs {uniform.bits_per_char:.3f} bits where nothing is known, "
            f"{unigram.bits_per_char:.3f} by frequency, and less with each token of context down "
            f"to {n_gram.bits_per_char:.3f} at n = {n_gram.size}",
            all(after < before for before, after in itertools.pairwise(climbed)),
        ),
        Check(
            f"a hidden Markov model falls from {sizes[0]:.3f} to {sizes[-1]:.3f} with its states",
            all(after < before for before, after in itertools.pairwise(sizes)),
        ),
        Check(
            f"with {fewer.size} of them ({fewer.bits_per_char:.3f}) it passes the 2-gram "
            f"({bigram:.3f}), whose states are the {vocab_size:,} tokens",
            fewer.size < vocab_size and fewer.bits_per_char < bigram,
        ),
        Check(
            f"it does not reach the {n_gram.name}, as one of {hidden.size} symbols is all it keeps",
            hidden.bits_per_char > n_gram.bits_per_char,
        ),
    ]
    for best in _least(rungs, "run"):
        saved = 1 - best.bits_per_char / n_gram.bits_per_char
        checks.append(
            Check(
                f"the network {best.name} pays least ({best.bits_per_char:.3f}, {saved:.0%} less "
                f"than the {n_gram.name})",
                best.bits_per_char < min(r.bits_per_char for r in rungs if r.kind != "run"),
            )
        )
    return checks
