"""Share of the reference's lesions that no candidate matches by the stated rule."""

from missrate.core.case import CaseStatistics
from missrate.core.matching import found
from missrate.core.types import Matching, Ratio

UNIT = "share of lesions"
BETTER = "lower"
LEVEL = "case"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """Missed lesions / lesions at level ``at``; 0/0 for a healthy case. Raises InputError as ``matching.outcome``."""
    found_L = found(case, at, matching)
    return Ratio(int((~found_L).sum()), found_L.size)
