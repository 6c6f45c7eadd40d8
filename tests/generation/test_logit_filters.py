"""Logit filters and sampling, compared with a reference for one row at a time."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charnn.config import SampleConfig
from charnn.generation import logit_filters
from charnn.generation.logit_filters import (
    FILTERS,
    RECENT,
    RecentTokens,
    active_filters,
    apply_filters,
    draw_tokens,
    top_p,
)

NONE_YET = 10**6

# Logits on a grid, so that the reference has the same ties; fractions off it, so that no cumulative
# sum equals one.
grid = st.integers(-2000, 2000)
logit_rows = st.integers(1, 12).flatmap(
    lambda size: arrays(np.int64, (3, size), elements=grid).map(lambda steps: steps / 64)
)
settings = st.fixed_dictionaries(
    {
        "repetition_penalty": st.sampled_from([1.0, 0.5, 1.3, 10.0]),
        "temperature": st.sampled_from([1.0, 0.0, 1e-9, 0.3, 0.8, 2.0, 1e9]),
        "top_k": st.sampled_from([0, 1, 2, 5, 100]),
        "top_p": st.sampled_from([1.0, 1e-9, 0.3137, 0.9041]),
        "min_p": st.sampled_from([0.0, 0.0513, 0.4971, 1.0]),
    }
)


def softmax(logits):
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def reference(logits, values, recent):
    """Return the filtered distribution by the definitions, computed with lists."""
    logits = list(logits)
    for token in set(recent) & set(range(len(logits))):
        penalty = values["repetition_penalty"]
        logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    if values["temperature"] == 0:
        return [float(token == logits.index(max(logits))) for token in range(len(logits))]
    p = softmax([logit / values["temperature"] for logit in logits])
    if values["top_k"]:
        least = sorted(p, reverse=True)[: values["top_k"]][-1]
        p = [x if x >= least else 0.0 for x in p]
    if values["top_p"] < 1:
        total, above = sum(p), 0.0
        for token in sorted(range(len(p)), key=lambda token: -p[token]):
            keep = above < values["top_p"] * total
            above += p[token]
            p[token] = p[token] if keep else 0.0
    p = [x if x >= values["min_p"] * max(p) * (1 - 1e-12) else 0.0 for x in p]
    return [x / sum(p) for x in p]


def recent_of(rows):
    """Return the array of recent tokens that filters take, from lists of ids."""
    return np.array([row + [NONE_YET] * (RECENT - len(row)) for row in rows])


@given(logit_rows, settings, st.data())
def test_filters_agree_with_their_definitions(logits, values, data) -> None:
    """Every combination of values gives the distribution of the reference in each row."""
    vocabulary = logits.shape[1]
    recent = [data.draw(st.lists(st.integers(0, vocabulary - 1), max_size=5)) for _ in logits]
    windows = np.minimum(recent_of(recent), vocabulary)
    filtered = apply_filters(logits, active_filters(values), windows)
    for row, before, window in zip(filtered, logits, recent, strict=True):
        np.testing.assert_allclose(softmax(row), reference(before, values, window), atol=2e-5)


@given(
    st.integers(1, 3).flatmap(
        lambda rows: arrays(np.int64, (rows, 30), elements=st.integers(-20, 20))
    ),
    st.sampled_from([1e-9, 0.1, 0.3137, 0.9041, 0.999, 1 - 1e-9]),
)
def test_top_p_keeps_the_same_tokens_of_a_large_vocabulary(logits, total) -> None:
    """Only candidates are sorted, with the same result as for all tokens, also in ties."""
    logits = logits / 2
    logits[0, 3:9] = -np.inf
    whole = top_p(logits, total, no_tokens(len(logits)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logit_filters, "SORTED", 1)

        np.testing.assert_array_equal(top_p(logits, total, no_tokens(len(logits))), whole)


def test_top_p_of_a_large_vocabulary_is_faster_than_sorting_it() -> None:
    """With the distribution of a trained model, which has few likely tokens."""
    logits = -1.3 * np.log(np.arange(1.0, 50_001))[None].repeat(8, axis=0)
    np.random.default_rng(1).shuffle(logits.T)

    def seconds(filtered):
        begin = time.perf_counter()
        filtered()
        return time.perf_counter() - begin

    filtering, sorting = (
        min(seconds(work) for _ in range(5))
        for work in (
            lambda: top_p(logits, 0.9, no_tokens(8)),
            lambda: np.argsort(-logits, axis=1, kind="stable"),
        )
    )
    assert filtering < sorting


@given(logit_rows)
def test_neutral_values_change_nothing(logits) -> None:
    """A filter at its neutral value is not applied, and would not change the logits."""
    empty = np.full((len(logits), RECENT), logits.shape[1])

    assert active_filters({name: neutral for name, (neutral, _) in FILTERS.items()}) == []
    for name, limit in (("repetition_penalty", 1), ("temperature", 1), ("top_k", 12)):
        np.testing.assert_array_equal(FILTERS[name].apply(logits, limit, empty), logits)


@given(logit_rows, settings)
def test_logits_are_not_changed_in_place(logits, values) -> None:
    """Filters return new arrays."""
    before = logits.copy()
    apply_filters(logits, active_filters(values), np.zeros((len(logits), RECENT), int))

    np.testing.assert_array_equal(logits, before)


@given(logit_rows, st.floats(0, 1, exclude_max=True), st.data())
def test_draw_tokens_inverts_the_cumulative_distribution(logits, uniform, data) -> None:
    """The token drawn is the one whose part of [0, 1) the uniform number falls into."""
    barred = data.draw(st.sets(st.integers(0, logits.shape[1] - 1), max_size=logits.shape[1] - 1))
    logits[:, sorted(barred)] = -np.inf
    ids = draw_tokens(logits, np.full(len(logits), uniform))
    for token, row in zip(ids, logits, strict=True):
        bounds = np.cumsum([0, *softmax(row)])

        assert token not in barred
        assert bounds[token] - 1e-9 <= uniform < bounds[token + 1] + 1e-9


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_draw_tokens_at_the_ends_of_the_unit_interval(uniform) -> None:
    """The smallest and the largest random number select a token that is not excluded."""
    generator = np.random.default_rng(1)
    for size in range(2, 200):
        logits = generator.standard_normal((1, size)) * 5
        logits[0, [0, -1]] = -np.inf
        if size > 2:
            assert 0 < draw_tokens(logits, np.array([uniform]))[0] < size - 1


@pytest.mark.parametrize("temperature", [1e-320, 1e-100, 1e-9, 0.1, 1.0, 1e9, 1e300])
def test_every_temperature_is_numerically_stable(temperature) -> None:
    """Low ones are greedy, high ones uniform; the largest logits do not overflow."""
    logits = np.array([[3e38, -3e38, 0.0, 1.0], [2.0, 1.0, 0.0, -np.inf]], np.float32)
    filtered = apply_filters(
        logits.astype(float), active_filters(values_with(temperature)), no_tokens(2)
    )
    drawn = [draw_tokens(filtered, np.full(2, uniform)) for uniform in (0.0, 0.5, 1 - 2**-53)]

    assert {int(first) for first, _ in drawn} <= ({0} if temperature < 1e300 else {0, 1, 2, 3})
    if temperature <= 1e-9:
        assert {int(second) for _, second in drawn} == {0}
    if temperature >= 1e9:
        np.testing.assert_allclose(softmax(filtered[1]), [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-8)


def test_greedy_takes_the_first_of_a_tie() -> None:
    """At temperature 0 the result does not depend on the random number."""
    filtered = apply_filters(
        np.array([[1.0, 7.0, 7.0, -1.0]]), active_filters(values_with(0.0)), no_tokens(1)
    )
    ids = [draw_tokens(filtered, np.array([uniform]))[0] for uniform in (0.0, 0.5, 0.999)]

    assert ids == [1, 1, 1]


def test_vocabulary_of_one_token() -> None:
    """The only token is sampled with every filter enabled."""
    values = {"repetition_penalty": 2.0, "temperature": 1e-9, "top_k": 1, "top_p": 0.1, "min_p": 1}
    filtered = apply_filters(np.array([[-4.0]]), active_filters(values), np.zeros((1, RECENT), int))

    assert draw_tokens(filtered, np.array([0.3]))[0] == 0


def test_filters_are_fields_of_sample_config() -> None:
    """Every filter has a setting, and the neutral values are the defaults."""
    assert set(FILTERS) <= set(SampleConfig.model_fields)
    for name, (neutral, _) in FILTERS.items():
        if name != "temperature":
            assert SampleConfig.model_fields[name].default == neutral


def values_with(temperature):
    neutral = {name: neutral for name, (neutral, _) in FILTERS.items()}
    return {**neutral, "temperature": temperature}


def no_tokens(rows):
    return np.full((rows, RECENT), 4)


steps_of_samples = st.lists(
    st.one_of(
        st.lists(st.integers(0, 8), min_size=3, max_size=3),  # one token for each sample
        st.integers(0, 2),  # a new sample in this row
    ),
    max_size=2 * RECENT,
)


@given(st.lists(st.integers(0, 8), max_size=RECENT), steps_of_samples)
def test_recent_tokens_are_the_last_tokens_of_each_sample(initial, steps) -> None:
    """The ring buffer equals the last RECENT entries of a list per sample."""
    recent = RecentTokens(np.array(initial, int), samples=3, vocab_size=9)
    lists = [list(initial) for _ in range(3)]
    for step in steps:
        if isinstance(step, int):
            recent.reset(step)
            lists[step] = list(initial)
        else:
            recent.append(np.array(step))
            lists = [[*tokens, token] for tokens, token in zip(lists, step, strict=True)]
    recent.keep([0, 2])
    for row, tokens in enumerate([lists[0], lists[2]]):
        window = tokens[-RECENT:]

        assert recent.in_order(row).tolist() == window
        assert sorted(recent.ids[row]) == sorted(window + [9] * (RECENT - len(window)))
