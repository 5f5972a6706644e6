"""Share of the axial slices with lesion in which nothing at all is predicted, right or wrong."""

import numpy as np

from missrate.core.case import CaseStatistics
from missrate.core.types import Matching, Ratio

UNIT = "share of slices"
BETTER = "lower"
LEVEL = "case"
NEEDS = "voxels"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """Missed slices / slices that hold reference voxels at level ``at``; 0/0 for an empty reference.

    Slices know voxels, not candidates: the matching rule and its least volume play no part.
    """
    holds_lesion_Z = case.slice_voxels > 0
    return Ratio(int(np.sum(holds_lesion_Z & (case.slice_peak < at))), int(holds_lesion_Z.sum()))
