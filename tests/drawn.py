"""Masks and probability maps drawn as text, and their statistics.

A drawing is one string per axial slice; "/" separates rows (axis 0), characters run along axis 1. "." is 0, "#" is 1
and a digit d is d / 10, so "#5" is one row of two voxels with probabilities 1 and .5.
"""

import numpy as np
from numpy.typing import NDArray

from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.quantise import encode, level_of
from missrate.core.types import Matching, Prediction
from missrate.evaluate.statistics import measure_case

TENTHS = np.array([level_of(k / 10) for k in range(1, 11)], np.uint16)
CUBES_ML = (10.0, 10.0, 1.0)
"""Spacing in mm that makes a voxel .1 ml."""
OVERLAP = Matching("overlap")
IOU = Matching("iou", 0.1)
STRICT = Matching("iou", 0.1, strict=True)


def drawn(*slices: str) -> NDArray[np.float64]:
    """The drawing as XYZ values."""
    value = {".": 0.0, "#": 1.0} | {str(d): d / 10 for d in range(10)}
    return np.stack([np.array([[value[c] for c in row] for row in each.split("/")]) for each in slices], axis=2)


def measured(
    reference_XYZ: NDArray[np.generic],
    probability_XYZ: NDArray[np.floating],
    *,
    case: str = "c",
    patient: str | None = None,
    fold: int | None = None,
    spacing_mm: tuple[float, float, float] | None = CUBES_ML,
    floor: float = 0.1,
    declared: tuple[float, ...] = (0.5,),
    binary: bool = False,
    surfels: bool = False,
) -> CaseStatistics:
    """Statistics from ``floor`` upwards; without ``patient`` the case is its own patient."""
    affine = None if spacing_mm is None else np.diag([*spacing_mm, 1.0])
    grid = Grid.of(reference_XYZ.shape, affine)
    return measure_case(
        Crop.whole(reference_XYZ.astype(bool), grid),
        Prediction(Crop.whole(encode(probability_XYZ), grid), "mask" if binary else "probability"),
        case_id=case,
        patient_id=case if patient is None else patient,
        fold=fold,
        floor=level_of(floor),
        declared=[level_of(t) for t in declared],
        surfels=surfels,
    )


def case(reference: str, prediction: str, name: str = "c", **options: object) -> CaseStatistics:
    """A case of one slice from two drawings."""
    return measured(drawn(reference), drawn(prediction), case=name, **options)  # type: ignore[arg-type]
