"""Every arm against every other, with Holm's correction over all pairs.

Shapes: A arms in the order of their names, P patients, Q pairs.
"""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.compare.arms import Arm
from missrate.compare.differences import (
    flip_differences,
    mean_difference,
    mean_sums,
    patient_test,
    pooled_difference,
    seed_means,
)
from missrate.compare.paired import adjust_family
from missrate.core.intervals import Weights
from missrate.core.resampling import PValue, draws_for
from missrate.core.swaps import label_swaps, sign_flips

MAIN = {
    "voxel_miss_rate": "pooled",
    "lesion_miss_rate": "pooled",
    "patient_miss_rate": "pooled",
    "dice": "case_mean",
}
KEPT = ("difference", "ci95", "p", "least_p", "p_holm", "separable", "attainable")
Json = dict[str, Any]
Floats = NDArray[np.float64]


def all_pairs(arms: dict[str, Arm], weights: Weights, *, seed: int) -> list[Json]:
    """One row for each metric of ``MAIN`` and each pair: first minus second, names in order; one family per metric.

    Arms without a threshold are left out: the comparisons with the reference arm say why.
    """
    chosen = [arms[name] for name in sorted(arms) if arms[name].ready]
    draws = draws_for(len(chosen) * (len(chosen) - 1) // 2)
    return [row for metric in MAIN for row in _rows(chosen, metric, weights, seed, draws)]


def _rows(arms: list[Arm], metric: str, weights: Weights, seed: int, draws: int) -> list[Json]:
    pairs = list(combinations(range(len(arms)), 2))
    tests = _tests(arms, metric, pairs, seed, draws)
    blocks: list[Json] = []
    for (a, b), test in zip(pairs, tests, strict=True):
        if MAIN[metric] == "case_mean":
            block = mean_difference(arms[a], arms[b], metric, weights, seed=seed, draws=draws, tested=False) | _tested(
                test
            )
        else:
            sums = arms[a].sums(metric), arms[b].sums(metric)
            block = pooled_difference(arms[a], arms[b], sums, metric, weights, seed=seed, test=test)
        blocks.append(block)
    adjust_family(blocks)
    return [
        {"arm": arms[a].name, "other": arms[b].name, "metric": metric, "average": MAIN[metric]}
        | {key: block[key] for key in KEPT}
        for (a, b), block in zip(pairs, blocks, strict=True)
    ]


def _tests(arms: list[Arm], metric: str, pairs: list[tuple[int, int]], seed: int, draws: int) -> list[PValue | None]:
    if not pairs:
        return []
    if metric == "patient_miss_rate":
        return [patient_test((arms[a].sums(metric), arms[b].sums(metric)), seed, draws) for a, b in pairs]
    if MAIN[metric] == "case_mean":
        sums = [mean_sums(arms[a], arms[b], metric) for a, b in pairs]
        flips_QP = np.stack([flip_differences(mine, theirs) for mine, theirs, *_ in sums])
        return sign_flips(flips_QP, seed, draws=draws)
    sums_AP2 = np.stack([seed_means(arm.sums(metric)) for arm in arms])
    return label_swaps(sums_AP2, pairs, seed, draws=draws)


def _tested(test: PValue | None) -> Json:
    if test is None:
        return {}
    return {"p": test.p, "least_p": test.least_p, "test": test.test}
