"""Predictions that other software made: a mask or a probability map to levels."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.crop import Crop, bounding_box
from missrate.core.errors import DataError, GridError
from missrate.core.grid import Grid, as_ras, index_as_ras, oriented, require_same, to_ras
from missrate.core.quantise import BEYOND, TOP, encode
from missrate.core.types import Points, Prediction

Levels = NDArray[np.uint16]
SCALES = (100, 255, 1000, 10_000, 65_535)
"""By what probabilities are multiplied where they are kept as whole numbers."""
MANY, HANDFUL = 32, 4
"""Of more numbers that nobody has declared a map of labels has none, and of this many none that ends at a scale."""
FEW_NUMBERS = 2**16
"""Numbers that lie no farther apart are looked up in a table, which is quicker than sorting all voxels."""


def prediction_of(values_XYZ: NDArray[Any], grid: Grid, lesion_labels: tuple[int, ...], *, name: str) -> Prediction:
    """Return a map on the whole of ``grid`` as levels in the smallest box that holds whatever is not 0.

    Errors as in ``levels_of``, and GridError where the shapes differ.
    """
    box = bounding_box(values_XYZ != 0)
    levels, mask = levels_of(values_XYZ[box], lesion_labels, name=name)
    crop = Crop(levels, (box[0].start, box[1].start, box[2].start), grid)
    return Prediction(crop, "mask", numbers_of(values_XYZ[box])) if mask else Prediction(crop, "probability")


def numbers_of(values_XYZ: NDArray[Any]) -> tuple[int, ...]:
    """Return the whole numbers other than 0 that occur, ascending; any shape, of a type that holds whole numbers."""
    low, high = _range(values_XYZ)
    if (low, high) in ((0.0, 0.0), (0.0, 1.0)):  # nearly every mask
        return (1,) if high else ()
    if high - low >= FEW_NUMBERS or max(-low, high) >= 2**53:
        return tuple(int(value) for value in np.unique(values_XYZ) if value != 0)
    seen = np.zeros(int(high - low) + 1, np.bool_)
    for slab in _slabs(values_XYZ, _outer_axis(values_XYZ)):
        seen[(slab.astype(np.int64) - int(low)).ravel()] = True
    return tuple(int(low) + int(index) for index in np.flatnonzero(seen) if int(low) + int(index) != 0)


def scaled_by(numbers: Iterable[int]) -> int | None:
    """Return the scale of whole numbers that are rather scaled probabilities than labels; None for labels.

    They are many, or more than a handful of which the highest is a usual scale: 100, 255, 1000, ...
    """
    found = set(numbers)
    if len(found) > MANY or (len(found) > HANDFUL and max(found) in SCALES):
        return _scale(max(found))
    return None


def levels_of(values_XYZ: NDArray[np.generic], lesion_labels: tuple[int, ...], *, name: str) -> tuple[Levels, bool]:
    """Levels, and True when the prediction was a mask (whole numbers): voxels of ``lesion_labels`` get the top level.

    Values in [0, 1] with a fraction among them are probabilities. Raises DataError for NaN and for fractions elsewhere.
    """
    values = np.asarray(values_XYZ)
    if values.dtype.kind not in "biu":
        if values.dtype.kind != "f":
            raise DataError(f"A prediction must hold real numbers. Got {values.dtype} in {name}.")
        low, high = _range(values)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"A prediction must be finite. Got NaN or infinite voxels in {name}.")
        if not all((slab == np.rint(slab)).all() for slab in _slabs(values, _outer_axis(values))):
            return levels_of_probability(values, name=name), False
    lesion = np.zeros_like(values, dtype=bool)
    for label in lesion_labels:
        lesion |= values == label
    levels = lesion.astype(np.uint16)
    levels *= np.uint16(TOP)
    return levels, True


def levels_of_probability(values_XYZ: NDArray[np.generic], *, name: str) -> Levels:
    """Levels of values that are probabilities whatever they hold; errors as in ``quantise.encode``."""
    low, high = _range(values_XYZ)
    if not (low >= -BEYOND and high <= 1.0 + BEYOND):
        scaled = low >= 0.0 and 10.0 < high <= 65_535.0  # logits hardly lie so high without one below 0
        perhaps = f"they are scaled: divide by {_scale(high)} and write floats" if scaled else "these are logits"
        raise DataError(f"{name}: Probabilities must lie in [0, 1]. Got {low:g} to {high:g}; perhaps {perhaps}.")
    levels = np.zeros_like(values_XYZ, dtype=np.uint16)
    axis = _outer_axis(values_XYZ)
    for slab, target in zip(_slabs(values_XYZ, axis), _slabs(levels, axis), strict=True):
        if slab.any():
            target[...] = encode(slab)
    return levels


def _scale(high: float) -> int:
    """What scaled values were probably multiplied by: the least usual number that is not below the highest of them."""
    return next((top for top in SCALES if high <= top), SCALES[-1])


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """The least and the greatest value; NaN where there is one, 0 to 0 without voxels."""
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _outer_axis(values: NDArray[Any]) -> int:
    """The first or the last axis, whichever has the longer way from one index to the next in memory."""
    return values.ndim - 1 if values.ndim and abs(values.strides[-1]) > abs(values.strides[0]) else 0


def _slabs(values: NDArray[Any], axis: int) -> Iterator[NDArray[Any]]:
    """Views along an axis: work on one after the other makes no copy of a whole scan in float64."""
    if values.ndim < 2:
        yield values
    else:
        yield from np.moveaxis(values, axis, 0)


def onto(
    prediction: Prediction | Points, grid: Grid, axcodes: str, *, only_voxel_size: bool = False
) -> tuple[Prediction | Points, str | None]:
    """A prediction as it lies on the reference's grid, never resampled, and a warning.

    Places that are voxels become those of the RAS+ array. A map that knows pixels only holds its axes as the
    reference's file does (``axcodes``) and is turned. Where a format keeps no more of its grid than the voxel size
    (``only_voxel_size``), that of the reference counts, and another one is the warning; its axes are those of the
    reference's file, too. Raises GridError when the two are not the same grid.
    """
    if isinstance(prediction, Points):
        return _points_onto(prediction, grid, axcodes), None
    levels = prediction.levels
    if levels.grid.affine is None and grid.affine is not None:
        turned = as_ras(levels.full(), axcodes)
        require_same(grid, Grid.of(turned.shape, None), names=("reference", "prediction"))
        return Prediction(Crop.whole(turned, grid), prediction.kind), None
    if grid.affine is None and levels.grid.affine is not None:
        raise GridError(
            "A reference that knows pixels only must have predictions that do so, too: nobody can say how their axes "
            "run to each other. Got a prediction with millimetres."
        )
    warning = None
    if only_voxel_size:
        if axcodes != "RAS":
            spacing = levels.grid.spacing_mm
            turned, own = to_ras(levels.full(), oriented(axcodes, spacing or (1.0, 1.0, 1.0)))
            levels = Crop.whole(turned, own if spacing else Grid.of(turned.shape, None))
        require_same(grid, Grid.of(levels.grid.shape, None), names=("reference", "prediction"))
        mine, theirs = grid.spacing_mm, levels.grid.spacing_mm
        if mine and theirs and not np.allclose(mine, theirs, rtol=1e-3):
            said, other = (" x ".join(f"{side:.4g}" for side in sides) for sides in (mine, theirs))
            warning = f"the reference says voxels of {said} mm, the prediction {other} mm: the reference's count"
    else:
        require_same(grid, levels.grid, names=("reference", "prediction"))
    return Prediction(Crop(levels.values_XYZ, levels.start, grid), prediction.kind), warning


def _points_onto(points: Points, grid: Grid, axcodes: str) -> Points:
    if points.space == "mm":
        return points
    return Points(index_as_ras(points.position_CX, axcodes, grid.shape), "voxel", points.level)
