"""Part of the metrics by candidate score: candidates are extracted and matched once, then their score is swept.

A candidate's score is its highest level. Shapes: J scores that occur, ascending; N cases; B weightings; P patients.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.matching import large_enough, one_to_one, require_rule
from missrate.core.quantise import TOP
from missrate.core.sweep import Floats
from missrate.core.types import Matching
from missrate.metrics._swept import TOGETHER, Value

Scores = NDArray[np.uint16]
MOST = 4_000_000
"""So many sums are held at once."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One case: the score from which downwards a lesion is found, a candidate matched, a candidate false."""

    found: Scores  # of each lesion that is ever found
    matched: Scores
    false_positives: Scores


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are at each score or above it, (J,)."""

    found: Floats
    matched: Floats
    false_positives: Floats


def by_score(
    cases: list[CaseStatistics],
    levels: list[int],
    matching: Matching,
    weight_per_patient: dict[str, float] | None,
    value: Value,
) -> float | None:
    """``value`` of the cohort whose candidates are those of each case's level; None when one has no scores."""
    patients = sorted({case.patient_id for case in cases})
    weight = dict.fromkeys(patients, 1.0) if weight_per_patient is None else weight_per_patient
    weights_BP = np.array([[weight[name] for name in patients]])
    return each(cases, levels, matching, weights_BP, value)[0]


def each(
    cases: list[CaseStatistics], levels: list[int], matching: Matching, weights_BP: Floats, value: Value
) -> list[float | None]:
    """``value`` under each weighting of the patients (sorted). Raises InputError as ``matching.outcome``, and for no
    cases.
    """
    if not cases:
        raise InputError("A cohort must hold at least one case. Got none.")
    if not all(case.scored for case in cases):
        return [None] * len(weights_BP)
    scored = [of_case(case, level, matching) for case, level in zip(cases, levels, strict=True)]
    kinds = [[getattr(one, kind) for one in scored] for kind in ("found", "matched", "false_positives")]
    scores_J = np.unique(np.concatenate([np.array([TOP], np.uint16), *(one for kind in kinds for one in kind)]))
    steps = [_steps(kind, scores_J) for kind in kinds]
    patients = sorted({case.patient_id for case in cases})
    patient_N = [patients.index(case.patient_id) for case in cases]
    lesions_N = np.array([case.lesion_peak.size for case in cases], np.float64)
    result: list[float | None] = []
    together = max(1, min(TOGETHER, MOST // scores_J.size))
    for start in range(0, len(weights_BP), together):
        weights_NB = weights_BP[start : start + together, patient_N].T
        sums = [np.cumsum((step_JN @ weights_NB)[::-1], axis=0)[::-1] for step_JN in steps]
        lesions_B, scans_B = lesions_N @ weights_NB, weights_NB.sum(axis=0)
        for b in range(scans_B.size):
            counts = Counts(*(sum_JB[:, b] for sum_JB in sums))
            result.append(value(counts, float(lesions_B[b]), float(scans_B[b])))
    return result


def of_case(case: CaseStatistics, level: int, matching: Matching) -> Scored:
    """The candidates at ``level`` with their scores. Raises InputError as ``matching.outcome``.

    Any overlap: a lesion is found by the highest candidate that touches it. Point: likewise, and a lower candidate in
    the same lesion is excused, or false where strict. IoU: the pairing of all candidates is kept at every score, so a
    lesion's score is that of its own candidate even where another one that overlaps enough peaks higher (PI-CAI).
    """
    require_rule(matching)
    tree = case.tree_at(level)
    rows = tree.standing(level)
    rows = rows[large_enough(case, tree.voxels[rows], matching)]
    peak_C = tree.peak[rows]
    if matching.rule == "point":
        return _highest_first(peak_C, tree.point[rows], matching.strict)
    candidate, lesion, shared = tree.pairs(rows)
    if matching.rule == "overlap":
        touching = np.unique(candidate)
        return Scored(_highest(peak_C[candidate], lesion), peak_C[touching], np.delete(peak_C, touching))
    iou = shared / (case.lesions.voxels[lesion] + tree.voxels[rows[candidate]] - shared)
    enough = iou >= matching.minimum
    mine = one_to_one(lesion[enough], candidate[enough], iou[enough])[:, 1]
    spared = mine if matching.strict else candidate[enough]
    return Scored(peak_C[mine], peak_C[mine], np.delete(peak_C, np.unique(spared)))


def _highest_first(peak_C: Scores, hit_C: NDArray[np.int32], strict: bool) -> Scored:
    hits = hit_C >= 0
    order = np.lexsort((-peak_C.astype(np.int64), hit_C))
    order = order[hits[order]]
    first = order[np.unique(hit_C[order], return_index=True)[1]]
    spared = first if strict else np.flatnonzero(hits)
    return Scored(peak_C[first], peak_C[first], np.delete(peak_C, spared))


def _highest(peak_E: Scores, lesion_E: NDArray[np.int32]) -> Scores:
    """The highest of the peaks of each lesion that occurs."""
    lesions, place = np.unique(lesion_E, return_inverse=True)
    highest = np.zeros(lesions.size, np.uint16)
    np.maximum.at(highest, place, peak_E)
    return highest


def _steps(scores: list[Scores], scores_J: Scores) -> sparse.csr_array:
    """How many of each case lie at each score, (J, N)."""
    place = np.searchsorted(scores_J, np.concatenate(scores))
    case = np.repeat(np.arange(len(scores)), [each.size for each in scores])
    return sparse.csr_array((np.ones(place.size), (place, case)), shape=(scores_J.size, len(scores)))
