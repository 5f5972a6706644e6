"""The plain evaluation, the oracle of others: drawings, closed forms, and the slow evaluation that shares no code."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from benchmarks import plain
from missrate.core.matching import Curve, curve
from missrate.core.quantise import TOP, encode, level_of
from tests.drawn import IOU, OVERLAP, TENTHS, drawn, measured

SHAPE = (5, 4, 3)
UNIT = (1.0, 1.0, 1.0)


def pair(reference: str, prediction: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    probability = np.vectorize(plain.edge, otypes=[np.float32])(drawn(prediction))
    return drawn(reference).astype(np.uint8), probability


@given(st.lists(st.floats(0, 1, width=32), min_size=1) | st.lists(st.integers(0, TOP).map(lambda k: k / TOP)))
def test_levels_are_those_of_the_stored_maps(values: list[float]) -> None:
    probability = np.array(values, np.float32)
    np.testing.assert_array_equal(plain.levels_of(probability), encode(probability))


@given(st.integers(1, TOP), st.floats(0, 1, width=32))
def test_an_edge_divides_floats_as_its_level_does(level: int, value: float) -> None:
    probability = np.array([value, level / TOP], np.float32)
    np.testing.assert_array_equal(probability >= plain.edge(level / TOP), encode(probability) >= level)


def test_counts_by_hand() -> None:
    # Reference: 3 voxels, of which .9 and .5 are predicted at .5; outside, .6 is and .4 and three zeros are not.
    counts = plain.counts(*pair("###./....", "951./6.4."), 0.5)
    assert counts == plain.Counts(true_positives=2, false_negatives=1, false_positives=1, true_negatives=4)


def test_curve_by_hand() -> None:
    whole = plain.curve(*pair("###./....", "951./6.4."))
    at = [0, level_of(0.1), level_of(0.5), level_of(0.6), level_of(0.9), TOP]
    assert whole.inside[at].tolist() == [3, 3, 2, 1, 1, 0]
    assert whole.outside[at].tolist() == [5, 2, 1, 1, 0, 0]
    np.testing.assert_allclose(whole.precision[at], [3 / 8, 3 / 5, 2 / 3, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(whole.miss_rate[at], [0, 0, 1 / 3, 2 / 3, 2 / 3, 1], atol=1e-15)


def test_one_candidate_over_two_lesions_finds_both_by_overlap_and_one_by_iou() -> None:
    # Candidate 7 voxels; lesions of 3 and 1 at its ends: IoU 3/7 and 1/7, both enough, but only one may be matched.
    matched = plain.matching(*pair("###...#...", "9999999..9"), 0.5)
    assert matched.found_any.tolist() == [True, True]
    assert matched.found_iou.tolist() == [True, False]
    assert (matched.false_positives_any, matched.false_positives_iou) == (1, 1)
    assert (matched.candidate_voxels.tolist(), matched.candidate_peak.tolist()) == ([7, 1], [level_of(0.9)] * 2)


@settings(max_examples=60)
@given(arrays(np.uint8, SHAPE, elements=st.integers(0, 1)), arrays(np.uint8, SHAPE, elements=st.integers(0, 10)))
def test_lesions_are_those_of_the_statistics(reference: NDArray[np.uint8], tenths: NDArray[np.uint8]) -> None:
    probability = (tenths / 10).astype(np.float32)
    plainly = plain.lesions_in_one_box(reference, probability, TENTHS)
    case = measured(reference, probability)
    islands = plain.lesions(reference, probability, TENTHS)
    for box, island in zip(plainly, islands, strict=True):
        assert box.found_any.tolist() == island.found_any.tolist()
        assert box.found_iou.sum() == island.found_iou.sum()
        assert box.false_positives_any == island.false_positives_any
        assert box.false_positives_iou == island.false_positives_iou
        assert sorted(zip(box.candidate_voxels, box.candidate_peak, strict=True)) == sorted(
            zip(island.candidate_voxels, island.candidate_peak, strict=True)
        )
    for rule, found, alarms in (
        (OVERLAP, [m.found_any for m in plainly], [m.false_positives_any for m in plainly]),
        (IOU, [m.found_iou for m in plainly], [m.false_positives_iou for m in plainly]),
    ):
        assert_same(curve(case, rule), found, alarms)
    tree = case.trees[0]
    for level, m in zip(TENTHS, plainly, strict=True):
        rows = tree.standing(int(level))
        assert sorted(zip(tree.voxels[rows], tree.peak[rows], strict=True)) == sorted(
            zip(m.candidate_voxels, m.candidate_peak, strict=True)
        )


def assert_same(theirs: Curve, found: list[NDArray[np.bool_]], alarms: list[int]) -> None:
    assert [int(f.sum()) for f in found] == theirs.found[TENTHS].tolist()
    assert alarms == theirs.false_positives[TENTHS].tolist()
