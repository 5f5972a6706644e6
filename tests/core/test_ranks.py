"""Ranks in resamples: by hand, invariances, and a race that nobody wins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from missrate.core.errors import InputError
from missrate.core.ranks import Rank, inseparable, rank_stability
from missrate.core.resampling import holm


def test_three_arms_by_hand() -> None:
    # Miss rates; lower is better. Ranks of the four resamples: 123, 213, 113 (a tie for the first place), 132.
    values = np.array([[0.1, 0.2, 0.3], [0.2, 0.1, 0.3], [0.1, 0.1, 0.3], [0.1, 0.3, 0.2]])
    found = rank_stability(values, np.array([0.1, 0.2, 0.3]), "lower")
    # First: 1 + 0 + 1/2 + 1 of 4 and 0 + 1 + 1/2 + 0 of 4.
    assert found.ranks == (Rank(1, (1, 2), 0.625), Rank(2, (1, 3), 0.375), Rank(3, (2, 3), 0.0))
    assert (found.top, found.top_stays, found.undefined) == ((0,), 0.625, 0)
    # The same numbers as Dice: the order turns round.
    turned = rank_stability(values, np.array([0.1, 0.2, 0.3]), "higher")
    assert (turned.top, turned.top_stays) == ((2,), 0.75)


def test_ties_at_the_point_share_the_best_place() -> None:
    found = rank_stability(np.array([[0.5, 0.5, 0.6], [0.4, 0.5, 0.3]]), np.array([0.1 + 0.2, 0.3, 0.4]), "lower")
    assert [each.rank for each in found.ranks if each is not None] == [1, 1, 3]
    assert found.top == (0, 1)
    assert found.top_stays == 0.5


def test_undefined_arms_are_not_ranked_and_undefined_resamples_are_counted() -> None:
    nan = np.nan
    values = np.array([[0.1, nan, 0.2], [nan, 0.1, 0.2], [0.3, 0.1, 0.2]])
    found = rank_stability(values, np.array([0.1, nan, 0.2]), "lower")
    assert found.ranks == (Rank(1, (1, 2), 0.5), None, Rank(2, (1, 2), 0.5))
    assert found.undefined == 1
    # No resample left; no arm at all.
    none = rank_stability(np.full((3, 2), nan), np.array([0.1, 0.2]), "lower")
    assert none.ranks == (Rank(1, None, None), Rank(2, None, None))
    assert (none.top_stays, none.undefined) == (None, 3)
    empty = rank_stability(np.full((3, 2), nan), np.full(2, nan), "lower")
    assert (empty.ranks, empty.top, empty.top_stays, empty.undefined) == ((None, None), (), None, 0)


def test_wrong_requests_say_so() -> None:
    with pytest.raises(InputError, match="lower or higher"):
        rank_stability(np.ones((2, 2)), np.ones(2), "best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(B, A\)"):
        rank_stability(np.ones((2, 2)), np.ones(3), "lower")


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=2, max_size=8), st.permutations(range(4)))
def test_shares_add_up_and_the_order_of_arms_does_not_matter(rows: list[list[int]], order: list[int]) -> None:
    values = np.array(rows, np.float64)
    found = rank_stability(values[1:], values[0], "higher")
    ranks = [each for each in found.ranks if each is not None]
    assert sum(each.first or 0.0 for each in ranks) == pytest.approx(1.0)
    assert found.top_stays == pytest.approx(sum(ranks[arm].first or 0.0 for arm in found.top))
    moved = rank_stability(values[1:, order], values[0, order], "higher")
    assert moved.ranks == tuple(found.ranks[arm] for arm in order)


def test_equal_arms_share_the_first_place_evenly() -> None:
    # Ten arms that differ by noise: each is first in 1/10 of the resamples, and every rank is possible for all.
    values = np.random.default_rng(0).random((4000, 10))
    found = rank_stability(values, np.arange(10.0), "lower")
    for each in found.ranks:
        assert each is not None
        assert each.first == pytest.approx(0.1, abs=0.025)
        assert each.interval == (1, 10)


def test_arms_that_no_test_tells_apart() -> None:
    # Holm: .01 * 3, .02 * 2, .9 -> .03, .04, .9; at 5 % one is inseparable, and so is the one without a test.
    assert inseparable([*holm([0.01, 0.02, 0.9]), None]) == 2
    assert inseparable([0.05]) == 0
    assert inseparable([]) == 0
