"""Mean share of lesions found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan as the threshold sinks."""

from missrate.core.case import CaseStatistics
from missrate.core.sweep import Floats, Sweep
from missrate.core.types import Matching
from missrate.metrics._swept import each, mean_sensitivity, swept

UNIT = "share of lesions"
BETTER = "higher"
LEVEL = "cohort"
NEEDS = "scores"


def measure(
    cases: list[CaseStatistics],
    at: int,
    matching: Matching,
    weight_per_patient: dict[str, float] | None,
) -> float | None:
    """The mean of the sensitivities at ``FALSE_POSITIVES_PER_SCAN`` (the points of LUNA16), counts pooled over cases.

    The sensitivity at x is the highest one among the levels at which, and at every higher one, there
    are at most x false positives per scan; "nothing predicted" (0 and 0) is always among them. Each threshold
    re-binarises the maps (``froc_sensitivity_by_score`` is the curve by candidate score). Only the count is bounded:
    read it beside ``false_positive_ml_per_scan``. None for a binary prediction or without lesions. ``at`` plays no
    part.
    """
    return swept(cases, matching, weight_per_patient, mean_sensitivity)


def measure_each(cohort: Sweep, weights_BP: Floats) -> list[float | None]:
    """``measure`` under many weightings of the patients (sorted), from one sweep."""
    return each(cohort, weights_BP, mean_sensitivity)
