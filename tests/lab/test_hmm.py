"""Hidden Markov models compared with the enumeration of all paths and with known sources."""

import itertools
import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.lab import hmm
from charnn.lab.hmm import HiddenMarkov, expected_counts, fit, forward, nats, normalize

SIZES = st.tuples(st.integers(1, 3), st.integers(2, 4), st.integers(1, 4), st.integers(1, 5))
SEEDS = st.integers(0, 10_000)


def case(sizes, seed):
    """Return a random model and random texts (B, T)."""
    states, vocab_size, texts, length = sizes
    ids = np.random.default_rng(seed).integers(vocab_size, size=(texts, length))
    return hmm.random_model(states, vocab_size, seed), ids


def paths(model, text):
    """Yield every path through the states with its joint probability with the text."""
    for path in itertools.product(range(model.states), repeat=len(text)):
        p = model.first[path[0]] * model.emission[path[0], text[0]]
        for before, state, token in zip(path, path[1:], text[1:], strict=False):
            p *= model.transition[before, state] * model.emission[state, token]
        yield path, p


@settings(max_examples=60, deadline=None)
@given(SIZES, SEEDS)
def test_a_likelihood_is_the_sum_over_all_paths(sizes, seed) -> None:
    """Also for every prefix of every text, so that each factor belongs to its token."""
    model, ids = case(sizes, seed)
    _, probabilities = forward(model, ids)
    for text, factors in zip(ids, probabilities.T, strict=True):
        for end in range(1, len(text) + 1):
            total = sum(p for _, p in paths(model, text[:end]))
            assert math.isclose(math.prod(factors[:end]), total, rel_tol=1e-9)


@settings(max_examples=60, deadline=None)
@given(SIZES, SEEDS)
def test_expected_counts_are_the_means_over_all_paths(sizes, seed) -> None:
    """Of first states, transitions and emissions, weighted by the posterior of each path."""
    model, ids = case(sizes, seed)
    first, transition, emission = (
        np.zeros_like(part) for part in (model.first, model.transition, model.emission)
    )
    cost = 0.0
    for text in ids:
        total = sum(p for _, p in paths(model, text))
        cost -= math.log(total)
        for path, p in paths(model, text):
            first[path[0]] += p / total
            for before, state in itertools.pairwise(path):
                transition[before, state] += p / total
            for state, token in zip(path, text, strict=True):
                emission[state, token] += p / total
    counts, actual = expected_counts(model, ids)
    assert actual == pytest.approx(cost)
    np.testing.assert_allclose(counts.first, first, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(counts.transition, transition, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(counts.emission, emission, rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), SEEDS)
def test_an_update_of_baum_welch_never_lowers_the_likelihood(states, seed) -> None:
    """If the whole text is counted before each update, without a prior."""
    model, ids = case((states, 4, 8, 20), seed)
    costs = []
    for _ in range(8):
        counts, cost = expected_counts(model, ids)
        costs.append(cost)
        with mock.patch.object(hmm, "PRIOR", 0):
            model = normalize(counts)
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(costs))


def sampled(model, length, seed):
    """Return a text sampled from the model."""
    random = np.random.default_rng(seed)
    state, text = random.choice(model.states, p=model.first), []
    for _ in range(length):
        text.append(random.choice(model.emission.shape[1], p=model.emission[state]))
        state = random.choice(model.states, p=model.transition[state])
    return np.array(text, np.uint8)


def test_a_model_is_fitted_to_text_sampled_from_another() -> None:
    """Held-out text costs the same under both; a model with one state costs more."""
    source = HiddenMarkov(
        np.array([0.5, 0.5]),
        np.array([[0.9, 0.1], [0.2, 0.8]]),
        np.array([[0.7, 0.3, 0.0], [0.0, 0.2, 0.8]]),
    )
    text = sampled(source, 30_000, seed=3)
    train, held_out = text[:24_000], text[24_000:]

    def cost(states) -> float:
        start = hmm.random_model(states, 3, seed=1)
        *_, model = itertools.islice(fit(start, train, seed=1), 150)
        return nats(model, train, held_out).mean()

    true = nats(source, train, held_out).mean()
    assert cost(2) == pytest.approx(true, rel=0.005)
    assert cost(1) > 1.05 * true


def test_parallel_streams_give_the_scores_of_a_single_one(monkeypatch) -> None:
    """Warm-up determines the state of each stream; every token is scored once, in order."""
    model = hmm.random_model(4, 5, seed=2)
    text = sampled(model, 3001, seed=4)
    parallel = nats(model, text[:500], text[500:])
    monkeypatch.setattr(hmm, "STREAMS", 1)
    single = nats(model, text[:500], text[500:])
    assert len(single) == 2501
    np.testing.assert_allclose(parallel, single, rtol=1e-6)
    _, probabilities = forward(model, text[None])
    np.testing.assert_allclose(single, -np.log(probabilities[500:, 0]), rtol=1e-6)


def test_unk_is_a_context_but_not_predicted() -> None:
    """The probabilities of the other tokens after any text sum to one."""
    model = hmm.random_model(3, 5, seed=2)
    context = np.array([0, 4, 1, 2])
    after = [nats(model, context, np.array([1, 4, token]), unk_id=4)[-1] for token in range(4)]

    assert sum(math.exp(-n) for n in after) == pytest.approx(1)


@pytest.mark.parametrize("length", [1, 5, 300])
def test_short_texts_can_be_fitted(length) -> None:
    """Shorter than a sequence, or just longer; unseen tokens have a positive probability."""
    text = np.zeros(length, np.uint8)
    *_, model = itertools.islice(fit(hmm.random_model(3, 4, 1), text, seed=1), 5)
    cost = nats(model, text, np.array([0, 3]))
    assert cost[0] < cost[1] < math.inf


def test_without_context_the_distribution_of_the_first_state_is_used(monkeypatch) -> None:
    """The score equals that of an enumeration of all paths."""
    model, ids = case((3, 4, 1, 5), 9)
    total = sum(p for _, p in paths(model, ids[0]))
    monkeypatch.setattr(hmm, "STREAMS", 1)
    assert nats(model, ids[0][:0], ids[0]).sum() == pytest.approx(-math.log(total))
