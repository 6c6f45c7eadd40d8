"""Bits per character of a text under n-grams, hidden Markov models, xz and trained networks.

The cost of a text under a model, −Σ log2 P(x_t | x_1 … x_{t−1}), is the length in bits to which it
can be compressed (Shannon, "A mathematical theory of communication", 1948). The models differ in
what they keep of x_1 … x_{t−1}: nothing; the last n − 1 tokens (n-grams with the smoothing of
Kneser and Ney, 1995); one of S symbols in a hidden Markov model, whose states are learned but hold
at most log2 S bits; a vector in a network; the whole text in xz. The claim: a model that keeps more
and learns what to keep has a lower cost. A hidden Markov model with fewer states than tokens beats
the 2-gram, whose state is a token, but no good n-gram. A trained network has the lowest cost.

Protocol: all models learn from the same tokens, the end of the training split, and are scored on
the same characters, those of the validation split, which follow. Tokens outside the vocabulary are
not scored. The order n is the best one for this text, which favours n-grams: n increases until the
cost increases. Runs were trained separately, on all of the training split, and are scored with
carried state.
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
from charnn.model.spec import CELL_SPECS
from charnn.storage.workspace import MODEL_FILE

MAX_SCORED = 300_000  # tokens of the val split; bounds the time
MAX_ORDER = 12
MAX_RUNS = 8  # the best ones


@dataclass(frozen=True)
class Effort:
    """Size of the experiment: training tokens, numbers of hidden states, blocks of training."""

    train_tokens: int
    states: tuple[int, ...]
    blocks: int


FULL = Effort(MAX_TRAIN_TOKENS, (4, 16, 64, 128), 1500)
QUICK = Effort(300_000, (4, 16, 64), 300)


@dataclass(frozen=True)
class BaselineResult:
    """A model, the cost of the text under it, and what the model keeps of the preceding text."""

    kind: str
    name: str
    bits_per_char: float
    keeps: str
    size: int = 0  # n of an n-gram, S of a hidden Markov model


@dataclass(frozen=True)
class Texts:
    """The ids of the training and of the scored text; bytes and lengths of each token."""

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
        unk_id = self.lengths.unk_id
        return self.val if unk_id is None else self.val[self.val != unk_id]

    @property
    def scored_chars(self) -> int:
        """Number of characters of the known tokens."""
        return int(self.lengths.chars[self.known].sum())

    def bits_per_char(self, nats: Doubles) -> float:
        """Return the bits per character of the val tokens, given -ln p of each."""
        return self.lengths.score(nats, self.val).bits_per_char


def run(dataset: Dataset, runs_dir: Path, *, seed: int, quick: bool, tell: Tell) -> Finding:
    """Score all models on a dataset; runs on it are searched for in `runs_dir`."""
    effort = QUICK if quick else FULL
    tokenizer = dataset.tokenizer
    texts = Texts(
        dataset.split("train")[-effort.train_tokens :],
        dataset.split("val")[:MAX_SCORED],
        tokenizer.pieces,
        TokenLengths.of(tokenizer),
    )
    if not texts.scored_chars:
        raise DataError(f"the val split of {dataset.name} has no character in the vocabulary")
    results = [
        *score_simple_models(texts, tell),
        *score_n_grams(texts, tell),
        *score_hmms(texts, effort, seed, tell),
        *score_runs(texts, runs_of(dataset.fingerprint, runs_dir), tell),
    ]
    return finding_of(results, texts, dataset.name)


def score_simple_models(texts: Texts, tell: Tell) -> list[BaselineResult]:
    """Score models that keep nothing or everything."""
    tell("uniform, unigram, xz")
    train, val, size = texts.train, texts.val, texts.vocab_size
    data = [b"".join([texts.pieces[i] for i in tokens]) for tokens in (train, texts.known)]
    uniform = texts.bits_per_char(np.full(len(val), math.log(size)))
    unigram = texts.bits_per_char(unigram_nats(train, val, size))
    xz = xz_bits(*data) / texts.scored_chars
    return [
        BaselineResult("uniform", "uniform", uniform, f"nothing; all {size:,} tokens are alike"),
        BaselineResult("unigram", "unigram", unigram, "nothing; a token costs by its frequency"),
        BaselineResult("xz", "xz", xz, "all of it; the bytes added to its archive"),
    ]


def score_n_grams(texts: Texts, tell: Tell) -> Iterator[BaselineResult]:
    """Score Kneser–Ney n-grams from n = 2 up to the first whose cost is higher than the last."""
    least = math.inf
    for order in range(2, MAX_ORDER + 1):
        tell(f"{order}-grams")
        nats = kneser_ney_nats(texts.train, texts.val, texts.vocab_size, order)
        cost = texts.bits_per_char(nats)
        keeps = "the token before" if order == 2 else f"the {order - 1} tokens before"  # noqa: PLR2004 - a bigram
        yield BaselineResult("n-gram", f"{order}-gram", cost, keeps, order)
        if cost > least:
            return
        least = cost


def score_hmms(texts: Texts, effort: Effort, seed: int, tell: Tell) -> Iterator[BaselineResult]:
    """Train and score hidden Markov models of several sizes."""
    for states in effort.states:
        model = hmm.random_model(states, texts.vocab_size, seed)
        updates = itertools.islice(hmm.fit(model, texts.train, seed), effort.blocks)
        for block, updated in enumerate(updates, 1):
            model = updated
            tell(f"hidden Markov model of {states} states: block {block} of {effort.blocks}")
        cost = texts.bits_per_char(hmm.nats(model, texts.train, texts.val))
        keeps = f"one of {states} learnt states, {math.log2(states):.0f} bits"
        yield BaselineResult("hmm", f"HMM of {states}", cost, keeps, states)


def runs_of(fingerprint: str, runs_dir: Path) -> Iterator[tuple[str, ModelFile]]:
    """Yield the names and models of the runs on a dataset; damaged models are skipped."""
    for path in sorted(runs_dir.glob(f"*/{MODEL_FILE}")):
        with suppress(CharnnError):
            model = read_model(path)
            if model.fingerprint == fingerprint:
                yield path.parent.name, model


def score_runs(
    texts: Texts, models: Iterable[tuple[str, ModelFile]], tell: Tell
) -> list[BaselineResult]:
    """Score trained models; return the best ones."""
    results = []
    for name, model in models:
        tell(f"run {name}")
        shape, weights = model.config, humanize.compact(model.parameters)
        parts = len(CELL_SPECS[shape.cell].state)
        numbers = parts * shape.num_layers * shape.hidden_size
        keeps = f"a vector of {numbers:,} ({shape.cell}, {weights} weights)"
        results.append(BaselineResult("run", name, _score_run(texts, model), keeps))
    return sorted(results, key=lambda result: result.bits_per_char)[:MAX_RUNS]


def _score_run(texts: Texts, model: ModelFile) -> float:
    network = with_weights(model)
    streams = default_streams(len(texts.val))
    score = evaluate_carried(network, texts.val, texts.lengths, model.start_token, streams)
    return score.bits_per_char


def finding_of(results: Sequence[BaselineResult], texts: Texts, name: str) -> Finding:
    """Return table, charts and verdict of the costs."""
    ordered = sorted(results, key=lambda result: -result.bits_per_char)
    checks = _checks(results, texts.vocab_size)
    title = (
        f"{len(texts.val):,} val tokens of {name} after {len(texts.train):,} of its training "
        "split (bits a character)"
    )
    rows = [[r.name, f"{r.bits_per_char:.3f}", r.keeps] for r in ordered]
    header = ["model", "bits/char", "keeps of the text before"]
    return Finding(
        tables=[Table(title, header, rows)],
        verdict=verdict_of(checks),
        held=all(check.held for check in checks),
        charts=[
            Bars({r.name: r.bits_per_char for r in ordered}, name, "bits per character"),
            Lines(
                {"n-grams": [(r.size, r.bits_per_char) for r in results if r.kind == "n-gram"]},
                "n-grams, and the best of the others",
                "order n",
                "bits per character",
                levels={r.name: r.bits_per_char for r in _best(results, "hmm", "xz", "run")},
            ),
        ],
        data={
            "learnt": len(texts.train),
            "scored": len(texts.val),
            "rungs": [asdict(result) for result in ordered],
        },
    )


def _best(results: Sequence[BaselineResult], *kinds: str) -> list[BaselineResult]:
    """Return the result with the lowest cost of each kind that there is."""
    by_kind = [[result for result in results if result.kind == kind] for kind in kinds]
    return [min(of_kind, key=lambda result: result.bits_per_char) for of_kind in by_kind if of_kind]


def _checks(results: Sequence[BaselineResult], vocab_size: int) -> list[Check]:
    uniform, unigram, n_gram, hidden = _best(results, "uniform", "unigram", "n-gram", "hmm")
    costs = [r.bits_per_char for r in results if r.kind in ("uniform", "unigram", "n-gram")]
    by_context = costs[: costs.index(n_gram.bits_per_char) + 1]
    by_states = [r.bits_per_char for r in results if r.kind == "hmm"]
    bigram = next(r.bits_per_char for r in results if r.kind == "n-gram")
    small = [r for r in results if r.kind == "hmm" and r.size < vocab_size]
    best_small = min(small, key=lambda result: result.bits_per_char, default=hidden)
    checks = [
        Check(
            f"a character costs {uniform.bits_per_char:.3f} bits where nothing is known, "
            f"{unigram.bits_per_char:.3f} by frequency, and less with each token of context down "
            f"to {n_gram.bits_per_char:.3f} at n = {n_gram.size}",
            all(after < before for before, after in itertools.pairwise(by_context)),
        ),
        Check(
            f"a hidden Markov model falls from {by_states[0]:.3f} to {by_states[-1]:.3f} "
            "with its states",
            all(after < before for before, after in itertools.pairwise(by_states)),
        ),
        Check(
            f"with {best_small.size} of them ({best_small.bits_per_char:.3f}) it passes the 2-gram "
            f"({bigram:.3f}), whose states are the {vocab_size:,} tokens",
            best_small.size < vocab_size and best_small.bits_per_char < bigram,
        ),
        Check(
            f"it does not reach the {n_gram.name}, as one of {hidden.size} symbols is all it keeps",
            hidden.bits_per_char > n_gram.bits_per_char,
        ),
    ]
    for best in _best(results, "run"):
        saved = 1 - best.bits_per_char / n_gram.bits_per_char
        checks.append(
            Check(
                f"the network {best.name} pays least ({best.bits_per_char:.3f}, {saved:.0%} less "
                f"than the {n_gram.name})",
                best.bits_per_char < min(r.bits_per_char for r in results if r.kind != "run"),
            )
        )
    return checks
