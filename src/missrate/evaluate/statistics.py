"""One pass over a reference mask and a prediction: ``CaseStatistics``."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core import lesions
from missrate.core.case import CaseStatistics, Histogram, Lesions, Tree
from missrate.core.crop import Crop, union
from missrate.core.errors import DataError
from missrate.core.grid import Grid, require_same
from missrate.core.quantise import TOP
from missrate.core.surfaces import SurfaceDistances
from missrate.core.types import Points, Prediction
from missrate.evaluate import plain
from missrate.evaluate.distances import measure as measure_distances

logger = logging.getLogger(__name__)

MOST_ACTIVE = 0.05
"""The floor is raised until at most this share of a scan's voxels lies above it."""
FEW = 2_000_000
"""So many voxels may always lie above the floor: white noise of so many costs less than half a second, and a scan that
was cropped around a tumour is to more than ``MOST_ACTIVE`` tumour."""


def measure_case(
    reference: Crop,
    prediction: Prediction,
    *,
    case_id: str,
    patient_id: str,
    fold: int | None = None,
    floor: int = 600,
    declared: Sequence[int] = (30_000,),
    distances_at: Sequence[int] | None = None,
    surfels: bool = False,
) -> CaseStatistics:
    """Everything that metrics need of one case; slices are axial.

    ``reference`` is a boolean mask, ``prediction`` holds uint16 levels or probabilities (float), both XYZ on one grid.
    Candidates are known at every level from ``floor`` upwards (lowered where nothing of the prediction reaches it, see
    ``lowered_floor``; raised where the prediction is so noisy that more than ``MOST_ACTIVE`` of the scan would lie
    above it) and at each of the ``declared`` levels; surface distances at those of ``distances_at`` (default: the
    declared). An empty reference gives L = 0, an empty prediction a tree without rows. Raises GridError when the grids
    differ, DataError for a wrong type, a level above TOP or a probability outside [0, 1].
    """
    _require(reference, prediction.levels, case_id)
    box = union(reference.box, prediction.levels.box)
    within = _backend()(reference.within(box), prediction.levels.within(box))
    grid, total = reference.grid, int(np.prod(reference.grid.shape))
    beyond = total - within.inside.total - within.outside.total
    outside = _with_zeros(within.outside, beyond)
    highest = max(int(within.slice_peak.max()), int(within.lesion_peak.max(initial=0)))
    lowest = raised_floor(within.inside, within.outside, lowered_floor(floor, highest), total)
    trees = _trees(within, lowest, declared, prediction.kind)
    slices = (_padded(values, box[2], grid) for values in (within.slice_voxels, within.slice_inside, within.slice_peak))
    slice_voxels, slice_inside, slice_peak = slices
    wanted = declared if distances_at is None else distances_at
    return CaseStatistics(
        case_id=case_id,
        patient_id=patient_id,
        fold=fold,
        voxel_ml=grid.voxel_ml,
        diagonal_mm=diagonal_mm(grid),
        kind=prediction.kind,
        inside=within.inside,
        outside=outside,
        slice_voxels=slice_voxels,
        slice_peak_inside=slice_inside,
        slice_peak=slice_peak,
        lesions=_lesions(within, grid, (box[0].start, box[1].start, box[2].start)),
        lesion_peak=within.lesion_peak,
        trees=trees,
        distances=_distances(within, grid, wanted, kind=prediction.kind, surfels=surfels),
    )


