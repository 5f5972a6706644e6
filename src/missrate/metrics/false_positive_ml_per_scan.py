"""Predicted volume outside the reference per scan, over all scans: a whole scan called tumour looks as bad as it is."""

from missrate.core.case import CaseStatistics
from missrate.core.intervals import AMOUNT
from missrate.core.matching import voxel_counts
from missrate.core.types import Matching

UNIT = "ml per scan"
RANGE = AMOUNT
BETTER = "lower"
LEVEL = "case"
NEEDS = "voxels"


def measure(case: CaseStatistics, at: int, matching: Matching) -> float | None:
    """All predicted voxels outside the reference at level ``at``, in ml, also those of candidates that match.

    None where the scan knows pixels only. The matching rule and its least volume play no part.
    """
    return None if case.voxel_ml is None else voxel_counts(case, at).false_positives * case.voxel_ml
