"""Candidates per scan without a lesion: each of them is a false alarm."""

from missrate.core.case import CaseStatistics
from missrate.core.intervals import COUNT
from missrate.core.matching import false_positives
from missrate.core.types import Matching, Ratio

UNIT = "candidates per healthy scan"
RANGE = COUNT
BETTER = "lower"
LEVEL = "case"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """False positives / 1 at level ``at``; 0/0 for a case with a lesion. Raises InputError as ``matching.outcome``."""
    return Ratio(false_positives(case, at, matching), 1) if case.healthy else Ratio(0, 0)
