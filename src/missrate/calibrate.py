"""From the statistics of calibration patients to an operating point. Nothing here is certified."""

import numpy as np
from pydantic import Field

from missrate.core.admissible import admissible
from missrate.core.case import CaseStatistics
from missrate.core.config import Frozen
from missrate.core.errors import InputError
from missrate.core.matching import found_levels
from missrate.core.quantise import TOP, threshold_of
from missrate.core.sweep import Counts, Sweep, sweep
from missrate.core.types import Matching, OperatingPoint


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

    Admissible: at this and every higher level both bounds of ``target`` hold. None of them gives the
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
    """The highest level at which at most this share of the patients with a lesion is missed, by any overlap.

    It bounds no false positives. No such level gives the threshold None. Raises InputError without a lesion, and for
    another rule, under which patients may be lost again as the threshold sinks.
    """
    _with_lesions(cases, matching)
    levels = np.sort(list(patient_levels(cases, matching).values()))
    missable = int(np.floor(at_most * levels.size + 1e-9))
    level = TOP if missable >= levels.size else int(levels[missable])
    threshold = threshold_of(level) if level > 0 else None
    return OperatingPoint(name, {None: threshold}, "calibration", target=f"patient_miss_rate <= {at_most:g}")


def patient_levels(cases: list[CaseStatistics], matching: Matching) -> dict[str, int]:
    """The greatest level at which a lesion of each patient with lesions is found in any scan; 0: none above the floor.

    Not the patient's highest score: a false alarm elsewhere finds no tumour. Errors as in ``found_levels``.
    """
    result: dict[str, int] = {}
    for case in cases:
        for level in found_levels(case, matching):
            result[case.patient_id] = max(result.get(case.patient_id, 0), int(level))
    return result


def best_f_beta(cases: list[CaseStatistics], matching: Matching, *, beta: float, name: str) -> OperatingPoint:
    """The level with the best pooled F-beta of voxels; of equals the highest.

    F = (1 + b2) TP / ((1 + b2) TP + b2 FN + FP) with b2 = beta squared (van Rijsbergen 1979). If no voxel of a lesion
    is found at any level the threshold is None. Raises InputError without a lesion.
    """
    cohort = _with_lesions(cases, matching)
    hit, false = cohort.pooled.inside_voxels, cohort.pooled.outside_voxels
    weighted = (1.0 + beta**2) * hit
    f_J = weighted / (weighted + beta**2 * (cohort.reference_voxels.sum() - hit) + false)
    levels = cohort.pooled.levels[(f_J == f_J.max()) & (f_J > 0.0)]
    threshold = threshold_of(int(levels.max())) if levels.size else None
    return OperatingPoint(name, {None: threshold}, "calibration", target=f"best voxel F{beta:g}")


def _choose(cases: list[CaseStatistics], matching: Matching, target: Target) -> float | None:
    counts: Counts = _with_lesions(cases, matching).pooled
    admissible_J = admissible(
        counts,
        len(cases),
        false_positives_per_scan=target.false_positives_per_scan,
        false_positive_ml_per_scan=target.false_positive_ml_per_scan,
    )
    if not admissible_J.any():
        return None
    best_J = admissible_J & (counts.found == counts.found[admissible_J].max())
    best_J &= counts.inside_voxels == counts.inside_voxels[best_J].max()
    return threshold_of(int(counts.levels[best_J].max()))


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
