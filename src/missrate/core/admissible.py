"""Which thresholds are admissible.

False positives per scan are not monotone in the threshold: candidates merge, until the whole scan is one of them that
touches every lesion. So a threshold counts as admissible only if the bounds hold there and at every higher one, and a
bound on the false-positive volume, which cannot be gamed by merging, stands beside the bound on the count.
"""

import numpy as np
from numpy.typing import NDArray

from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.quantise import level_of
from missrate.core.sweep import Counts
from missrate.core.types import OperatingPoint


def at_most_ml(volume_ml: NDArray[np.float64], bound_ml: float) -> NDArray[np.bool_]:
    """``volume_ml <= bound_ml`` of the same shape, where a volume that is the bound but for its rounding is within."""
    return np.asarray(volume_ml <= bound_ml * (1.0 + 1e-9))


def holds_from_above(within_J: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a bound holds at this level and at every higher one, (J,)."""
    return np.asarray(np.logical_and.accumulate(within_J[::-1])[::-1])


def admissible(
    counts: Counts,
    scans: float,
    *,
    false_positives_per_scan: float = np.inf,
    false_positive_ml_per_scan: float = np.inf,
) -> NDArray[np.bool_]:
    """Which levels, (J,), keep both bounds there and at every higher level; an infinite bound always holds.

    Raises InputError for a bound in millilitres when some case knows pixels only.
    """
    within_J = counts.false_positives / scans <= false_positives_per_scan
    if np.isfinite(false_positive_ml_per_scan):
        if counts.outside_ml is None:
            raise InputError("A bound in millilitres must have scans that know millimetres. Got pixels only.")
        within_J = within_J & at_most_ml(counts.outside_ml / scans, false_positive_ml_per_scan)
    return holds_from_above(within_J)


def level_at(point: OperatingPoint, case: CaseStatistics) -> int | None:
    """The level of ``point`` for this case's fold; None when no threshold was admissible there.

    A point with one threshold (under None) serves every fold. Raises InputError for a fold that the point lacks.
    """
    key = case.fold if case.fold in point.thresholds else None
    if key not in point.thresholds:
        raise InputError(
            f"Operating point {point.name!r} must have a threshold for fold {case.fold} of case {case.case_id}. "
            f"Got folds {sorted(str(fold) for fold in point.thresholds)}."
        )
    threshold = point.thresholds[key]
    return None if threshold is None else level_of(threshold)
