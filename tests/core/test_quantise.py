"""Levels: every threshold with four decimals is an edge, and the stored map answers as the unquantised one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from missrate.core.errors import DataError, InputError
from missrate.core.quantise import TOP, decode, encode, level_of, threshold_of


@settings(derandomize=True, max_examples=300)
@given(st.floats(0, 1), st.integers(1, TOP))
def test_stored_map_equals_the_unquantised_one_at_every_edge(probability: float, level: int) -> None:
    stored = encode(np.array([probability]))[0]
    assert (stored >= level) == (probability >= threshold_of(level))


def test_edges_themselves_are_not_pushed_down_by_rounding() -> None:
    edges = np.arange(TOP + 1) / TOP
    assert (encode(edges) == np.arange(TOP + 1)).all()


def test_zero_half_and_one_are_edges() -> None:
    assert [level_of(t) for t in (1 / TOP, 0.5, 1.0)] == [1, 30_000, 60_000]
    assert (encode(np.array([0.0, 0.5, 1.0])) == [0, 30_000, 60_000]).all()


def test_four_decimals_are_exact() -> None:
    for k in range(1, 10_001):
        assert level_of(k / 10_000) == 6 * k


def test_a_threshold_between_edges_goes_up() -> None:
    # .00001 lies between level 0 (0) and level 1 (1 / 60000 = .0000167)
    assert level_of(0.00001) == 1


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.longdouble, np.dtype(">f4")])
def test_a_value_written_as_a_threshold_belongs_to_it(kind: Any) -> None:
    thresholds = np.arange(1, 10_000) / 10_000
    assert (encode(thresholds.astype(kind)) == 6 * np.arange(1, 10_000)).all()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_levels_answer_as_numpy_does_in_the_type_of_the_values(kind: type[np.floating[Any]]) -> None:
    """On every value of a few neighbourhoods, at the thresholds around it: ``p >= t`` with t in the type of p."""
    for middle in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9):
        values = np.sort([kind(middle), *(np.nextafter(kind(middle), kind(side)) for side in (0, 1))])
        levels = encode(np.array(values, kind))
        near = range(int(levels[0]) - 2, int(levels[-1]) + 3)
        for level in near:
            assert ((levels >= level) == (values >= kind(threshold_of(level)))).all(), (middle, level)


def test_the_value_below_a_threshold_stays_below_it() -> None:
    # .1 lies between two float32; the nearest one lies above it, and the next one below is no .1.
    below = np.nextafter(np.float32(0.1), np.float32(0))
    assert encode(np.array([below, np.float32(0.1)])).tolist() == [level_of(0.1) - 1, level_of(0.1)]


def test_a_level_that_was_written_as_a_probability_comes_back() -> None:
    levels = np.arange(TOP + 1).astype(np.uint16)
    assert (encode(decode(levels)) == levels).all()


@pytest.mark.parametrize("bad", [[1.2], [-0.1], [np.nan], [0.5, np.inf]])
def test_outside_the_unit_interval_is_refused(bad: list[float]) -> None:
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
        encode(np.array(bad))


def test_zero_is_no_threshold() -> None:
    with pytest.raises(InputError, match="must lie in"):
        level_of(0.0)


def test_empty_and_decode() -> None:
    assert encode(np.zeros((0, 3))).shape == (0, 3)
    assert decode(np.array([0, 30_000, 60_000], np.uint16)).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_rounding_carried_beyond_the_ends_is_the_end(kind: Any) -> None:
    # Five folds of a softmax, averaged in float32, end in 1.0000001; an interpolated 0 may end in -1e-8.
    values = np.array([-1e-8, 0.0, 1.0, 1.0 + 2.0**-22], kind)
    assert encode(values).tolist() == [0, 0, TOP, TOP]
    with pytest.raises(DataError, match="must lie in"):
        encode(np.array([0.5, 1.0 + 3e-6], kind))