def measure_points(
    reference: Crop, points: Points, *, case_id: str, patient_id: str, fold: int | None = None, floor: int = 600
) -> CaseStatistics:
    """As ``measure_case`` for candidates without voxels: each is a candidate of one voxel that merges with no other.

    A place outside of the scan is a false positive. ``floor``: candidates with a lower score do not exist, but for the
    peak of a lesion; where none reaches it, it is lowered (``lowered_floor``).
    """
    floor = lowered_floor(floor, int(points.level.max(initial=0)))
    every = _lesion_at(points.position_CX, points.space, reference, within := _voxels_of(reference))
    inside = np.flatnonzero(points.level >= floor)
    level = points.level[inside].astype(np.uint16)
    lesion = every[inside]
    nothing = CaseStatistics(
        case_id=case_id,
        patient_id=patient_id,
        fold=fold,
        voxel_ml=reference.grid.voxel_ml,
        diagonal_mm=diagonal_mm(reference.grid),
        kind="points",
        inside=within.inside,
        outside=_with_zeros(within.outside, int(np.prod(reference.grid.shape)) - reference.values_XYZ.size),
        slice_voxels=_padded(within.slice_voxels, reference.box[2], reference.grid),
        slice_peak_inside=np.zeros(reference.grid.shape[2], np.uint16),
        slice_peak=np.zeros(reference.grid.shape[2], np.uint16),
        lesions=_lesions(within, reference.grid, reference.start),
        lesion_peak=np.zeros(within.lesion_peak.size, np.uint16),
        trees=(_flat_tree(level, lesion, floor),),
        distances=(),
    )
    np.maximum.at(nothing.lesion_peak, every[every >= 0], points.level[every >= 0].astype(np.uint16))
    return nothing


def _voxels_of(reference: Crop) -> Any:
    """The pass over a reference where nothing is predicted."""
    return _backend()(reference.values_XYZ, np.zeros(reference.values_XYZ.shape, np.uint16))


def _flat_tree(level: NDArray[np.uint16], lesion: NDArray[np.int32], floor: int) -> Tree:
    rows = np.arange(level.size, dtype=np.int32)
    return Tree(
        lowest=floor,
        highest=TOP,
        level=level,
        until=np.zeros(level.size, np.uint16),
        first=rows,
        voxels=np.ones(level.size, np.int64),
        peak=level,
        point=lesion,
        overlap_row=rows[lesion >= 0],
        overlap_lesion=lesion[lesion >= 0],
        overlap_voxels=np.ones(int((lesion >= 0).sum()), np.int64),
    )


def _lesion_at(position_CX: NDArray[np.float64], space: str, reference: Crop, within: Any) -> NDArray[np.int32]:
    """The lesion in which each place lies, -1 for none, (C,). Raises DataError for mm on a grid without them."""
    if space == "mm":
        if reference.grid.affine is None:
            raise DataError("Candidates in mm must have a reference that knows millimetres. Got pixels only.")
        ones = np.ones((len(position_CX), 1))
        position_CX = (np.concatenate([position_CX, ones], axis=1) @ np.linalg.inv(reference.grid.matrix).T)[:, :3]
    index_CX = np.floor(position_CX - np.array(reference.start) + 0.5).astype(np.int64)
    shape = reference.values_XYZ.shape
    fits = ((index_CX >= 0) & (index_CX < shape)).all(axis=1)
    result = np.full(len(position_CX), -1, np.int32)
    flat, lesion = within.lesion_voxels()
    if flat.size:
        wanted = np.ravel_multi_index(tuple(index_CX[fits].T), shape)
        at = np.minimum(np.searchsorted(flat, wanted), flat.size - 1)
        result[fits] = np.where(flat[at] == wanted, lesion[at], -1)
    return result


