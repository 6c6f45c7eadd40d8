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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from charnn.arrays import Doubles, Ids
from charnn.data.dataset import Dataset
from charnn.display import humanize
from charnn.display.charts import Bars, Lines
from charnn.errors import CharnnError, DataError
from charnn.evaluation.baselines import MAX_TRAIN_TOKENS, kneser_ney_nats, unigram_nats, xz_score
from charnn.evaluation.evaluate import default_streams, evaluate_carried
from charnn.evaluation.metrics import NATS_PER_BIT, Score, TokenLengths
from charnn.lab import hmm
from charnn.lab.experiment import Check, Experiment, Finding, Progress, Table, Tell
from charnn.model.language_model import with_weights
from charnn.model.model_file import ModelFile, read_model
from charnn.model.spec import CELL_SPECS
from charnn.storage.workspace import MODEL_FILE

XZ_COST, N_GRAM_COST = 1e-6, 1e-5  # estimated seconds per training token
HMM_COST, HMM_STATE_COST = 1e-6, 2.5e-10  # estimated seconds per token, and per pair of states
RUN_COST = 1e-5  # estimated seconds per validation token
MAX_SCORED = 300_000  # tokens of the val split; bounds the time
MAX_ORDER = 12
MAX_RUNS = 8  # the best ones
EXPERIMENT = Experiment(
    name="baselines",
    question="How well do simple models and trained networks predict a text?",
    claim=(
        "A model that keeps more of the preceding text, and learns what to keep, needs fewer bits "
        "per character. A hidden Markov model with fewer states than there are tokens is better "
        "than a 2-gram, but not as good as longer n-grams. A trained network is best."
    ),
    measured=(
        "Bits per character: the mean of -log2 P(x_t | x_1 … x_{t-1}) over the validation text, "
        "the size to which the model could compress it. Lower is better.\n"
        "Models: an n-gram predicts a token from the n - 1 tokens before it. HMM of S is a hidden "
        "Markov model with S states. xz is a compressor. Networks are the runs on this dataset."
    ),
    advice=(
        "If a run needs more bits per character than the best n-gram, train it longer, or with a "
        "larger --hidden-size."
    ),
)
ADVICE_WITHOUT_RUN = (
    "There is no run on this dataset, so the last part of the claim was not tested. Train one with "
    "charnn train, and repeat the experiment."
)


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

    @cached_property
    def free(self) -> Score:
        """The score of the val tokens by a model that knows each of them in advance."""
        return self.lengths.score(np.zeros(len(self.val)), self.val)

    def bits_per_char_all(self, bits_per_char: float) -> float:
        """Return the bits per character with the unknown tokens, given those without them."""
        free = self.free
        return replace(free, nats=bits_per_char * NATS_PER_BIT * free.chars).bits_per_char_all

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
        TokenLengths.of(tokenizer, dataset.unknown_cost("val")),
    )
    if not texts.free.chars:
        raise DataError(f"the val split of {dataset.name} has no character in the vocabulary")
    paths = sorted(runs_dir.glob(f"*/{MODEL_FILE}"))
    progress = Progress(tell, _costs(texts, effort, len(paths)))
    results = [
        *score_simple_models(texts, progress),
        *score_n_grams(texts, progress),
        *score_hmms(texts, effort, seed, progress),
        *score_runs(texts, paths, dataset.fingerprint, progress),
    ]
    return finding_of(results, texts, dataset.name)


def _costs(texts: Texts, effort: Effort, runs: int) -> list[float]:
    """Return the relative durations of simple models, n-grams, each HMM and each run."""
    block = hmm.BLOCK * hmm.SPAN
    tokens = effort.blocks * block + len(texts.val)
    return [
        len(texts.train) * XZ_COST,
        len(texts.train) * N_GRAM_COST,
        *(tokens * (HMM_COST + states**2 * HMM_STATE_COST) for states in effort.states),
        *[len(texts.val) * RUN_COST] * runs,
    ]


