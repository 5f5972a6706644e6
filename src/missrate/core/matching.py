"""Which lesions are found and which candidates are false positives, by a stated rule, from ``CaseStatistics`` alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from missrate.core.errors import InputError
from missrate.core.quantise import threshold_of
from missrate.core.types import CaseStatistics, Matching


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case at one level. Under the PI-CAI convention a candidate may be neither matched nor a false positive."""

    found: NDArray[np.bool_]  # (L,)
    matched: int
    false_positives: int
    candidates: int


@dataclass(frozen=True, slots=True)
class Curve:
    """One case at every candidate level; K levels ascending, L lesions."""

    levels: NDArray[np.uint16]  # (K,)
    found: NDArray[np.bool_]  # (K, L)
    matched: NDArray[np.int64]  # (K,) candidates
    false_positives: NDArray[np.int64]  # (K,) candidates
    candidates: NDArray[np.int64]  # (K,)
    false_positive_voxels: NDArray[np.int64]  # (K,) all predicted voxels outside the reference


@dataclass(frozen=True, slots=True)
class VoxelCounts:
    """The confusion table of one case at one level, in voxels."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int


def voxel_counts(case: CaseStatistics, level: int) -> VoxelCounts:
    """Voxels inside and outside the reference at and below ``level`` (any level from 0 to TOP + 1)."""
    return VoxelCounts(
        true_positives=int(case.inside[level:].sum()),
        false_negatives=int(case.inside[:level].sum()),
        false_positives=int(case.outside[level:].sum()),
        true_negatives=int(case.outside[:level].sum()),
    )


def at_least(histogram: NDArray[np.int64], levels: NDArray[np.uint16]) -> NDArray[np.int64]:
    """How many voxels of a histogram (TOP + 1,) lie at or above each level; shape (K,)."""
    return np.asarray(np.cumsum(histogram[::-1])[::-1][levels], np.int64)


def outcome(case: CaseStatistics, level: int, matching: Matching) -> Outcome:
    """Lesions and candidates at one level; a healthy case has ``found`` of shape (0,) and its false positives count.

    Raises InputError when ``level`` is not one of ``case.candidate_levels``, and for a rule that cannot be applied.
    """
    index = int(np.searchsorted(case.candidate_levels, level))
    if index == case.candidate_levels.size or case.candidate_levels[index] != level:
        raise InputError(
            f"A level must be one of the candidate levels of case {case.case_id}. Got {level} "
            f"(threshold {threshold_of(level):g}); perhaps declare this threshold before the scans are measured."
        )
    _require_rule(matching)
    return _outcome(case, index, large_enough(case, matching), matching)


def found(case: CaseStatistics, level: int, matching: Matching) -> NDArray[np.bool_]:
    """Whether each lesion is found at ``level``; shape (L,). Errors as in ``outcome``."""
    return outcome(case, level, matching).found


def false_positives(case: CaseStatistics, level: int, matching: Matching) -> int:
    """How many candidates are false positives at ``level``. Errors as in ``outcome``."""
    return outcome(case, level, matching).false_positives


def curve(case: CaseStatistics, matching: Matching) -> Curve:
    """``outcome`` at every candidate level; each threshold re-binarises the prediction. Errors as in ``outcome``."""
    _require_rule(matching)
    large_M = large_enough(case, matching)
    rows = [_outcome(case, k, large_M, matching) for k in range(case.candidate_levels.size)]
    return Curve(
        levels=case.candidate_levels,
        found=np.array([r.found for r in rows], bool).reshape(len(rows), case.lesion_peak.size),
        matched=np.array([r.matched for r in rows], np.int64),
        false_positives=np.array([r.false_positives for r in rows], np.int64),
        candidates=np.array([r.candidates for r in rows], np.int64),
        false_positive_voxels=at_least(case.outside, case.candidate_levels),
    )


def large_enough(case: CaseStatistics, matching: Matching) -> NDArray[np.bool_]:
    """Which candidate rows have at least the least volume; shape (M,). Raises InputError without millimetres."""
    if matching.least_volume_ml <= 0.0:
        return np.ones(case.candidate_voxels.size, bool)
    if case.voxel_ml is None:
        raise InputError(
            f"A least volume must be 0 where there are no millimetres. Got {matching.least_volume_ml:g} ml "
            f"for case {case.case_id}, which knows pixels only."
        )
    # The factor lets 3 voxels of .1 ml be .3 ml whichever way the product was rounded.
    return np.asarray(case.candidate_voxels * case.voxel_ml >= matching.least_volume_ml * (1.0 - 1e-9))


def _require_rule(matching: Matching) -> None:
    if matching.rule == "overlap" and matching.minimum is not None:
        raise InputError(f"The rule 'overlap' has no minimum. Got {matching.minimum:g}; perhaps the rule 'iou'.")
    if matching.rule == "iou" and not (matching.minimum is not None and 0.0 < matching.minimum <= 1.0):
        raise InputError(f"The rule 'iou' must have a minimum in (0, 1]. Got {matching.minimum}.")


def _outcome(case: CaseStatistics, index: int, large_M: NDArray[np.bool_], matching: Matching) -> Outcome:
    exists_M = (case.candidate_level == index) & large_M
    here_Q = exists_M[case.overlap_candidate]
    lesion, candidate = case.overlap_lesion[here_Q], case.overlap_candidate[here_Q]
    candidates = int(exists_M.sum())
    found_L = np.zeros(case.lesion_peak.size, bool)
    if matching.rule == "overlap":
        found_L[lesion] = True
        matched = np.unique(candidate).size
        return Outcome(found_L, matched, candidates - matched, candidates)

    assert matching.minimum is not None
    shared = case.overlap_voxels[here_Q]
    iou = shared / (case.lesions.voxels[lesion] + case.candidate_voxels[candidate] - shared)
    enough = iou >= matching.minimum
    pairs = one_to_one(lesion[enough], candidate[enough], iou[enough])
    found_L[pairs[:, 0]] = True
    excused = 0 if matching.strict else np.unique(candidate[enough]).size - len(pairs)
    return Outcome(found_L, len(pairs), candidates - len(pairs) - excused, candidates)


def one_to_one(lesion: NDArray[np.int32], candidate: NDArray[np.int32], iou: NDArray[np.float64]) -> NDArray[np.int32]:
    """The pairing with the most matches and, among those, the greatest sum of IoU: rows (lesion, candidate).

    The three arrays (E,) list the pairs that may be matched, each pair once, IoU in (0, 1]. No pairs give shape (0, 2).
    The Hungarian method of scipy; a constant per match that exceeds any sum of IoU puts the number of matches first.
    """
    if lesion.size == 0:
        return np.empty((0, 2), np.int32)
    lesions, row = np.unique(lesion, return_inverse=True)
    candidates, column = np.unique(candidate, return_inverse=True)
    weight = np.zeros((lesions.size, candidates.size))
    weight[row, column] = iou + min(weight.shape) + 1.0
    chosen_row, chosen_column = linear_sum_assignment(weight, maximize=True)
    real = weight[chosen_row, chosen_column] > 0.0
    return np.stack([lesions[chosen_row[real]], candidates[chosen_column[real]]], axis=1).astype(np.int32)
