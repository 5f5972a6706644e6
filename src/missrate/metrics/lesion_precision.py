"""Share of the candidates that match a lesion by the stated rule."""

from missrate.core.case import CaseStatistics
from missrate.core.matching import outcome
from missrate.core.types import Matching, Ratio

UNIT = "share of candidates"
BETTER = "higher"
LEVEL = "case"


def measure(case: CaseStatistics, at: int, matching: Matching) -> Ratio:
    """Matched / (matched + false positives) at level ``at``; 0/0 without candidates.

    A candidate that the rule calls neither (a further one on a found lesion, PI-CAI convention) is left out.
    Raises InputError as ``matching.outcome``.
    """
    result = outcome(case, at, matching)
    return Ratio(result.matched, result.matched + result.false_positives)
