"""Promises about thresholds: order statistics by hand, brute force over levels, and simulations of what is promised."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from missrate.core.errors import InputError
from missrate.core.guarantee import (
    Jumps,
    confident,
    expected,
    jumps_of,
    jumps_of_counts,
    least_n_confident,
    least_n_expected,
)
from missrate.core.quantise import TOP

FLOOR = 600


def patient_level(levels: NDArray[np.int64] | list[int]) -> list[Jumps]:
    return [jumps_of(level) for level in levels]


def mean_loss(units: list[list[int]], level: int) -> Fraction:
    return sum((Fraction(sum(found < level for found in mine), len(mine)) for mine in units), Fraction()) / len(units)


@pytest.mark.parametrize(("alpha", "expectation", "confidence"), [(0.05, 19, 59), (0.1, 9, 29), ("0.01", 99, 299)])
def test_least_numbers_of_patients(alpha: float | str, expectation: int, confidence: int) -> None:
    # alpha >= 1 / (n + 1), and (1 - alpha)**n <= .05: .95**58 = .0510, .95**59 = .0485; .9**28 = .0523, .9**29 = .0471.
    assert least_n_expected(alpha) == expectation
    assert least_n_confident(alpha) == confidence


def test_too_few_patients_get_a_sentence_and_never_a_number() -> None:
    found = patient_level(np.arange(1, 101) * 500)
    refused = expected(found[:58], 0.05, lowest=1)
    assert (refused.level, refused.threshold, refused.risk) == (None, None, None)
    assert refused.reason == "not certifiable with 58 patients: needs n >= 59"
    # 59 patients of whom none is never found leave at most 1 - .05 ** (1 / 59) = .0495 who may be.
    assert expected(found[:59], 0.05, lowest=1).never_found_at_most == pytest.approx(1 - 0.05 ** (1 / 59))
    assert expected(found[:59], 0.05, lowest=1).level == 500 * 3  # k = floor(60 * .05)
    assert confident(found[:58], 0.05, lowest=1).reason == "not certifiable with 58 patients: needs n >= 59"
    assert confident(found[:59], 0.05, lowest=1).level == 500
    assert confident(found[:28], 0.1, lowest=1).reason == "not certifiable with 28 patients: needs n >= 29"
    assert confident(found[:29], 0.1, lowest=1).level == 500
    assert expected([], 0.05, lowest=1).reason == "not certifiable with 0 patients: needs n >= 59"
    assert confident([], 0.05, lowest=1).level is None
    # With little confidence it is conformal risk control that needs more: 14 would bound who is never found.
    assert expected(found[:18], 0.05, 0.5, lowest=1).reason == "not certifiable with 18 patients: needs n >= 19"
    assert expected(found[:19], 0.05, 0.5, lowest=1).level == 500


def test_alpha_is_the_decimal_that_was_written() -> None:
    # 20 * .15 is 3 in decimals and 3.0000000000000004 or 2.9999999999999996 in some order of binary arithmetic;
    # 30 * .1 likewise. k must be 3 in both.
    assert expected(patient_level(np.arange(1, 20) * 1000), 0.15, lowest=1).level == 3000
    assert expected(patient_level(np.arange(1, 30) * 1000), 0.1, lowest=1).level == 3000
    assert expected(patient_level(np.arange(1, 30) * 1000), "0.1", lowest=1).level == 3000
    # 299 patients at 1 %: (n + 1) alpha - 1 = 2 exactly, so two patients may be missed: the third level.
    assert expected(patient_level(np.arange(1, 300) * 200), 0.01, lowest=1).level == 600


def test_the_patient_level_is_an_order_statistic() -> None:
    # n = 100 at 5 %: k = floor(5.05) = 5, the fifth smallest; four lie below, risk .04.
    found = np.random.default_rng(0).permutation(np.arange(1, 101) * 600)
    promise = expected(patient_level(found), 0.05, lowest=FLOOR)
    assert (promise.level, promise.reason, promise.n, promise.risk) == (3000, None, 100, 0.04)
    assert promise.threshold == 0.05
    # With confidence: P(Binomial(100, .05) <= 1) = .0371, <= 2 = .118: k = 1, the second smallest.
    sure = confident(patient_level(found), 0.05, lowest=FLOOR)
    assert (sure.level, sure.risk, sure.confidence) == (1200, 0.01, 0.95)


def test_each_promise_says_what_happens_to_calibrations_without_a_threshold() -> None:
    found = patient_level(np.arange(1, 101) * 600)
    assert confident(found, 0.05, lowest=FLOOR).bound == (
        "at most 0.05 of patients are missed, with 0.95 confidence over calibrations: were this one repeated with 100 "
        "other patients each time, at most 0.05 of the repeats would end in a threshold that misses more; repeats that "
        "end without a threshold are among the others"
    )
    assert expected(found, 0.05, lowest=FLOOR, of="lesions").bound == (
        "at most 0.05 of lesions are missed on average over calibrations: were this one repeated with 100 other "
        "patients each time, and repeats that end without a threshold counted as missing nobody; of repeats that end "
        "in a threshold the average may be higher"
    )


def test_ties_all_found_and_none_found() -> None:
    # All at one level: nothing lies below it, and above it everybody.
    for at in (30_000, TOP):
        assert expected(patient_level([at] * 60), 0.05, lowest=FLOOR).level == at
        assert confident(patient_level([at] * 60), 0.05, lowest=FLOOR).level == at
    # At the floor, and just below it.
    assert confident(patient_level([FLOOR] * 60), 0.05, lowest=FLOOR).level == FLOOR
    for below in (0, FLOOR - 1):
        assert confident(patient_level([below] * 60), 0.05, lowest=FLOOR).never_found == 60


@pytest.mark.parametrize(("n", "most"), [(59, 0), (92, 0), (93, 1), (124, 2)])
@pytest.mark.parametrize("promise", [expected, confident])
def test_patients_who_are_found_at_no_threshold_are_counted_first(promise: Any, n: int, most: int) -> None:
    # P(Binomial(n, .05) <= k) <= .05 for k = 0 from n = 59, 1 from 93, 2 from 124: so many may never be found.
    for never in range(most + 3):
        result = promise(patient_level([0] * never + [30_000] * (n - never)), 0.05, lowest=FLOOR)
        assert result.never_found == never
        assert result.never_found_at_most == pytest.approx(float(stats.beta.ppf(0.95, never + 1, n - never)))
        assert (result.never_found_at_most <= 0.05) == (never <= most) == (result.level == 30_000)
    assert f"{never} of {n} calibration patients are found at no threshold" in result.reason


def test_no_issued_promise_can_hold_where_more_are_never_found() -> None:
    # 6 % of all patients are found at no threshold, so whatever threshold comes out misses more than 5 %. Promises are
    # issued nevertheless, but in at most 5 % of draws: with n = 100 where at most 1 is never found, P = .0162.
    random = np.random.default_rng(2)
    draws = random.integers(1, TOP + 1, size=(2000, 100)) * (random.random((2000, 100)) >= 0.06)
    issued = np.mean([confident(patient_level(found), 0.05, lowest=1).level is not None for found in draws])
    assert issued == pytest.approx(stats.binom.cdf(1, 100, 0.06), abs=4 * (0.0162 / 2000) ** 0.5)


def test_impossible_requests_say_so() -> None:
    with pytest.raises(InputError, match=r"`alpha` must lie in \(0, 1\). Got 5."):
        expected(patient_level([1] * 20), 5, lowest=1)
    with pytest.raises(InputError, match="`confidence`"):
        confident(patient_level([1] * 60), 0.05, 1.0, lowest=1)
    with pytest.raises(InputError, match="`lowest` must be a level from 1"):
        expected(patient_level([1] * 20), 0.05, lowest=0)
    with pytest.raises(InputError, match="must have a lesion"):
        jumps_of([])
    with pytest.raises(InputError, match="0 to 60000"):
        jumps_of([TOP + 1])
    with pytest.raises(InputError, match="0 to 60000"):
        jumps_of([-1])
    with pytest.raises(InputError, match="lesion voxel"):
        jumps_of_counts(np.zeros(TOP + 1, np.int64))


def test_voxel_counts_are_units_at_their_levels() -> None:
    inside = np.zeros(TOP + 1, np.int64)
    inside[[0, 700, TOP]] = 2, 1, 3
    mine, same = jumps_of_counts(inside), jumps_of([700, 0, TOP, TOP, 0, TOP])
    assert mine.levels.tolist() == same.levels.tolist() == [0, 700, TOP]
    assert mine.counts.tolist() == same.counts.tolist() == [2, 1, 3]


levels = st.one_of(st.sampled_from([0, 1, FLOOR, TOP]), st.integers(0, TOP), st.integers(FLOOR, FLOOR + 5))


@given(
    st.lists(st.lists(levels, min_size=1, max_size=5), min_size=1, max_size=12),
    st.sampled_from([0.1, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.9]),
    st.sampled_from([1, FLOOR, TOP]),
)
def test_expected_agrees_with_trying_every_level(units: list[list[int]], alpha: float, lowest: int) -> None:
    n = len(units)
    # So little confidence that nobody who is never found stands in the way but one who is never found in fact.
    promise = expected([jumps_of(mine) for mine in units], alpha, 1e-9, lowest=lowest)
    # Losses jump just above the levels: only these, the one after each, and the ends have to be tried.
    tried = sorted({lowest, TOP} | {t + up for mine in units for t in mine for up in (0, 1) if lowest <= t + up <= TOP})
    # The decimals of alpha, exactly: those of 1/3 lie a little below it.
    most = ((n + 1) * Fraction(str(alpha)) - 1) / n
    kept = [t for t in tried if mean_loss(units, t) <= most]
    if most < 0:
        assert promise.level is None
    else:
        assert promise.level == max(kept, default=None)
    if promise.level is not None:
        # The supremum is attained, and the next level exceeds the bound.
        assert promise.risk == float(mean_loss(units, promise.level))
        assert promise.level == TOP or mean_loss(units, promise.level + 1) > most


@given(st.lists(levels, min_size=60, max_size=90), st.sampled_from([0.1, 0.3]))
def test_one_unit_each_gives_the_kth_smallest(found: list[int], alpha: float) -> None:
    k = round((len(found) + 1) * alpha * 100) // 100
    promise = expected(patient_level(found), alpha, lowest=1)
    assert promise.level in (None, sorted(found)[k - 1])
    assert (promise.level is None) == (promise.never_found_at_most > alpha or sorted(found)[k - 1] == 0)


@given(st.integers(1, 200), st.sampled_from([0.02, 0.05, 0.1, 0.5]), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_confident_promise_lets_as_many_be_missed_as_it_can(n: int, alpha: float, confidence: float) -> None:
    # Patients at levels 1 to n: the chosen one is k + 1, with the largest k of the binomial.
    level = confident(patient_level(np.arange(1, n + 1)), alpha, confidence, lowest=1).level
    k = -1 if level is None else level - 1
    assert k == -1 or stats.binom.cdf(k, n, alpha) <= 1 - confidence + 1e-12
    assert stats.binom.cdf(k + 1, n, alpha) > 1 - confidence - 1e-12
    assert (k >= 0) == (n >= least_n_confident(alpha, confidence))


@pytest.mark.parametrize(("n", "alpha"), [(59, 0.05), (100, 0.05), (40, 0.2), (200, 0.1)])
def test_the_limit_of_shares_is_that_of_hoeffding_and_bentkus(n: int, alpha: float) -> None:
    # All patients lose r = j / 1000 at level 2, nothing at 1. Level 2 is chosen up to the greatest r with
    # exp(-n kl(r, alpha)) <= .05 or e P(Binomial(n, alpha) <= ceil(n r)) <= .05, tried one by one.
    def kl(r: float) -> float:
        return float((r * np.log(r / alpha) if r else 0.0) + (1 - r) * np.log((1 - r) / (1 - alpha)))

    for j in range(0, round(alpha * 1000), 3):
        patients = [Jumps(np.array([1, 2]), np.array([j, 1000 - j])) for _ in range(n)]
        chosen = confident(patients, alpha, lowest=1, all_or_nothing=False).level
        r = j / 1000
        bentkus = np.e * stats.binom.cdf(np.ceil(n * r - 1e-9), n, alpha)
        assert (chosen == 2) == (min(np.exp(-n * kl(r)), bentkus) <= 0.05), j


def uniform_levels(draws: int, n: int) -> NDArray[np.int64]:
    """Levels so fine that ties are rare: P(s < t) = t / 60001."""
    return np.random.default_rng(7).integers(0, TOP + 1, size=(draws, n))


def test_the_risk_promised_for_patients_is_kept_and_not_by_far() -> None:
    # s uniform: P(missed at the k-th smallest of n) has mean k / (n + 1) = 5 / 101 = .0495 (a beta of k and n - k + 1
    # with standard deviation .0216). Over 1,000 draws the mean has a standard error of .0007.
    chosen = [expected(patient_level(found), 0.05, lowest=1).level for found in uniform_levels(1000, 100)]
    risks = np.array([level for level in chosen if level is not None]) / (TOP + 1)
    assert risks.size == 1000
    assert risks.mean() == pytest.approx(5 / 101, abs=0.0025)


@pytest.mark.parametrize("n", [59, 93, 200])
def test_the_confident_promise_is_broken_in_at_most_five_of_a_hundred_draws(n: int) -> None:
    # Broken where s_(k + 1) lies above 5 % of all: P(Binomial(n, .05) <= k) = .0485 (k = 0), .0500 (1) and .0264 (4).
    broken = np.mean(
        [(confident(patient_level(f), 0.05, lowest=1).level or 0) / (TOP + 1) > 0.05 for f in uniform_levels(1000, n)]
    )
    k = round(n * (confident(patient_level(np.arange(1, n + 1)), 0.05, lowest=1).risk or 0.0))
    assert broken == pytest.approx(stats.binom.cdf(k, n, 0.05), abs=0.02)
    assert stats.binom.cdf(k, n, 0.05) <= 0.05


def clustered(draws: int, n: int) -> list[list[list[int]]]:
    """Patients with 1 to 6 units whose levels hang together: a shared part and a part of each unit's own."""
    random = np.random.default_rng(3)
    shared = random.random((draws, n, 1))
    own = random.random((draws, n, 6))
    found = ((0.6 * shared + 0.4 * own) * TOP).astype(int)
    many = random.integers(1, 7, size=(draws, n))
    return [[found[d, i, : many[d, i]].tolist() for i in range(n)] for d in range(draws)]


