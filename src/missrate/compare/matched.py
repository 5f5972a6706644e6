"""All arms where they cost the same or find the same, because 0.5 means different things for different models.

Descriptive: thresholds come from these same cases. Shapes: K common levels ascending, N cases, P patients, B resamples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.compare.arms import Arm
from missrate.core.admissible import Sweep, admissible, at_most_ml, false_positive_ml, per_scan, share
from missrate.core.matching import voxel_counts
from missrate.core.pooling import Term, pooled
from missrate.core.quantise import TOP, threshold_of
from missrate.core.resampling import percentile, ratio_draws, ratio_interval
from missrate.core.types import CaseStatistics, Ratio

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
    arms: dict[str, Arm],
    against: str,
    weights_BP: Floats,
    *,
    fp_per_scan: tuple[float, ...],
    fp_ml_per_scan: tuple[float, ...],
) -> Json:
    """Miss rates at equal false positives (count, volume), and false-positive volume at equal sensitivity."""
    known_ml = all(arm.sweep.voxel_ml is not None for arm in arms.values())
    by_count = {
        name: [
            {"bound": x} | _at(arm, admissible(arm.sweep, false_positives_per_scan=x), weights_BP) for x in fp_per_scan
        ]
        for name, arm in arms.items()
    }
    by_volume = {
        name: [
            {"bound": v} | _at(arm, admissible(arm.sweep, false_positive_ml_per_scan=v), weights_BP)
            for v in fp_ml_per_scan
            if known_ml
        ]
        for name, arm in arms.items()
    }
    return {
        "how": HOW,
        "by_false_positives_per_scan": by_count,
        "by_false_positive_ml_per_scan": by_volume,
        "by_lesion_miss_rate": _by_miss_rate(arms, arms[against], weights_BP),
    }


def works(arms: dict[str, Arm], baseline: str, weights_BP: Floats, *, volume_ml: float) -> dict[str, Json]:
    """Whether each arm's voxel miss rate lies below the baseline's at equal false-positive volume, beyond noise.

    Voxels are counted at every level, so here thresholds are not bound to the candidate levels: an arm whose
    probabilities all lie below them is judged fairly.
    """
    if baseline not in arms:
        return {name: {"works": None, "reason": f"no arm {baseline}"} for name in arms}
    if any(arm.sweep.voxel_ml is None for arm in arms.values()):
        return {name: {"works": None, "reason": "no millimetres"} for name in arms}
    other, other_level = arms[baseline], _level_of_volume(arms[baseline].cases, volume_ml)
    theirs = _voxel_misses(other, other_level)
    result: dict[str, Json] = {}
    for name, arm in arms.items():
        if name == baseline:
            result[name] = {"works": None, "reason": "it is the baseline"}
            continue
        level = _level_of_volume(arm.cases, volume_ml)
        mine = _voxel_misses(arm, level)
        draws_B = ratio_draws(*mine, weights_BP) - ratio_draws(*theirs, weights_BP)
        interval = percentile(draws_B) if int((mine[1] > 0).sum()) > 1 else None
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
    """What the report draws: rows of [x, y, threshold] at the candidate levels, each of which re-binarises the maps.

    ``froc_by_count`` and ``froc_by_volume`` hold false positives (candidates, ml) per scan and lesion sensitivity;
    ``voxel_miss_rate_precision`` those two, without the levels at which nothing is predicted. Empty without lesions.
    """
    ones_N = np.ones(cohort.patient.size)
    found_K = share(cohort.found, cohort.lesions, ones_N)
    hit_K = share(cohort.inside_voxels, cohort.reference_voxels, ones_N)
    if found_K is None or hit_K is None:
        return {"froc_by_count": [], "froc_by_volume": [], "voxel_miss_rate_precision": []}
    keep = np.unique(np.linspace(0, cohort.levels.size - 1, min(cohort.levels.size, POINTS)).round().astype(int))
    thresholds_K = np.array([threshold_of(int(level)) for level in cohort.levels])
    ml_KN = false_positive_ml(cohort)
    inside_K, outside_K = cohort.inside_voxels.sum(axis=1), cohort.outside_voxels.sum(axis=1)
    predicted = keep[(inside_K + outside_K)[keep] > 0]
    precision_K = inside_K / np.maximum(inside_K + outside_K, 1.0)

    def rows(x_K: Floats, y_K: Floats, which: NDArray[np.intp]) -> list[list[float]]:
        table: list[list[float]] = np.stack([x_K, y_K, thresholds_K], axis=1)[which].tolist()
        return table

    return {
        "froc_by_count": rows(per_scan(cohort.false_positives, ones_N), found_K, keep),
        "froc_by_volume": [] if ml_KN is None else rows(per_scan(ml_KN, ones_N), found_K, keep),
        "voxel_miss_rate_precision": rows(1.0 - hit_K, precision_K, predicted),
    }


def _at(arm: Arm, admissible_K: NDArray[np.bool_], weights_BP: Floats) -> Json:
    """Miss rates and false positives at the lowest admissible level, or of an empty prediction."""
    cohort, allowed = arm.sweep, np.flatnonzero(admissible_K)
    k = int(allowed[0]) if allowed.size else None
    nothing_N = np.zeros(cohort.patient.size)
    found_N, inside_N, fp_N = (
        nothing_N if k is None else counts_KN[k]
        for counts_KN in (cohort.found, cohort.inside_voxels, cohort.false_positives)
    )
    ml_KN = false_positive_ml(cohort)
    ml_N = None if ml_KN is None else nothing_N if k is None else ml_KN[k]
    return {
        "threshold": None if k is None else threshold_of(int(cohort.levels[k])),
        "lesion_miss_rate": _share_block(cohort, cohort.lesions - found_N, cohort.lesions, weights_BP),
        "voxel_miss_rate": _share_block(
            cohort, cohort.reference_voxels - inside_N, cohort.reference_voxels, weights_BP
        ),
        "false_positives_per_scan": float(fp_N.mean()),
        "false_positive_ml_per_scan": None if ml_N is None else float(ml_N.mean()),
    }


def _by_miss_rate(arms: dict[str, Arm], against: Arm, weights_BP: Floats) -> Json:
    rate = _miss_rate_at_point(against)
    if rate is None:
        return {"how": HOW_SENSITIVITY, "bound": None, "arms": dict.fromkeys(arms)}
    return {
        "how": HOW_SENSITIVITY,
        "bound": rate,
        "arms": {name: _cost_of(arm, rate, weights_BP) for name, arm in arms.items()},
    }


def _miss_rate_at_point(arm: Arm) -> float | None:
    """The pooled lesion miss rate at the arm's own point, from the sweep; None without a threshold or a lesion."""
    if arm.levels is None or arm.sweep.lesions.sum() == 0:
        return None
    rows = np.searchsorted(arm.sweep.levels, arm.levels)
    found = arm.sweep.found[rows, np.arange(len(arm.levels))].sum()
    return float((arm.sweep.lesions.sum() - found) / arm.sweep.lesions.sum())


