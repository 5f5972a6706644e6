"""Unmatched candidates per scan, over all scans, healthy ones included."""

from missrate.core.case import CaseStatistics
from missrate.core.intervals import COUNT
from missrate.core.matching import false_positives
from missrate.core.types import Matching, Ratio

UNIT = "candidates per scan"
RANGE = COUNT
BETTER = "lower"
LEVEL = "case"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """False positives / 1 at level ``at``; always defined. Raises InputError as ``matching.outcome``."""
    return Ratio(false_positives(case, at, matching), 1)
