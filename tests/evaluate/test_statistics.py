"""The one pass over voxels: a case drawn by hand, brute force, the file, and refused input."""

import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from missrate.core.errors import DataError, GridError, InputError, StoreError
from missrate.core.grid import Grid
from missrate.core.quantise import TOP, encode, level_of
from missrate.core.types import CaseStatistics, Lesions
from missrate.evaluate import statistics
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


def equal(a: CaseStatistics, b: CaseStatistics) -> bool:
    def same(x: object, y: object) -> bool:
        if isinstance(x, Lesions):
            return all(same(getattr(x, part.name), getattr(y, part.name)) for part in fields(Lesions))
        if isinstance(x, np.ndarray):
            assert isinstance(y, np.ndarray)
            return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        return x == y

    return all(same(getattr(a, part.name), getattr(b, part.name)) for part in fields(CaseStatistics))


def test_counts_inside_and_outside() -> None:
    case = by_hand()
    # Inside: .9, .5 (slice 0), .2 and .3 (slice 1). Outside: .3, .6 and 24 - 4 - 2 = 18 zeros.
    inside = {int(level): int(case.inside[level]) for level in np.flatnonzero(case.inside)}
    outside = {int(level): int(case.outside[level]) for level in np.flatnonzero(case.outside)}
    assert inside == {level_of(0.2): 1, level_of(0.3): 1, level_of(0.5): 1, level_of(0.9): 1}
    assert outside == {0: 18, level_of(0.3): 1, level_of(0.6): 1}
    assert case.inside.shape == case.outside.shape == (TOP + 1,)
    assert case.voxel_ml == pytest.approx(0.01)


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
    case = by_hand()
    # >= .1 and .2: {.9 .5 .2}, {.3 .3} through slices 0 and 1 with the .6 of slice 2 at y = 2: its neighbour. So 2.
    # >= .3: {.9 .5}, {.3 .3 .6}. >= .4 and .5: {.9 .5}, {.6}. >= .6: {.9}, {.6}. >= .7 to .9: {.9}. 1: none.
    sizes = {
        k + 1: sorted(case.candidate_voxels[case.candidate_level == k].tolist(), reverse=True)
        for k in range(TENTHS.size)
    }
    assert sizes == {
        1: [3, 3], 2: [3, 3], 3: [3, 2], 4: [2, 1], 5: [2, 1], 6: [1, 1], 7: [1], 8: [1], 9: [1], 10: []
    }  # fmt: skip
    at_third = case.candidate_level == 2
    assert sorted(case.candidate_peak[at_third].tolist()) == [level_of(0.6), level_of(0.9)]


def test_overlaps_name_candidate_lesion_and_voxels() -> None:
    case = by_hand()
    at_first = case.candidate_level[case.overlap_candidate] == 0
    rows = {
        (int(case.candidate_peak[c]), int(case.lesion_peak[i])): int(n)
        for c, i, n in zip(
            case.overlap_candidate[at_first], case.overlap_lesion[at_first], case.overlap_voxels[at_first], strict=True
        )
    }
    # The candidate that peaks at .9 shares 3 voxels with the first lesion, the other one voxel with the second.
    assert rows == {(level_of(0.9), level_of(0.9)): 3, (level_of(0.6), level_of(0.3)): 1}


def test_an_empty_reference_and_an_empty_prediction() -> None:
    healthy = measured(np.zeros((2, 2, 2)), np.full((2, 2, 2), 0.5))
    assert healthy.healthy
    assert healthy.lesions.centre_XYZ.shape == (0, 3)
    assert healthy.candidate_voxels.tolist() == [8] * 5
    nothing = measured(np.ones((2, 2, 2)), np.zeros((2, 2, 2)))
    assert nothing.candidate_level.size == nothing.overlap_lesion.size == 0
    assert nothing.lesion_peak.tolist() == [0]


def test_levels_below_the_floor_have_no_candidates() -> None:
    grid = Grid.of((1, 1, 1), None)
    case = statistics.measure_case(
        np.ones((1, 1, 1), bool), encode(np.ones((1, 1, 1))), grid,
        case_id="c", patient_id="p", fold=None, candidate_levels=TENTHS, floor_level=level_of(0.35),
    )  # fmt: skip
    assert case.candidate_levels.tolist() == TENTHS[3:].tolist()
    assert case.voxel_ml is None


def test_default_levels_are_hundredths_and_the_declared() -> None:
    levels = statistics.default_candidate_levels([0.5, 0.333])
    assert levels.size == 101
    assert (np.diff(levels.astype(int)) > 0).all()
    assert {level_of(0.01), level_of(0.333), level_of(0.5), TOP} <= set(levels.tolist())


