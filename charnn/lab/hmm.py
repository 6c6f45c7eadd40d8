"""A hidden Markov model of tokens: Baum–Welch training and scoring.

Its state is one of S symbols, not a vector as in a network.

z_t is one of S states, drawn from row z_{t−1} of A; x_t is a token, drawn from row z_t of E. The
forward recursion α_t ∝ (α_{t−1} A) ∘ E[:, x_t] gives α_t(s) = P(z_t = s | x_1 … x_t), and the
factor that normalizes it is 1 / P(x_t | x_1 … x_{t−1}). A, E and the distribution of the first
state are trained with the Baum–Welch algorithm: compute the expected counts of all transitions and
emissions given the text and the current A and E, and normalize them to the new A and E (Baum,
Petrie, Soules and Weiss, "A maximization technique …", 1970; Rabiner, "A tutorial on hidden Markov
models", 1989, has the scaled recursions). A long text is processed in blocks with an update after
each, which needs fewer passes (Cappé and Moulines, "On-line expectation–maximization algorithm for
latent data models", 2009).

The library hmmlearn has this model too, but requires scikit-learn and SciPy, 45 MB for one page of
code, and updates once per pass.

Shapes: S states, V vocab_size, B texts in parallel, T time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charnn.arrays import Doubles, Ids, Integers

SPAN = 128  # tokens of a training sequence, each from the first state
BLOCK = 16  # sequences per update
PRIOR = 0.01  # pseudocount of every event, so that no probability is zero
FORGETTING = 0.6  # the k-th block has weight k^−FORGETTING in the running counts
STREAMS = 64  # parts of a text that are scored in parallel
WARM_UP = 128  # tokens read before each part, to find its state; not scored
CHUNK = 256  # tokens of each part that are scored at once; bounds the memory for α


@dataclass(frozen=True)
class HiddenMarkov:
    """P(z_1), (S,); P(z_t | z_{t−1}), (S, S); P(x_t | z_t), (S, V). Also holds expected counts."""

    first: Doubles
    transition: Doubles
    emission: Doubles

    @property
    def states(self) -> int:
        """S."""
        return len(self.first)


def random_model(states: int, vocab_size: int, seed: int) -> HiddenMarkov:
    """Return random distributions; equal states would stay equal in training."""
    random = np.random.default_rng(seed)
    return HiddenMarkov(
        random.dirichlet(np.ones(states)),
        random.dirichlet(np.ones(states), states),
        random.dirichlet(np.ones(vocab_size), states),
    )


def forward(
    model: HiddenMarkov, ids: Integers, belief: Doubles | None = None
) -> tuple[Doubles, Doubles]:
    """Return α, (T, B, S), and P(x_t | x_1 … x_{t−1}), (T, B), of texts (B, T).

    `belief`, (B, S), is the distribution of the first state; by default that of the model.
    """
    alpha = model.emission.T[ids.T]
    probabilities = np.empty(alpha.shape[:2])
    if belief is None:
        belief = np.broadcast_to(model.first, alpha.shape[1:])
    for time in range(len(alpha)):
        alpha[time] *= belief
        probabilities[time] = alpha[time].sum(1)
        alpha[time] /= probabilities[time, :, None]
        belief = alpha[time] @ model.transition
    return alpha, probabilities


def expected_counts(model: HiddenMarkov, ids: Integers) -> tuple[HiddenMarkov, float]:
    """Return the expected counts of all events in texts (B, T), and -ln P of the texts.

    β_t(s) = P(x_{t+1} … x_T | z_t = s) / P(x_{t+1} … x_T | x_1 … x_t) is computed backwards from
    β_T = 1; then α_t ∘ β_t = P(z_t | x_1 … x_T).
    """
    alpha, probabilities = forward(model, ids)
    emission = model.emission.T[ids.T]
    transitions = np.zeros_like(model.transition)
    beta = np.ones(alpha.shape[1:])
    for time in range(len(alpha) - 1, 0, -1):
        scaled = emission[time] * beta / probabilities[time, :, None]
        alpha[time] *= beta
        transitions += alpha[time - 1].T @ scaled
        beta = scaled @ model.transition.T
    alpha[0] *= beta
    counts = HiddenMarkov(
        alpha[0].sum(0),
        model.transition * transitions,
        _sum_by_id(alpha.reshape(-1, model.states), ids.T.ravel(), model.emission.shape[1]).T,
    )
    return counts, -float(np.log(probabilities).sum())


def _sum_by_id(rows: Doubles, ids: Integers, vocab_size: int) -> Doubles:
    """Return the sum of the rows of each id, (V, S)."""
    order = np.argsort(ids, kind="stable")
    distinct, starts = np.unique(ids[order], return_index=True)
    sums = np.zeros((vocab_size, rows.shape[1]))
    sums[distinct] = np.add.reduceat(rows[order], starts)
    return sums


def normalize(counts: HiddenMarkov) -> HiddenMarkov:
    """Return the model that maximizes the likelihood of these counts, with PRIOR added to each."""
    distributions = [
        (part + PRIOR) / (part + PRIOR).sum(-1, keepdims=True)
        for part in (counts.first, counts.transition, counts.emission)
    ]
    return HiddenMarkov(*distributions)


def fit(model: HiddenMarkov, tokens: Ids, seed: int) -> Iterator[HiddenMarkov]:
    """Yield the model after each update, starting from `model`, without end.

    The tokens are cut into sequences of SPAN, which are shuffled for each pass; an incomplete last
    sequence is left out.
    """
    span = min(SPAN, len(tokens))
    sequences = tokens[: len(tokens) // span * span].reshape(-1, span).astype(np.int64)
    counts: HiddenMarkov | None = None
    for number, block in enumerate(_blocks(sequences, seed), 1):
        new, _ = expected_counts(model, block)
        scale = len(sequences) / len(block)  # extrapolates the counts to the whole text
        counts = _interpolate(counts or new, new, number**-FORGETTING, scale)
        model = normalize(counts)
        yield model


def _blocks(sequences: Integers, seed: int) -> Iterator[Integers]:
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(sequences))
        for start in range(0, len(order), BLOCK):
            yield sequences[order[start : start + BLOCK]]


def _interpolate(old: HiddenMarkov, new: HiddenMarkov, weight: float, scale: float) -> HiddenMarkov:
    """Return (1 − weight) · old + weight · scale · new."""

    def interpolate(old_part: Doubles, new_part: Doubles) -> Doubles:
        return (1 - weight) * old_part + weight * scale * new_part

    return HiddenMarkov(
        interpolate(old.first, new.first),
        interpolate(old.transition, new.transition),
        interpolate(old.emission, new.emission),
    )


def nats(model: HiddenMarkov, context: Ids, tokens: Ids, unk_id: int | None = None) -> Doubles:
    """Return -ln p of each of M tokens, (M,), that follow the tokens `context`.

    The text is read in STREAMS parallel parts; the state at the start of each part is found from
    the WARM_UP tokens before it, or from as many as there are. As a network does not predict
    `<unk>`, the probabilities are those among the other tokens.
    """
    warm_up = min(WARM_UP, len(context))
    text = np.concatenate([context[len(context) - warm_up :], tokens]).astype(np.int64)
    length = -(-len(tokens) // STREAMS)
    starts = np.arange(0, len(tokens), length)
    positions = starts[:, None] + np.arange(warm_up + length)
    ids = text[np.minimum(positions, len(text) - 1)]
    unknown = np.zeros(model.states) if unk_id is None else model.emission[:, unk_id]
    belief, chunks = np.tile(model.first, (len(ids), 1)), []
    for begin in range(0, ids.shape[1], CHUNK):
        alpha, probabilities = forward(model, ids[:, begin : begin + CHUNK], belief)
        states = np.concatenate([belief[None], alpha @ model.transition])  # before each token
        belief = states[-1]
        chunks.append(probabilities / (1 - states[:-1] @ unknown))
    by_stream = np.concatenate(chunks)[warm_up:].T
    scored: Doubles = -np.log(by_stream.ravel()[: len(tokens)])
    return scored
