"""Intervals over patients: closed forms, properties, and coverage where the truth is known."""

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from missrate.core.intervals import (
    AMOUNT,
    ANY,
    COUNT,
    SHARE,
    Interval,
    Range,
    Weights,
    curve_interval,
    difference_limits,
    drawn,
    outwards,
    patient_weights,
    range_of,
    ratio_interval,
)
from missrate.core.resampling import clopper_pearson
from missrate.metrics import dice, false_positives_per_scan, hd95_directed_max_mm, patient_auroc

Floats = NDArray[np.float64]


def known(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def difference(first: Floats, second: Floats, denominator: Floats, weights: Weights, values: Range = SHARE) -> Interval:
    nobody = np.zeros(weights.unseen_B.size, np.int64)
    a, b = (drawn(each[None], denominator[None], weights, nobody) for each in (first, second))
    found = difference_limits(a, b, weights, values)
    assert found is not None
    return found


def test_weights_are_positive_and_depend_on_the_seed_alone() -> None:
    weights = patient_weights(7, 4000, seed=3)
    assert (weights.patient_BP.shape, weights.unseen_B.shape) == ((4000, 7), (4000,))
    assert weights.with_unseen.shape == (4000, 8)
    assert weights.with_unseen.min() > 0.0
    assert weights.with_unseen.mean(axis=0) == pytest.approx(np.ones(8), abs=0.08)  # five standard errors of 1 / 63
    assert np.array_equal(weights.patient_BP, patient_weights(7, 4000, seed=3).patient_BP)
    assert not np.array_equal(weights.patient_BP, patient_weights(7, 4000, seed=4).patient_BP)
    assert patient_weights(0, 5, seed=0).patient_BP.shape == (5, 0)


@pytest.mark.parametrize(("missed", "n"), [(0, 10), (1, 10), (10, 10), (0, 59), (7, 30), (3, 85), (40, 85)])
def test_one_unit_a_patient_gives_the_exact_interval_of_a_share(missed: int, n: int) -> None:
    # k of n + 1 exponential weights over their sum are Beta(k, n + 1 - k): the quantiles of Clopper and Pearson.
    numerator = np.repeat([1.0, 0.0], [missed, n - missed])
    found = known(ratio_interval(numerator, np.ones(n), patient_weights(n, 40_000, 1)))
    assert found == pytest.approx(clopper_pearson(missed, n), abs=0.006)


def test_patients_count_not_lesions() -> None:
    # 100 patients with 10 lesions each, all found or all missed, are as 100 with one.
    numerator, weights = np.repeat([0.0, 1.0], 50), patient_weights(100, 500, 1)
    ten = ratio_interval(10 * numerator, np.full(100, 10.0), weights)
    assert known(ten) == pytest.approx(known(ratio_interval(numerator, np.ones(100), weights)))


def test_the_unseen_patient_is_as_large_as_that_of_a_lesion_picked_at_random() -> None:
    # 9 patients with 1 lesion and one with 9: a lesion belongs to a patient of (9 * 1 + 81) / 18 = 5 lesions.
    denominator, weights = np.array([1.0] * 9 + [9.0]), patient_weights(10, 2000, 0)
    found = drawn(np.zeros((1, 10)), denominator[None], weights, np.zeros(2000, np.int64))
    assert found.size == 5.0
    unseen_B = 5.0 * weights.unseen_B
    expected = np.quantile(unseen_B / (weights.patient_BP @ denominator + unseen_B), 0.975)
    assert known(ratio_interval(np.zeros(10), denominator, weights)) == pytest.approx((0.0, expected))


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30))
def test_no_interval_has_width_zero_and_each_holds_its_value(pairs: list[tuple[int, int]]) -> None:
    denominator = np.array([max(pair) for pair in pairs], np.float64)
    numerator = np.array([min(pair) for pair in pairs], np.float64)
    weights = patient_weights(len(pairs), 400, 0)
    found = ratio_interval(numerator, denominator, weights)
    if (denominator > 0).sum() < 2:
        assert found is None
        return
    low, high = known(found)
    assert 0.0 <= low < high <= 1.0
    assert low <= numerator.sum() / denominator.sum() <= high
    other = known(ratio_interval(denominator - numerator, denominator, weights))
    assert other == pytest.approx((1.0 - high, 1.0 - low))


def test_one_contributing_patient_gives_no_interval() -> None:
    weights = patient_weights(3, 100, seed=0)
    assert ratio_interval(np.array([1.0, 0, 0]), np.array([2.0, 0, 0]), weights) is None
    assert ratio_interval(np.array([1.0, 0, 0]), np.array([2.0, 1, 0]), weights) is not None


def test_what_no_scan_showed_has_an_upper_limit_where_it_is_counted() -> None:
    # No false positive in 20 scans: the unseen one may have one, so 1 - .025 ** (1 / 20) per scan at most.
    nothing, weights = np.zeros(20), patient_weights(20, 40_000, 0)
    found = known(ratio_interval(nothing, np.ones(20), weights, COUNT))
    assert found == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)), abs=0.006)
    assert ratio_interval(nothing, np.ones(20), weights, AMOUNT) is None