def true_share() -> Callable[[int], float]:
    """The mean share of lesions missed at a level, of 8000 patients who stand for all there are."""
    population = clustered(1, 8000)[0]
    flat = np.array([level for mine in population for level in mine])
    weight = np.array([1 / len(mine) for mine in population for _ in mine]) / len(population)
    order = np.argsort(flat)
    missed_below = np.concatenate([[0.0], np.cumsum(weight[order])])
    return lambda level: float(missed_below[np.searchsorted(flat[order], level)])


def test_the_expected_share_of_missed_lesions_is_kept() -> None:
    draws, n, alpha = 400, 40, 0.1
    missed_at = true_share()
    risks = []
    for drawn in clustered(draws, n):
        level = expected([jumps_of(mine) for mine in drawn], alpha, lowest=1).level
        assert level is not None
        risks.append(missed_at(level))
    # Kept in the mean (standard error below .003), and not by falling back to a threshold that misses nothing.
    assert 0.06 < np.mean(risks) <= alpha + 0.005


def test_the_expected_voxel_miss_rate_is_kept_with_weights() -> None:
    # Two levels a patient: a share w of the voxels at level s, the others at TOP; so L(t) = w 1[t > s], with w uniform
    # from 10/1000 to 990/1000 and s uniform, independent. The true risk at t is .5 t / 60001.
    random = np.random.default_rng(5)
    alpha, n, risks = 0.1, 50, []
    for _ in range(500):
        voxels, found = random.integers(10, 991, size=n), random.integers(1, TOP, size=n)
        patients = [Jumps(np.array([s, TOP]), np.array([w, 1000 - w])) for s, w in zip(found, voxels, strict=True)]
        level = expected(patients, alpha, lowest=1).level
        assert level is not None
        risks.append(0.5 * level / (TOP + 1))
    assert 0.07 < np.mean(risks) <= alpha + 0.003


def test_the_confident_share_of_missed_lesions_is_broken_in_at_most_five_of_a_hundred_draws() -> None:
    draws, n, alpha = 300, 60, 0.2
    missed_at = true_share()
    risks = []
    for drawn in clustered(draws, n):
        promise = confident([jumps_of(mine) for mine in drawn], alpha, lowest=1, all_or_nothing=False)
        assert promise.level is not None
        risks.append(missed_at(promise.level))
    assert np.mean(np.array(risks) > alpha) <= 0.05
    # Not by a threshold that misses next to nothing.
    assert np.mean(risks) > 0.07
