"""From the statistics of calibration patients to an operating point. Nothing here is certified."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from missrate.core.admissible import Sweep, admissible, patient_found, share, sweep
from missrate.core.config import Frozen
from missrate.core.errors import InputError
from missrate.core.quantise import threshold_of
from missrate.core.types import CaseStatistics, Matching, OperatingPoint


class Target(Frozen):
    """What an operating point may cost, per scan and over all scans; both bounds hold (``inf`` for none).

    A bound on the count alone would admit the map that calls the whole scan one tumour.
    """

    false_positives_per_scan: float = Field(ge=0.0)
    false_positive_ml_per_scan: float = Field(ge=0.0)

    def __str__(self) -> str:
        return (
            f"false_positives_per_scan <= {self.false_positives_per_scan:g} and "
            f"false_positive_ml_per_scan <= {self.false_positive_ml_per_scan:g}"
        )


def choose(cases: list[CaseStatistics], matching: Matching, *, target: Target, name: str) -> OperatingPoint:
    """Among the admissible thresholds the one that misses the fewest lesions, pooled.

    Of equals the one that misses the fewest lesion voxels (a single voxel finds a lesion, and should not be all that is
    shown of it), and then the highest.

    Admissible: at this and every higher common candidate level both bounds of ``target`` hold. None of them gives the
    threshold None. Raises InputError for cases without any lesion, and for a bound in ml where there are only pixels.
    """
    return OperatingPoint(name, {None: _choose(cases, matching, target)}, "calibration", target=str(target))


def choose_by_fold(cases: list[CaseStatistics], matching: Matching, *, target: Target, name: str) -> OperatingPoint:
    """``choose`` for each fold from the cases of all other folds (their out-of-fold maps). Errors as in ``choose``.

    Raises InputError also when a case has no fold, there is only one fold, or a patient lies in two.
    """
    return OperatingPoint(
        name,
        {fold: _choose(others, matching, target) for fold, others in _others(cases).items()},
        "other folds",
        target=str(target),
    )


def greatest_with_patient_miss_rate(
    cases: list[CaseStatistics], matching: Matching, *, at_most: float, name: str
) -> OperatingPoint:
    """The highest common candidate level at which at most this share of the patients with a lesion is missed.

    It bounds no false positives. No such level gives the threshold None. Raises InputError without a lesion.
    """

    def good(cohort: Sweep) -> NDArray[np.bool_]:
        found_KP, ill_P = patient_found(cohort)
        return np.asarray((~found_KP[:, ill_P]).mean(axis=1) <= at_most)

    return _highest(cases, matching, good, name=name, target=f"patient_miss_rate <= {at_most:g}")


def best_f_beta(cases: list[CaseStatistics], matching: Matching, *, beta: float, name: str) -> OperatingPoint:
    """The common candidate level with the best pooled F-beta of voxels; of equals the highest.

    F = (1 + b2) TP / ((1 + b2) TP + b2 FN + FP) with b2 = beta squared (van Rijsbergen 1979). If no voxel of a lesion
    is found at any level the threshold is None. Raises InputError without a lesion.
    """

    def good(cohort: Sweep) -> NDArray[np.bool_]:
        hit, false = cohort.inside_voxels.sum(axis=1), cohort.outside_voxels.sum(axis=1)
        weighted = (1.0 + beta**2) * hit
        f_K = weighted / (weighted + beta**2 * (cohort.reference_voxels.sum() - hit) + false)
        return np.asarray((f_K == f_K.max()) & (f_K > 0.0))

    return _highest(cases, matching, good, name=name, target=f"best voxel F{beta:g}")


def _choose(cases: list[CaseStatistics], matching: Matching, target: Target) -> float | None:
    cohort = _with_lesions(cases, matching)
    admissible_K = admissible(
        cohort,
        false_positives_per_scan=target.false_positives_per_scan,
        false_positive_ml_per_scan=target.false_positive_ml_per_scan,
    )
    if not admissible_K.any():
        return None
    found_K = share(cohort.found, cohort.lesions, np.ones(len(cases)))
    assert found_K is not None
    best_K = admissible_K & (found_K == found_K[admissible_K].max())
    covered_K = cohort.inside_voxels.sum(axis=1)
    best_K &= covered_K == covered_K[best_K].max()
    return threshold_of(int(cohort.levels[best_K].max()))


def _highest(
    cases: list[CaseStatistics],
    matching: Matching,
    good: Callable[[Sweep], NDArray[np.bool_]],
    *,
    name: str,
    target: str,
) -> OperatingPoint:
    cohort = _with_lesions(cases, matching)
    levels = cohort.levels[good(cohort)]
    threshold = threshold_of(int(levels.max())) if levels.size else None
    return OperatingPoint(name, {None: threshold}, "calibration", target=target)


def _with_lesions(cases: list[CaseStatistics], matching: Matching) -> Sweep:
    cohort = sweep(cases, matching)
    if cohort.lesions.sum() == 0:
        raise InputError(f"Calibration cases must hold at least one lesion. Got none in {len(cases)} cases.")
    return cohort


def _others(cases: list[CaseStatistics]) -> dict[int, list[CaseStatistics]]:
    folds: dict[str, set[int]] = {}
    for case in cases:
        if case.fold is None:
            raise InputError(f"Every case must have a fold. Got none for case {case.case_id}.")
        folds.setdefault(case.patient_id, set()).add(case.fold)
    torn = sorted(name for name, mine in folds.items() if len(mine) > 1)
    if torn:
        raise InputError(f"A patient must lie in one fold. Got several for {', '.join(torn)}.")
    known = sorted(set().union(*folds.values()))
    if len(known) < 2:
        raise InputError(f"A threshold by fold must have at least two folds. Got {len(known)}.")
    return {fold: [case for case in cases if case.fold != fold] for fold in known}
