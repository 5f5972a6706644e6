"""All arms where they cost the same or find the same, because 0.5 means different things for different models.

Descriptive: thresholds come from these same cases. Shapes: K common levels ascending, N cases, P patients, B resamples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.compare.arms import Run
from missrate.core.admissible import admissible, at_most_ml
from missrate.core.case import CaseStatistics
from missrate.core.intervals import AMOUNT, COUNT, FEW, SHARE, Interval, Range, Weights, ratio_interval
from missrate.core.matching import voxel_counts
from missrate.core.pooling import Term, pooled
from missrate.core.quantise import TOP, threshold_of
from missrate.core.seeds import seed_difference, seed_ratio
from missrate.core.sweep import Sweep
from missrate.core.types import Ratio

HOW = (
    "the lowest threshold such that the bound holds there and at every higher one, found on these same cases "
    "(descriptive); no such threshold means nothing predicted; intervals resample patients at the fixed threshold"
)
HOW_SENSITIVITY = (
    "the highest threshold that misses at most the given share of lesions, found on these same cases (descriptive)"
)
POINTS = 100
"""At most this many points a curve."""

Json = dict[str, Any]
Floats = NDArray[np.float64]


def matched(
    arms: dict[str, Run],
    rate: float | None,
    weights: Weights,
    *,
    fp_per_scan: tuple[float, ...],
    fp_ml_per_scan: tuple[float, ...],
) -> Json:
    """Miss rates at equal false positives (count, volume), and false positives at an equal lesion miss rate.

    ``rate`` is that of the reference arm at its point, None where it has none. Seeds stand each by itself.
    """
    known_ml = all(arm.sweep.voxel_ml is not None for arm in arms.values())
    by_count = {
        name: [{"bound": x} | _at(arm, _lowest(arm, false_positives_per_scan=x), weights) for x in fp_per_scan]
        for name, arm in arms.items()
    }
    by_volume = {
        name: [
            {"bound": v} | _at(arm, _lowest(arm, false_positive_ml_per_scan=v), weights)
            for v in fp_ml_per_scan
            if known_ml
        ]
        for name, arm in arms.items()
    }
    return {
        "how": HOW,
        "by_false_positives_per_scan": by_count,
        "by_false_positive_ml_per_scan": by_volume,
        "by_lesion_miss_rate": _by_miss_rate(arms, rate, weights),
    }


def works(arms: dict[str, Run], baseline: str, weights: Weights, *, volume_ml: float) -> dict[str, Json]:
    """Whether each arm's voxel miss rate lies below the baseline's at equal false-positive volume, beyond noise.

    Voxels are counted at every level, so here thresholds are not bound to the candidate levels: an arm whose
    probabilities all lie below them is judged fairly.
    """
    if baseline not in arms:
        return {name: {"works": None, "reason": f"no arm {baseline}"} for name in arms}
    if any(case.voxel_ml is None for arm in arms.values() for case in arm.cases):
        return {name: {"works": None, "reason": "no millimetres"} for name in arms}
    if any(case.kind == "points" for arm in arms.values() for case in arm.cases):
        return {name: {"works": None, "reason": "points have no voxels"} for name in arms}
    other, other_level = arms[baseline], _level_of_volume(arms[baseline].cases, volume_ml)
    theirs = _voxel_misses(other, other_level)
    result: dict[str, Json] = {}
    for name, arm in arms.items():
        if name == baseline:
            result[name] = {"works": None, "reason": "it is the baseline"}
            continue
        level = _level_of_volume(arm.cases, volume_ml)
        mine = _voxel_misses(arm, level)
        interval = _difference_interval(mine, theirs, weights)
        result[name] = {
            "works": None if interval is None else interval.high < 0.0,
            "baseline": baseline,
            "false_positive_ml_per_scan": volume_ml,
            "voxel_miss_rate_difference": None if interval is None else _ratio(*mine) - _ratio(*theirs),
            "ci95": None if interval is None else [interval.low, interval.high],
            "threshold": threshold_of(level) if level <= TOP else None,
            "baseline_threshold": threshold_of(other_level) if other_level <= TOP else None,
        }
    return result


def curves(cohort: Sweep) -> Json:
    """What the report draws: rows of [x, y, threshold] at the levels of the sweep, each of which re-binarises the maps.

    ``froc_by_count`` and ``froc_by_volume`` hold false positives (candidates, ml) per scan and lesion sensitivity;
    ``voxel_miss_rate_precision`` those two, without the levels at which nothing is predicted. Empty without lesions.
    """
    if cohort.lesions.sum() == 0:
        return {"froc_by_count": [], "froc_by_volume": [], "voxel_miss_rate_precision": []}
    counts, scans = cohort.counts(np.ones(cohort.patient.size)), float(cohort.patient.size)
    keep = np.unique(np.linspace(0, counts.levels.size - 1, min(counts.levels.size, POINTS)).round().astype(int))
    thresholds_K = np.array([threshold_of(int(level)) for level in counts.levels])
    predicted_K = counts.inside_voxels + counts.outside_voxels
    found_K, missed_K = counts.found / cohort.lesions.sum(), 1.0 - counts.inside_voxels / cohort.reference_voxels.sum()
    precision_K = counts.inside_voxels / np.maximum(predicted_K, 1.0)

    def rows(x_K: Floats, y_K: Floats, which: NDArray[np.intp]) -> list[list[float]]:
        table: list[list[float]] = np.stack([x_K, y_K, thresholds_K], axis=1)[which].tolist()
        return table

    return {
        "froc_by_count": rows(counts.false_positives / scans, found_K, keep),
        "froc_by_volume": [] if counts.outside_ml is None else rows(counts.outside_ml / scans, found_K, keep),
        "voxel_miss_rate_precision": rows(missed_K, precision_K, keep[predicted_K[keep] > 0]),
    }


def _lowest(arm: Run, **bounds: float) -> int | None:
    """The lowest admissible level."""
    counts = arm.sweep.pooled
    allowed = counts.levels[admissible(counts, len(arm.cases), **bounds)]
    return int(allowed[0]) if allowed.size else None


def _at(arm: Run, level: int | None, weights: Weights) -> Json:
    """Miss rates and false positives at a level, or of an empty prediction."""
    cohort, nothing_N = arm.sweep, np.zeros(arm.sweep.patient.size)
    found_N, inside_N, false_N, outside_N = (nothing_N,) * 4 if level is None else arm.counts_at(level)
    points = any(case.kind == "points" for case in arm.cases)
    reference_N, voxel_ml = nothing_N if points else cohort.reference_voxels, cohort.voxel_ml
    return {
        "threshold": None if level is None else threshold_of(level),
        "lesion_miss_rate": _share_block(cohort, cohort.lesions - found_N, cohort.lesions, weights),
        "voxel_miss_rate": _share_block(cohort, reference_N - inside_N, reference_N, weights),
        "false_positives_per_scan": float(false_N.mean()),
        "false_positive_ml_per_scan": None if voxel_ml is None else float((outside_N * voxel_ml).mean()),
    }


def _by_miss_rate(arms: dict[str, Run], rate: float | None, weights: Weights) -> Json:
    if rate is None:
        return {"how": HOW_SENSITIVITY, "bound": None, "arms": dict.fromkeys(arms)}
    return {
        "how": HOW_SENSITIVITY,
        "bound": rate,
        "arms": {name: _cost_of(arm, rate, weights) for name, arm in arms.items()},
    }


def _cost_of(arm: Run, rate: float, weights: Weights) -> Json | None:
    cohort, counts = arm.sweep, arm.sweep.pooled
    missed_J = 1.0 - counts.found / cohort.lesions.sum()
    # 1 - a / b and (b - a) / b may differ in the last bit.
    good = np.flatnonzero(missed_J <= rate + 1e-12)
    if good.size == 0:
        return None
    level = int(counts.levels[good[-1]])
    _, _, false_N, outside_N = arm.counts_at(level)
    ones_N, voxel_ml = np.ones(cohort.patient.size), cohort.voxel_ml
    ml = None if voxel_ml is None else _share_block(cohort, outside_N * voxel_ml, ones_N, weights, AMOUNT)
    return {
        "threshold": threshold_of(level),
        "lesion_miss_rate": float(missed_J[good[-1]]),
        "false_positives_per_scan": _share_block(cohort, false_N, ones_N, weights, COUNT),
        "false_positive_ml_per_scan": ml,
    }


def _share_block(
    cohort: Sweep, numerator_N: Floats, denominator_N: Floats, weights: Weights, values: Range = SHARE
) -> Json:
    patients = len(cohort.patients)
    numerator, denominator = (
        np.bincount(cohort.patient, each_N, minlength=patients).astype(np.float64)
        for each_N in (numerator_N, denominator_N)
    )
    total = float(denominator.sum())
    interval = ratio_interval(numerator, denominator, weights, values)
    return {
        "value": None if total == 0.0 else float(numerator.sum()) / total,
        "ci95": None if interval is None else [interval.low, interval.high],
        "few_patients": int((denominator != 0.0).sum()) < FEW,
    }


def _level_of_volume(cases: list[CaseStatistics], volume_ml: float) -> int:
    """The lowest level at which at most ``volume_ml`` per scan lies outside the reference; TOP + 1 if none."""
    total_ml = np.zeros(TOP + 1)
    for case in cases:
        assert case.voxel_ml is not None
        total_ml[case.outside.levels] += case.outside.counts * case.voxel_ml
    above_ml = np.cumsum(total_ml[::-1])[::-1] / len(cases)
    within = np.flatnonzero(at_most_ml(above_ml[1:], volume_ml)) + 1
    return int(within[0]) if within.size else TOP + 1


def _voxel_misses(arm: Run, level: int) -> tuple[Floats, Floats]:
    """Missed and reference voxels of each patient, (P,) each."""
    terms: list[Term] = []
    for case in arm.cases:
        counts = voxel_counts(case, level)
        ratio = Ratio(counts.false_negatives, counts.true_positives + counts.false_negatives)
        terms.append((case.patient_id, ratio))
    sums = pooled(terms, arm.patients)
    return sums.numerator, sums.denominator


def _difference_interval(
    mine: tuple[Floats, Floats], theirs: tuple[Floats, Floats], weights: Weights
) -> Interval | None:
    """The paired interval of the difference of two voxel miss rates."""
    first, second = (seed_ratio(one[None], all_[None], weights, 0, arm="") for one, all_ in (mine, theirs))
    return seed_difference(first, second, weights).interval


def _ratio(numerator_P: Floats, denominator_P: Floats) -> float:
    return float(numerator_P.sum() / denominator_P.sum())
