"""Part of the metrics of the whole cohort that sweep the threshold: matching once, then one value per weighting."""

from collections.abc import Callable, Sequence

from missrate.core.admissible import Sweep, sweep
from missrate.core.types import CaseStatistics, Matching

Weights = dict[str, float] | None


def swept(
    cases: list[CaseStatistics],
    matching: Matching,
    weights: Sequence[Weights],
    value: Callable[[Sweep, Weights], float | None],
) -> list[float | None]:
    """``value`` of the sweep under each weighting of the patients; None throughout for a binary prediction."""
    if any(case.binary for case in cases):
        return [None] * len(weights)
    cohort = sweep(cases, matching)
    return [value(cohort, weight) for weight in weights]
