"""Seeds of one arm: by hand, against the interval of one seed, and where the spread over seeds is known."""

import numpy as np
import pytest

from missrate.core.errors import InputError
from missrate.core.resampling import mcnemar, patient_weights, ratio_interval
from missrate.core.seeds import mcnemar_by_seed, seed_difference, seed_ratio


def test_the_estimate_is_the_mean_over_seeds() -> None:
    # Seeds miss 1 + 3 of 2 + 6 lesions and 0 + 2: 4/8 and 2/8; mean .375, sd .25 / sqrt 2.
    found = seed_ratio(
        np.array([[1.0, 3], [0, 2]]), np.array([[2.0, 6], [2, 6]]), patient_weights(2, 50, 0), 0, arm="a"
    )
    assert found.per_seed == (0.5, 0.25)
    assert found.estimate == 0.375
    assert found.spread is not None
    assert (found.spread.low, found.spread.high) == (0.25, 0.5)
    assert found.spread.sd == pytest.approx(0.25 / 2**0.5)
    assert found.undefined == 0
    # Each draw is one seed's ratio: patients (2, 0), (1, 1), (0, 2) give 1/2 or 0, 1/2 or 1/4, 1/2 or 1/3.
    assert set(np.round(found.draws_B, 9)) <= {0.5, 0.0, 0.25, round(1 / 3, 9)}


def test_one_seed_is_the_ordinary_interval() -> None:
    random, weights = np.random.default_rng(0), patient_weights(30, 500, 3)
    below = random.integers(1, 9, size=30).astype(np.float64)
    above = np.floor(below * random.random(30))
    found = seed_ratio(above[None], below[None], weights, 5, arm="a", confidence=0.9)
    assert found.interval == ratio_interval(above, below, weights, confidence=0.9)
    assert found.spread is not None
    assert found.spread.sd is None


def test_the_interval_holds_the_spread_over_seeds() -> None:
    # All patients alike, so resampling them changes nothing: every draw is one of the seeds, .2 or .6, half of each.
    found = seed_ratio(
        np.repeat([[2.0], [6.0]], 20, axis=1), np.full((2, 20), 10.0), patient_weights(20, 2000, 0), 1, arm="a"
    )
    assert found.estimate == pytest.approx(0.4)
    assert found.draws_B.mean() == pytest.approx(0.4, abs=0.02)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.2, 0.6))


def test_undefined_seeds_are_counted_and_never_drawn() -> None:
    weights = patient_weights(3, 40, 0)
    found = seed_ratio(np.array([[0.0, 0, 0], [1, 1, 1]]), np.array([[0.0, 0, 0], [2, 2, 2]]), weights, 0, arm="a")
    assert (found.per_seed, found.undefined, found.estimate) == ((None, 0.5), 1, 0.5)
    assert (found.draws_B == 0.5).all()
    nothing = seed_ratio(np.zeros((2, 3)), np.zeros((2, 3)), weights, 0, arm="b")
    assert (nothing.per_seed, nothing.undefined) == ((None, None), 2)
    assert (nothing.estimate, nothing.spread, nothing.interval) == (None, None, None)
    assert np.isnan(nothing.draws_B).all()
    assert seed_difference(found, nothing).difference is None
    assert seed_difference(found, nothing).interval is None


def test_one_contributing_patient_gives_no_interval() -> None:
    weights = patient_weights(3, 40, 0)
    one = seed_ratio(np.array([[1.0, 0, 0]]), np.array([[2.0, 0, 0]]), weights, 0, arm="a")
    assert one.estimate == 0.5
    assert one.interval is None
    assert seed_difference(one, one).interval is None


def test_a_difference_pairs_patients_but_not_seeds() -> None:
    # Arm b misses .1 more than a in every patient, whatever the seed: patients pair up, so no draw differs.
    random, weights = np.random.default_rng(4), patient_weights(50, 1000, 0)
    missed = random.random((1, 50))
    a = seed_ratio(np.repeat(missed, 3, axis=0), np.ones((3, 50)), weights, 0, arm="a")
    b = seed_ratio(np.repeat(missed + 0.1, 2, axis=0), np.ones((2, 50)), weights, 0, arm="b")
    assert seed_difference(b, a).difference == pytest.approx(0.1)
    assert seed_difference(b, a).draws_B == pytest.approx(np.full(1000, 0.1))
    # Seeds 0 and 1 in both arms and no difference between patients: drawn apart, they differ in half of the resamples.
    ends = np.repeat([[0.0], [1.0]], 50, axis=1)
    first, second = (seed_ratio(ends, np.ones((2, 50)), weights, 0, arm=name) for name in "ab")
    difference = seed_difference(first, second)
    assert difference.difference == 0.0
    assert (difference.draws_B == 0).mean() == pytest.approx(0.5, abs=0.08)
    assert (difference.draws_B == 1).mean() == pytest.approx(0.25, abs=0.07)
    # One training applied in two ways: a seed that is drawn is drawn for both.
    assert not seed_difference(first, seed_ratio(ends, np.ones((2, 50)), weights, 0, arm="a")).draws_B.any()


def test_mcnemar_stays_per_seed() -> None:
    a = np.array([[True, True, True, False], [False, False, False, False]])
    b = np.array([[False, False, True, False], [True, False, False, False]])
    assert mcnemar_by_seed(a, b) == [mcnemar(2, 0), mcnemar(0, 1)]


def test_shapes_that_do_not_fit_say_so() -> None:
    weights = patient_weights(3, 10, 0)
    with pytest.raises(InputError, match="at least one seed"):
        seed_ratio(np.zeros((0, 3)), np.zeros((0, 3)), weights, 0, arm="a")
    with pytest.raises(InputError, match="same seeds"):
        mcnemar_by_seed(np.zeros((2, 3), bool), np.zeros((1, 3), bool))
    some = seed_ratio(np.ones((1, 3)), np.ones((1, 3)), weights, 0, arm="a")
    with pytest.raises(InputError, match="same resamples"):
        seed_difference(some, seed_ratio(np.ones((1, 3)), np.ones((1, 3)), weights[:5], 0, arm="a"))
