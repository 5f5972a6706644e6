"""The difference of two arms' patient AUROCs by DeLong's paired test."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.compare.arms import Arm, Run
from missrate.core.delong import area_difference
from missrate.metrics import patient_auroc

NO_SCORES = "the predictions are masks: needs scores"
ONE_GROUP = "needs patients with and without a lesion"
SEEDS = "one test a seed: see by_seed"
Json = dict[str, Any]


def auroc(arm: Arm, against: Arm) -> Json:
    """Difference, interval and test; None with the ``reason`` where undefined.

    With several seeds the mean difference over seeds that pair up as McNemar's do, each with its own test.
    """
    mine, theirs = arm.runs, against.runs
    count = max(len(mine), len(theirs))
    if len(mine) != len(theirs) and 1 not in (len(mine), len(theirs)):
        return _empty(f"{arm.name} has {len(mine)} seeds and {against.name} {len(theirs)}: they do not pair up")
    rows = zip(mine * (count // len(mine)), theirs * (count // len(theirs)), strict=True)
    each = [_of_runs(a, b) for a, b in rows]
    if count == 1:
        return each[0]
    known = [one["difference"] for one in each if one["difference"] is not None]
    if len(known) < count:
        return _empty(each[0]["reason"])
    return _empty(SEEDS) | {"difference": float(np.mean(known)), "by_seed": each}


def _of_runs(arm: Run, against: Run) -> Json:
    scored = [patient_auroc.scores(run.cases, run.matching) for run in (arm, against)]
    first, second = scored
    if first is None or second is None:
        return _empty(NO_SCORES)
    ill_P = np.array([first[1][name] for name in arm.patients])
    score_2P = np.array([[score[name] for name in arm.patients] for score, _ in (first, second)], np.float64)
    return _tested(score_2P[:, ill_P], score_2P[:, ~ill_P])


def _tested(ill_2I: NDArray[np.float64], healthy_2H: NDArray[np.float64]) -> Json:
    found = area_difference(ill_2I, healthy_2H)
    if found is None:
        return _empty(ONE_GROUP)
    test = found.test
    return {
        "difference": found.difference,
        "ci95": None if found.ci is None else list(found.ci),
        "p": None if test is None else test.p,
        "least_p": None if test is None else test.least_p,
        "test": None if test is None else test.test,
        "reason": found.reason,
    }


def _empty(reason: str) -> Json:
    return {"difference": None, "ci95": None, "p": None, "least_p": None, "test": None, "reason": reason}
