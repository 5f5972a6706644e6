"""Intervals and tests against closed forms, enumeration by hand, and scipy's own implementations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from missrate.core import resampling as rs
from missrate.core.errors import InputError


@pytest.mark.parametrize(
    ("n", "one_sided", "two_sided"),
    [(14, 0.193, 0.232), (29, 0.098, 0.119), (59, 0.050, 0.061), (149, 0.020, 0.024)],
)
def test_zero_misses_in_n_patients(n: int, one_sided: float, two_sided: float) -> None:
    # Closed forms: 1 - .05 ** (1 / n) and 1 - .025 ** (1 / n).
    assert rs.upper_one_sided(0, n) == pytest.approx(one_sided, abs=5e-4)
    assert rs.upper_one_sided(0, n) == pytest.approx(1 - 0.05 ** (1 / n))
    assert rs.clopper_pearson(0, n) == pytest.approx((0.0, two_sided), abs=5e-4)


@pytest.mark.parametrize(("events", "n"), [(0, 1), (1, 1), (3, 10), (10, 10), (49, 50)])
def test_clopper_pearson_inverts_the_binomial_test(events: int, n: int) -> None:
    exact = stats.binomtest(events, n).proportion_ci(0.95, method="exact")
    assert rs.clopper_pearson(events, n) == pytest.approx((exact.low, exact.high))
    above = stats.binomtest(events, n, alternative="less").proportion_ci(0.95, method="exact")
    assert rs.upper_one_sided(events, n) == pytest.approx(above.high)


def test_no_patients_have_no_interval() -> None:
    assert rs.clopper_pearson(0, 0) is None
    assert rs.upper_one_sided(0, 0) is None


def test_mcnemar_counts_discordant_pairs() -> None:
    # 0 and 5: 2 / 2**5. 1 and 7: 2 (1 + 8) / 2**8. Equal ones and none: 1.
    assert rs.mcnemar(0, 5) == rs.PValue(0.0625, 0.0625, "exact McNemar")
    assert rs.mcnemar(1, 7).p == rs.mcnemar(7, 1).p == pytest.approx(18 / 256)
    assert rs.mcnemar(3, 3).p == rs.mcnemar(0, 0).p == rs.mcnemar(0, 0).least_p == 1.0


def test_sign_flip_by_enumeration() -> None:
    # 1 + 2 + 3 = 6 is reached by two of the 8 patterns; 1 - 1 = 0 by all; a zero changes no pattern.
    assert rs.sign_flip(np.array([1.0, 2, 3]), 0) == rs.PValue(0.25, 0.25, "exact sign flip of patient means")
    assert rs.sign_flip(np.array([1.0, -1]), 0) == rs.PValue(1.0, 0.5, "exact sign flip of patient means")
    assert rs.sign_flip(np.array([1.0, 2, 3, 0, 0]), 0) == rs.sign_flip(np.array([1.0, 2, 3]), 0)
    assert rs.sign_flip(np.zeros(4), 0) == rs.PValue(1.0, 1.0, "exact sign flip of patient means")
    assert rs.sign_flip(np.empty(0), 0) is None


def test_sign_flip_draws_when_there_are_too_many_patterns() -> None:
    # All of 40 differences equal: a random pattern is as extreme with probability 2 / 2**40, so p = 1 / (draws + 1).
    result = rs.sign_flip(np.ones(40), 0, draws=999)
    assert result == rs.PValue(0.001, 0.001, "random sign flip of patient means")
    assert rs.sign_flip(np.arange(-20.0, 20), 5) == rs.sign_flip(np.arange(-20.0, 20), 5)


def test_swapping_arms_by_enumeration() -> None:
    # Two patients, a misses 2 of 2 and b 0 of 2 in each: differences 1, 0, 0, -1 over the four patterns; p = 2 / 4.
    a, b = np.array([[2.0, 2], [2, 2]]), np.array([[0.0, 2], [0, 2]])
    assert rs.label_swap(a, b, 0) == rs.PValue(0.5, 0.5, "exact swap of arms within patients")
    # A third patient on whom both agree changes the difference but no pattern.
    agree = np.array([[1.0, 5]])
    assert rs.label_swap(np.vstack([a, agree]), np.vstack([b, agree]), 0) == rs.label_swap(a, b, 0)
    assert rs.label_swap(a, a, 0) == rs.PValue(1.0, 1.0, "exact swap of arms within patients")


def test_an_undefined_pattern_counts_as_extreme_and_an_undefined_arm_has_no_test() -> None:
    # a: 1/1 and 0/0; b: 0/0 and 0/1. Swapping one patient makes 0/0; swapping none or both gives 1 and -1: p = 4 / 4.
    result = rs.label_swap(np.array([[1.0, 1], [0, 0]]), np.array([[0.0, 0], [0, 1]]), 0)
    assert result is not None
    assert result.p == 1.0
    assert rs.label_swap(np.array([[1.0, 1]]), np.array([[0.0, 0]]), 0) is None


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9))
def test_with_equal_denominators_both_permutation_tests_agree(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, np.float64).T
    fives = np.full(len(pairs), 5.0)
    swapped = rs.label_swap(np.stack([a, fives], axis=1), np.stack([b, fives], axis=1), 0)
    flipped = rs.sign_flip(a - b, 0)
    assert swapped is not None
    assert flipped is not None
    assert (swapped.p, swapped.least_p) == (flipped.p, flipped.least_p)


def test_holm_by_hand() -> None:
    # Sorted .01, .03, .04 times 3, 2, 1: .03, .06, .04; made monotone: .03, .06, .06.
    assert rs.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert rs.holm([0.9, 0.8]) == [1.0, 1.0]
    assert rs.holm([]) == []


def test_random_patterns_agree_with_all_patterns() -> None:
    # 20 patients, more than are enumerated: all 2**20 patterns written out here against 200,000 random ones.
    random = np.random.default_rng(2)
    a = np.stack([random.integers(1, 4, 20), random.integers(5, 9, 20)], axis=1).astype(np.float64)
    b = np.stack([a[:, 0] + random.choice([-1, 1, 2], 20), a[:, 1]], axis=1)
    swap = ((np.arange(2**20)[:, None] >> np.arange(20)) & 1).astype(np.float32) @ (b - a)[:, 0].astype(np.float32)
    difference = (a[:, 0].sum() + swap - (b[:, 0].sum() - swap)) / a[:, 1].sum()
    observed = (a - b)[:, 0].sum() / a[:, 1].sum()
    two_sided = (np.abs(difference) >= abs(observed) - 1e-6).mean()
    drawn = rs.label_swap(a, b, 0, draws=200_000)
    assert drawn is not None
    assert drawn.test == "random swap of arms within patients"
    assert drawn.p == pytest.approx(two_sided, abs=4 * 0.5 / 200_000**0.5)
    greater = rs.label_swap(b, a, 0, draws=200_000, one_sided=True)
    assert greater is not None
    assert greater.p == pytest.approx((-difference >= -observed - 1e-6).mean(), abs=4 * 0.5 / 200_000**0.5)


def test_every_patient_is_swapped_in_half_of_the_random_patterns() -> None:
    # The change of patient i alone is 1 in the swapped half: 19 patients fill two bytes and a part of a third.
    moved = rs._moved(np.eye(19), seed=1, draws=40_000)
    assert set(np.unique(moved)) == {0.0, 1.0}
    assert moved.mean(axis=0) == pytest.approx(np.full(19, 0.5), abs=0.0125)  # five standard errors of .0025
    together = np.corrcoef(moved.T) - np.eye(19)
    assert np.abs(together).max() < 0.025


def test_one_sided_swaps_count_one_direction() -> None:
    # Differences 1, 0, 0, -1 over the four patterns: a greater 1 / 4, a not greater 4 / 4.
    a, b = np.array([[2.0, 2], [2, 2]]), np.array([[0.0, 2], [0, 2]])
    assert rs.label_swap(a, b, 0, one_sided=True) == rs.PValue(
        0.25, 0.25, "one-sided exact swap of arms within patients"
    )
    assert rs.label_swap(b, a, 0, one_sided=True) == rs.PValue(
        1.0, 0.25, "one-sided exact swap of arms within patients"
    )


def test_draws_are_enough_for_the_number_of_comparisons() -> None:
    # 20 * 32 / .05 = 12,800; 528 pairs of 33 arms: 211,200. One comparison needs 400, but the least is drawn.
    assert rs.draws_for(32) == 12_800
    assert rs.draws_for(528) == 211_200
    assert rs.draws_for(1) == rs.draws_for(0) == rs.LEAST_DRAWS
    assert rs.draws_for(300, 0.3) == 20_000  # exactly, where 20 * 300 / .3 rounds up
    with pytest.raises(InputError, match="`alpha`"):
        rs.draws_for(3, 0.0)
