"""Share of the patients with a lesion of whom no lesion is found in any scan."""

from missrate.core.case import CaseStatistics
from missrate.core.matching import found
from missrate.core.types import Matching, Ratio

UNIT = "share of patients"
BETTER = "lower"
LEVEL = "patient"


def measure(cases_of_one_patient: list[CaseStatistics], at: int, matching: Matching) -> Ratio:
    """1/1 when every lesion of the patient is missed at level ``at``, 0/1 when one is found, 0/0 without a lesion.

    Raises InputError as ``matching.outcome``.
    """
    found_each = [bool(hit) for case in cases_of_one_patient for hit in found(case, at, matching)]
    return Ratio(int(not any(found_each)), 1) if found_each else Ratio(0, 0)
