"""Mean share of lesions found at 1/8 to 8 false positives per scan as the candidates' score sinks (LUNA16)."""

from missrate.core.case import CaseStatistics
from missrate.core.sweep import Floats
from missrate.core.types import Matching
from missrate.metrics._scored import by_score, each
from missrate.metrics._swept import mean_sensitivity

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
    """The mean of the sensitivities at ``FALSE_POSITIVES_PER_SCAN``, counts pooled over cases; ties are one step.

    Candidates are those at level ``at``, extracted and matched once, each with its highest level as score: another
    curve than ``froc_sensitivity``, which re-binarises the maps. The sensitivity at x is the highest one among the
    scores with at most x false positives per scan, without interpolation. Only the count is bounded: read it beside
    ``false_positive_ml_per_scan``. None for a binary prediction or without lesions. Raises InputError as
    ``matching.outcome``.
    """
    return by_score(cases, [at] * len(cases), matching, weight_per_patient, mean_sensitivity)


def measure_at(
    cases: list[CaseStatistics], levels: list[int], matching: Matching, weights_BP: Floats
) -> list[float | None]:
    """``measure`` with each case at its own level, under many weightings of the patients (sorted)."""
    return each(cases, levels, matching, weights_BP, mean_sensitivity)
