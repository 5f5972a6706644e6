"""The compiled pass beside the plain one on structured volumes: every field of the statistics, whatever the memory.

``test_statistics.py`` compares the two on tiny volumes; here lie blobs, plateaus, ridges that merge, axes one voxel
thick, edges of levels, every type, and arrays in C, Fortran and reversed order, whole and cropped.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from missrate.core.case import CaseStatistics, Tree
from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.quantise import TOP, encode, level_of
from missrate.core.types import Prediction
from missrate.evaluate import compiled, distances, plain, statistics
from tests.evaluate.test_statistics import as_sets

Values = NDArray[Any]
Mask = NDArray[np.bool_]
SHAPES = [(12, 11, 10), (1, 1, 60), (1, 40, 1), (50, 1, 1), (1, 12, 13), (14, 1, 9), (16, 15, 1), (1, 1, 1)]
STEPS = 12
"""So many levels: the plain pass labels at each."""


# --- volumes --------------------------------------------------------------------------------------------------------


def stepped(smooth: Values, steps: int = STEPS) -> Values:
    """The values spread over [0, 1] and rounded to few levels, so that plateaus come about."""
    low, high = smooth.min(), smooth.max()
    return np.asarray(np.round((smooth - low) / max(high - low, 1e-9) * steps) / steps)


def blobs(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Smooth noise above its middle: several hills of different heights."""
    smooth = stepped(ndimage.gaussian_filter(rng.standard_normal(shape), 1.3))
    return np.where(smooth > 0.5, smooth, 0.0)


