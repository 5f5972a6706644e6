"""From the statistics of calibration patients to an operating point; only `certify` promises something."""

from collections.abc import Collection
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from missrate.core.admissible import admissible
from missrate.core.case import CaseStatistics
from missrate.core.config import Frozen
from missrate.core.errors import InputError, ProvenanceError
from missrate.core.guarantee import Jumps, Promise, confident, expected, jumps_of, jumps_of_counts
from missrate.core.matching import found_levels
from missrate.core.points import hash_of_patients
from missrate.core.quantise import TOP, threshold_of
from missrate.core.sweep import Counts, Sweep, common_floor, sweep
from missrate.core.types import Certificate, CertifiedLevel, Matching, OperatingPoint

LOSSES: dict[CertifiedLevel, str] = {
    "patient": "missed patients",
    "lesion": "a patient's lesions that are missed",
    "voxel": "a patient's lesion voxels that are missed",
}
"""What the bound on the expectation is about."""


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

    Without ``confidence`` the bound is on the expectation; with it, on the share of all patients that are missed.
    """

    level: CertifiedLevel
    miss_rate: float = Field(gt=0.0, lt=1.0)
    confidence: float | None = Field(default=None, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _confidence_of_patients(self) -> Self:
        if self.confidence is not None and self.level != "patient":
            raise ValueError(f"confidence must come with level 'patient', not {self.level!r}; perhaps leave it out")
        return self

    def __str__(self) -> str:
        how = "in expectation" if self.confidence is None else f"with confidence {self.confidence:g}"
        return f"{self.level}_miss_rate <= {self.miss_rate:g} {how}"


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
    cases: list[CaseStatistics],
    matching: Matching,
    *,
    level: CertifiedLevel,
    miss_rate: float,
    confidence: float | None = None,
    seen: Collection[str] | None,
    name: str,
) -> OperatingPoint:
    """The greatest threshold of which the miss rate of new patients with a lesion is promised; see `core.guarantee`.

    A patient's loss, over all scans: 1 where no lesion is found by any overlap; the share of lesions missed; the share
    of lesion voxels missed. Healthy patients have none. ``confidence`` (patient level only) asks for the exact binomial
    bound instead of one on the expectation. ``seen`` are all patients that the model was trained or selected on; None
    where nobody knows, which the promise then says. It bounds no false positives.

    Too few patients, or a loss too high even at the floor, give the threshold None with the reason. Raises
    ProvenanceError for a patient in ``seen``; InputError for another rule than overlap, for masks, out-of-fold maps
    (each fold is another model), voxels of predictions without any, and a ``confidence`` or rate that cannot be.
    """
    _require_certifiable(cases, matching, level, confidence)
    patients = {case.patient_id for case in cases}
    if used := sorted(patients & set(seen or ())):
        raise ProvenanceError(
            "A certificate must come from patients that were used for nothing else. "
            f"Got {len(used)} that the model was trained or selected on: {', '.join(used[:5])}; perhaps ask for a "
            "plain point."
        )
    # Voxels are counted at every level, candidates from the floor upwards.
    lowest = 1 if level == "voxel" else common_floor(cases)
    losses = losses_of(cases, matching, level)
    promise = _promise(losses, level, miss_rate, confidence, lowest)
    certificate = None
    if promise.risk is not None:
        certificate = Certificate(
            level=level,
            miss_rate=promise.alpha,
            confidence=promise.confidence,
            n=promise.n,
            k=promise.k if level == "patient" else None,
            bound=promise.bound + _found(level, matching) + _condition(promise.n, known=seen is not None),
            risk=promise.risk,
            floor=threshold_of(lowest),
            least_volume_ml=matching.least_volume_ml,
            patients=hash_of_patients(losses),
        )
    target = str(Certify(level=level, miss_rate=miss_rate, confidence=confidence))
    return OperatingPoint(name, {None: promise.threshold}, "calibration", target, certificate, promise.reason)


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


def _require_certifiable(
    cases: list[CaseStatistics], matching: Matching, level: CertifiedLevel, confidence: float | None
) -> None:
    if matching.rule != "overlap":
        raise InputError(
            "A certificate must be by any overlap, the only rule that is monotone in the threshold. "
            f"Got the rule {matching.rule!r}."
        )
    if confidence is not None and level != "patient":
        raise InputError(
            f"`confidence` must come with the level 'patient'. Got {confidence} for {level!r}; perhaps leave it out, "
            "for a bound on the expectation."
        )
    require_scores(cases)
    folds = {case.fold for case in cases} - {None}
    if folds:
        raise InputError(
            f"A certificate must be of one model. Got out-of-fold maps of {len(folds)}; perhaps ask for a plain point."
        )
    if level == "voxel" and any(case.kind == "points" for case in cases):
        raise InputError("A certificate of voxels must have predictions with voxels. Got points.")


def _promise(
    losses: dict[str, Jumps], level: CertifiedLevel, miss_rate: float, confidence: float | None, lowest: int
) -> Promise:
    if confidence is None:
        return expected(list(losses.values()), miss_rate, lowest=lowest, of=LOSSES[level])
    return confident([int(each.levels[0]) for each in losses.values()], miss_rate, confidence, lowest=lowest)


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
