"""Dice: twice the shared voxels over the voxels of reference and prediction."""

from missrate.core.case import CaseStatistics
from missrate.core.matching import voxel_counts
from missrate.core.types import Matching, Ratio

UNIT = "share"
BETTER = "higher"
LEVEL = "case"
NEEDS = "voxels"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """2 TP / (2 TP + FP + FN) in voxels at level ``at``; two empty masks are 0/0: undefined, not perfect."""
    counts = voxel_counts(case, at)
    doubled = 2 * counts.true_positives
    return Ratio(doubled, doubled + counts.false_positives + counts.false_negatives)
