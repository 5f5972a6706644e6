"""Part of the metrics of the whole cohort: one value per weighting, and what both kinds of curve have in common.

A curve by threshold re-binarises the maps at each level; one by score (``_scored.py``) takes the candidates of one
level as they are and keeps those that peak high enough. Shapes: J levels or scores, ascending.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from missrate.core.admissible import holds_from_above
from missrate.core.case import CaseStatistics
from missrate.core.sweep import Floats, Sweep, sweep
from missrate.core.types import Matching


class OfLesions(Protocol):
    """Sums over a cohort at J ascending levels or scores, (J,) each."""

    @property
    def found(self) -> Floats:
        """Lesions."""

    @property
    def matched(self) -> Floats:
        """Candidates."""

    @property
    def false_positives(self) -> Floats:
        """Candidates."""


Value = Callable[[OfLesions, float, float], float | None]
"""``value(counts, lesions, scans)``: counts at ascending levels, and of how many lesions and scans they are."""
TOGETHER = 256
"""So many weightings share one matrix product."""
FALSE_POSITIVES_PER_SCAN = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


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


def mean_sensitivity(counts: OfLesions, lesions: float, scans: float) -> float | None:
    """Mean over ``FALSE_POSITIVES_PER_SCAN`` of the most lesions found within that bound; None without lesions.

    The bound must hold there and above; "nothing predicted" (0 found, 0 false positives) is always among the points.
    """
    if lesions == 0.0:
        return None
    best = [
        float(counts.found[holds_from_above(counts.false_positives / scans <= bound)].max(initial=0.0))
        for bound in FALSE_POSITIVES_PER_SCAN
    ]
    return sum(best) / len(best) / lesions


def area(counts: OfLesions, lesions: float, scans: float) -> float | None:
    """The sum of precision x gain in recall from the highest level down; None without lesions.

    Recall that falls gains nothing until it exceeds its highest value so far.
    """
    if lesions == 0.0:
        return None
    called_J = counts.matched + counts.false_positives
    # Without a candidate recall is 0, so nothing is gained there and its precision may be anything.
    precision_J = counts.matched / np.where(called_J == 0.0, 1.0, called_J)
    best_so_far_J = np.maximum.accumulate(counts.found[::-1])
    gain_J = np.diff(best_so_far_J, prepend=0.0)
    return float(gain_J @ precision_J[::-1]) / lesions
