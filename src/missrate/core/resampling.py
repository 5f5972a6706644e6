"""Exact intervals of counts, and tests with patients as the unit; each function states its source.

Shapes: P patients, S patterns of a permutation test.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from missrate.core.errors import InputError
from missrate.core.seed import generator

LEAST_DRAWS = 10_000
"""A permutation test that draws its patterns draws at least this many."""

EXACT_PATTERNS = 2**16
"""Up to this many patterns of a permutation test are enumerated instead of drawn."""


@dataclass(frozen=True, slots=True)
class PValue:
    """A p value (two-sided unless ``test`` says otherwise), the least that this test could give, and its name."""

    p: float
    least_p: float
    test: str


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


def draws_for(comparisons: int, alpha: float = 0.05) -> int:
    """How many patterns a permutation test must draw so that m Holm-adjusted comparisons can be told at ``alpha``.

    At least 20 m / alpha: then the smallest p, 1 / (draws + 1), lies 20 times below the strictest level alpha / m. At
    least ``LEAST_DRAWS``. Raises InputError for an alpha outside (0, 1).
    """
    if not 0.0 < alpha < 1.0:
        raise InputError(f"`alpha` must lie in (0, 1). Got {alpha:g}.")
    return max(LEAST_DRAWS, ceil(20 * comparisons / Fraction(str(alpha))))


def label_swap(
    a_P2: NDArray[np.float64],
    b_P2: NDArray[np.float64],
    seed: int,
    *,
    draws: int = LEAST_DRAWS,
    one_sided: bool = False,
) -> PValue | None:
    """Permutation test that two arms' ratios of sums are equal: within each patient the arms may be swapped.

    ``a_P2`` and ``b_P2`` hold numerator and denominator of each patient (Fisher 1935; Pesarin and Salmaso 2010 for
    paired statistics). Patients on whom the arms agree leave every pattern as it is and are set aside, so ``least_p``
    is what the discordant ones allow. A pattern that makes 0/0 counts as extreme. None where an arm is 0/0.
    ``one_sided`` asks only whether the ratio of ``a`` is the greater one.
    """
    if a_P2[:, 1].sum() == 0.0 or b_P2[:, 1].sum() == 0.0:
        return None
    discordant = (a_P2 != b_P2).any(axis=1)
    moved_S2 = _moved((b_P2 - a_P2)[discordant], seed, draws)
    swapped = _difference(a_P2.sum(axis=0) + moved_S2, b_P2.sum(axis=0) - moved_S2)
    observed = float(_difference(a_P2.sum(axis=0)[None], b_P2.sum(axis=0)[None])[0])
    if not one_sided:
        swapped, observed = np.abs(swapped), abs(observed)
    extreme = int((np.isnan(swapped) | (swapped >= observed - 1e-12)).sum())
    return _permutation_p(extreme, int(discordant.sum()), draws, "swap of arms within patients", one_sided=one_sided)


def sign_flip(differences: NDArray[np.float64], seed: int, *, draws: int = LEAST_DRAWS) -> PValue | None:
    """Two-sided permutation test of a mean of paired differences (Fisher 1935): their signs are exchangeable.

    Differences of 0 are set aside as in ``label_swap``. None for no differences.
    """
    if differences.size == 0:
        return None
    discordant = differences[differences != 0.0]
    sums_S = float(discordant.sum()) - 2.0 * _moved(discordant[:, None], seed, draws)[:, 0]
    # Sums of the same numbers in another order differ by rounding; a tie must count as a tie.
    tolerance = 1e-12 * float(np.abs(discordant).sum())
    extreme = int((np.abs(sums_S) >= abs(float(discordant.sum())) - tolerance).sum())
    return _permutation_p(extreme, discordant.size, draws, "sign flip of patient means")


def _moved(change_PC: NDArray[np.float64], seed: int, draws: int) -> NDArray[np.float64]:
    """The summed change of the patients that each pattern swaps, (S, C).

    All 2**P patterns where there are at most ``EXACT_PATTERNS``, otherwise ``draws`` random ones: a byte of a pattern
    says which of eight patients are swapped, and a table says what these change, so that no pattern is written out.
    """
    if 2 ** len(change_PC) <= EXACT_PATTERNS:
        return _subset_sums(change_PC)
    moved_SC = np.zeros((draws, change_PC.shape[1]))
    for byte_S, first in zip(_bytes(-(-len(change_PC) // 8), draws, seed), range(0, len(change_PC), 8), strict=True):
        table = _subset_sums(change_PC[first : first + 8])
        moved_SC += np.take(table, byte_S & (len(table) - 1), axis=0)
    return moved_SC


def _subset_sums(change_PC: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over every subset of the rows, (2**P, C): row r sums the patients whose bits are set in r."""
    sums = np.zeros((1, change_PC.shape[1]))
    for row in change_PC:
        sums = np.concatenate([sums, sums + row])
    return sums


@lru_cache(maxsize=8)
def _bytes(count: int, draws: int, seed: int) -> NDArray[np.uint8]:
    """Random patterns, (count, S): each byte holds those of eight patients. Kept, as one study asks for them often."""
    drawn = generator(seed, "permutation", count, draws).integers(0, 256, size=(count, draws), dtype=np.uint8)
    drawn.setflags(write=False)
    return drawn


def _permutation_p(extreme: int, n: int, draws: int, test: str, *, one_sided: bool = False) -> PValue:
    """The exact share, or with random patterns (extreme + 1) / (draws + 1) of Phipson and Smyth (2010)."""
    side = "one-sided " if one_sided else ""
    if 2**n <= EXACT_PATTERNS:
        return PValue(extreme / 2**n, min(1.0, (1.0 if one_sided else 2.0) / 2**n), f"{side}exact {test}")
    return PValue((extreme + 1) / (draws + 1), 1.0 / (draws + 1), f"{side}random {test}")


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
