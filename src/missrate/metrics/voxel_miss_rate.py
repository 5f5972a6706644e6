"""Share of the reference's lesion voxels whose probability is below the threshold."""

from missrate.core.case import CaseStatistics
from missrate.core.matching import voxel_counts
from missrate.core.types import Matching, Ratio

UNIT = "share of reference voxels"
BETTER = "lower"
LEVEL = "case"
NEEDS = "voxels"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """FN / (TP + FN) in voxels at level ``at``; 0/0 for an empty reference. The matching rule plays no part."""
    counts = voxel_counts(case, at)
    return Ratio(counts.false_negatives, counts.true_positives + counts.false_negatives)
