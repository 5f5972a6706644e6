"""Area under the lesions' precision-recall curve as the candidates' score sinks (PI-CAI)."""

from missrate.core.case import CaseStatistics
from missrate.core.sweep import Floats
from missrate.core.types import Matching
from missrate.metrics._scored import by_score, each
from missrate.metrics._swept import area

UNIT = "share"
BETTER = "higher"
LEVEL = "cohort"
NEEDS = "scores"


def measure(
    cases: list[CaseStatistics],
    at: int,
    matching: Matching,
    weight_per_patient: dict[str, float] | None,
) -> float | None:
    """The sum of precision x gain in recall from the highest score down, counts pooled over cases; ties are one step.

    Candidates are those at level ``at``, extracted and matched once, each with its highest level as score: another
    curve than ``lesion_average_precision``, which re-binarises the maps. Precision as in ``lesion_precision``. None
    for a binary prediction or without lesions. Raises InputError as ``matching.outcome``.
    """
    return by_score(cases, [at] * len(cases), matching, weight_per_patient, area)


def measure_at(
    cases: list[CaseStatistics], levels: list[int], matching: Matching, weights_BP: Floats
) -> list[float | None]:
    """``measure`` with each case at its own level, under many weightings of the patients (sorted)."""
    return each(cases, levels, matching, weights_BP, area)