def ridges(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Peaks of equal height joined by lower and lower ridges, so that candidates of equal size merge."""
    along = np.indices(shape).sum(axis=0)
    heights = 1.0 - (along % 4 != 0) * rng.choice([0.25, 0.5, 0.75], size=int(along.max()) + 1)[along]
    return np.asarray(np.where(rng.random(shape) < 0.8, heights, 0.0))


def plateaus(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Blocks of equal values, many of them equal to their neighbours'."""
    coarse = rng.choice([0.0, 0.0, 0.3, 0.5, 0.5, 1.0], size=[(n + 2) // 3 for n in shape])
    for axis in range(3):
        coarse = coarse.repeat(3, axis=axis)
    return coarse[tuple(slice(0, n) for n in shape)]


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Salt of few levels: many small candidates, and lesions that touch every border."""
    return np.asarray(rng.choice([0.0, 0.0, 0.0, 0.2, 0.7, 0.9], size=shape))


def edges(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Values on, just below and just above edges of levels, of which 0, .5 and 1 are three; minus zero; denormals."""
    on = [0.5, 1.0, level_of(0.3) / TOP, 7 / TOP, 600 / TOP, 0.7, 0.1, 0.9]
    beside = [np.nextafter(v, side) for v in (0.5, 1.0, 600 / TOP) for side in (0.0, 2.0) if (v, side) != (1.0, 2.0)]
    return np.asarray(rng.choice([0.0, -0.0, 5e-324, 1e-310, 1e-40, *on, *beside], size=shape))


def white(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """As of an untrained network: nearly every voxel has a level of its own, a third of them below every floor."""
    values = rng.integers(0, 60, shape) / 60
    return np.where(values < 1 / 3, 0.0, values)


def nothing(_: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return np.zeros(shape)


def everything(_: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return np.ones(shape)


MAPS: list[Callable[[np.random.Generator, tuple[int, ...]], Values]] = [
    blobs, ridges, plateaus, noise, white, edges, nothing, everything
]  # fmt: skip
REFERENCES = [blobs, plateaus, noise, nothing, everything]


def as_float(kind: type[np.floating]) -> Callable[[Values], Values]:
    def cast(values: Values) -> Values:
        # A denormal of float64 is 0 in the narrower types, and rounding never leaves [0, 1].
        return np.asarray(values.astype(kind))

    return cast


TYPES: dict[str, Callable[[Values], Values]] = {
    "uint16": encode,
    "float16": as_float(np.float16),
    "float32": as_float(np.float32),
    "float64": as_float(np.float64),
}
ORDERS: dict[str, Callable[[Values], Values]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "reversed": lambda values: np.ascontiguousarray(values[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "reversed Fortran": lambda values: np.asfortranarray(values[:, :, ::-1])[:, :, ::-1],
    "every other": lambda values: np.repeat(values, 2, axis=1)[:, ::2],
    "other axes": lambda values: np.ascontiguousarray(values.transpose(1, 2, 0)).transpose(2, 0, 1),
}


# --- the comparison -------------------------------------------------------------------------------------------------


def measure(voxels: type, reference: Crop, levels: Crop, **options: Any) -> CaseStatistics:
    wanted: dict[str, Any] = {"floor": 600, "declared": (level_of(0.1), level_of(0.5)), "surfels": True} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_backend", lambda: voxels)
        prediction = Prediction(levels, "probability")
        return statistics.measure_case(reference, prediction, case_id="c", patient_id="p", **wanted)


def require_equal(mine: Any, theirs: Any, where: str = "case") -> None:
    """Every field of the two, to the last bit; the rows of a tree in whatever order they came about."""
    assert type(mine) is type(theirs), where
    if isinstance(mine, Tree):
        assert (mine.lowest, mine.highest) == (theirs.lowest, theirs.highest), where
        assert as_sets(mine) == as_sets(theirs), where
        for each in (mine, theirs):
            # The orders that Tree promises: descendants stand together before their row, overlap rows ascend.
            assert (each.first <= np.arange(each.level.size)).all(), where
            assert (np.diff(each.overlap_row) >= 0).all(), where
        for field in fields(mine):
            a, b = getattr(mine, field.name), getattr(theirs, field.name)
            assert not isinstance(a, np.ndarray) or (a.dtype, a.shape) == (b.dtype, b.shape), f"{where}.{field.name}"
    elif is_dataclass(mine):
        for field in fields(mine):
            require_equal(getattr(mine, field.name), getattr(theirs, field.name), f"{where}.{field.name}")
    elif isinstance(mine, tuple):
        assert len(mine) == len(theirs), where
        for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            require_equal(a, b, f"{where}[{k}]")
    elif isinstance(mine, np.ndarray):
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"), where
    else:
        assert mine == theirs, where


def both_passes(reference: Crop, levels: Crop, **options: Any) -> CaseStatistics:
    """The statistics, which must be the same by the two passes."""
    result = measure(compiled.Voxels, reference, levels, **options)
    require_equal(result, measure(plain.Voxels, reference, levels, **options))
    return result


VOLUMES = st.tuples(
    st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.sampled_from(REFERENCES), st.sampled_from(MAPS)
)
"""What a volume is made from, so that a failing example prints as one line."""


def made(recipe: tuple[Any, ...]) -> tuple[Mask, Values]:
    """A reference and a prediction."""
    seed, shape, truth, map_ = recipe
    rng = np.random.default_rng(seed)
    return truth(rng, shape) > 0.55, map_(rng, shape)


@settings(max_examples=120)
@given(VOLUMES, st.sampled_from(list(TYPES)), st.sampled_from(list(ORDERS)), st.sampled_from(list(ORDERS)))
def test_whole_arrays(recipe: tuple[Any, ...], kind: str, order: str, other: str) -> None:
    reference, values = made(recipe)
    grid = Grid.of(reference.shape, np.diag([0.7, 1.5, 4.0, 1.0]))
    reference_XYZ, values_XYZ = ORDERS[order](reference), ORDERS[other](TYPES[kind](values))
    assert np.array_equal(reference_XYZ, reference) and np.array_equal(values_XYZ, TYPES[kind](values))
    before = values_XYZ.copy()
    case = both_passes(Crop.whole(reference_XYZ, grid), Crop.whole(values_XYZ, grid))
    assert np.array_equal(values_XYZ, before), "what is measured is not changed"
    # Beside the oracle a count that neither pass makes: of voxels at or above .5 by numpy.
    mask = TYPES[kind](values) >= (level_of(0.5) if kind == "uint16" else 0.5)
    half = int(case.inside.at_least(level_of(0.5)) + case.outside.at_least(level_of(0.5)))
    assert half == mask.sum()
    assert case.inside.total + case.outside.total == reference.size


@pytest.mark.parametrize("order", ["C", "Fortran"])
def test_one_voxel_joins_eight_candidates_that_do_not_touch_each_other(order: str) -> None:
    # The corners of a cube of 3 are two apart, and its middle touches all of them: .9, .8, ... .2, joined at .1.
    values = np.zeros((3, 3, 3))
    values[::2, ::2, ::2] = np.arange(9, 1, -1).reshape(2, 2, 2) / 10
    values[1, 1, 1] = 0.1
    grid = Grid.of(values.shape, None)
    case = both_passes(Crop.whole(values == 0.9, grid), Crop.whole(ORDERS[order](values), grid))
    tree = case.trees[0]
    assert [tree.standing(level_of(k / 10)).size for k in range(1, 10)] == [1, 8, 7, 6, 5, 4, 3, 2, 1]
    assert sorted(tree.voxels.tolist()) == [1] * 8 + [9]
    assert sorted(set(tree.until.tolist())) == [0, level_of(0.1)]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order", ["C", "Fortran"])
def test_planes_without_anything_divide_candidates(order: str, axis: int) -> None:
    # Three planes are held at a time: whatever lay in one of them before must be gone. Full planes at 1, 2, then 5 and
    # 9: 1 and 2 are one candidate, the others their own, in whichever direction memory runs.
    values = np.zeros((11, 11, 11))
    np.moveaxis(values, axis, 0)[[1, 2, 5, 9]] = [[[0.9]], [[0.8]], [[0.7]], [[0.6]]]
    grid = Grid.of(values.shape, None)
    case = both_passes(Crop.whole(values > 0.75, grid), Crop.whole(ORDERS[order](values), grid))
    assert sorted(case.trees[0].voxels[case.trees[0].until == 0].tolist()) == [121, 121, 242]
    assert case.lesions.voxels.tolist() == [242]


@pytest.mark.parametrize("order", ["C", "Fortran"])
def test_the_middle_of_one_among_equal_plateaus(order: str) -> None:
    # Single peaks of equal height and size merge at one level: the first along x, then y, then z says where the
    # candidate is, whichever axis is fastest in memory. The reference is so torn that another place shows.
    for seed in range(20):
        rng = np.random.default_rng(seed)
        peaks = np.zeros((9, 9, 9))
        peaks[::2, ::2, ::2] = rng.choice([0.0, 0.9], size=(5, 5, 5), p=[0.9, 0.1])
        values, reference = np.where(peaks > 0, peaks, 0.3), (peaks > 0) & (rng.random(peaks.shape) < 0.5)
        grid = Grid.of(peaks.shape, None)
        both_passes(Crop.whole(ORDERS[order](reference), grid), Crop.whole(ORDERS[order](values), grid))


@settings(max_examples=60)
@given(VOLUMES, st.sampled_from(list(TYPES)), st.tuples(*[st.integers(0, 4)] * 6))
def test_crops(recipe: tuple[Any, ...], kind: str, margins: tuple[int, ...]) -> None:
    reference, values = made(recipe)
    pad = [(margins[axis], margins[axis + 3]) for axis in range(3)]
    grid = Grid.of(tuple(n + sum(pad[axis]) for axis, n in enumerate(reference.shape)), np.diag([0.7, 1.5, 4.0, 1.0]))
    start = margins[0], margins[1], margins[2]
    cropped = Crop(reference, start, grid), Crop(TYPES[kind](values), start, grid)
    whole = [Crop.whole(np.pad(crop.values_XYZ, pad), grid) for crop in cropped]
    trimmed = [crop.trimmed() for crop in cropped]
    expected = both_passes(*whole)
    require_equal(both_passes(*cropped), expected)
    require_equal(both_passes(*trimmed), expected)
    # The mask in a small box and the map in a large one, and the other way round.
    require_equal(both_passes(trimmed[0], whole[1]), expected)
    require_equal(both_passes(whole[0], trimmed[1]), expected)


@settings(max_examples=40)
@given(VOLUMES, st.sampled_from([1, 600, level_of(0.3), TOP]), st.sampled_from([10, 100_000]))
def test_floors_and_declared_levels(recipe: tuple[Any, ...], floor: int, few: int) -> None:
    reference, values = made(recipe)
    grid = Grid.of(reference.shape, None)
    crops = Crop.whole(reference, grid), Crop.whole(values, grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "FEW", few)
        case = both_passes(*crops, floor=floor, declared=(1, level_of(0.2), level_of(0.5), TOP))
    assert case.floor >= floor or encode(values).max() < floor
    for level in (1, level_of(0.2), level_of(0.5), TOP):
        tree = case.tree_at(level)
        mask = encode(values) >= level
        assert tree.standing(level).size == ndimage.label(mask, np.ones((3, 3, 3)))[1]
        assert tree.voxels[tree.standing(level)].sum() == mask.sum()


@settings(max_examples=30)
@given(VOLUMES)
def test_a_mask_is_measured_once_for_all_levels(recipe: tuple[Any, ...]) -> None:
    reference, values = made(recipe)
    grid = Grid.of(reference.shape, np.diag([1.0, 1.0, 3.0, 1.0]))
    mask = Crop.whole(np.where(values > 0.3, np.uint16(TOP), np.uint16(0)), grid)
    levels, about = (600, level_of(0.2), TOP), {"case_id": "c", "patient_id": "p", "floor": 600}
    one, other = (
        statistics.measure_case(Crop.whole(reference, grid), Prediction(mask, kind), declared=levels, **about)  # type: ignore[arg-type]
        for kind in ("mask", "probability")
    )
    require_equal(one.distances, other.distances)
    for level in levels:
        assert as_sets(one.tree_at(level)) == as_sets(other.tree_at(level))


@settings(max_examples=30)
@given(VOLUMES, st.sampled_from(["C", "Fortran"]))
def test_one_level_labelled_densely(recipe: tuple[Any, ...], order: str) -> None:
    reference, values = made(recipe)
    grid = Grid.of(reference.shape, np.diag([1.0, 1.0, 3.0, 1.0]))
    mask = np.where(values > 0.3, np.uint16(TOP), np.uint16(0))
    crops = Crop.whole(reference, grid), Crop.whole(ORDERS[order](mask), grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "DENSE", 0)
        both_passes(*crops)


def test_blocks_that_are_skipped_and_blocks_across_slices() -> None:
    # 2,048 voxels are skipped together where all are 0: something just before and just after each such border, in
    # either order of memory, with slices that end within a block.
    shape = (19, 23, 29)
    for order in ("C", "F"):
        reference, values = np.zeros(shape, bool, order=order), np.zeros(shape, np.float32, order=order)
        flat_reference, flat = reference.ravel(order="K"), values.ravel(order="K")
        assert np.shares_memory(flat, values) and flat.size > 6 * 2048
        flat[[2047, 2048, 3 * 2048 - 1, 4 * 2048, flat.size - 1]] = [0.3, 0.4, 1.0, 0.5, 0.6]
        flat_reference[[0, 2048, 4 * 2048 - 1, 5 * 2048, flat.size - 1]] = True
        grid = Grid.of(shape, np.diag([1.0, 1.0, 3.0, 1.0]))
        case = both_passes(Crop.whole(reference, grid), Crop.whole(values, grid))
        assert case.inside.total == 5
        assert sorted(case.slice_peak[case.slice_peak > 0].tolist())[-1] == TOP


@pytest.mark.parametrize("kind", [">f2", ">f4", ">f8", np.longdouble])
def test_floats_in_another_order_of_bytes_or_of_another_size(kind: Any) -> None:
    rng = np.random.default_rng(5)
    reference, values = blobs(rng, SHAPES[0]) > 0.7, blobs(rng, SHAPES[0])
    grid = Grid.of(reference.shape, None)
    swapped = Crop.whole(values.astype(kind), grid)
    one_of_three = {2: np.float16, 4: np.float32}.get(np.dtype(kind).itemsize, np.float64)
    native = Crop.whole(values.astype(kind).astype(one_of_three), grid)
    require_equal(both_passes(Crop.whole(reference, grid), swapped), both_passes(Crop.whole(reference, grid), native))


def test_without_numba_the_plain_pass_gives_the_same_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, grid = np.random.default_rng(0), Grid.of((12, 10, 8), np.diag([1.0, 1.0, 3.0, 1.0]))
    reference, probability = Crop.whole(rng.random(grid.shape) < 0.1, grid), Crop.whole(rng.random(grid.shape), grid)

    def measure() -> CaseStatistics:
        return statistics.measure_case(
            reference, Prediction(probability, "probability"), case_id="c", patient_id="p", declared=[level_of(0.9)]
        )

    fast = measure()
    for module in (plain, distances):
        monkeypatch.setattr(module, "has_numba", lambda: False)
    assert statistics._backend() is plain.Voxels
    slow = measure()
    assert as_sets(fast.trees[0]) == as_sets(slow.trees[0])
    for one, other in zip(fast.distances[0].voxel, slow.distances[0].voxel, strict=True):
        assert np.array_equal(one.distance_mm, other.distance_mm)
        assert np.array_equal(one.weight, other.weight)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_both_passes_know_every_threshold_of_four_decimals(kind: str) -> None:
    values = TYPES[kind](np.arange(10_000).reshape(100, 100, 1) / 10_000)
    grid = Grid.of(values.shape, None)
    reference = Crop.whole(np.zeros(values.shape, bool), grid)
    case = both_passes(reference, Crop.whole(values, grid), floor=6, declared=(level_of(0.7), level_of(0.9)))
    for k in range(1, 10_000):
        assert case.outside.at_least(6 * k) == np.count_nonzero(values >= values.dtype.type(k / 10_000))