def test_without_a_bound_half_of_the_range_is_left_beyond() -> None:
    assert COUNT.unseen(np.array([2.0, 4.0])) == (0.0, 6.0)
    assert COUNT.unseen(np.array([0.0, 0.0])) == (0.0, 1.0)
    assert AMOUNT.unseen(np.array([1.0, 8.0])) == (0.0, 12.0)
    assert ANY.unseen(np.array([-1.0, 3.0])) == (-3.0, 5.0)
    assert SHARE.unseen(np.array([0.4])) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("metric", "values"),
    [(dice, SHARE), (patient_auroc, SHARE), (false_positives_per_scan, COUNT), (hd95_directed_max_mm, AMOUNT)],
)
def test_the_range_of_a_metric(metric: ModuleType, values: Range) -> None:
    assert range_of(metric) == values


def test_a_metric_of_ones_own_in_another_unit_may_be_anything() -> None:
    own = ModuleType("own")
    own.UNIT = "mm"  # type: ignore[attr-defined]
    assert range_of(own) == ANY


def test_arms_that_agree_on_all_patients_may_differ_on_one_who_is_not_here() -> None:
    rates, weights = np.array([0.0, 1.0] * 10), patient_weights(20, 40_000, 0)
    found = difference(rates, rates, np.ones(20), weights)
    most = 1 - 0.025 ** (1 / 20)
    assert (found.low, found.high) == pytest.approx((-most, most), abs=0.006)


def test_arms_differ_on_an_unseen_patient_as_far_as_on_any_that_was_seen() -> None:
    # They differ by .1 on one of 20: the unseen one may add .1, up or down, however the rest turns out.
    first, weights = np.full(20, 0.5), patient_weights(20, 2000, 0)
    second = first.copy()
    second[3] = 0.4
    found = difference(first, second, np.ones(20), weights)
    swing_B = 0.1 * weights.unseen_B
    sums_B = weights.patient_BP.sum(axis=1) + weights.unseen_B
    seen_B = 0.1 * weights.patient_BP[:, 3]
    assert found.high == pytest.approx(np.quantile((seen_B + swing_B) / sums_B, 0.975))
    assert found.low == pytest.approx(np.quantile((seen_B - swing_B) / sums_B, 0.025))
    back = difference(second, first, np.ones(20), weights)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_differences_stay_where_shares_can_be() -> None:
    first, second, weights = np.ones(12), np.zeros(12), patient_weights(12, 400, 0)
    found = difference(first, second, np.ones(12), weights)
    assert found.high == 1.0
    assert 0.0 < found.low < 1.0


@pytest.mark.parametrize(("n", "rate"), [(20, 0.08), (20, 0.3), (40, 0.08)])
def test_clusters_are_covered(n: int, rate: float) -> None:
    # Missed lesions of patients with 1 + negative binomial lesions and own rates (correlation .3). Percentiles
    # of a bootstrap cover .78 to .90 here. 200 draws: .95 has a standard error of .015.
    random, held = np.random.default_rng(n), 0
    weights = patient_weights(n, 400, 0)
    for _ in range(200):
        lesions = 1 + random.negative_binomial(0.7, 0.7 / 3.7, n)
        own = random.beta(rate * 7 / 3, (1 - rate) * 7 / 3, n)
        low, high = known(ratio_interval(random.binomial(lesions, own).astype(float), lesions.astype(float), weights))
        held += low <= rate <= high
    assert held / 200 >= 0.93


counts = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(counts, st.booleans(), st.sampled_from([SHARE, COUNT, AMOUNT]))
def test_the_interval_of_a_curve_is_that_of_each_level(
    rows: list[tuple[int, int, int]], shared: bool, values: Range
) -> None:
    table_PK = np.array(rows, np.float64)
    denominator_KP: Floats = np.where(table_PK.T[::-1] > 1, 3.0, 0.0)
    numerator_KP = np.minimum(table_PK.T, denominator_KP)
    weights = patient_weights(len(rows), 40, seed=2)
    below: Floats = denominator_KP[0] if shared else denominator_KP
    if shared:
        numerator_KP = np.minimum(numerator_KP, below)
    low_K, high_K = curve_interval(numerator_KP, below, weights, values, confidence=0.9)
    for k in range(3):
        found = ratio_interval(numerator_KP[k], below if shared else below[k], weights, values, confidence=0.9)
        assert (low_K[k], high_K[k]) == pytest.approx(known(found) if found else (np.nan, np.nan), nan_ok=True)


def test_a_printed_limit_is_never_inside_the_one_that_was_found() -> None:
    assert outwards(0.05001, 3, upper=True) == 0.051
    assert outwards(0.05099, 3, upper=False) == 0.05
    assert outwards(-0.0501, 3, upper=False) == -0.051
    assert [outwards(0.05, 3, upper=upper) for upper in (True, False)] == [0.05, 0.05]
