"""Probability that a patient with a lesion scores higher than one without (area under the ROC curve)."""

import numpy as np

from missrate.core.admissible import common_levels
from missrate.core.matching import large_enough
from missrate.core.types import CaseStatistics, Matching

UNIT = "probability"
BETTER = "higher"
LEVEL = "cohort"


def measure(
    cases: list[CaseStatistics],
    at: int,
    matching: Matching,
    weight_per_patient: dict[str, float] | None,
) -> float | None:
    """The weighted share of (patient with lesion, healthy patient) pairs in the right order; a tie counts half.

    A patient's score is the highest level of a candidate of at least the least volume over all of the patient's scans,
    at the lowest candidate level that all cases share; 0 without one. ``at`` plays no part. None when a prediction is
    binary (it has no scores) or one of the two groups is empty. The Mann-Whitney form of Hanley and McNeil (1982).
    """
    if any(case.binary for case in cases):
        return None
    floor = int(common_levels(cases)[0])
    score: dict[str, int] = {}
    ill: dict[str, bool] = {}
    for case in cases:
        name = case.patient_id
        score[name] = max(score.get(name, 0), _score(case, floor, matching))
        ill[name] = ill.get(name, False) or not case.healthy
    weight = {name: 1.0 if weight_per_patient is None else weight_per_patient[name] for name in score}
    with_I, without_H = [n for n in score if ill[n]], [n for n in score if not ill[n]]
    weight_I, weight_H = np.array([weight[n] for n in with_I]), np.array([weight[n] for n in without_H])
    pairs = float(weight_I.sum() * weight_H.sum())
    if pairs == 0.0:
        return None
    score_I, score_H = np.array([score[n] for n in with_I]), np.array([score[n] for n in without_H])
    right_IH = (score_I[:, None] > score_H) + 0.5 * (score_I[:, None] == score_H)
    return float(weight_I @ right_IH @ weight_H) / pairs


def _score(case: CaseStatistics, floor: int, matching: Matching) -> int:
    index = int(np.searchsorted(case.candidate_levels, floor))
    counts = (case.candidate_level == index) & large_enough(case, matching)
    return int(case.candidate_peak[counts].max(initial=0))
