"""Area under the lesions' precision-recall curve as the threshold sinks."""

from collections.abc import Sequence

import numpy as np

from missrate.core.admissible import Sweep, share
from missrate.core.types import CaseStatistics, Matching
from missrate.metrics._swept import Weights, swept

UNIT = "share"
BETTER = "higher"
LEVEL = "cohort"


def measure(
    cases: list[CaseStatistics],
    at: int,
    matching: Matching,
    weight_per_patient: dict[str, float] | None,
) -> float | None:
    """The sum of precision x gain in recall from the highest common candidate level down, counts pooled over cases.

    Each threshold re-binarises the maps, so candidates grow and merge (this is not the curve by candidate score).
    Recall that falls (possible under IoU) gains nothing until it exceeds its highest value so far. Precision as in
    ``lesion_precision``. Under any overlap one candidate that fills the scan is a match: read it beside
    ``false_positive_ml_per_scan``, or use IoU. None for a binary prediction or without lesions. ``at`` plays no
    part.
    """
    return measure_each(cases, matching, [weight_per_patient])[0]


def measure_each(cases: list[CaseStatistics], matching: Matching, weights: Sequence[Weights]) -> list[float | None]:
    """``measure`` for many weights, matching only once."""
    return swept(cases, matching, weights, _area)


def _area(cohort: Sweep, weight_per_patient: Weights) -> float | None:
    weights_N = cohort.weights(weight_per_patient)
    recall_K = share(cohort.found, cohort.lesions, weights_N)
    if recall_K is None:
        return None
    matched_K = cohort.matched @ weights_N
    called_K = matched_K + cohort.false_positives @ weights_N
    # Without a candidate recall is 0, so nothing is gained there and its precision may be anything.
    precision_K = matched_K / np.where(called_K == 0.0, 1.0, called_K)
    best_so_far_K = np.maximum.accumulate(recall_K[::-1])
    gain_K = np.diff(best_so_far_K, prepend=0.0)
    return float(gain_K @ precision_K[::-1])
