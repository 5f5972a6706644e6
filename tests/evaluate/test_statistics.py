"""The one pass over voxels: a case drawn by hand, brute force, the plain pass as oracle, and refused input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from missrate.core.case import CaseStatistics, Histogram, Tree
from missrate.core.crop import Crop
from missrate.core.errors import DataError, GridError, InputError
from missrate.core.grid import Grid
from missrate.core.matching import outcome
from missrate.core.quantise import TOP, encode, level_of
from missrate.core.types import Matching, Points, Prediction
from missrate.evaluate import compiled, files, plain, statistics
from tests.drawn import TENTHS, drawn, measured

# Slice 0            slice 1            slice 2
# reference          reference          reference
#   ##..               #...               ....
#   ....               ...#               ....
# prediction         prediction         prediction
#   95..               2...               ..6.
#   ...3               ...3               ....
REFERENCE = drawn("##../....", "#.../...#", "..../....")
PREDICTION = drawn("95../...3", "2.../...3", "..6./....")


def by_hand() -> CaseStatistics:
    return measured(REFERENCE, PREDICTION, patient="p", fold=2, spacing_mm=(1.0, 2.0, 5.0))


def test_counts_inside_and_outside() -> None:
    case = by_hand()
    # Inside: .9, .5 (slice 0), .2 and .3 (slice 1). Outside: .3, .6 and 24 - 4 - 2 = 18 zeros.
    inside = dict(zip(case.inside.levels.tolist(), case.inside.counts.tolist(), strict=True))
    outside = dict(zip(case.outside.levels.tolist(), case.outside.counts.tolist(), strict=True))
    assert inside == {level_of(0.2): 1, level_of(0.3): 1, level_of(0.5): 1, level_of(0.9): 1}
    assert outside == {0: 18, level_of(0.3): 1, level_of(0.6): 1}
    assert case.inside.at_least([level_of(0.3), level_of(0.51), TOP + 1]).tolist() == [3, 1, 0]
    assert case.inside.total + case.outside.total == 24
    assert case.voxel_ml == pytest.approx(0.01)


def test_counts_at_many_levels_are_those_at_each() -> None:
    histogram = by_hand().inside
    levels = np.arange(TOP + 2)
    assert np.array_equal(histogram.at_least(levels), [histogram.at_least(int(level)) for level in levels])


def test_slices_lie_along_axis_2() -> None:
    case = by_hand()
    assert case.slice_voxels.tolist() == [2, 2, 0]
    assert case.slice_peak_inside.tolist() == [level_of(0.9), level_of(0.3), 0]
    assert case.slice_peak.tolist() == [level_of(0.9), level_of(0.3), level_of(0.6)]


def test_lesions_and_their_peaks() -> None:
    case = by_hand()
    # Two lesions: "##" with the "#" behind it, and the lone voxel at x = 1, y = 3, z = 1.
    order = np.argsort(-case.lesions.voxels)
    assert case.lesions.voxels[order].tolist() == [3, 1]
    assert case.lesion_peak[order].tolist() == [level_of(0.9), level_of(0.3)]
    assert case.lesions.centre_XYZ[order][1].tolist() == [1, 3, 1]


def test_candidates_level_by_level() -> None:
    tree = by_hand().trees[0]
    # >= .1 and .2: {.9 .5 .2}, {.3 .3} through slices 0 and 1 with the .6 of slice 2 at y = 2: its neighbour. So 2.
    # >= .3: {.9 .5}, {.3 .3 .6}. >= .4 and .5: {.9 .5}, {.6}. >= .6: {.9}, {.6}. >= .7 to .9: {.9}. 1: none.
    sizes = {k: sorted(tree.voxels[tree.standing(level_of(k / 10))].tolist(), reverse=True) for k in range(1, 11)}
    assert sizes == {
        1: [3, 3], 2: [3, 3], 3: [3, 2], 4: [2, 1], 5: [2, 1], 6: [1, 1], 7: [1], 8: [1], 9: [1], 10: []
    }  # fmt: skip
    assert sorted(tree.peak[tree.standing(level_of(0.3))].tolist()) == [level_of(0.6), level_of(0.9)]
    # Between two levels that occur nothing changes.
    assert tree.standing(level_of(0.3) + 1).tolist() == tree.standing(level_of(0.5)).tolist()


def test_overlaps_name_candidate_lesion_and_voxels() -> None:
    case = by_hand()
    tree = case.trees[0]
    rows = tree.standing(level_of(0.1))
    found = {
        (int(tree.peak[rows[c]]), int(case.lesion_peak[i])): int(n) for c, i, n in zip(*tree.pairs(rows), strict=True)
    }
    # The candidate that peaks at .9 shares 3 voxels with the first lesion, the other one voxel with the second.
    assert found == {(level_of(0.9), level_of(0.9)): 3, (level_of(0.6), level_of(0.3)): 1}


def test_an_empty_reference_and_an_empty_prediction() -> None:
    healthy = measured(np.zeros((2, 2, 2)), np.full((2, 2, 2), 0.5))
    assert healthy.healthy
    assert healthy.lesions.centre_XYZ.shape == (0, 3)
    assert healthy.trees[0].voxels.tolist() == [8]
    assert (healthy.trees[0].level.tolist(), healthy.trees[0].until.tolist()) == ([level_of(0.5)], [0])
    nothing = measured(np.ones((2, 2, 2)), np.zeros((2, 2, 2)))
    assert nothing.trees[0].level.size == nothing.trees[0].overlap_lesion.size == 0
    assert nothing.lesion_peak.tolist() == [0]


def test_below_the_floor_there_are_only_the_declared_thresholds() -> None:
    case = measured(drawn("2.4"), drawn("2.4"), floor=0.35, declared=(0.2, 0.5), spacing_mm=None)
    assert case.floor == level_of(0.35)
    assert case.voxel_ml is None and case.diagonal_mm is None and case.distances == ()
    assert case.tree_at(level_of(0.2)).voxels.tolist() == [1, 1]
    assert case.tree_at(level_of(0.5)) is case.trees[0]
    with pytest.raises(InputError, match=r"between the floor of case c, 0\.35, and 1"):
        case.tree_at(level_of(0.21))


def test_the_floor_rises_until_few_voxels_are_active_but_leaves_the_highest_level() -> None:
    def floor(millions: dict[int, float], total: float = 100.0) -> int:
        counts = {level: round(1_000_000 * each) for level, each in sorted(millions.items())}
        outside = Histogram(np.array(list(counts), np.uint16), np.array(list(counts.values())))
        nothing = Histogram.of(np.zeros(TOP + 1, np.int64))
        return statistics.raised_floor(nothing, outside, 600, round(1_000_000 * total))

    # 5 % of 100 million is 5 million.
    assert floor({0: 94.0, 700: 3.0, 900: 2.0, 5000: 1.0}) == 701
    assert floor({0: 95.0, 700: 3.0, 900: 2.0}) == 600
    assert floor({900: 100.0}) == 900, "a constant map is one candidate, not none"
    assert floor({TOP: 100.0}) == TOP
    assert floor({900: 0.09}, total=0.09) == 600, "a small scan is cheap"
    assert floor({0: 1.6, 900: 0.4, 50_000: 0.3}, total=2.3) == 600, "a scan that was cropped around a large tumour"


def test_a_mask_answers_at_every_threshold() -> None:
    case = measured(drawn("##.#"), drawn("#..#"), binary=True)
    assert case.kind == "mask" and not case.scored
    assert [case.tree_at(level).voxels.size for level in (1, 600, TOP)] == [2, 2, 2]


VOLUMES = st.tuples(
    arrays(bool, (3, 4, 3)), arrays(np.float64, (3, 4, 3), elements=st.sampled_from([0.0, 0.2, 0.25, 0.7, 1.0]))
)


@settings(max_examples=50)
@given(VOLUMES)
def test_turning_the_scan_changes_no_count(volume: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    reference, probability = volume
    case = measured(reference, probability)
    turned = measured(reference[::-1, ::-1].swapaxes(0, 1), probability[::-1, ::-1].swapaxes(0, 1))
    for name in ("slice_voxels", "slice_peak", "slice_peak_inside"):
        assert np.array_equal(getattr(case, name), getattr(turned, name))
    for part in ("levels", "counts"):
        assert np.array_equal(getattr(case.inside, part), getattr(turned.inside, part))
    assert sorted(case.lesion_peak.tolist()) == sorted(turned.lesion_peak.tolist())
    for part in ("level", "until", "voxels", "peak", "overlap_voxels"):
        assert sorted(getattr(case.trees[0], part).tolist()) == sorted(getattr(turned.trees[0], part).tolist())


@settings(max_examples=50)
@given(VOLUMES)
def test_counts_agree_with_masks(volume: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    reference, probability = volume
    case = measured(reference, probability)
    tree = case.trees[0]
    for k, level in enumerate(TENTHS):
        mask = probability >= (k + 1) / 10
        rows = tree.standing(int(level))
        assert tree.voxels[rows].sum() == mask.sum()
        assert tree.pairs(rows)[2].sum() == (mask & reference).sum()
        assert case.inside.at_least(int(level)) == (mask & reference).sum()
        assert (tree.peak[rows] >= level).all()


@settings(max_examples=60)
@given(VOLUMES, st.sampled_from(["C", "F"]), st.sampled_from(["C", "F"]), st.booleans())
def test_the_compiled_pass_agrees_with_the_plain_one(
    volume: tuple[NDArray[np.bool_], NDArray[np.float64]], order: str, other: str, as_levels: bool
) -> None:
    reference = np.asarray(volume[0], order=order)  # type: ignore[call-overload]
    values = np.asarray(encode(volume[1]) if as_levels else volume[1], order=other)  # type: ignore[call-overload]
    a, b = plain.Voxels(reference, values), compiled.Voxels(reference, values)
    for name in ("slice_voxels", "slice_inside", "slice_peak", "lesion_peak"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in ("inside", "outside"):
        assert np.array_equal(getattr(a, name).levels, getattr(b, name).levels)
        assert np.array_equal(getattr(a, name).counts, getattr(b, name).counts)
    for x, y in zip(a.lesion_voxels(), b.lesion_voxels(), strict=True):
        assert np.array_equal(x, y)
    for span in ((600,), (level_of(0.22),), (level_of(0.2), level_of(0.2))):
        assert as_sets(a.tree(*span)) == as_sets(b.tree(*span))
    for mine, other_mask in zip(a.masks(level_of(0.2)), b.masks(level_of(0.2)), strict=True):
        assert np.array_equal(mine, other_mask)


@settings(max_examples=30)
@given(VOLUMES)
def test_one_level_labelled_densely_is_the_same_tree(
    volume: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    voxels = compiled.Voxels(volume[0], np.where(volume[1] > 0.3, np.uint16(TOP), np.uint16(0)))
    with pytest.MonkeyPatch.context() as patch:
        sparse = voxels.tree(1)
        patch.setattr(compiled, "DENSE", 0)
        assert as_sets(voxels.tree(1)) == as_sets(sparse)


@settings(max_examples=30)
@given(VOLUMES)
def test_many_rows_find_their_lesions_as_few_do(volume: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    tree = measured(*volume).trees[0]
    rows = tree.standing(TENTHS[1])
    with pytest.MonkeyPatch.context() as patch:
        few = tree.pairs(rows), tree.overlapping(np.arange(tree.level.size))
        patch.setattr("missrate.core.case.MANY", -1)
        many = tree.pairs(rows), tree.overlapping(np.arange(tree.level.size))
    np.testing.assert_equal(many, few)


def as_sets(tree: Tree) -> list[tuple[Any, ...]]:
    """The rows in an order that does not depend on how the voxels were visited."""
    lesions = int(tree.overlap_lesion.max(initial=-1)) + 1
    rows = np.arange(tree.level.size)
    shared = [tree.shared(rows, lesion) for lesion in range(lesions)]
    columns = (tree.level, tree.until, rows - tree.first, tree.voxels, tree.peak, tree.point, *shared)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_a_crop_gives_the_same_statistics_as_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    reference, levels = np.zeros((9, 8, 7), bool), np.zeros((9, 8, 7), np.uint16)
    reference[2:5, 3:5, 1:4] = rng.random((3, 2, 3)) < 0.7
    levels[3:7, 2:6, 2:6] = rng.integers(0, TOP, (4, 4, 4))
    grid = Grid.of((9, 8, 7), np.diag([1.0, 2.0, 3.0, 1.0]))
    whole = Crop.whole(reference, grid), Crop.whole(levels, grid)
    cut = whole[0].trimmed(), whole[1].trimmed()
    assert cut[0].values_XYZ.size < reference.size / 10
    for name, (mask, map_) in {"whole": whole, "cut": cut}.items():
        case = statistics.measure_case(mask, Prediction(map_, "probability"), case_id="c", patient_id="p")
        files.save(tmp_path / name, case)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "cut").read_bytes()


def test_points_are_candidates_of_their_own() -> None:
    reference = Crop.whole(drawn("##./...").astype(bool), Grid.of((2, 3, 1), np.diag([1.0, 2.0, 3.0, 1.0])))
    # In mm: (0, 2) is voxel (0, 1); two candidates side by side do not merge; (40, 0) lies outside of the scan.
    places = np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 4.0, 0.0], [40.0, 0.0, 0.0]])
    scores = encode(np.array([0.9, 0.5, 0.7, 0.3]))
    case = statistics.measure_points(reference, Points(places, "mm", scores), case_id="c", patient_id="p")
    assert case.trees[0].point.tolist() == [0, 0, -1, -1]
    assert case.lesion_peak.tolist() == [level_of(0.9)]
    result = outcome(case, level_of(0.2), Matching("point"))
    assert (result.found.tolist(), result.false_positives, result.candidates) == ([True], 2, 4)
    voxel = Points(np.array([[0.0, 1.0, 0.0]]), "voxel", scores[:1])
    assert statistics.measure_points(reference, voxel, case_id="c", patient_id="p").trees[0].point.tolist() == [0]


def test_refused_input() -> None:
    grid = Grid.of((2, 1, 1), None)
    mask, levels = np.zeros((2, 1, 1), bool), np.zeros((2, 1, 1), np.uint16)

    def measure(reference: NDArray[Any], prediction: NDArray[Any], on: Grid = grid) -> None:
        levels = Prediction(Crop.whole(prediction, on), "probability")
        statistics.measure_case(Crop.whole(reference, grid), levels, case_id="c", patient_id="p")

    with pytest.raises(GridError, match="same shape"):
        measure(mask, np.zeros((1, 2, 1), np.uint16), Grid.of((1, 2, 1), None))
    with pytest.raises(DataError, match="must be boolean"):
        measure(mask.astype(np.uint8), levels)
    with pytest.raises(DataError, match="at most 60000"):
        measure(mask, levels + np.uint16(60_001))
    with pytest.raises(DataError, match="uint16 levels or probabilities"):
        measure(mask, levels.astype(np.int32))
    for wrong in (np.nan, -0.1, 1.001, np.inf):
        with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
            measure(mask, np.full((2, 1, 1), wrong, np.float32))
