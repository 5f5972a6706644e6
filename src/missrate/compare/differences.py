"""A difference of two arms as a block of ``comparison.json``: both values, paired interval, test.

Shapes: N cases, P patients in sorted order, S seeds, B resamples.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.compare.arms import Arm, Bools, Run, Value, values_of
from missrate.core.intervals import FEW, Weights
from missrate.core.pooling import case_mean
from missrate.core.resampling import PValue, label_swap, mcnemar, sign_flip
from missrate.core.seeds import OverSeeds, seed_difference, seed_ratio
from missrate.core.types import Ratio

PAIRED_INTERVAL = "paired patient-bootstrap"
Floats = NDArray[np.float64]
Json = dict[str, Any]
Sums = tuple[Floats, Floats]
"""Numerators and denominators, (S, P) each."""


def pooled_difference(
    arm: Arm,
    against: Arm,
    sums: tuple[Sums, Sums],
    metric: str,
    weights: Weights,
    *,
    seed: int,
    test: PValue | None,
) -> Json:
    """The difference of two ratios of sums, each resampled with the same patients; no interval from fewer than two."""
    return block(*over_both((arm, against), sums, metric, weights, seed=seed), weights, test)


def over_both(
    arms: tuple[Arm, Arm], sums: tuple[Sums, Sums], metric: str, weights: Weights, *, seed: int
) -> tuple[OverSeeds, OverSeeds]:
    """One metric of both arms over their seeds and the same resamples."""
    values = values_of(metric)
    first, second = (
        seed_ratio(*each, weights, seed, arm=who.trained, values=values) for each, who in zip(sums, arms, strict=True)
    )
    return first, second


def block(mine: OverSeeds, theirs: OverSeeds, weights: Weights, test: PValue | None) -> Json:
    """One difference; the test stands only beside an interval, that is where at least two patients contribute."""
    difference = seed_difference(mine, theirs, weights)
    known = difference.interval is not None
    result: Json = {
        "arm": mine.estimate,
        "against": theirs.estimate,
        "difference": difference.difference,
        "ci95": [difference.interval.low, difference.interval.high] if difference.interval is not None else None,
        "interval": PAIRED_INTERVAL,
        "p": test.p if test is not None and known else None,
        "least_p": test.least_p if test is not None and known else None,
        "test": test.test if test is not None and known else None,
        "few_patients": min(mine.effective, theirs.effective) < FEW,
    }
    if max(len(mine.per_seed), len(theirs.per_seed)) > 1:
        result["seeds"] = {"arm": over_seeds(mine), "against": over_seeds(theirs)}
    return result


def over_seeds(found: OverSeeds) -> Json:
    """What the seeds of one arm gave one by one, and how far they lie apart."""
    return {
        "values": list(found.per_seed),
        "undefined": found.undefined,
        "spread": None if found.spread is None else asdict(found.spread),
    }


def swap_test(sums: tuple[Sums, Sums], seed: int, draws: int, *, one_sided: bool = False) -> PValue | None:
    """Label swap within patients, of the means over seeds: the trained models as they are."""
    first, second = (seed_means(each) for each in sums)
    return label_swap(first, second, seed, draws=draws, one_sided=one_sided)


def seed_means(sums: Sums) -> Floats:
    """Numerator and denominator of each patient, the mean over seeds, (P, 2)."""
    return np.stack([each_SP.mean(axis=0) for each_SP in sums], axis=1)


def patient_test(sums: tuple[Sums, Sums], seed: int, draws: int) -> PValue | None:
    """Exact McNemar of two runs' missed patients; with seeds, the label swap of their means."""
    (mine_SP, with_SP), (theirs_SP, _) = sums
    if max(len(mine_SP), len(theirs_SP)) > 1:
        return swap_test(sums, seed, draws)
    if with_SP.sum() == 0:
        return None
    return mcnemar(int((mine_SP > theirs_SP).sum()), int((theirs_SP > mine_SP).sum()))


def mean_sums(arm: Arm, against: Arm, metric: str) -> tuple[Sums, Sums, int, int]:
    """Sums and numbers of the cases that are defined in every run of both arms; how many these are, and the others."""
    values = [[_numbers(run.values(metric)) for run in each.runs] for each in (arm, against)]
    defined_N = np.asarray(~np.isnan(np.stack([row for each in values for row in each])).any(axis=0))
    first, second = (
        tuple(np.stack(part) for part in zip(*[_means(arm.runs[0], row, defined_N) for row in each], strict=True))
        for each in values
    )
    count = int(defined_N.sum())
    return (first[0], first[1]), (second[0], second[1]), count, int(defined_N.size - count)


def mean_difference(
    arm: Arm, against: Arm, metric: str, weights: Weights, *, seed: int, draws: int, tested: bool = True
) -> Json:
    """The mean difference over the cases where both arms are defined; the others are counted as ``undefined``."""
    mine, theirs, n, undefined = mean_sums(arm, against, metric)
    flips = flip_differences(mine, theirs)
    known = flips[~np.isnan(flips)]
    test = sign_flip(known, seed, draws=draws) if tested and known.size > 1 else None
    result = pooled_difference(arm, against, (mine, theirs), metric, weights, seed=seed, test=test)
    return result | {"n": n, "undefined": undefined}


def flip_differences(mine: Sums, theirs: Sums) -> Floats:
    """The mean difference of each patient's cases, the mean over seeds, (P,); nan for a patient without one."""
    first_P2, second_P2 = seed_means(mine), seed_means(theirs)
    known_P = first_P2[:, 1] > 0
    changes_P = first_P2[:, 0] - second_P2[:, 0]
    return np.asarray(np.divide(changes_P, first_P2[:, 1], out=np.full(changes_P.size, np.nan), where=known_P))


def _numbers(values: list[Value]) -> Floats:
    plain = [value.value if isinstance(value, Ratio) else value for value in values]
    return np.array([np.nan if value is None else value for value in plain])


def _means(run: Run, numbers_N: Floats, defined_N: Bools) -> Sums:
    pairs = zip(run.cases, numbers_N.tolist(), strict=True)
    kept = [(case.patient_id, value) for (case, value), keep in zip(pairs, defined_N.tolist(), strict=True) if keep]
    sums = case_mean(kept, run.patients)
    return sums.numerator, sums.denominator
