"""Which lesions are found and which candidates are false positives, by a stated rule, from ``CaseStatistics`` alone.

Shapes: L lesions, C candidates at one level, K levels, T = TOP + 2 levels from 0 to TOP + 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from missrate.core.case import CaseStatistics, Tree
from missrate.core.errors import InputError
from missrate.core.quantise import TOP
from missrate.core.types import Matching

Edges = tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.float64]]
"""Pairs that may be matched: candidate, lesion, IoU."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case at one level. Under the PI-CAI convention a candidate may be neither matched nor a false positive."""

    found: NDArray[np.bool_]  # (L,)
    matched: int
    false_positives: int
    candidates: int


@dataclass(frozen=True, slots=True)
class Curve:
    """One case at every level from 0 to TOP + 1 (T,); below ``lowest`` nothing is known and all is 0."""

    lowest: int
    found: NDArray[np.int32]  # lesions
    matched: NDArray[np.int32]  # candidates
    false_positives: NDArray[np.int32]  # candidates


@dataclass(frozen=True, slots=True)
class VoxelCounts:
    """The confusion table of one case at one level, in voxels."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int


def voxel_counts(case: CaseStatistics, level: int) -> VoxelCounts:
    """Voxels inside and outside the reference at and below ``level`` (any level from 0 to TOP + 1)."""
    inside, outside = int(case.inside.at_least(level)), int(case.outside.at_least(level))
    return VoxelCounts(inside, case.inside.total - inside, outside, case.outside.total - outside)


def outcome(case: CaseStatistics, level: int, matching: Matching) -> Outcome:
    """Lesions and candidates at one level; a healthy case has ``found`` of shape (0,) and its false positives count.

    Raises InputError for a level at which the candidates are not known, and for a rule that cannot be applied.
    """
    require_rule(matching)
    tree = case.tree_at(level)
    rows = tree.standing(level)
    rows = rows[large_enough(case, tree.voxels[rows], matching)]
    result: Outcome = _OUTCOMES[matching.rule](case, tree, rows, matching)
    return result


def found(case: CaseStatistics, level: int, matching: Matching) -> NDArray[np.bool_]:
    """Whether each lesion is found at ``level``; shape (L,). Errors as in ``outcome``."""
    return outcome(case, level, matching).found


def false_positives(case: CaseStatistics, level: int, matching: Matching) -> int:
    """How many candidates are false positives at ``level``. Errors as in ``outcome``."""
    return outcome(case, level, matching).false_positives


def curve(case: CaseStatistics, matching: Matching) -> Curve:
    """Counts of ``outcome`` at every level from the floor upwards. Errors as in ``outcome``."""
    require_rule(matching)
    tree = case.trees[0]
    rows = np.flatnonzero(large_enough(case, tree.voxels, matching))
    result: Curve = _CURVES[matching.rule](case, tree, rows, matching)
    return result


def found_levels(case: CaseStatistics, matching: Matching) -> NDArray[np.uint16]:
    """The greatest level at which each lesion is found by any overlap, 0 if nowhere above the floor; shape (L,).

    Every lower level finds it too. Raises InputError for another rule, which has no such level.
    """
    if matching.rule != "overlap":
        raise InputError(f"Only any overlap is monotone in the threshold. Got the rule {matching.rule!r}.")
    tree, levels = case.trees[0], np.zeros(case.lesion_peak.size, np.uint16)
    large = large_enough(case, tree.voxels, matching)
    for lesion in range(levels.size):
        if large.all():
            levels[lesion] = tree.level[tree.overlap_row[tree.overlap_lesion == lesion]].max(initial=0)
        else:
            touching = np.flatnonzero(large & (tree.shared(np.arange(large.size), lesion) > 0))
            levels[lesion] = tree.level[touching].max(initial=0)
    return levels


def large_enough(case: CaseStatistics, voxels_C: NDArray[np.int64], matching: Matching) -> NDArray[np.bool_]:
    """Which candidates have at least the least volume; shape (C,). Raises InputError without millimetres or voxels."""
    if matching.least_volume_ml <= 0.0:
        return np.ones(voxels_C.size, bool)
    if case.voxel_ml is None or case.kind == "points":
        lacks = "millimetres" if case.voxel_ml is None else "voxels of candidates"
        raise InputError(
            f"A least volume must be 0 where there are no {lacks}. Got {matching.least_volume_ml:g} ml "
            f"for case {case.case_id}."
        )
    # The factor lets 3 voxels of .1 ml be .3 ml whichever way the product was rounded.
    return np.asarray(voxels_C * case.voxel_ml >= matching.least_volume_ml * (1.0 - 1e-9))


def require_rule(matching: Matching) -> None:
    """Raises InputError for a rule without the minimum that it needs, or with one that it does not know."""
    if matching.rule != "iou" and matching.minimum is not None:
        raise InputError(
            f"The rule {matching.rule!r} has no minimum. Got {matching.minimum:g}; perhaps the rule 'iou'."
        )
    if matching.rule == "iou" and not (matching.minimum is not None and 0.0 < matching.minimum <= 1.0):
        raise InputError(f"The rule 'iou' must have a minimum in (0, 1]. Got {matching.minimum}.")


def _by_overlap(case: CaseStatistics, tree: Tree, rows: NDArray[np.intp], _: Matching) -> Outcome:
    candidate, lesion, _shared = tree.pairs(rows)
    found_L = np.zeros(case.lesion_peak.size, bool)
    found_L[lesion] = True
    matched = np.unique(candidate).size
    return Outcome(found_L, matched, rows.size - matched, rows.size)


def _by_point(case: CaseStatistics, tree: Tree, rows: NDArray[np.intp], matching: Matching) -> Outcome:
    hit = tree.point[rows]
    found_L = np.zeros(case.lesion_peak.size, bool)
    found_L[hit[hit >= 0]] = True
    matched = int(found_L.sum())
    excused = 0 if matching.strict else int((hit >= 0).sum()) - matched
    return Outcome(found_L, matched, rows.size - matched - excused, rows.size)


def _by_iou(case: CaseStatistics, tree: Tree, rows: NDArray[np.intp], matching: Matching) -> Outcome:
    assert matching.minimum is not None
    candidate, lesion, shared = tree.pairs(rows)
    iou = shared / (case.lesions.voxels[lesion] + tree.voxels[rows[candidate]] - shared)
    enough = iou >= matching.minimum
    pairs = one_to_one(lesion[enough], candidate[enough], iou[enough])
    found_L = np.zeros(case.lesion_peak.size, bool)
    found_L[pairs[:, 0]] = True
    excused = 0 if matching.strict else np.unique(candidate[enough]).size - len(pairs)
    return Outcome(found_L, len(pairs), rows.size - len(pairs) - excused, rows.size)


def one_to_one(
    lesion: NDArray[np.integer], candidate: NDArray[np.integer], iou: NDArray[np.float64]
) -> NDArray[np.int32]:
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


def _distinct(rows: NDArray[np.intp], tree: Tree) -> NDArray[np.intp]:
    """Each row once, ascending."""
    marked = np.zeros(tree.level.size, bool)
    marked[rows] = True
    return np.flatnonzero(marked)


def _standing(tree: Tree, rows: NDArray[np.intp]) -> NDArray[np.int32]:
    """How many of these rows are candidates at each level, (T,)."""
    return _alive(tree.until[rows], tree.level[rows], tree.lowest)


def _alive(until: NDArray[np.integer], level: NDArray[np.integer], lowest: int) -> NDArray[np.int32]:
    """How many of the intervals (until, level] hold each level from ``lowest`` upwards, (T,)."""
    starts = np.bincount(np.maximum(until.astype(np.int64) + 1, lowest), minlength=TOP + 2)
    ends = np.bincount(level.astype(np.int64) + 1, minlength=TOP + 2)
    return np.cumsum(starts - ends).astype(np.int32)


def _curve_by_overlap(case: CaseStatistics, tree: Tree, rows: NDArray[np.intp], matching: Matching) -> Curve:
    levels = found_levels(case, matching)
    reached = levels[levels >= tree.lowest]
    found_T = _alive(np.zeros_like(reached), reached, tree.lowest)
    touching = tree.overlapping(rows)
    return Curve(tree.lowest, found_T, _standing(tree, rows[touching]), _standing(tree, rows[~touching]))


def _curve_by_point(_: CaseStatistics, tree: Tree, rows: NDArray[np.intp], matching: Matching) -> Curve:
    hit = tree.point[rows] >= 0
    found_T = np.zeros(TOP + 2, np.int32)
    for lesion in np.unique(tree.point[rows[hit]]):
        found_T += _standing(tree, rows[tree.point[rows] == lesion]) > 0
    false_T = _standing(tree, rows[~hit])
    if matching.strict:
        false_T = false_T + _standing(tree, rows[hit]) - found_T
    return Curve(tree.lowest, found_T, found_T, false_T)


def _curve_by_iou(case: CaseStatistics, tree: Tree, rows: NDArray[np.intp], matching: Matching) -> Curve:
    row, lesion = eligible(case, tree, rows, matching)
    single = _standing(tree, _distinct(row, tree))
    matched_T = _matches(tree, row, lesion)
    false_T = _standing(tree, rows) - (matched_T if matching.strict else single)
    return Curve(tree.lowest, matched_T, matched_T, false_T)


def eligible(
    case: CaseStatistics, tree: Tree, rows: NDArray[np.intp], matching: Matching
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs (row, lesion) with an IoU of at least the minimum, (E,) each."""
    assert matching.minimum is not None
    rows = rows[tree.overlapping(rows)]
    parts = []
    for lesion, shared in enumerate(tree.shared_with(rows, range(case.lesion_peak.size))):
        union = case.lesions.voxels[lesion] + tree.voxels[rows] - shared
        parts.append(rows[(shared > 0) & (shared / union >= matching.minimum)])
    row = np.concatenate([np.empty(0, np.intp), *parts])
    return row, np.repeat(np.arange(len(parts)), [part.size for part in parts])


