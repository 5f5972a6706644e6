"""The plain evaluation, the oracle of others: drawings, closed forms, and the slow evaluation that shares no code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from benchmarks import plain, volumes
from missrate.core.matching import curve
from missrate.core.quantise import TOP, encode, level_of
from missrate.core.types import Matching
from tests.drawn import IOU, OVERLAP, TENTHS, drawn, measured

SHAPE = (5, 4, 3)
UNIT = (1.0, 1.0, 1.0)


def pair(reference: str, prediction: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    # Never below the drawn value: .9 as float32 is, and would be the level below that of .9.
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
        assert_same(case_curve := curve(case, rule), found, alarms, rule)
        assert case_curve.candidates.tolist() == [m.candidate_voxels.size for m in plainly]
    assert case.candidate_voxels.tolist() == [int(v) for m in plainly for v in m.candidate_voxels]
    assert case.candidate_peak.tolist() == [int(p) for m in plainly for p in m.candidate_peak]


def assert_same(theirs: object, found: list[NDArray[np.bool_]], alarms: list[int], rule: Matching) -> None:
    levels = range(len(TENTHS))
    # Which of two lesions is matched may be a tie of equal sums of IoU: their number may not differ.
    if rule.rule == "overlap":
        assert [f.tolist() for f in found] == [theirs.found[k].tolist() for k in levels]  # type: ignore[attr-defined]
    assert [int(f.sum()) for f in found] == theirs.found.sum(axis=1).tolist()  # type: ignore[attr-defined]
    assert alarms == theirs.false_positives.tolist()  # type: ignore[attr-defined]


def test_everything_reads_the_counts_from_the_curve() -> None:
    reference, probability = pair("##../#...", "95.6/3...")
    whole = plain.everything(reference, probability, UNIT, TENTHS)
    assert whole.counts == plain.counts(reference, probability, 0.5)
    assert whole.slice_voxels.tolist() == [3]
    assert (whole.slice_peak.tolist(), whole.slice_peak_inside.tolist()) == ([plain.edge(0.9)], [plain.edge(0.9)])


def test_a_grown_plate() -> None:
    # 10 x 10 voxels against three such plates 2.5 mm apart. The prediction's border is 100 + 36 + 100 voxels (the
    # middle plate's inner 8 x 8 are none), at 0, 2.5 and 5 mm; 42 % lie at 5 mm, so HD95 is 5. Within 2 mm: the
    # reference's 100 and the prediction's 100, of 100 + 236.
    reference, probability = np.zeros((12, 12, 6), np.uint8), np.zeros((12, 12, 6), np.float32)
    reference[1:11, 1:11, 1], probability[1:11, 1:11, 1:4] = 1, 0.5
    surfaces = plain.surfaces(reference, probability, (1.0, 1.0, 2.5), 0.5)
    assert surfaces.hd95_mm == pytest.approx(5.0)
    assert surfaces.nsd == pytest.approx(200 / 336)


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [("#...", "....", (None, 0.0)), ("....", "...9", (None, 0.0)), ("....", "....", (None, None))],
)
def test_empty_masks_have_no_distance(
    reference: str, prediction: str, expected: tuple[float | None, float | None]
) -> None:
    surfaces = plain.surfaces(*pair(reference, prediction), UNIT, 0.5)
    assert (surfaces.hd95_mm, surfaces.nsd) == expected


def test_equal_patients_have_intervals_of_no_width() -> None:
    inside = np.tile([4.0, 2.0, 0.0], (9, 1))
    outside = np.tile([4.0, 0.0, 0.0], (9, 1))
    low, high = np.moveaxis(plain.bootstrap(inside, outside, np.full(9, 4.0), 50), 1, 0)
    np.testing.assert_allclose(low, [[0.5, 1.0, np.nan], [0.0, 0.5, 1.0]])
    np.testing.assert_array_equal(low, high)


def test_resamples_without_a_lesion_are_left_out() -> None:
    # Two patients, one of them healthy: a quarter of the resamples holds no lesion, all others miss all of it.
    intervals = plain.bootstrap(np.zeros((2, 1)), np.zeros((2, 1)), np.array([5.0, 0.0]), 200)
    assert intervals[1].ravel().tolist() == [1.0, 1.0]
    assert np.isnan(intervals[0]).all()


def test_volumes_are_as_described() -> None:
    size = volumes.SIZES["256x256x64"]
    clean, noisy = (volumes.make(size, kind) for kind in volumes.KINDS)
    p = clean.probability_XYZ
    assert np.array_equal(p, volumes.make(size, "clean").probability_XYZ)
    assert np.mean(p >= volumes.FLOOR) == pytest.approx(0.014, abs=0.001)
    assert not p[p < volumes.FLOOR].any()
    assert np.mean(noisy.probability_XYZ > 0.0) > 0.999
    assert np.array_equal(noisy.probability_XYZ[p > volumes.NOISE], p[p > volumes.NOISE])
    found = plain.matching(clean.reference_XYZ, p, 0.5)
    assert found.found_any.size == 12
    assert 0 < found.found_any.sum() < 12
    assert found.false_positives_any > 0
