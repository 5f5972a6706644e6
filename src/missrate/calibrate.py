"""From the statistics of calibration patients to an operating point; only `certify` promises something."""

from collections.abc import Collection
from math import inf
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from missrate.core.admissible import admissible
from missrate.core.case import CaseStatistics
from missrate.core.config import Frozen
from missrate.core.errors import InputError, ProvenanceError
from missrate.core.guarantee import Jumps, Promise, confident, expected, jumps_of, jumps_of_counts
from missrate.core.matching import false_positives, found_levels, voxel_counts
from missrate.core.quantise import TOP, threshold_of
from missrate.core.sweep import Counts, Sweep, common_floor, sweep
from missrate.core.types import Certificate, CertifiedLevel, Matching, OperatingPoint

LOSSES: dict[CertifiedLevel, str] = {
    "patient": "all patients with a lesion",
    "lesion": "a patient's lesions (mean over patients)",
    "voxel": "a patient's lesion voxels (mean over patients)",
}
"""What a promise is about."""
PROMISES = tuple(round(0.01 * k, 2) for k in range(1, 51))
"""The miss rates whose price is told."""


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


class Certify(Frozen):
    """What is to be promised of new patients with a lesion: at most this miss rate, at one of three levels.

    With ``confidence`` over calibrations, or ``in_expectation`` over them; see `core.guarantee`. A threshold that costs
    more than the bounds on false positives (where there are any) makes the promise an empty one.
    """

    level: CertifiedLevel
    miss_rate: float = Field(ge=0.0001, le=0.9999)
    confidence: float = Field(default=0.95, ge=0.0001, le=0.9999)
    in_expectation: bool = False
    false_positives_per_scan: float | None = Field(default=None, ge=0.0)
    false_positive_ml_per_scan: float | None = Field(default=None, ge=0.0)

    def __str__(self) -> str:
        how = "in expectation" if self.in_expectation else f"with confidence {self.confidence:g}"
        return f"{self.level}_miss_rate <= {self.miss_rate:g} {how}"

    def bounded_by(self, target: Target) -> Self:
        """Return the same with the bounds of ``target`` where it has none of its own."""
        own = self.model_dump(exclude_none=True)
        return self.model_copy(update=target.model_dump() | own)


def choose(cases: list[CaseStatistics], matching: Matching, *, target: Target, name: str) -> OperatingPoint:
    """Among the admissible thresholds the one that misses the fewest lesions, pooled.

    Of equals the one that misses the fewest lesion voxels (a single voxel finds a lesion, and should not be all that is
    shown of it), and then the highest.

    Admissible: at this and every higher level both bounds of ``target`` hold. Where there is none, or the best of them
    is not usable (``_unusable``), the threshold is None and the point says why. Raises InputError for cases without any
    lesion, and for a bound in ml where there are only pixels.
    """
    threshold, reason = _choose(cases, matching, target)
    return OperatingPoint(name, {None: threshold}, "calibration", target=str(target), reason=reason)


def choose_by_fold(cases: list[CaseStatistics], matching: Matching, *, target: Target, name: str) -> OperatingPoint:
    """``choose`` for each fold from the cases of all other folds (their out-of-fold maps). Errors as in ``choose``.

    Raises InputError also when a case has no fold, there is only one fold, or a patient lies in two.
    """
    chosen = {fold: _choose(others, matching, target) for fold, others in _others(cases).items()}
    reasons = [f"fold {fold}: {reason}" for fold, (_, reason) in chosen.items() if reason is not None]
    return OperatingPoint(
        name,
        {fold: threshold for fold, (threshold, _) in chosen.items()},
        "other folds",
        target=str(target),
        reason="; ".join(reasons) or None,
    )