@dataclass(frozen=True, slots=True)
class _Spans:
    """Pairs that may be matched at the levels (until, level]: a lesion and a candidate, which may grow meanwhile."""

    until: NDArray[np.int64]
    level: NDArray[np.int64]
    candidate: NDArray[np.int64]
    lesion: NDArray[np.int64]

    @staticmethod
    def of(tree: Tree, row: NDArray[np.intp], lesion: NDArray[np.intp]) -> "_Spans":
        """Joins the pairs of a row and of the row that it grows into."""
        rows, inverse = np.unique(row, return_inverse=True)
        candidate = np.array(_candidates(tree, rows), np.int64)[inverse]
        level, until = tree.level[row].astype(np.int64), tree.until[row].astype(np.int64)
        order = np.lexsort((-level, candidate, lesion))
        candidate, lesion, level, until = candidate[order], lesion[order], level[order], until[order]
        begins = np.ones(order.size, bool)
        begins[1:] = (np.diff(candidate) != 0) | (np.diff(lesion) != 0) | (level[1:] != until[:-1])
        ends = np.roll(begins, -1)
        return _Spans(until[ends], level[begins], candidate[begins], lesion[begins].astype(np.int64))


def _candidates(tree: Tree, rows: NDArray[np.intp]) -> list[int]:
    """A number for each of these rows (ascending): the one it grew from passes its own on, the first of several."""
    result: list[int] = []
    open_rows: list[int] = []  # places in ``rows`` that no later row has taken over
    for place, row in enumerate(rows):
        number = -1
        while open_rows and rows[open_rows[-1]] >= tree.first[row]:
            below = open_rows.pop()
            if tree.until[rows[below]] == tree.level[row]:
                number = result[below]
        result.append(place if number < 0 else number)
        open_rows.append(place)
    return result


