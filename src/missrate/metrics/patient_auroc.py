"""Probability that a patient with a lesion scores higher than one without (area under the ROC curve)."""

import numpy as np

from missrate.core.case import CaseStatistics
from missrate.core.delong import Area, area
from missrate.core.matching import large_enough
from missrate.core.sweep import common_floor
from missrate.core.types import Matching

UNIT = "probability"
BETTER = "higher"
LEVEL = "cohort"
NEEDS = "scores"


def measure(
    cases: list[CaseStatistics],
    at: int,
    matching: Matching,
    weight_per_patient: dict[str, float] | None,
) -> float | None:
    """The weighted share of (patient with lesion, healthy patient) pairs in the right order; a tie counts half.

    A patient's score is the highest level of a candidate of at least the least volume over all of the patient's scans,
    from the lowest level at which the candidates of all cases are known, or for a scan that lies below it everywhere
    from its own; 0 without one. ``at`` plays no part. None when
    a prediction has no scores or one of the two groups is empty. The Mann-Whitney form of Hanley and McNeil (1982).
    """
    known = scores(cases, matching)
    if known is None:
        return None
    score, ill = known
    weight = {name: 1.0 if weight_per_patient is None else weight_per_patient[name] for name in score}
    with_I, without_H = [n for n in score if ill[n]], [n for n in score if not ill[n]]
    weight_I, weight_H = np.array([weight[n] for n in with_I]), np.array([weight[n] for n in without_H])
    pairs = float(weight_I.sum() * weight_H.sum())
    if pairs == 0.0:
        return None
    score_I, score_H = np.array([score[n] for n in with_I]), np.array([score[n] for n in without_H])
    right_IH = (score_I[:, None] > score_H) + 0.5 * (score_I[:, None] == score_H)
    return float(weight_I @ right_IH @ weight_H) / pairs


def interval(cases: list[CaseStatistics], matching: Matching) -> Area | None:
    """The area with DeLong's interval (``core.delong.area``); None as for ``measure``."""
    known = scores(cases, matching)
    if known is None:
        return None
    score, ill = known
    return area(
        np.array([score[n] for n in score if ill[n]], np.float64),
        np.array([score[n] for n in score if not ill[n]], np.float64),
    )


def scores(cases: list[CaseStatistics], matching: Matching) -> tuple[dict[str, int], dict[str, bool]] | None:
    """The score of each patient that ``measure`` ranks, and whether the patient has a lesion; None without scores."""
    if not all(case.scored for case in cases):
        return None
    floor = common_floor(cases)
    score: dict[str, int] = {}
    ill: dict[str, bool] = {}
    for case in cases:
        name = case.patient_id
        score[name] = max(score.get(name, 0), _score(case, floor, matching))
        ill[name] = ill.get(name, False) or not case.healthy
    return score, ill


def _score(case: CaseStatistics, floor: int, matching: Matching) -> int:
    tree = case.tree_at(floor)
    rows = tree.standing(floor)
    if rows.size == 0:
        rows = tree.standing(tree.lowest)
    return int(tree.peak[rows[large_enough(case, tree.voxels[rows], matching)]].max(initial=0))
