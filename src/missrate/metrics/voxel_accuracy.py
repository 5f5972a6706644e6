"""Share of all voxels that are right; predicting nothing is nearly perfect, so it says little about lesions."""

from missrate.core.case import CaseStatistics
from missrate.core.matching import voxel_counts
from missrate.core.types import Matching, Ratio

UNIT = "share of all voxels"
BETTER = "higher"
LEVEL = "case"
NEEDS = "voxels"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """(TP + TN) / all voxels at level ``at``; always defined. The matching rule plays no part."""
    counts = voxel_counts(case, at)
    right = counts.true_positives + counts.true_negatives
    return Ratio(right, right + counts.false_positives + counts.false_negatives)
