"""Statistics of scans that were never drawn: lesions of one voxel each, apart, found up to given levels."""

import numpy as np

from missrate.core.case import CaseStatistics, Histogram, Lesions, Tree
from missrate.core.quantise import TOP

VOXELS = 1000


def scored(levels: list[int], patient: str, *, name: str | None = None, floor: int = 1) -> CaseStatistics:
    """A scan of ``VOXELS`` voxels of .1 ml whose i-th lesion has the probability ``levels[i]``; all others have 0."""
    peaks = np.array(levels, np.uint16)
    known = np.flatnonzero(peaks >= floor).astype(np.int32)
    rows, ones = np.arange(known.size, dtype=np.int32), np.ones(known.size, np.int64)
    tree = Tree(
        lowest=floor,
        highest=TOP,
        level=peaks[known],
        until=np.zeros(known.size, np.uint16),
        first=rows,
        voxels=ones,
        peak=peaks[known],
        point=known,
        overlap_row=rows,
        overlap_lesion=known,
        overlap_voxels=ones,
    )
    occurring, counts = np.unique(peaks, return_counts=True)
    size = np.ones(peaks.size)
    lesions = Lesions(np.ones(peaks.size, np.int64), size * 0.1, size * 5.76, np.zeros((peaks.size, 3), np.int32))
    return CaseStatistics(
        case_id=patient if name is None else name,
        patient_id=patient,
        fold=None,
        voxel_ml=0.1,
        diagonal_mm=100.0,
        kind="probability",
        inside=Histogram(occurring, counts.astype(np.int64)),
        outside=Histogram(np.zeros(1, np.uint16), np.array([VOXELS - peaks.size])),
        slice_voxels=np.array([peaks.size]),
        slice_peak_inside=np.array([peaks.max(initial=0)], np.uint16),
        slice_peak=np.array([peaks.max(initial=0)], np.uint16),
        lesions=lesions,
        lesion_peak=peaks,
        trees=(tree,),
        distances=(),
    )


def cohort(levels: list[int], *, floor: int = 1) -> list[CaseStatistics]:
    """One patient with one lesion for each level: p0, p1, and so on."""
    return [scored([level], f"p{i}", floor=floor) for i, level in enumerate(levels)]