def _matches(tree: Tree, row: NDArray[np.intp], lesion: NDArray[np.intp]) -> NDArray[np.int32]:
    """The most matches at each level, (T,).

    Where no lesion has two candidates and no candidate two lesions every pair is a match; elsewhere the assignment is
    solved once for every pattern of pairs.
    """
    matches_T = _standing(tree, row)
    crowded_T = matches_T > _standing(tree, _distinct(row, tree))
    for each in np.unique(lesion):
        crowded_T |= _standing(tree, row[lesion == each]) > 1
    levels = np.flatnonzero(crowded_T)
    if levels.size:
        matches_T[levels] = _solved(_Spans.of(tree, row, lesion), levels)
    return matches_T


def _solved(spans: _Spans, levels: NDArray[np.intp]) -> NDArray[np.int32]:
    """The most matches at some levels, (K,); nothing changes between two levels at which a span begins or ends."""
    stretch = np.searchsorted(np.unique(np.concatenate([spans.level, spans.until])), levels)
    known: dict[bytes, int] = {}
    result = np.empty(levels.size, np.int32)
    for each in np.unique(stretch):
        here = stretch == each
        level = levels[here][0]
        stand = (spans.level >= level) & (spans.until < level)
        pattern = np.stack([spans.lesion[stand], spans.candidate[stand]])
        key = pattern.tobytes()
        if key not in known:
            known[key] = len(one_to_one(pattern[0], pattern[1], np.ones(pattern.shape[1])))
        result[here] = known[key]
    return result


_OUTCOMES: dict[str, Callable[..., Outcome]] = {"overlap": _by_overlap, "iou": _by_iou, "point": _by_point}
_CURVES: dict[str, Callable[..., Curve]] = {
    "overlap": _curve_by_overlap,
    "iou": _curve_by_iou,
    "point": _curve_by_point,
}
