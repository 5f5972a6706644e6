"""Seeds of one arm: by hand, against the interval of one seed, and where the spread over seeds is known."""

import numpy as np
import pytest

from missrate.core.errors import InputError
from missrate.core.intervals import patient_weights, ratio_interval
from missrate.core.resampling import mcnemar
from missrate.core.seeds import SeedDifference, mcnemar_by_seed, seed_difference, seed_ratio


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
    # Each draw is one seed's ratio: 1/2 in the first however patients are weighed, 0 to 1/3 in the second.
    assert found.drawn is not None
    assert found.drawn.ratio_b.min() >= 0.0
    assert found.drawn.ratio_b.max() == pytest.approx(0.5)


def test_one_seed_is_the_ordinary_interval() -> None:
    random, weights = np.random.default_rng(0), patient_weights(30, 500, 3)
    below = random.integers(1, 9, size=30).astype(np.float64)
    above = np.floor(below * random.random(30))
    found = seed_ratio(above[None], below[None], weights, 5, arm="a", confidence=0.9)
    assert found.interval == ratio_interval(above, below, weights, confidence=0.9)
    assert found.spread is not None
    assert found.spread.sd is None


def test_the_interval_holds_the_spread_over_seeds() -> None:
    # All patients alike, so weighing them changes nothing: every draw is one of the seeds, .2 or .6, half of each. The
    # unseen patient weighs 1 in 21 on average, and at .95 of its weights less than 1 - .05 ** (1 / 20) = .139.
    found = seed_ratio(
        np.repeat([[2.0], [6.0]], 20, axis=1), np.full((2, 20), 10.0), patient_weights(20, 2000, 0), 1, arm="a"
    )
    assert found.estimate == pytest.approx(0.4)
    assert found.drawn is not None
    assert found.drawn.ratio_b.mean() == pytest.approx(0.4, abs=0.02)
    assert found.interval is not None
    # .025 of all draws are .05 of one seed's: .2 (1 - .139) and .6 + .4 * .139.
    assert (found.interval.low, found.interval.high) == pytest.approx((0.172, 0.656), abs=0.008)


def test_undefined_seeds_are_counted_and_never_drawn() -> None:
    weights = patient_weights(3, 40, 0)
    found = seed_ratio(np.array([[0.0, 0, 0], [1, 1, 1]]), np.array([[0.0, 0, 0], [2, 2, 2]]), weights, 0, arm="a")
    assert (found.per_seed, found.undefined, found.estimate) == ((None, 0.5), 1, 0.5)
    assert found.drawn is not None
    assert found.drawn.ratio_b == pytest.approx(np.full(40, 0.5))
    nothing = seed_ratio(np.zeros((2, 3)), np.zeros((2, 3)), weights, 0, arm="b")
    assert (nothing.per_seed, nothing.undefined) == ((None, None), 2)
    assert (nothing.estimate, nothing.spread, nothing.interval) == (None, None, None)
    assert nothing.drawn is None
    assert seed_difference(found, nothing, weights) == SeedDifference(None, None)


def test_one_contributing_patient_gives_no_interval() -> None:
    weights = patient_weights(3, 40, 0)
    one = seed_ratio(np.array([[1.0, 0, 0]]), np.array([[2.0, 0, 0]]), weights, 0, arm="a")
    assert one.estimate == 0.5
    assert one.interval is None
    assert seed_difference(one, one, weights).interval is None


def test_a_difference_pairs_patients_but_not_seeds() -> None:
    # Arm b misses .1 more than a in every patient, whatever the seed: patients pair up, and only the unseen one, on
    # whom they differ by .1 in the other direction, moves the lower limit: .1 - .2 (1 - .025 ** (1 / 50)).
    random, weights = np.random.default_rng(4), patient_weights(50, 4000, 0)
    missed = 0.9 * random.random((1, 50))
    a = seed_ratio(np.repeat(missed, 3, axis=0), np.ones((3, 50)), weights, 0, arm="a")
    b = seed_ratio(np.repeat(missed + 0.1, 2, axis=0), np.ones((2, 50)), weights, 0, arm="b")
    found = seed_difference(b, a, weights)
    assert found.difference == pytest.approx(0.1)
    assert found.interval is not None
    assert found.interval.high == pytest.approx(0.1)
    assert found.interval.low == pytest.approx(0.1 - 0.2 * (1 - 0.025 ** (1 / 50)), abs=0.002)
    # Seeds 0 and 1 in both arms and no difference between patients: drawn apart, they differ in half of the resamples.
    ends = np.repeat([[0.0], [1.0]], 50, axis=1)
    first, second = (seed_ratio(ends, np.ones((2, 50)), weights, 0, arm=name) for name in "ab")
    assert first.drawn is not None
    assert second.drawn is not None
    apart_B = np.round(first.drawn.ratio_b - second.drawn.ratio_b, 9)
    assert seed_difference(first, second, weights).difference == 0.0
    assert (apart_B == 0).mean() == pytest.approx(0.5, abs=0.08)
    assert (apart_B == 1).mean() == pytest.approx(0.25, abs=0.07)
    # One training applied in two ways: a seed that is drawn is drawn for both.
    same = seed_ratio(ends, np.ones((2, 50)), weights, 0, arm="a")
    assert same.drawn is not None
    assert not (first.drawn.ratio_b - same.drawn.ratio_b).any()


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
