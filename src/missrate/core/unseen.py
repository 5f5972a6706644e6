"""A patient who was not drawn, as statistics: all lesions missed, or all found without a false positive.

Metrics of a whole cohort (FROC, average precision) are no ratio of sums, so the unseen patient of ``intervals`` joins
the cohort as a case of its own, with as many lesions as the patient has to whom a lesion picked at random belongs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from missrate.core.case import CaseStatistics, Histogram, Lesions, Tree
from missrate.core.quantise import TOP

PATIENT = "\U0010ffff"
"""The last of all names, so that the unseen patient comes after all others."""


def unseen_cases(cases: Sequence[CaseStatistics]) -> tuple[CaseStatistics, CaseStatistics] | None:
    """Return the unseen patient at worst and at best; None where no case has a lesion."""
    lesions_of: Counter[str] = Counter()
    for case in cases:
        lesions_of[case.patient_id] += case.lesion_peak.size
    total = lesions_of.total()
    if total == 0:
        return None
    count = round(sum(each**2 for each in lesions_of.values()) / total)
    largest = max(int(case.lesions.voxels.max(initial=1)) for case in cases)
    like = replace(cases[0], case_id=PATIENT, patient_id=PATIENT, distances=())
    return _case(like, count, largest, level=0), _case(like, count, largest, level=TOP)


def _case(like: CaseStatistics, count: int, voxels: int, *, level: int) -> CaseStatistics:
    """``count`` lesions of ``voxels`` each, every one a candidate of its own up to ``level`` (0: there is none).

    Its candidates are known at every level, so that the floors of the real cases alone count.
    """
    rows = np.arange(count if level else 0, dtype=np.int32)
    peaks_L = np.full(count, level, np.uint16)
    tree = Tree(
        lowest=1,
        highest=TOP,
        level=peaks_L[rows],
        until=np.zeros(rows.size, np.uint16),
        first=rows,
        voxels=np.full(rows.size, voxels),
        peak=peaks_L[rows],
        point=rows,
        overlap_row=rows,
        overlap_lesion=rows,
        overlap_voxels=np.full(rows.size, voxels),
    )
    inside = Histogram(np.array([level], np.uint16), np.array([count * voxels]))
    sizes_L = np.full(count, voxels)
    unknown_L = np.full(count, np.nan)
    return replace(
        like,
        inside=inside,
        outside=Histogram(np.empty(0, np.uint16), np.empty(0, np.int64)),
        slice_voxels=np.array([count * voxels]),
        slice_peak_inside=np.array([level], np.uint16),
        slice_peak=np.array([level], np.uint16),
        lesions=Lesions(sizes_L, unknown_L, unknown_L, np.zeros((count, 3), np.int32)),
        lesion_peak=peaks_L,
        trees=(tree,),
    )
