"""Area under the lesions' precision-recall curve as the threshold sinks."""

import numpy as np

from missrate.core.case import CaseStatistics
from missrate.core.sweep import Counts, Floats, Sweep
from missrate.core.types import Matching
from missrate.metrics._swept import each, swept

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

    Each threshold re-binarises the maps, so candidates grow and merge (this is not the curve by candidate score).
    Recall that falls (possible under IoU) gains nothing until it exceeds its highest value so far. Precision as in
    ``lesion_precision``. Under any overlap one candidate that fills the scan is a match: read it beside
    ``false_positive_ml_per_scan``, or use IoU. None for a binary prediction or without lesions. ``at`` plays no
    part.
    """
    return swept(cases, matching, weight_per_patient, _area)


def measure_each(cohort: Sweep, weights_BP: Floats) -> list[float | None]:
    """``measure`` under many weightings of the patients (sorted), from one sweep."""
    return each(cohort, weights_BP, _area)


def _area(counts: Counts, lesions: float, scans: float) -> float | None:
    if lesions == 0.0:
        return None
    called_J = counts.matched + counts.false_positives
    # Without a candidate recall is 0, so nothing is gained there and its precision may be anything.
    precision_J = counts.matched / np.where(called_J == 0.0, 1.0, called_J)
    best_so_far_J = np.maximum.accumulate(counts.found[::-1])
    gain_J = np.diff(best_so_far_J, prepend=0.0)
    return float(gain_J @ precision_J[::-1]) / lesions
