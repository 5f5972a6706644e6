"""Areas under the ROC curve against pairs written out, the jackknife, and simulated patients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from missrate.core import delong
from missrate.core.errors import InputError
from missrate.core.resampling import PValue

few_scores = st.lists(st.integers(0, 6), min_size=2, max_size=9)


def by_pairs(ill: list[int], healthy: list[int]) -> float:
    return float(np.mean([[(x > y) + 0.5 * (x == y) for y in healthy] for x in ill]))


def test_four_patients_by_hand() -> None:
    # Pairs 3>2, 3>0, 1<2, 1>0: area 3/4. Components 1 and 1/2 of the ill, 1/2 and 1 of the healthy, each of variance
    # 1/8: together 1/16 + 1/16 = 1/8. Logit: log 3 -+ 1.96 sqrt(1/8) / (3/16).
    found = delong.area(np.array([3.0, 1]), np.array([2.0, 0]))
    assert found is not None
    assert found.value == 0.75
    reach = 1.959964 * 0.125**0.5 / 0.1875
    low, high = (1 / (1 + np.exp(-(np.log(3) + side * reach))) for side in (-1, 1))
    assert found.ci == pytest.approx((low, high))
    assert found.interval == "DeLong (logit)"


@given(few_scores, few_scores)
def test_midranks_agree_with_pairs_and_with_the_jackknife(ill: list[int], healthy: list[int]) -> None:
    x, y = np.array(ill, np.float64), np.array(healthy, np.float64)
    by_ill, by_healthy = delong.components(x[None], y[None])
    whole = by_pairs(ill, healthy)
    found = delong.area(x, y)
    assert found is not None
    assert found.value == pytest.approx(whole)
    # A component is the patient's pseudo-value: n times the area minus n - 1 times the area without the patient.
    n, m = len(ill), len(healthy)
    for i in range(n):
        assert by_ill[0, i] == pytest.approx(n * whole - (n - 1) * by_pairs(ill[:i] + ill[i + 1 :], healthy))
    for j in range(m):
        assert by_healthy[0, j] == pytest.approx(m * whole - (m - 1) * by_pairs(ill, healthy[:j] + healthy[j + 1 :]))


@given(few_scores, few_scores)
def test_turning_the_scores_round_mirrors_area_and_interval(ill: list[int], healthy: list[int]) -> None:
    x, y = np.array(ill, np.float64), np.array(healthy, np.float64)
    one, other = delong.area(x, y), delong.area(-x, -y)
    assert one is not None
    assert other is not None
    assert one.value == pytest.approx(1 - other.value)
    assert (one.ci is None) == (other.ci is None) == (len({*ill, *healthy}) == 1)
    if one.ci is not None and other.ci is not None:
        assert one.ci == pytest.approx((1 - other.ci[1], 1 - other.ci[0]), abs=1e-9)
        assert 0 <= one.ci[0] <= one.value <= one.ci[1] <= 1


def test_the_area_is_mann_whitneys_statistic() -> None:
    random = np.random.default_rng(0)
    x = random.integers(3, 23, 40).astype(np.float64)
    y = random.integers(0, 20, 30).astype(np.float64)
    found = delong.area(x, y)
    assert found is not None
    assert found.value == pytest.approx(stats.mannwhitneyu(x, y).statistic / (40 * 30))


def test_perfect_order_is_not_certainty() -> None:
    # 5 ill above 8 healthy: 5 disjoint pairs all right. The lower limit is .025 ** (1 / 5) = .478.
    perfect, worst = delong.area(np.arange(10.0, 15), np.arange(8.0)), delong.area(np.arange(5.0), np.arange(10.0, 18))
    assert perfect is not None
    assert worst is not None
    assert (perfect.value, perfect.interval) == (1.0, "Clopper-Pearson on disjoint pairs")
    assert perfect.ci == pytest.approx((0.025 ** (1 / 5), 1.0))
    assert (worst.value, worst.interval) == (0.0, "Clopper-Pearson on disjoint pairs")
    assert worst.ci == pytest.approx((0.0, 1 - 0.025 ** (1 / 5)))


def test_what_cannot_be_said() -> None:
    assert delong.area(np.empty(0), np.ones(3)) is None
    assert delong.area(np.ones(3), np.empty(0)) is None
    assert delong.area_difference(np.empty((2, 0)), np.ones((2, 3))) is None
    one = delong.area(np.array([1.0]), np.array([0.0, 2, 3]))
    assert one == delong.Area(1 / 3, None, None, "an interval needs two patients with and two without a lesion")
    same = delong.area(np.ones(4), np.ones(5))
    assert same == delong.Area(0.5, None, None, "all patients have the same score")
    pair = delong.area_difference(np.ones((2, 1)), np.zeros((2, 3)))
    assert pair is not None
    assert (pair.difference, pair.ci, pair.test) == (0.0, None, None)
    with pytest.raises(InputError, match="two scores"):
        delong.area_difference(np.ones((3, 4)), np.ones((3, 4)))


def test_scores_that_order_alike_and_scores_that_order_oppositely() -> None:
    ill, healthy = np.array([3.0, 1, 5]), np.array([2.0, 0, 4, 1])
    alike = delong.area_difference(np.stack([ill, 10 * ill]), np.stack([healthy, 10 * healthy]))
    assert alike is not None
    assert (alike.difference, alike.ci, alike.test) == (0.0, None, PValue(1.0, 0.0, "paired DeLong"))
    high, low = np.arange(5.0) + 10, np.arange(5.0)
    opposite = delong.area_difference(np.stack([high, low]), np.stack([low, high]))
    assert opposite is not None
    assert (opposite.difference, opposite.ci, opposite.test) == (1.0, None, None)
    assert opposite.reason == "the difference has no variance over these patients"


two_scores = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=7)


@given(two_scores, two_scores)
def test_the_variance_of_a_difference_is_that_of_the_components_differences(
    ill: list[tuple[int, int]], healthy: list[tuple[int, int]]
) -> None:
    # The same variance by another way: components of the difference itself, patient by patient.
    x, y = np.array(ill, np.float64).T, np.array(healthy, np.float64).T
    found = delong.area_difference(x, y)
    assert found is not None
    by_ill, by_healthy = delong.components(x, y)
    difference_I, difference_H = by_ill[0] - by_ill[1], by_healthy[0] - by_healthy[1]
    variance = difference_I.var(ddof=1) / len(ill) + difference_H.var(ddof=1) / len(healthy)
    assert found.difference == pytest.approx(difference_I.mean())
    if variance > 1e-12:
        assert found.test is not None
        assert found.test.p == pytest.approx(2 * stats.norm.sf(abs(found.difference) / variance**0.5))


@pytest.mark.parametrize("truth", [0.75, 0.95])
def test_intervals_hold_the_truth_in_about_95_of_100_draws(truth: float) -> None:
    # Normal scores a distance mu apart: area = Phi(mu / sqrt 2). 600 draws have a standard error of .009.
    mu = stats.norm.ppf(truth) * 2**0.5
    random = np.random.default_rng(1)
    inside = []
    for _ in range(600):
        found = delong.area(random.normal(mu, 1, 40), random.normal(0, 1, 30))
        assert found is not None
        assert found.ci is not None
        inside.append(found.ci[0] <= truth <= found.ci[1])
    assert 0.92 <= np.mean(inside) <= 0.99


def test_two_equally_good_scores_are_told_apart_in_about_5_of_100_draws() -> None:
    random = np.random.default_rng(2)
    p = []
    for _ in range(600):
        # Two noisy readings of one underlying state of each patient: correlated, as two arms are.
        ill = random.normal(1.2, 1, 40) + random.normal(0, 0.7, (2, 40))
        healthy = random.normal(0, 1, 30) + random.normal(0, 0.7, (2, 30))
        found = delong.area_difference(ill, healthy)
        assert found is not None
        assert found.test is not None
        p.append(found.test.p)
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08