def score_simple_models(texts: Texts, progress: Progress) -> list[BaselineResult]:
    """Score models that keep nothing or everything."""
    progress.start("uniform, unigram, xz")
    train, val, size = texts.train, texts.val, texts.vocab_size
    uniform = texts.bits_per_char(np.full(len(val), math.log(size)))
    unigram = texts.bits_per_char(unigram_nats(train, val, size, texts.lengths.unk_id))
    xz = xz_score(train, val, texts.pieces, texts.lengths).bits_per_char
    return [
        BaselineResult("uniform", "uniform", uniform, f"nothing ({size:,} tokens, equally likely)"),
        BaselineResult("unigram", "unigram", unigram, "nothing (token frequencies)"),
        BaselineResult("xz", "xz", xz, "everything"),
    ]


def score_n_grams(texts: Texts, progress: Progress) -> Iterator[BaselineResult]:
    """Score Kneser–Ney n-grams from n = 2 up to the first whose cost is higher than the last."""
    progress.start("n-grams")
    least = math.inf
    for order in range(2, MAX_ORDER + 1):
        nats = kneser_ney_nats(
            texts.train, texts.val, texts.vocab_size, order, texts.lengths.unk_id
        )
        cost = texts.bits_per_char(nats)
        progress.update(order / MAX_ORDER)
        keeps = "1 token" if order == 2 else f"{order - 1} tokens"  # noqa: PLR2004 - a bigram
        yield BaselineResult("n-gram", f"{order}-gram", cost, keeps, order)
        if cost > least:
            return
        least = cost


def score_hmms(
    texts: Texts, effort: Effort, seed: int, progress: Progress
) -> Iterator[BaselineResult]:
    """Train and score hidden Markov models of several sizes."""
    for states in effort.states:
        progress.start(f"hidden Markov model with {states} states")
        model = hmm.random_model(states, texts.vocab_size, seed)
        updates = itertools.islice(hmm.fit(model, texts.train, seed), effort.blocks)
        for block, updated in enumerate(updates, 1):
            model = updated
            progress.update(block / effort.blocks)
        nats = hmm.nats(model, texts.train, texts.val, texts.lengths.unk_id)
        cost = texts.bits_per_char(nats)
        keeps = f"1 of {states} states ({math.log2(states):.0f} bits)"
        yield BaselineResult("hmm", f"HMM of {states}", cost, keeps, states)


def score_runs(
    texts: Texts, paths: Sequence[Path], fingerprint: str, progress: Progress
) -> list[BaselineResult]:
    """Score the models of a dataset among `paths`; return the best ones. Skips damaged files."""
    results = []
    for path in paths:
        name, model = path.parent.name, None
        progress.start(f"run {name}")
        with suppress(CharnnError):
            model = read_model(path)
        if model and model.fingerprint == fingerprint:
            cost = _score_run(texts, model)
            results.append(BaselineResult("run", name, cost, _state_of(model)))
    return sorted(results, key=lambda result: result.bits_per_char)[:MAX_RUNS]


def _state_of(model: ModelFile) -> str:
    """Return what a network keeps of the text: "h and c, 2 × 128 units (LSTM, 1.4M weights)"."""
    shape, weights = model.config, humanize.compact(model.parameters)
    parts = " and ".join(CELL_SPECS[shape.cell].state)
    layers = f"{shape.num_layers} × " if shape.num_layers > 1 else ""
    return f"{parts}, {layers}{shape.hidden_size} units ({shape.cell.upper()}, {weights} weights)"


def _score_run(texts: Texts, model: ModelFile) -> float:
    network = with_weights(model)
    streams = default_streams(len(texts.val))
    score = evaluate_carried(network, texts.val, texts.lengths, model.start_token, streams)
    return score.bits_per_char


