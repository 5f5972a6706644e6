"""Our own functions, one per task, each given what ``plain`` and the peers are given.

The one pass counts all levels at once and never looks again, so "one threshold" costs as much as the whole curve.
"""

from typing import Any

import numpy as np
from benchmarks.plain import TOLERANCE_MM
from benchmarks.volumes import Case, Patients
from numpy.typing import NDArray

from missrate.core import surfaces as surface
from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.intervals import curve_interval, patient_weights
from missrate.core.matching import curve as curve_of
from missrate.core.matching import outcome, voxel_counts
from missrate.core.quantise import TOP, level_of
from missrate.core.types import Matching, Prediction
from missrate.evaluate import compiled, distances, statistics

OVERLAP, IOU = Matching("overlap"), Matching("iou", 0.1)


def counts(case: Case, threshold: float) -> Any:
    """Voxels right and wrong at one threshold."""
    voxels, level = _pass(case), level_of(threshold)
    inside, outside = int(voxels.inside.at_least(level)), int(voxels.outside.at_least(level))
    return inside, voxels.inside.total - inside, outside, voxels.outside.total - outside


def curve(case: Case) -> Any:
    """Precision and miss rate at every level."""
    voxels, levels = _pass(case), np.arange(TOP + 1)
    inside, outside = voxels.inside.at_least(levels), voxels.outside.at_least(levels)
    with np.errstate(invalid="ignore"):
        return inside / (inside + outside), 1.0 - inside / inside[0]


def matching(case: Case, threshold: float) -> Any:
    """Lesions found and false positives at one threshold, any overlap and IoU >= .1 one to one."""
    level = level_of(threshold)
    measured = _measured(case, floor=level, with_distances=False)
    return [outcome(measured, level, rule) for rule in (OVERLAP, IOU)]


def lesions(case: Case, levels_K: NDArray[np.integer]) -> Any:
    """The same at every level, those of ``levels_K`` among them."""
    measured = _measured(case, floor=int(levels_K[0]), with_distances=False)
    return [curve_of(measured, rule) for rule in (OVERLAP, IOU)]


def surfaces(case: Case, threshold: float) -> Any:
    """HD95 (directed maximum) and NSD (border voxels, 2 mm) at one threshold."""
    level = level_of(threshold)
    reference_XYZ, prediction_XYZ = _pass(case).masks(level)
    measured = distances.measure(reference_XYZ, prediction_XYZ, case.spacing_mm, level)
    return surface.hd95_directed_max(measured), surface.nsd_voxel(measured, TOLERANCE_MM)


def bootstrap(patients: Patients, resamples: int) -> Any:
    """95 % intervals of the pooled precision and miss rate at each level, whole patients resampled."""
    weights = patient_weights(len(patients.reference_P), resamples, seed=0)
    inside_KP, outside_KP = patients.inside_PK.T, patients.outside_PK.T
    return (
        curve_interval(inside_KP, inside_KP + outside_KP, weights),
        curve_interval(patients.reference_P - inside_KP, patients.reference_P, weights),
    )


def everything(case: Case, levels_K: NDArray[np.integer], threshold: float) -> Any:
    """All of one case."""
    measured, levels = _measured(case, floor=int(levels_K[0]), threshold=threshold), np.arange(TOP + 1)
    return (
        voxel_counts(measured, level_of(threshold)),
        measured.inside.at_least(levels),
        measured.outside.at_least(levels),
        [curve_of(measured, rule) for rule in (OVERLAP, IOU)],
        surface.hd95_directed_max(measured.distances[0]),
        surface.nsd_voxel(measured.distances[0], TOLERANCE_MM),
    )


def _pass(case: Case) -> compiled.Voxels:
    return compiled.Voxels(case.reference_XYZ.view(bool), case.probability_XYZ)


def _measured(case: Case, *, floor: int, threshold: float = 0.5, with_distances: bool = True) -> CaseStatistics:
    grid = Grid.of(case.reference_XYZ.shape, np.diag([*case.spacing_mm, 1.0]))
    return statistics.measure_case(
        Crop.whole(case.reference_XYZ.view(bool), grid),
        Prediction(Crop.whole(case.probability_XYZ, grid), "probability"),
        case_id="c",
        patient_id="p",
        floor=floor,
        declared=[level_of(threshold)],
        distances_at=None if with_distances else [],
    )
