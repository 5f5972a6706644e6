"""A cohort's counts at every threshold, and which thresholds are admissible.

False positives per scan are not monotone in the threshold: candidates merge, until the whole scan is one of them that
touches every lesion. So a threshold counts as admissible only if the bounds hold there and at every higher one, and a
bound on the false-positive volume, which cannot be gamed by merging, stands beside the bound on the count.

Shapes: K levels ascending, N cases, P patients in sorted order.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import InputError
from missrate.core.matching import at_least, curve
from missrate.core.quantise import level_of
from missrate.core.types import CaseStatistics, Matching, OperatingPoint

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Counts of every case at every common candidate level; arrays (K, N) unless stated."""

    levels: NDArray[np.uint16]  # (K,)
    patients: list[str]  # (P,) sorted
    patient: NDArray[np.int64]  # (N,) index into patients
    lesions: Floats  # (N,)
    reference_voxels: Floats  # (N,)
    voxel_ml: Floats | None  # (N,); None when some case knows pixels only
    found: Floats  # lesions
    matched: Floats  # candidates
    false_positives: Floats  # candidates
    inside_voxels: Floats
    outside_voxels: Floats

    def weights(self, weight_per_patient: dict[str, float] | None) -> Floats:
        """The weight of each case, (N,): that of its patient; 1 without weights."""
        if weight_per_patient is None:
            return np.ones(self.patient.size)
        return np.array([weight_per_patient[name] for name in self.patients])[self.patient]


def common_levels(cases: list[CaseStatistics]) -> NDArray[np.uint16]:
    """The candidate levels that all cases have, ascending, (K,). Raises InputError for no cases or none in common."""
    if not cases:
        raise InputError("A cohort must hold at least one case. Got none.")
    levels = reduce(np.intersect1d, [case.candidate_levels for case in cases])
    if levels.size == 0:
        raise InputError("All cases must share a candidate level. Got none in common; perhaps their floors differ.")
    return np.asarray(levels, np.uint16)


def sweep(cases: list[CaseStatistics], matching: Matching) -> Sweep:
    """The counts of ``cases`` at their common levels; matching once per case. Errors as in ``matching.curve``."""
    levels = common_levels(cases)
    curves = [curve(case, matching) for case in cases]
    rows = [np.searchsorted(case.candidate_levels, levels) for case in cases]
    patients = sorted({case.patient_id for case in cases})
    known_ml = [case.voxel_ml for case in cases if case.voxel_ml is not None]

    def columns(per_case: list[NDArray[np.int64]]) -> Floats:
        return np.stack(per_case, axis=1).astype(np.float64)

    return Sweep(
        levels=levels,
        patients=patients,
        patient=np.array([patients.index(case.patient_id) for case in cases]),
        lesions=np.array([case.lesion_peak.size for case in cases], np.float64),
        reference_voxels=np.array([case.inside.sum() for case in cases], np.float64),
        voxel_ml=np.array(known_ml) if len(known_ml) == len(cases) else None,
        found=columns([c.found.sum(axis=1)[r] for c, r in zip(curves, rows, strict=True)]),
        matched=columns([c.matched[r] for c, r in zip(curves, rows, strict=True)]),
        false_positives=columns([c.false_positives[r] for c, r in zip(curves, rows, strict=True)]),
        inside_voxels=columns([at_least(case.inside, levels) for case in cases]),
        outside_voxels=columns([at_least(case.outside, levels) for case in cases]),
    )


def per_scan(counts_KN: Floats, weights_N: Floats) -> Floats:
    """The weighted mean over all scans at each level, (K,)."""
    return np.asarray(counts_KN @ weights_N / weights_N.sum())


def share(counts_KN: Floats, totals_N: Floats, weights_N: Floats) -> Floats | None:
    """The pooled share of ``totals_N`` at each level, (K,); None where there is nothing to share."""
    total = float(totals_N @ weights_N)
    return None if total == 0.0 else np.asarray(counts_KN @ weights_N / total)


def false_positive_ml(cohort: Sweep) -> Floats | None:
    """Predicted volume outside the reference in millilitres, (K, N); None when some case knows pixels only."""
    return None if cohort.voxel_ml is None else cohort.outside_voxels * cohort.voxel_ml


def at_most_ml(volume_ml: Floats, bound_ml: float) -> NDArray[np.bool_]:
    """``volume_ml <= bound_ml`` of the same shape, where a volume that is the bound but for its rounding is within."""
    return np.asarray(volume_ml <= bound_ml * (1.0 + 1e-9))


def holds_from_above(within_K: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a bound holds at this level and at every higher one, (K,)."""
    return np.asarray(np.logical_and.accumulate(within_K[::-1])[::-1])


def admissible(
    cohort: Sweep, *, false_positives_per_scan: float = np.inf, false_positive_ml_per_scan: float = np.inf
) -> NDArray[np.bool_]:
    """Which levels, (K,), keep both bounds there and at every higher level; an infinite bound always holds.

    Raises InputError for a bound in millilitres when some case knows pixels only.
    """
    ones_N = np.ones(cohort.patient.size)
    within_K = per_scan(cohort.false_positives, ones_N) <= false_positives_per_scan
    if np.isfinite(false_positive_ml_per_scan):
        ml_KN = false_positive_ml(cohort)
        if ml_KN is None:
            raise InputError("A bound in millilitres must have scans that know millimetres. Got pixels only.")
        within_K = within_K & at_most_ml(per_scan(ml_KN, ones_N), false_positive_ml_per_scan)
    return holds_from_above(within_K)


def patient_found(cohort: Sweep) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(K, P): some lesion of the patient is found in some scan; and (P,): the patient has a lesion at all."""
    belongs_NP = cohort.patient[:, None] == np.arange(len(cohort.patients))
    return cohort.found @ belongs_NP > 0, cohort.lesions @ belongs_NP > 0


def level_at(point: OperatingPoint, case: CaseStatistics) -> int | None:
    """The level of ``point`` for this case's fold; None when no threshold was admissible there.

    A point with one threshold (under None) serves every fold. Raises InputError for a fold that the point lacks.
    """
    key = case.fold if case.fold in point.thresholds else None
    if key not in point.thresholds:
        raise InputError(
            f"Operating point {point.name!r} must have a threshold for fold {case.fold} of case {case.case_id}. "
            f"Got folds {sorted(str(fold) for fold in point.thresholds)}."
        )
    threshold = point.thresholds[key]
    return None if threshold is None else level_of(threshold)
