"""How much a ranking of arms is worth: their ranks in resamples of the patients.

Shapes: B resamples, A arms. The rank of an arm is 1 + the number of arms that are strictly better, so ties share the
best place. Values that differ by rounding alone (1e-12) are ties.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from missrate.core.errors import InputError
from missrate.core.seed import generator

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rank:
    """The rank of one arm at the point, its interval over resamples, and the share of these in which it is first."""

    rank: int
    interval: tuple[int, int] | None  # None: no resample in which all ranked arms are defined
    first: float | None  # a resample with several first arms counts in equal parts for each, so that all add up to 1


@dataclass(frozen=True, slots=True)
class Stability:
    """Ranks in the order of the arms, None for an arm without a value; ``top`` are the arms of rank 1."""

    ranks: tuple[Rank | None, ...]
    top: tuple[int, ...]
    top_stays: float | None  # share of resamples in which one of ``top`` is first (several first count in equal parts)
    undefined: int  # resamples left out because a ranked arm is 0/0 there


def drawn_patients(patients: int, resamples: int, seed: int) -> Floats:
    """Draw how often each of P patients comes in each of B resamples, (B, P): every row sums to P (Efron 1979).

    Whole counts, unlike the weights of ``intervals``: where two arms differ on one patient alone, a resample without
    that patient is a tie.
    """
    random = generator(seed, "ranks", patients, resamples)
    return random.multinomial(patients, np.full(patients, 1.0 / max(patients, 1)), size=resamples).astype(np.float64)


def rank_stability(
    values_BA: Floats, point_A: Floats, better: Literal["lower", "higher"], confidence: float = 0.95
) -> Stability:
    """Ranks of arms at the point and in resamples that all arms share; nan marks 0/0.

    An arm that is nan at the point is not ranked. The interval's ends are ranks that occurred, outward from the
    quantiles. Raises InputError for another ``better`` or shapes that do not fit.
    """
    if better not in ("lower", "higher"):
        raise InputError(f"`better` must be lower or higher. Got {better!r}.")
    if values_BA.ndim != 2 or point_A.shape != values_BA.shape[1:]:
        raise InputError(f"Values must be (B, A) and points (A,). Got {values_BA.shape} and {point_A.shape}.")
    arms = np.flatnonzero(~np.isnan(point_A))
    defined_B = ~np.isnan(values_BA[:, arms]).any(axis=1)
    ranks_BR = _ranks(values_BA[defined_B][:, arms], better)
    point_R = _ranks(point_A[None, arms], better)[0]
    first_BR = (ranks_BR == 1) / np.maximum((ranks_BR == 1).sum(axis=1, keepdims=True), 1)
    ranks: list[Rank | None] = [None] * point_A.size
    for column, arm in enumerate(arms):
        share = float(first_BR[:, column].mean()) if defined_B.any() else None
        ranks[arm] = Rank(int(point_R[column]), _interval(ranks_BR[:, column], confidence), share)
    top_R = point_R == 1
    return Stability(
        tuple(ranks),
        tuple(arms[top_R].tolist()),
        float(first_BR[:, top_R].sum(axis=1).mean()) if arms.size and defined_B.any() else None,
        int((~defined_B).sum()) if arms.size else 0,
    )


def inseparable(p_holm: Sequence[float | None], alpha: float = 0.05) -> int:
    """How many arms cannot be told from the top one, given Holm-adjusted p values of the comparisons with it.

    A comparison without a test (None) tells nothing apart, so it counts.
    """
    return sum(p is None or p > alpha for p in p_holm)


def _ranks(values_BA: Floats, better: str) -> NDArray[np.int64]:
    signed = np.round(values_BA if better == "lower" else -values_BA, 12)
    if signed.size == 0:
        return np.zeros(signed.shape, np.int64)
    return np.asarray(stats.rankdata(signed, method="min", axis=1), np.int64)


def _interval(ranks_B: NDArray[np.int64], confidence: float) -> tuple[int, int] | None:
    if ranks_B.size == 0:
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(ranks_B, tail, method="lower"), np.quantile(ranks_B, 1.0 - tail, method="higher")
    return int(low), int(high)
