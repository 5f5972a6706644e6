"""Mean share of lesions found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan."""

from collections.abc import Sequence

from missrate.core.admissible import Sweep, holds_from_above, per_scan, share
from missrate.core.types import CaseStatistics, Matching
from missrate.metrics._swept import Weights, swept

UNIT = "share of lesions"
BETTER = "higher"
LEVEL = "cohort"

FALSE_POSITIVES_PER_SCAN = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def measure(
    cases: list[CaseStatistics],
    at: int,
    matching: Matching,
    weight_per_patient: dict[str, float] | None,
) -> float | None:
    """The mean of the sensitivities at ``FALSE_POSITIVES_PER_SCAN`` (the points of LUNA16), counts pooled over cases.

    The sensitivity at x is the highest one among common candidate levels at which, and at every higher one, there
    are at most x false positives per scan; "nothing predicted" (0 and 0) is always among them. Each threshold
    re-binarises the maps. Only the count is bounded: read it beside ``false_positive_ml_per_scan``. None for a
    binary prediction or without lesions. ``at`` plays no part.
    """
    return measure_each(cases, matching, [weight_per_patient])[0]


def measure_each(cases: list[CaseStatistics], matching: Matching, weights: Sequence[Weights]) -> list[float | None]:
    """``measure`` for many weights, matching only once."""
    return swept(cases, matching, weights, _mean_sensitivity)


def _mean_sensitivity(cohort: Sweep, weight_per_patient: Weights) -> float | None:
    weights_N = cohort.weights(weight_per_patient)
    sensitivity_K = share(cohort.found, cohort.lesions, weights_N)
    if sensitivity_K is None:
        return None
    false_positives_K = per_scan(cohort.false_positives, weights_N)
    best = [
        float(sensitivity_K[holds_from_above(false_positives_K <= bound)].max(initial=0.0))
        for bound in FALSE_POSITIVES_PER_SCAN
    ]
    return sum(best) / len(best)