VOLUMES = st.tuples(
    arrays(bool, (3, 4, 3)), arrays(np.float64, (3, 4, 3), elements=st.sampled_from([0.0, 0.2, 0.25, 0.7, 1.0]))
)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(VOLUMES)
def test_turning_the_scan_changes_no_count(volume: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    reference, probability = volume
    case = measured(reference, probability)
    turned = measured(reference[::-1, ::-1].swapaxes(0, 1), probability[::-1, ::-1].swapaxes(0, 1))
    for name in ("inside", "outside", "slice_voxels", "slice_peak", "slice_peak_inside", "candidate_level"):
        assert np.array_equal(getattr(case, name), getattr(turned, name))
    assert sorted(case.lesion_peak.tolist()) == sorted(turned.lesion_peak.tolist())
    assert sorted(case.overlap_voxels.tolist()) == sorted(turned.overlap_voxels.tolist())


@settings(derandomize=True, max_examples=50, deadline=None)
@given(VOLUMES)
def test_counts_agree_with_masks(volume: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    reference, probability = volume
    case = measured(reference, probability)
    for k, level in enumerate(TENTHS):
        mask = probability >= (k + 1) / 10
        here = case.candidate_level == k
        assert case.candidate_voxels[here].sum() == mask.sum()
        assert case.overlap_voxels[here[case.overlap_candidate]].sum() == (mask & reference).sum()
        assert case.inside[level:].sum() == (mask & reference).sum()
        assert (case.candidate_peak[here] >= level).all()


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    for name, case in {
        "drawn": by_hand(),
        "pixels": measured(REFERENCE, PREDICTION, spacing_mm=None, binary=True),
        "healthy": measured(np.zeros((2, 2, 2)), np.zeros((2, 2, 2))),
        "full": measured(np.ones((2, 2, 2)), np.ones((2, 2, 2))),
    }.items():
        statistics.save(tmp_path / f"{name}.npz", case)
        assert equal(statistics.load(tmp_path / f"{name}.npz"), case)


def test_equal_statistics_give_equal_bytes_without_a_clock(tmp_path: Path) -> None:
    statistics.save(tmp_path / "a.npz", by_hand())
    statistics.save(tmp_path / "b.npz", by_hand())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_foreign_file_is_an_error_and_pickle_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(StoreError, match="readable statistics file"):
        statistics.load(path)
    path.write_bytes(b"no zip")
    with pytest.raises(StoreError, match="readable statistics file"):
        statistics.load(path)
    np.savez(path, plain=np.array({"schema": statistics.SCHEMA}, dtype=object))
    with pytest.raises(StoreError, match="readable statistics file"):
        statistics.load(path)
    np.savez(path, plain=np.array('{"schema": "missrate/statistics/0"}'))
    with pytest.raises(StoreError, match="must have schema missrate/statistics/1"):
        statistics.load(path)
    statistics.save(path, by_hand())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="readable statistics file"):
        statistics.load(path)


def test_refused_input() -> None:
    grid = Grid.of((2, 1, 1), None)
    good = {"case_id": "c", "patient_id": "p", "fold": None, "floor_level": 1}
    mask, levels = np.zeros((2, 1, 1), bool), np.zeros((2, 1, 1), np.uint16)

    def measure(reference: NDArray[Any], prediction: NDArray[np.uint16], at: NDArray[np.uint16] = TENTHS) -> None:
        statistics.measure_case(reference, prediction, grid, candidate_levels=at, **good)  # type: ignore[arg-type]

    with pytest.raises(GridError, match="prediction of case c must have shape"):
        measure(mask, np.zeros((1, 2, 1), np.uint16))
    with pytest.raises(DataError, match="boolean reference"):
        measure(mask.astype(np.uint8), levels)
    with pytest.raises(DataError, match="at most 60000"):
        measure(mask, levels + np.uint16(60_001))
    for wrong in ([2, 1], [0, 1], [1, 1], [TOP + 1]):
        with pytest.raises(InputError, match="must ascend"):
            measure(mask, levels, np.array(wrong, np.uint16))


def test_the_fields_of_the_type_are_all_stored(tmp_path: Path) -> None:
    # A field added to CaseStatistics must not be lost on the way: changing any array changes the file.
    case = by_hand()
    statistics.save(tmp_path / "a.npz", case)
    for field in fields(CaseStatistics):
        value = getattr(case, field.name)
        if isinstance(value, np.ndarray):
            changed: dict[str, Any] = {field.name: np.roll(value, 1) + 1}
            statistics.save(tmp_path / "b.npz", replace(case, **changed))
            assert (tmp_path / "a.npz").read_bytes() != (tmp_path / "b.npz").read_bytes(), field.name
