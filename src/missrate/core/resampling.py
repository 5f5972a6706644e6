"""Intervals and tests, with patients as the unit. Each function states its source and knows nothing of scans."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from missrate.core.seed import generator

EXACT_PATTERNS = 2**16
"""Up to this many patterns of a permutation test are enumerated instead of drawn."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval; ``undefined`` resamples (0/0) were left out."""

    low: float
    high: float
    undefined: int


@dataclass(frozen=True, slots=True)
class PValue:
    """A two-sided p value, the least that this test could have given, and the test's name."""

    p: float
    least_p: float
    test: str


def patient_weights(patients: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each patient is drawn in each resample: multinomial counts (B, P), every row sums to P.

    The bootstrap of Efron (1979) with whole patients as units; P = 0 gives shape (B, 0).
    """
    if patients == 0:
        return np.zeros((resamples, 0))
    random = generator(seed, "bootstrap", patients, resamples)
    return random.multinomial(patients, np.full(patients, 1.0 / patients), size=resamples).astype(np.float64)


def ratio_draws(
    numerator_P: NDArray[np.float64], denominator_P: NDArray[np.float64], weights_BP: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The ratio of sums in each resample, (B,), by one matrix product. Here alone nan marks 0/0, for `percentile`."""
    sums_B2 = weights_BP @ np.stack([numerator_P, denominator_P], axis=1)
    defined = sums_B2[:, 1] != 0.0
    return np.where(defined, sums_B2[:, 0] / np.where(defined, sums_B2[:, 1], 1.0), np.nan)


def percentile(draws_B: NDArray[np.float64], confidence: float = 0.95) -> Interval | None:
    """The percentile interval (Efron 1981, linear between order statistics); None when no draw is defined."""
    defined = draws_B[~np.isnan(draws_B)]
    if defined.size == 0:
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return Interval(float(low), float(high), int(draws_B.size - defined.size))


def ratio_interval(
    numerator_P: NDArray[np.float64],
    denominator_P: NDArray[np.float64],
    weights_BP: NDArray[np.float64],
    *,
    confidence: float = 0.95,
) -> Interval | None:
    """The interval of a ratio of sums over patients; None when fewer than two patients contribute.

    One patient, resampled, would give an interval of width 0 and so claim certainty.
    """
    if int((denominator_P != 0.0).sum()) < 2:
        return None
    return percentile(ratio_draws(numerator_P, denominator_P, weights_BP), confidence)


def clopper_pearson(events: int, n: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """The exact two-sided interval of a share (Clopper and Pearson 1934, beta quantiles); None for n = 0."""
    if n == 0:
        return None
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if events == 0 else float(stats.beta.ppf(tail, events, n - events + 1))
    high = 1.0 if events == n else float(stats.beta.ppf(1.0 - tail, events + 1, n - events))
    return low, high


def upper_one_sided(events: int, n: int, confidence: float = 0.95) -> float | None:
    """The exact one-sided upper bound of a share (Clopper and Pearson 1934); None for n = 0."""
    if n == 0:
        return None
    return 1.0 if events == n else float(stats.beta.ppf(confidence, events + 1, n - events))


def label_swap(
    a_P2: NDArray[np.float64], b_P2: NDArray[np.float64], seed: int, *, draws: int = 10_000
) -> PValue | None:
    """Two-sided permutation test that two arms' ratios of sums are equal: within each patient the arms may be swapped.

    ``a_P2`` and ``b_P2`` hold numerator and denominator of each patient (Fisher 1935; Pesarin and Salmaso 2010 for
    paired statistics). Patients on whom the arms agree leave every pattern as it is and are set aside, so ``least_p``
    is what the discordant ones allow. A pattern that makes 0/0 counts as extreme. None where an arm is 0/0.
    """
    if a_P2[:, 1].sum() == 0.0 or b_P2[:, 1].sum() == 0.0:
        return None
    discordant = (a_P2 != b_P2).any(axis=1)
    moved_S2 = _patterns(int(discordant.sum()), seed, draws) @ (b_P2 - a_P2)[discordant]
    swapped = _difference(a_P2.sum(axis=0) + moved_S2, b_P2.sum(axis=0) - moved_S2)
    observed = abs(float(_difference(a_P2.sum(axis=0)[None], b_P2.sum(axis=0)[None])[0]))
    extreme = int((np.isnan(swapped) | (np.abs(swapped) >= observed - 1e-12)).sum())
    return _permutation_p(extreme, int(discordant.sum()), draws, "swap of arms within patients")


def sign_flip(differences: NDArray[np.float64], seed: int, *, draws: int = 10_000) -> PValue | None:
    """Two-sided permutation test of a mean of paired differences (Fisher 1935): their signs are exchangeable.

    Differences of 0 are set aside as in ``label_swap``. None for no differences.
    """
    if differences.size == 0:
        return None
    discordant = differences[differences != 0.0]
    sums = (1.0 - 2.0 * _patterns(discordant.size, seed, draws)) @ discordant
    # Sums of the same numbers in another order differ by rounding; a tie must count as a tie.
    tolerance = 1e-12 * float(np.abs(discordant).sum())
    extreme = int((np.abs(sums) >= abs(float(discordant.sum())) - tolerance).sum())
    return _permutation_p(extreme, discordant.size, draws, "sign flip of patient means")


def _patterns(n: int, seed: int, draws: int) -> NDArray[np.float64]:
    """Rows of 0 and 1 (S, n): all 2**n patterns where there are at most ``EXACT_PATTERNS``, otherwise random ones."""
    if 2**n <= EXACT_PATTERNS:
        return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)
    return generator(seed, "permutation", n, draws).integers(0, 2, size=(draws, n)).astype(np.float64)


def _permutation_p(extreme: int, n: int, draws: int, test: str) -> PValue:
    """The exact share, or with random patterns (extreme + 1) / (draws + 1) of Phipson and Smyth (2010)."""
    if 2**n <= EXACT_PATTERNS:
        return PValue(extreme / 2**n, min(1.0, 2.0 / 2**n), f"exact {test}")
    return PValue((extreme + 1) / (draws + 1), 1.0 / (draws + 1), f"random {test}")


def _difference(a_S2: NDArray[np.float64], b_S2: NDArray[np.float64]) -> NDArray[np.float64]:
    """The difference of two ratios in each row, (S,); nan where one is 0/0."""
    defined = (a_S2[:, 1] != 0.0) & (b_S2[:, 1] != 0.0)
    below_a, below_b = (np.where(defined, each[:, 1], 1.0) for each in (a_S2, b_S2))
    return np.where(defined, a_S2[:, 0] / below_a - b_S2[:, 0] / below_b, np.nan)


def mcnemar(only_a: int, only_b: int) -> PValue:
    """Exact McNemar test (binomial with p = 1/2 on the discordant pairs); no discordant pair gives p = 1."""
    n = only_a + only_b
    p = min(1.0, 2.0 * float(stats.binom.cdf(min(only_a, only_b), n, 0.5)))
    return PValue(p, min(1.0, 2.0 * 0.5**n), "exact McNemar")


def holm(p: list[float]) -> list[float]:
    """Holm's (1979) step-down adjustment, in the order given: monotone, at most 1; an empty list stays empty."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted = [min(1.0, (len(p) - rank) * p[i]) for rank, i in enumerate(order)]
    result = [0.0] * len(p)
    for i, value in zip(order, np.maximum.accumulate(adjusted) if adjusted else [], strict=True):
        result[i] = float(value)
    assert all(result[i] <= result[j] for i, j in pairwise(order))
    return result
