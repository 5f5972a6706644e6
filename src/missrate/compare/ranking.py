"""How much a ranking of the arms is worth: ranks over the same resamples of patients, and who cannot be told apart.

Shapes: A arms, B resamples.
"""

from typing import Any

import numpy as np

from missrate.compare.arms import NULL_ARMS, Arm
from missrate.compare.differences import flip_differences, mean_sums, patient_test, swap_test
from missrate.core import catalog
from missrate.core.ranks import Floats, Rank, drawn_patients, inseparable, rank_stability
from missrate.core.resampling import PValue, draws_for, holm, sign_flip
from missrate.core.seed import generator

RANKED = {
    "dice": "case_mean",
    "voxel_miss_rate": "pooled",
    "slice_miss_rate": "pooled",
    "lesion_miss_rate": "pooled",
    "patient_miss_rate": "pooled",
}
Json = dict[str, Any]


def ranks(arms: dict[str, Arm], resamples: int, seed: int) -> Json:
    """For each metric: rank, its 95 % interval and how often first, arm by arm; how often the top arm stays on top.

    ``inseparable`` of the ``others`` cannot be told from the top arm (the first by name of several): paired test as in
    the comparisons, Holm over those with the top arm. Null arms and arms without a threshold take no part.
    """
    chosen = [arms[name] for name in sorted(arms) if name not in NULL_ARMS and arms[name].ready]
    if not chosen:
        return {}
    drawn_BP = drawn_patients(len(chosen[0].patients), resamples, seed)
    return {metric: _ranks(chosen, metric, average, drawn_BP, seed) for metric, average in RANKED.items()}


def test_of(arm: Arm, against: Arm, metric: str, seed: int, draws: int) -> PValue | None:
    """The paired test that belongs to a metric."""
    if RANKED[metric] == "case_mean":
        mine, theirs, *_ = mean_sums(arm, against, metric)
        flips = flip_differences(mine, theirs)
        return sign_flip(flips[~np.isnan(flips)], seed, draws=draws)
    sums = arm.sums(metric), against.sums(metric)
    return patient_test(sums, seed, draws) if metric == "patient_miss_rate" else swap_test(sums, seed, draws)


def _ranks(arms: list[Arm], metric: str, average: str, drawn_BP: Floats, seed: int) -> Json:
    found = [_drawn(arm, metric, average, drawn_BP, seed) for arm in arms]
    point_A = np.array([point for point, _ in found])
    better = catalog.load("metrics", metric).BETTER
    stable = rank_stability(np.stack([draws_B for _, draws_B in found], axis=1), point_A, better)
    names = [arm.name for arm in arms]
    result: Json = {
        "average": average,
        "better": better,
        "arms": {name: _rank(rank) for name, rank in zip(names, stable.ranks, strict=True)},
        "top": [names[a] for a in stable.top],
        "top_stays": stable.top_stays,
        "resamples_undefined": stable.undefined,
        "others": max(sum(rank is not None for rank in stable.ranks) - 1, 0),
        "inseparable": None,
    }
    if not stable.top:
        return result
    top = arms[stable.top[0]]
    others = [arm for arm, rank in zip(arms, stable.ranks, strict=True) if rank is not None and arm is not top]
    return result | {"inseparable": _inseparable(top, others, metric, seed)}


def _drawn(arm: Arm, metric: str, average: str, drawn_BP: Floats, seed: int) -> tuple[float, Floats]:
    """The mean over seeds, and in each resample the value of one seed; nan where it is 0/0."""
    numerator_SP, denominator_SP = arm.sums(metric) if average == "pooled" else mean_sums(arm, arm, metric)[0]
    defined = np.flatnonzero(denominator_SP.sum(axis=1) > 0.0)
    if defined.size == 0:
        return np.nan, np.full(len(drawn_BP), np.nan)
    numerator_SP, denominator_SP = numerator_SP[defined], denominator_SP[defined]
    seed_B = generator(seed, "seeds", arm.trained, defined.size).integers(0, defined.size, size=len(drawn_BP))
    rows = np.arange(seed_B.size)
    above_B = (drawn_BP @ numerator_SP.T)[rows, seed_B]
    below_B = (drawn_BP @ denominator_SP.T)[rows, seed_B]
    draws_B = np.divide(above_B, below_B, out=np.full(seed_B.size, np.nan), where=below_B > 0.0)
    return float((numerator_SP.sum(axis=1) / denominator_SP.sum(axis=1)).mean()), draws_B


def _inseparable(top: Arm, others: list[Arm], metric: str, seed: int) -> int:
    draws = draws_for(len(others))
    tests = [test_of(arm, top, metric, seed, draws) for arm in others]
    adjusted = iter(holm([test.p for test in tests if test is not None]))
    return inseparable([None if test is None else next(adjusted) for test in tests])


def _rank(rank: Rank | None) -> Json | None:
    if rank is None:
        return None
    return {
        "rank": rank.rank,
        "ci95": None if rank.interval is None else list(rank.interval),
        "first": rank.first,
    }
