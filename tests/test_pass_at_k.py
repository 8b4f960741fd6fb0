"""pass@k against its definition: the share of k-subsets of the samples that hold a passing one."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.errors import DataError
from greenlit.evaluation.pass_at_k import pass_at_k, pass_at_k_P


def by_enumeration(n: int, c: int, k: int) -> float:
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    return sum(any(subset) for subset in subsets) / len(subsets)


@pytest.mark.parametrize("n", range(1, 9))
def test_equals_the_enumeration_of_all_subsets(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            assert pass_at_k(n, c, k) == pytest.approx(by_enumeration(n, c, k), rel=1e-12, abs=0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_1_is_the_share_of_passing_samples(counts):
    n, c = counts
    assert pass_at_k(n, c, 1) == pytest.approx(c / n, rel=1e-12)


@given(st.integers(2, 100).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1), st.integers(1, n - 1))))
def test_grows_with_passing_samples_and_with_k(counts):
    n, c, k = counts
    assert 0.0 <= pass_at_k(n, c, k) <= pass_at_k(n, c + 1, k) <= 1.0
    assert pass_at_k(n, c, k) <= pass_at_k(n, c, k + 1) + 1e-12


def test_is_stable_where_the_binomials_would_overflow_or_cancel():
    assert pass_at_k(10**9, 1, 1) == pytest.approx(1e-9, rel=1e-12)
    assert pass_at_k(100_000, 1, 1000) == pytest.approx(0.01, rel=1e-9)


def test_vectorised_gives_each_problem_what_the_scalar_gives():
    n_P, c_P = [8, 10, 8, 20], [0, 3, 8, 13]
    expected = [pass_at_k(n, c, 5) for n, c in zip(n_P, c_P, strict=True)]
    assert pass_at_k_P(n_P, c_P, 5).tolist() == expected
    assert pass_at_k_P([], [], 5).shape == (0,)


def test_no_pass_is_plain_zero_and_enough_passes_are_plain_one():
    assert pass_at_k_P([8, 8], [0, 1], 8).tolist() == [0.0, 1.0]
    assert not np.signbit(pass_at_k(8, 0, 3))


@pytest.mark.parametrize(
    ("n", "c", "k", "said"),
    [
        (7, 3, 8, "fewer than 8 samples"),
        (8, 9, 1, "between 0 and n"),
        (8, -1, 1, "between 0 and n"),
        (8, 1, 0, "k must be >= 1"),
    ],
)
def test_undefined_is_an_error_and_no_number(n, c, k, said):
    with pytest.raises(DataError, match=said):
        pass_at_k(n, c, k)


def test_the_error_names_the_problem_at_fault():
    with pytest.raises(ValueError, match=r"problem 2: .*found n = 3"):
        pass_at_k_P([8, 8, 3], [1, 1, 1], 4)
