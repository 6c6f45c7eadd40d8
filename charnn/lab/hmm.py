"""A hidden Markov model of tokens, whose memory is one of S symbols where a network's is a vector.

z_t is one of S states, drawn from row z_{t−1} of A; x_t is a token drawn from row z_t of E. What
has been read is known only as far as it tells the state: α_t(s) = P(z_t = s | x_1 … x_t) goes on by
α_t ∝ (α_{t−1} A) ∘ E[:, x_t], and the factor that makes it sum to 1 is 1 / P(x_t | x_1 … x_{t−1}).
A, E and the first state are learnt by Baum and Welch's rule: count how often each transition and
each emission is expected to have happened, given the text and the present A and E, and take the
shares of these counts as the next (Baum, Petrie, Soules and Weiss, "A maximization technique …",
1970; Rabiner, "A tutorial on hidden Markov models", 1989, has the scaled recursions). A long text
is counted in blocks, and the model moves a little after each, which takes fewer passes (Cappé and
Moulines, "On-line expectation–maximization algorithm for latent data models", 2009).

The library hmmlearn has this model too, but comes with scikit-learn and SciPy, 45 MB for what is
a page here, and counts all of a text before it moves.

Shapes: S states, V vocab_size, B texts side by side, T time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charnn.arrays import Doubles, Ids, Integers

SPAN = 128  # T of the pieces that a text is learnt in, each from the first state
BLOCK = 16  # pieces that are counted together
PRIOR = 0.01  # of an event, added to each count: what never happened is not impossible
FORGETTING = 0.6  # the k-th block weighs k^−FORGETTING among the counts so far
STREAMS = 64  # parts of a text that are scored side by side
WARM_UP = 128  # tokens before each part that its state is found from, and that are not scored
CHUNK = 256  # tokens of each part that are scored at once; bounds the memory for α


@dataclass(frozen=True)
class HiddenMarkov:
    """P(z_1), (S,); P(z_t | z_{t−1}), (S, S); P(x_t | z_t), (S, V). Also counts of the same."""

    first: Doubles
    transition: Doubles
    emission: Doubles

    @property
    def states(self) -> int:
        """S."""
        return len(self.first)


def random_model(states: int, vocab_size: int, seed: int) -> HiddenMarkov:
    """Random shares everywhere: where all states are alike, nothing can tell them apart."""
    random = np.random.default_rng(seed)
    return HiddenMarkov(
        random.dirichlet(np.ones(states)),
        random.dirichlet(np.ones(states), states),
        random.dirichlet(np.ones(vocab_size), states),
    )


def forward(
    model: HiddenMarkov, ids: Integers, belief: Doubles | None = None
) -> tuple[Doubles, Doubles]:
    """Of texts (B, T): α, (T, B, S), and P(x_t | x_1 … x_{t−1}), (T, B).

    `belief` is the distribution of the first state, (B, S), where it is not the model's own.
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
    """How often each event is expected to have happened in texts (B, T), and their -ln P.

    With β_t(s) = P(x_{t+1} … x_T | z_t = s) / P(x_{t+1} … x_T | x_1 … x_t), which goes on backwards
    from β_T = 1, α_t ∘ β_t is P(z_t | x_1 … x_T).
    """
    alpha, probabilities = forward(model, ids)
    emission = model.emission.T[ids.T]
    transitions = np.zeros_like(model.transition)
    beta = np.ones(alpha.shape[1:])
    for time in range(len(alpha) - 1, 0, -1):
        told = emission[time] * beta / probabilities[time, :, None]
        alpha[time] *= beta
        transitions += alpha[time - 1].T @ told
        beta = told @ model.transition.T
    alpha[0] *= beta
    counts = HiddenMarkov(
        alpha[0].sum(0),
        model.transition * transitions,
        _summed(alpha.reshape(-1, model.states), ids.T.ravel(), model.emission.shape[1]).T,
    )
    return counts, -float(np.log(probabilities).sum())


def _summed(rows: Doubles, ids: Integers, vocab_size: int) -> Doubles:
    """The sum of the rows of each id, (V, S)."""
    order = np.argsort(ids, kind="stable")
    kinds, starts = np.unique(ids[order], return_index=True)
    sums = np.zeros((vocab_size, rows.shape[1]))
    sums[kinds] = np.add.reduceat(rows[order], starts)
    return sums


def likeliest(counts: HiddenMarkov, prior: float = PRIOR) -> HiddenMarkov:
    """The model under which events so often as counted are likeliest."""
    shares = [
        (part + prior) / (part + prior).sum(-1, keepdims=True)
        for part in (counts.first, counts.transition, counts.emission)
    ]
    return HiddenMarkov(*shares)


def learnt(model: HiddenMarkov, tokens: Ids, seed: int) -> Iterator[HiddenMarkov]:
    """The model after each block that it has learnt from, from `model` on, without end.

    The tokens are cut into pieces of SPAN, in a new order at each pass; what does not fill the
    last piece is left out.
    """
    span = min(SPAN, len(tokens))
    pieces = tokens[: len(tokens) // span * span].reshape(-1, span).astype(np.int64)
    counts: HiddenMarkov | None = None
    for number, block in enumerate(_blocks(pieces, seed), 1):
        new, _ = expected_counts(model, block)
        scale = len(pieces) / len(block)  # as if the whole text were like this block
        counts = _mixed(counts or new, new, number**-FORGETTING, scale)
        model = likeliest(counts)
        yield model


def _blocks(pieces: Integers, seed: int) -> Iterator[Integers]:
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(pieces))
        for start in range(0, len(order), BLOCK):
            yield pieces[order[start : start + BLOCK]]


def _mixed(old: HiddenMarkov, new: HiddenMarkov, weight: float, scale: float) -> HiddenMarkov:
    """Counts whose newest part has this weight, multiplied by `scale` before."""

    def mixed(before: Doubles, after: Doubles) -> Doubles:
        return (1 - weight) * before + weight * scale * after

    return HiddenMarkov(
        mixed(old.first, new.first),
        mixed(old.transition, new.transition),
        mixed(old.emission, new.emission),
    )


def nats(model: HiddenMarkov, before: Ids, tokens: Ids, streams: int = STREAMS) -> Doubles:
    """-ln p of each of M tokens, (M,), that follow on the tokens `before`.

    The text is read in parallel streams; the state of each is found from the WARM_UP tokens before
    its part, or from as many as there are.
    """
    warm_up = min(WARM_UP, len(before))
    text = np.concatenate([before[len(before) - warm_up :], tokens]).astype(np.int64)
    share = -(-len(tokens) // streams)
    starts = np.arange(0, len(tokens), share)
    places = starts[:, None] + np.arange(warm_up + share)
    ids = text[np.minimum(places, len(text) - 1)]
    belief, probabilities = None, []
    for begin in range(0, ids.shape[1], CHUNK):
        alpha, some = forward(model, ids[:, begin : begin + CHUNK], belief)
        belief = alpha[-1] @ model.transition
        probabilities.append(some)
    of_streams = np.concatenate(probabilities)[warm_up:].T
    scored: Doubles = -np.log(of_streams.ravel()[: len(tokens)])
    return scored