def finding_of(results: Sequence[BaselineResult], texts: Texts, name: str) -> Finding:
    """Return table, charts and results of the costs."""
    ordered = sorted(results, key=lambda result: -result.bits_per_char)
    title = f"{name}: {len(texts.val):,} validation tokens, {len(texts.train):,} training tokens"
    rows = [[r.name, f"{r.bits_per_char:.3f}", r.keeps] for r in ordered]
    header = ["model", "bits/char", "keeps of the preceding text"]
    if texts.free.unknown:
        title = humanize.covering(f"{title}; bits/char", texts.free.coverage)
        header.insert(2, "of all characters")
        for row, r in zip(rows, ordered, strict=True):
            row.insert(2, humanize.figure(texts.bits_per_char_all(r.bits_per_char)))
    has_run = any(result.kind == "run" for result in results)
    return Finding(
        experiment=EXPERIMENT if has_run else replace(EXPERIMENT, advice=ADVICE_WITHOUT_RUN),
        tables=[Table(title, header, rows)],
        checks=_checks(results, texts.vocab_size),
        charts=[
            Bars({r.name: r.bits_per_char for r in ordered}, name, "bits per character"),
            Lines(
                {"n-grams": [(r.size, r.bits_per_char) for r in results if r.kind == "n-gram"]},
                "n-grams, and the best of the other models",
                "n",
                "bits per character",
                levels={r.name: r.bits_per_char for r in _best(results, "hmm", "xz", "run")},
            ),
        ],
        data={
            "train_tokens": len(texts.train),
            "val_tokens": len(texts.val),
            "unknown": texts.free.unknown,
            "coverage": texts.free.coverage,
            "models": [
                {**asdict(r), "bits_per_char_all": texts.bits_per_char_all(r.bits_per_char)}
                for r in ordered
            ],
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
    hmms = [r for r in results if r.kind == "hmm"]
    bigram = next(r.bits_per_char for r in results if r.kind == "n-gram")
    small = [r for r in hmms if r.size < vocab_size]
    best_small = min(small, key=lambda result: result.bits_per_char, default=hidden)
    checks = [
        Check(
            "Models with more context [do not] need fewer bits",
            f"they need {uniform.bits_per_char:.3f} if all tokens are equally likely, "
            f"{unigram.bits_per_char:.3f} with token frequencies, and "
            f"{n_gram.bits_per_char:.3f} with {n_gram.keeps} of context ({n_gram.name})",
            all(after < before for before, after in itertools.pairwise(by_context)),
        ),
        Check(
            "Hidden Markov models with more states [do not] need fewer bits",
            f"they need {hmms[0].bits_per_char:.3f} with {hmms[0].size} states and "
            f"{hmms[-1].bits_per_char:.3f} with {hmms[-1].size}",
            all(a.bits_per_char < b.bits_per_char for b, a in itertools.pairwise(hmms)),
        ),
        Check(
            f"A hidden Markov model with {best_small.size} states is [not] better than the 2-gram, "
            f"which knows which of {vocab_size:,} tokens came last",
            f"it needs {best_small.bits_per_char:.3f} bits, the 2-gram {bigram:.3f}",
            best_small.size < vocab_size and best_small.bits_per_char < bigram,
        ),
        Check(
            "Hidden Markov models are [not] worse than n-grams with more context",
            f"the best one needs {hidden.bits_per_char:.3f} bits, the {n_gram.name} "
            f"{n_gram.bits_per_char:.3f}",
            hidden.bits_per_char > n_gram.bits_per_char,
        ),
    ]
    others = [result for result in results if result.kind != "run"]
    other = min(others, key=lambda result: result.bits_per_char)
    for best in _best(results, "run"):
        ratio = best.bits_per_char / other.bits_per_char
        checks.append(
            Check(
                "A trained network is [not] the best model",
                f"{best.name} needs {best.bits_per_char:.3f} bits, {abs(ratio - 1):.0%} "
                f"{'less' if ratio < 1 else 'more'} than the {other.name} "
                f"({other.bits_per_char:.3f})",
                ratio < 1,
            )
        )
    return checks