def greatest_with_patient_miss_rate(
    cases: list[CaseStatistics], matching: Matching, *, at_most: float, name: str
) -> OperatingPoint:
    """The highest level at which at most this share of the patients with a lesion is missed, by any overlap.

    It bounds no false positives. No such level above the common floor, or one that is not usable (``_unusable``), gives
    the threshold None with the reason. Raises InputError without a lesion, and for another rule, under which patients
    may be lost again as the threshold sinks.
    """
    _with_lesions(cases, matching)
    levels = np.sort(list(patient_levels(cases, matching).values()))
    missable = int(np.floor(at_most * levels.size + 1e-9))
    level = TOP if missable >= levels.size else int(levels[missable])
    if level < common_floor(cases):
        reason: str | None = f"even the lowest known threshold, {threshold_of(common_floor(cases)):g}, misses more"
    else:
        reason = _unusable(level, int((levels >= level).sum()), cases)
    threshold = threshold_of(level) if reason is None else None
    target = f"patient_miss_rate <= {at_most:g}"
    return OperatingPoint(name, {None: threshold}, "calibration", target=target, reason=reason)


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
    is found at any level, or the best level is not usable (``_unusable``), the threshold is None with the reason.
    Raises InputError without a lesion.
    """
    cohort = _with_lesions(cases, matching)
    hit, false = cohort.pooled.inside_voxels, cohort.pooled.outside_voxels
    weighted = (1.0 + beta**2) * hit
    f_J = weighted / (weighted + beta**2 * (cohort.reference_voxels.sum() - hit) + false)
    best = int(cohort.pooled.levels[f_J == f_J.max()].max())
    reason = _unusable(best, int(f_J.max() > 0.0), cases)
    threshold = threshold_of(best) if reason is None else None
    return OperatingPoint(name, {None: threshold}, "calibration", target=f"best voxel F{beta:g}", reason=reason)


def certify(
    cases: list[CaseStatistics], matching: Matching, wanted: Certify, *, seen: Collection[str] | None, name: str
) -> OperatingPoint:
    """The greatest threshold of which the miss rate of new patients with a lesion is promised; see `core.guarantee`.

    A patient's loss, over all scans: 1 where no lesion is found by any overlap; the share of lesions missed; the share
    of lesion voxels missed. Healthy patients have none. ``seen`` are all patients that the model was trained or
    selected on; None where nobody knows, which the promise then says. It bounds no false positives, but tells them.

    Too few patients, too many who may never be found, or a loss too high even at the floor, give the threshold None
    with the reason. Raises ProvenanceError for a patient in ``seen``; InputError for another rule than overlap, for
    masks, out-of-fold maps (each fold is another model), and voxels of predictions without any.
    """
    _require_certifiable(cases, matching, wanted.level)
    patients = {case.patient_id for case in cases}
    if used := sorted(patients & set(seen or ())):
        raise ProvenanceError(
            "A certificate must come from patients that were used for nothing else. "
            f"Got {len(used)} that the model was trained or selected on: {', '.join(used[:5])}; perhaps ask for a "
            "plain point."
        )
    lowest = _lowest(cases, wanted.level)
    losses = losses_of(cases, matching, wanted.level)
    promise = _promise(list(losses.values()), wanted, lowest)
    certificate = None
    if promise.risk is not None and promise.level is not None:
        count, volume_ml = cost(cases, matching, promise.level)
        certificate = Certificate(
            level=wanted.level,
            miss_rate=promise.alpha,
            confidence=promise.confidence,
            in_expectation=wanted.in_expectation,
            n=promise.n,
            never_found=promise.never_found,
            never_found_at_most=promise.never_found_at_most,
            bound=promise.bound + _found(wanted.level, matching) + _condition(promise.n, known=seen is not None),
            risk=promise.risk,
            floor=threshold_of(lowest),
            least_volume_ml=matching.least_volume_ml,
            false_positives_per_scan=count,
            false_positive_ml_per_scan=volume_ml,
            empty=_empty(wanted, count, volume_ml, at_floor=promise.level == lowest, at_top=promise.level == TOP),
        )
    return OperatingPoint(name, {None: promise.threshold}, "calibration", str(wanted), certificate, promise.reason)


def prices(cases: list[CaseStatistics], matching: Matching, wanted: Certify) -> list[dict[str, float | None]]:
    """Return what each promise costs on the same patients: one row a miss rate of ``PROMISES`` that can be certified.

    ``miss_rate``, ``threshold``, and the false positives there, per scan. Each row alone holds as ``certify`` says; who
    reads them all to choose one has chosen on these patients, and the promise is no longer the one that is written.
    Empty where nothing can be certified. Errors as in ``certify``.
    """
    _require_certifiable(cases, matching, wanted.level)
    lowest, losses = _lowest(cases, wanted.level), list(losses_of(cases, matching, wanted.level).values())
    rows: list[dict[str, float | None]] = []
    for miss_rate in PROMISES:
        level = _promise(losses, wanted.model_copy(update={"miss_rate": miss_rate}), lowest).level
        if level is not None:
            count, volume_ml = cost(cases, matching, level)
            rows.append(
                {
                    "miss_rate": miss_rate,
                    "threshold": threshold_of(level),
                    "false_positives_per_scan": count,
                    "false_positive_ml_per_scan": volume_ml,
                }
            )
    return rows


def cost(cases: list[CaseStatistics], matching: Matching, level: int) -> tuple[float | None, float | None]:
    """Return false positives and their volume in ml at a level, per scan; None for what is not known there."""
    known_ml = [
        voxel_counts(case, level).false_positives * case.voxel_ml for case in cases if case.voxel_ml is not None
    ]
    volume_ml = sum(known_ml) / len(cases) if len(known_ml) == len(cases) else None
    if level < common_floor(cases):  # a promise about voxels may lie below the candidates that are known
        return None, volume_ml
    return sum(false_positives(case, level, matching) for case in cases) / len(cases), volume_ml


def losses_of(cases: list[CaseStatistics], matching: Matching, level: CertifiedLevel) -> dict[str, Jumps]:
    """The loss of each patient with a lesion, as ``certify`` says. Errors as in ``found_levels``."""
    if level == "patient":
        return {patient: jumps_of([found]) for patient, found in patient_levels(cases, matching).items()}
    mine: dict[str, list[CaseStatistics]] = {}
    for case in cases:
        if not case.healthy:
            mine.setdefault(case.patient_id, []).append(case)
    if level == "lesion":
        return {p: jumps_of(np.concatenate([found_levels(c, matching) for c in each])) for p, each in mine.items()}
    return {patient: jumps_of_counts(_voxels_at(each)) for patient, each in mine.items()}


def require_scores(cases: list[CaseStatistics]) -> None:
    """Raises InputError for masks: they have one threshold only, and nothing to choose or promise."""
    masks = [case.case_id for case in cases if not case.scored]
    if masks:
        raise InputError(
            "Predictions must have scores, for a threshold to be chosen. "
            f"Got masks for {', '.join(masks[:5])} ({len(masks)} in all); perhaps write probabilities."
        )


def _require_certifiable(cases: list[CaseStatistics], matching: Matching, level: CertifiedLevel) -> None:
    if matching.rule != "overlap":
        raise InputError(
            "A certificate must be by any overlap, the only rule that is monotone in the threshold. "
            f"Got the rule {matching.rule!r}."
        )
    require_scores(cases)
    folds = {case.fold for case in cases} - {None}
    if folds:
        raise InputError(
            f"A certificate must be of one model. Got out-of-fold maps of {len(folds)}; perhaps ask for a plain point."
        )
    if level == "voxel" and any(case.kind == "points" for case in cases):
        raise InputError("A certificate of voxels must have predictions with voxels. Got points.")


def _lowest(cases: list[CaseStatistics], level: CertifiedLevel) -> int:
    """Voxels are counted at every level, candidates from the floor upwards."""
    return 1 if level == "voxel" else common_floor(cases)


def _promise(losses: list[Jumps], wanted: Certify, lowest: int) -> Promise:
    of = LOSSES[wanted.level]
    if wanted.in_expectation:
        return expected(losses, wanted.miss_rate, wanted.confidence, lowest=lowest, of=of)
    whole = wanted.level == "patient"
    return confident(losses, wanted.miss_rate, wanted.confidence, lowest=lowest, of=of, all_or_nothing=whole)


def _empty(
    wanted: Certify, count: float | None, volume_ml: float | None, *, at_floor: bool, at_top: bool
) -> str | None:
    """Why a promise is worth nothing, None where it is worth something."""
    if at_floor:
        return "its threshold is the floor, the lowest from which anything is known"
    if at_top:
        return "its threshold is 1, at which only certain voxels are predicted"
    bounds = (
        (count, wanted.false_positives_per_scan, "false positives per scan"),
        (volume_ml, wanted.false_positive_ml_per_scan, "false-positive ml per scan"),
    )
    for known, most, unit in bounds:
        if known is None and most is not None and most != inf:
            return f"its {unit} are not known: " + (
                "below the floor no candidates are" if unit == "false positives per scan" else "there are only pixels"
            )
        if known is not None and most is not None and known > most * (1.0 + 1e-9):
            return f"it costs {known:.4g} {unit}, more than the {most:g} that were stated"
    return None


def _found(level: CertifiedLevel, matching: Matching) -> str:
    if level == "voxel":
        return ""
    least = f" of at least {matching.least_volume_ml:g} ml" if matching.least_volume_ml else ""
    return f" (a lesion is found by any overlap with a candidate{least})"


def _condition(n: int, *, known: bool) -> str:
    if known:
        return f", provided that new patients come like these {n}, none of whom the model was trained or selected on"
    return f", provided that these {n} patients were used for nothing else and that new ones come like them"


def _voxels_at(cases: list[CaseStatistics]) -> NDArray[np.int64]:
    """Lesion voxels at each level, (TOP + 1,), summed over the cases."""
    dense = np.zeros(TOP + 1, np.int64)
    for case in cases:
        dense[case.inside.levels] += case.inside.counts
    return dense


def _choose(cases: list[CaseStatistics], matching: Matching, target: Target) -> tuple[float | None, str | None]:
    """The threshold, or None and why there is none."""
    counts: Counts = _with_lesions(cases, matching).pooled
    admissible_J = admissible(
        counts,
        len(cases),
        false_positives_per_scan=target.false_positives_per_scan,
        false_positive_ml_per_scan=target.false_positive_ml_per_scan,
    )
    if not admissible_J.any():
        return None, f"no threshold was admissible: even the highest one exceeds {target}"
    best_J = admissible_J & (counts.found == counts.found[admissible_J].max())
    best_J &= counts.inside_voxels == counts.inside_voxels[best_J].max()
    level = int(counts.levels[best_J].max())
    reason = _unusable(level, int(counts.found[best_J].max()), cases)
    return (threshold_of(level), None) if reason is None else (None, reason)


def _unusable(level: int, found: int, cases: list[CaseStatistics]) -> str | None:
    """Why the best level is no operating point, or None: it finds nothing, or it is the very end of the scale.

    At TOP only voxels of which a model is wholly sure are predicted: a little less certainty on the next patient, and
    nothing is. Masks have no scale, so their one level serves.
    """
    if found == 0:
        return f"no usable threshold exists: the best one, {threshold_of(level):g}, finds nothing"
    if level == TOP and any(case.scored for case in cases):
        return (
            "no usable threshold exists: the best one is 1, at which nothing but voxels of probability 1 is predicted"
        )
    return None


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
