"""Area under the lesions' precision-recall curve as the threshold sinks."""

from missrate.core.case import CaseStatistics
from missrate.core.sweep import Floats, Sweep
from missrate.core.types import Matching
from missrate.metrics._swept import area, each, swept

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
    """The sum of precision x gain in recall from the highest level down, counts pooled over cases.

    Each threshold re-binarises the maps, so candidates grow and merge (``lesion_average_precision_by_score`` is the
    curve by candidate score). Recall that falls (possible under IoU) gains nothing until it exceeds its highest value
    so far. Precision as in ``lesion_precision``. Under any overlap one candidate that fills the scan is a match: read
    it beside ``false_positive_ml_per_scan``, or use IoU. None for a binary prediction or without lesions. ``at``
    plays no part.
    """
    return swept(cases, matching, weight_per_patient, area)


def measure_each(cohort: Sweep, weights_BP: Floats) -> list[float | None]:
    """``measure`` under many weightings of the patients (sorted), from one sweep."""
    return each(cohort, weights_BP, area)