def _cost_of(arm: Arm, rate: float, weights_BP: Floats) -> Json | None:
    cohort = arm.sweep
    found_K = share(cohort.found, cohort.lesions, np.ones(cohort.patient.size))
    # 1 - a / b and (b - a) / b may differ in the last bit.
    good = np.array([]) if found_K is None else np.flatnonzero(1.0 - found_K <= rate + 1e-12)
    if found_K is None or good.size == 0:
        return None
    k = int(good[-1])
    ml_KN = false_positive_ml(cohort)
    ones_N = np.ones(cohort.patient.size)
    return {
        "threshold": threshold_of(int(cohort.levels[k])),
        "lesion_miss_rate": 1.0 - float(found_K[k]),
        "false_positives_per_scan": _share_block(cohort, cohort.false_positives[k], ones_N, weights_BP),
        "false_positive_ml_per_scan": None if ml_KN is None else _share_block(cohort, ml_KN[k], ones_N, weights_BP),
    }


def _share_block(cohort: Sweep, numerator_N: Floats, denominator_N: Floats, weights_BP: Floats) -> Json:
    patients = len(cohort.patients)
    numerator, denominator = (
        np.bincount(cohort.patient, each_N, minlength=patients).astype(np.float64)
        for each_N in (numerator_N, denominator_N)
    )
    total = float(denominator.sum())
    interval = ratio_interval(numerator, denominator, weights_BP)
    return {
        "value": None if total == 0.0 else float(numerator.sum()) / total,
        "ci95": None if interval is None else [interval.low, interval.high],
    }


def _level_of_volume(cases: list[CaseStatistics], volume_ml: float) -> int:
    """The lowest level at which at most ``volume_ml`` per scan lies outside the reference; TOP + 1 if none."""
    total_ml = np.zeros(TOP + 1)
    for case in cases:
        assert case.voxel_ml is not None
        total_ml += case.outside * case.voxel_ml
    above_ml = np.cumsum(total_ml[::-1])[::-1] / len(cases)
    within = np.flatnonzero(at_most_ml(above_ml[1:], volume_ml)) + 1
    return int(within[0]) if within.size else TOP + 1


def _voxel_misses(arm: Arm, level: int) -> tuple[Floats, Floats]:
    """Missed and reference voxels of each patient, (P,) each."""
    terms: list[Term] = []
    for case in arm.cases:
        counts = voxel_counts(case, level)
        ratio = Ratio(counts.false_negatives, counts.true_positives + counts.false_negatives)
        terms.append((case.patient_id, ratio))
    sums = pooled(terms, arm.patients)
    return sums.numerator, sums.denominator


def _ratio(numerator_P: Floats, denominator_P: Floats) -> float:
    return float(numerator_P.sum() / denominator_P.sum())