def lowered_floor(floor: int, highest: int) -> int:
    """Return ``floor``, or where ``highest``, the highest level of a case, lies below it, the same share of that.

    A model whose probabilities are all small ranks as well as another one; and few voxels lie near its highest level.
    """
    return floor if highest >= floor else max(1, floor * highest // TOP)


def raised_floor(inside: Histogram, outside: Histogram, floor: int, total: int) -> int:
    """``floor``, or the lowest level from which on at most ``MOST_ACTIVE`` of ``total`` voxels (or ``FEW``) lie.

    The highest level that occurs always stays: a mask that fills the scan is one candidate, not none.
    """
    most = max(int(MOST_ACTIVE * total), FEW)
    levels = np.arange(floor, TOP + 1)
    active = inside.at_least(levels) + outside.at_least(levels)
    highest = max((int(h.levels[-1]) for h in (inside, outside) if h.levels.size), default=floor)
    return max(floor, min(int(levels[active <= most][0]) if (active <= most).any() else TOP, highest))


def nothing(grid: Grid) -> Prediction:
    """An empty prediction: all lesions are missed, and there is no false positive."""
    return Prediction(Crop(np.zeros((1, 1, 1), np.uint16), (0, 0, 0), grid), "mask")


def diagonal_mm(grid: Grid) -> float | None:
    """From the middle of the first voxel to that of the last; None where there are pixels only."""
    if grid.spacing_mm is None:
        return None
    return float(np.linalg.norm((np.array(grid.shape) - 1) * grid.spacing_mm))


def _backend() -> Any:
    """The compiled pass, or the plain one where numba is not installed."""
    if not plain.has_numba():
        logger.warning("numba is not installed: the plain evaluation runs instead, which can take minutes a scan.")
        return plain.Voxels
    from missrate.evaluate import compiled

    return compiled.Voxels


def _require(reference: Crop, prediction: Crop, case_id: str) -> None:
    require_same(reference.grid, prediction.grid, names=("reference", "prediction"))
    if reference.values_XYZ.dtype != np.bool_:
        raise DataError(f"The reference of case {case_id} must be boolean. Got {reference.values_XYZ.dtype}.")
    kind = prediction.values_XYZ.dtype
    if kind != np.uint16 and not np.issubdtype(kind, np.floating):
        raise DataError(f"The prediction of case {case_id} must be uint16 levels or probabilities. Got {kind}.")


def _with_zeros(outside: Histogram, beyond: int) -> Histogram:
    """Counts outside the reference, with the voxels beyond the box, which are all 0."""
    if beyond == 0:
        return outside
    if outside.levels.size and outside.levels[0] == 0:
        return Histogram(outside.levels, np.concatenate([[outside.counts[0] + beyond], outside.counts[1:]]))
    return Histogram(
        np.concatenate([[0], outside.levels]).astype(np.uint16), np.concatenate([[beyond], outside.counts])
    )


def _padded(values: NDArray[Any], span: slice, grid: Grid) -> NDArray[Any]:
    result = np.zeros(grid.shape[2], values.dtype)
    result[span] = values
    return result


def _lesions(within: Any, grid: Grid, start: tuple[int, int, int]) -> Lesions:
    flat, lesion = within.lesion_voxels()
    shape = within.reference_XYZ.shape if hasattr(within, "reference_XYZ") else within.shape
    return lesions.describe(flat, lesion, within.lesion_peak.size, shape=shape, start=start, grid=grid)


def _trees(within: Any, lowest: int, declared: Sequence[int], kind: str) -> tuple[Tree, ...]:
    """The candidates from ``lowest`` upwards and at each declared level below.

    A mask is the same at every threshold, so its one tree answers all of them.
    """
    tree: Tree = within.tree(lowest)
    if kind == "mask":
        return (replace(tree, lowest=1),)
    return (tree, *(within.tree(t, t) for t in sorted(set(declared)) if t < lowest))


def _distances(
    within: Any, grid: Grid, levels: Sequence[int], *, kind: str, surfels: bool
) -> tuple[SurfaceDistances, ...]:
    """Distances at each of ``levels``; those of a mask are measured once for all of them."""
    if grid.spacing_mm is None:
        return ()
    result: list[SurfaceDistances] = []
    for level in sorted(set(levels)):
        if kind == "mask" and result:
            result.append(replace(result[0], level=level))
            continue
        reference_XYZ, prediction_XYZ = within.masks(level)
        result.append(measure_distances(reference_XYZ, prediction_XYZ, grid.spacing_mm, level, surfels=surfels))
    return tuple(result)
