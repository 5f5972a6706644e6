"""Part of the metrics of the whole cohort that sweep the threshold: matching once, then one value per weighting."""

from collections.abc import Callable

import numpy as np

from missrate.core.case import CaseStatistics
from missrate.core.sweep import Counts, Floats, Sweep, sweep
from missrate.core.types import Matching

Value = Callable[[Counts, float, float], float | None]
"""``value(counts, lesions, scans)``: counts at ascending levels, and of how many lesions and scans they are."""
TOGETHER = 256
"""So many weightings share one matrix product."""


def swept(
    cases: list[CaseStatistics], matching: Matching, weight_per_patient: dict[str, float] | None, value: Value
) -> float | None:
    """``value`` of the cohort: at every level there is, or with weights at those of ``Sweep``.

    None when a prediction has no scores.
    """
    if not all(case.scored for case in cases):
        return None
    cohort = sweep(cases, matching)
    if weight_per_patient is None:
        return value(cohort.pooled, float(cohort.lesions.sum()), float(cohort.patient.size))
    weights_P = np.array([weight_per_patient[name] for name in cohort.patients])
    return each(cohort, weights_P[None], value)[0]


def each(cohort: Sweep, weights_BP: Floats, value: Value) -> list[float | None]:
    """``value`` under each weighting of the patients, at the levels of the sweep."""
    result: list[float | None] = []
    for start in range(0, len(weights_BP), TOGETHER):
        weights_NB = weights_BP[start : start + TOGETHER, cohort.patient].T
        counts = cohort.counts(weights_NB)
        lesions_B, scans_B = cohort.lesions @ weights_NB, weights_NB.sum(axis=0)
        result += [value(counts.one(b), float(lesions_B[b]), float(scans_B[b])) for b in range(scans_B.size)]
    return result
