"""What each arm does by itself, at its own point: the values of which the comparison shows differences."""

from typing import Any

from missrate.compare.arms import Arm, values_of
from missrate.compare.differences import mean_sums, over_seeds
from missrate.core.intervals import FEW, Weights
from missrate.core.resampling import clopper_pearson
from missrate.core.seeds import OverSeeds, seed_ratio

Json = dict[str, Any]
SHOWN = {
    "voxel_miss_rate": "pooled",
    "slice_miss_rate": "pooled",
    "lesion_miss_rate": "pooled",
    "patient_miss_rate": "pooled",
    "voxel_precision": "pooled",
    "lesion_precision": "pooled",
    "false_positives_per_scan": "pooled",
    "false_positive_ml_per_scan": "case_mean",
    "dice": "case_mean",
}


def over(arm: Arm, metric: str, average: str, weights: Weights, seed: int) -> OverSeeds:
    """One metric of one arm over its seeds and the resamples; a mean over cases leaves out those that are undefined."""
    sums = arm.sums(metric) if average == "pooled" else mean_sums(arm, arm, metric)[0]
    return seed_ratio(*sums, weights, seed, arm=arm.trained, values=values_of(metric))


def rates(arm: Arm, weights: Weights, seed: int) -> Json:
    """The main metrics with their intervals, and the spread over seeds where there are several; empty without a point.

    Patients of one seed are counts: their interval is Clopper and Pearson's.
    """
    return {m: _rate(arm, m, average, weights, seed) for m, average in SHOWN.items()} if arm.ready else {}


def _rate(arm: Arm, metric: str, average: str, weights: Weights, seed: int) -> Json:
    found = over(arm, metric, average, weights, seed)
    both = None if found.interval is None else (found.interval.low, found.interval.high)
    kind = "patient-bootstrap"
    if len(arm.runs) > 1:
        kind = "patient-and-seed-bootstrap"
    elif metric == "patient_miss_rate":
        numerator_SP, denominator_SP = arm.sums(metric)
        both, kind = clopper_pearson(int(numerator_SP.sum()), int(denominator_SP.sum())), "clopper-pearson"
    result = {"value": found.estimate, "ci95": None if both is None else list(both), "interval": kind}
    result["average"] = average
    result["few_patients"] = found.patients < FEW
    return result | ({"seeds": over_seeds(found)} if len(arm.runs) > 1 else {})
