"""Share of the predicted voxels that lie in the reference."""

from missrate.core.case import CaseStatistics
from missrate.core.matching import voxel_counts
from missrate.core.types import Matching, Ratio

UNIT = "share of predicted voxels"
BETTER = "higher"
LEVEL = "case"
NEEDS = "voxels"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """TP / (TP + FP) in voxels at level ``at``; 0/0 for an empty prediction. The matching rule plays no part."""
    counts = voxel_counts(case, at)
    return Ratio(counts.true_positives, counts.true_positives + counts.false_positives)
