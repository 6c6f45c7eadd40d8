"""The worked example of four steps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charnn.lab import gradient_check, worked_example

SEEDS = st.integers(0, 10_000)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), SEEDS)
def test_the_worked_example_is_right_for_all_dimensions(inputs, hidden, outputs, seed) -> None:
    """Also for matrices that are not square, which need their transposes."""
    found = gradient_check.check_worked_example(
        "case", worked_example.random_case(inputs, hidden, outputs, seed), 1
    )

    assert found.autograd < 1e-10
    assert found.differences < 1e-5


def test_missing_transposes_are_correct_for_scalars_only() -> None:
    """They fail if the numbers of outputs and hidden units differ, and are wrong otherwise."""
    single, square, oblong = (
        worked_example.random_case(2, hidden, outputs, seed=1)
        for hidden, outputs in [(1, 1), (3, 3), (3, 2)]
    )
    assert (
        gradient_check.check_worked_example("numbers", single, 1, transposed=False).differences
        < 1e-5
    )
    found = gradient_check.check_worked_example("square", square, 1, transposed=False)
    assert min(found.autograd, found.differences) > 0.1
    with pytest.raises(RuntimeError, match="size"):
        worked_example.gradients(oblong, transposed=False)
