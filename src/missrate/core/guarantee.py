"""Thresholds that come with a promise: conformal risk control, and its exact binomial variant for patients.

A mask at level t is ``level >= t`` (levels as in `quantise`). A patient's loss L(t) is the weighted share of the
patient's units (a patient, lesions, voxels) that lie below t: non-decreasing, left-continuous, so that the greatest t
that keeps a bound exists. The promises hold for exchangeable patients with a lesion who were used for nothing else:
who trained, selected or compared arms on them has none. All comparisons are exact, in whole numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil, comb, floor, lcm, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from missrate.core.errors import InputError
from missrate.core.quantise import TOP, threshold_of


@dataclass(frozen=True, slots=True)
class Jumps:
    """The loss of one patient: ``counts`` units, at least one in all, stop being found just above ``levels``.

    Both (J,): levels ascending and distinct from 0 (never found) to ``quantise.TOP``.
    """

    levels: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Promise:
    """What may be said of the masks at ``level``; where it is None, ``reason`` says why nothing may be."""

    level: int | None
    reason: str | None
    n: int  # calibration patients
    k: int  # expected: floor((n + 1) alpha); confident: how many patients may be missed here, -1 where not even none
    alpha: float
    confidence: float | None  # None: the bound is on the expectation
    bound: str  # a sentence
    risk: float | None  # mean loss of the calibration patients at ``level``, of use only beside the bound

    @property
    def threshold(self) -> float | None:
        """The probability at which ``level`` begins."""
        return None if self.level is None else threshold_of(self.level)


def jumps_of(levels: ArrayLike) -> Jumps:
    """The loss of a patient whose units are found up to these levels: one, s, or one a lesion, in any order.

    A unit's level is the greatest one at which it is found, 0 where it never is. Raises InputError for no unit (the
    patient has no lesion and no loss) or a level outside the scale.
    """
    found, counts = np.unique(_checked(levels), return_counts=True)
    if found.size == 0:
        raise InputError("A calibration patient must have a lesion. Got one without; perhaps leave healthy ones out.")
    return Jumps(found, counts.astype(np.int64))


def jumps_of_counts(inside: NDArray[np.int64]) -> Jumps:
    """The loss of a patient with ``inside[l]`` lesion voxels at level l, shape (TOP + 1,), summed over the scans.

    Raises InputError without a lesion voxel.
    """
    found = np.flatnonzero(inside)
    if found.size == 0:
        raise InputError("A calibration patient must have a lesion voxel. Got one without any.")
    return Jumps(found.astype(np.int64), inside[found].astype(np.int64))


def least_n_expected(alpha: float | str) -> int:
    """With fewer patients `expected` promises nothing: alpha >= 1 / (n + 1), so 19 for 5 %, 9 for 10 %."""
    return max(1, ceil(1 / _share("alpha", alpha)) - 1)


def least_n_confident(alpha: float | str, confidence: float | str = 0.95) -> int:
    """With fewer patients `confident` promises nothing: (1 - alpha)**n <= 1 - confidence, so 59 for 5 % at 95 %."""
    missed, doubt = _share("alpha", alpha), 1 - _share("confidence", confidence)
    n = max(1, int(log(doubt) / log(1 - missed)) - 1)  # begins below, whatever the logarithms round to
    while (1 - missed) ** n > doubt:
        n += 1
    return n


def expected(patients: Sequence[Jumps], alpha: float | str, *, lowest: int, of: str = "missed patients") -> Promise:
    """The greatest level whose expected loss is promised to be at most ``alpha`` (Angelopoulos et al. 2022).

    ``sup {t : mean_i L_i(t) <= ((n + 1) alpha - 1) / n}`` of arXiv 2208.02814 with B = 1, from ``lowest`` (the floor
    above which candidates are known, at least 1) to ``TOP``. With one unit a patient it is the k-th smallest of their
    levels, k = floor((n + 1) alpha). ``of`` names what the loss is a share of. The expectation is over new patients and
    over draws of the calibration patients. Raises InputError for an alpha outside (0, 1) or a lowest outside 1 to TOP.
    """
    missed, n = _share("alpha", alpha), len(patients)
    needs = least_n_expected(alpha)
    said = partial(
        Promise,
        n=n,
        k=floor((n + 1) * missed),
        alpha=float(missed),
        confidence=None,
        bound=f"the expected share of {of} is at most {float(missed):g}, over new patients and calibration draws",
    )
    if n < needs:
        return said(level=None, reason=_too_few(n, needs), risk=None)
    return _greatest(_mean_loss(patients), ((n + 1) * missed - 1) / n, lowest, said)


def confident(s_levels: ArrayLike, alpha: float | str, confidence: float | str = 0.95, *, lowest: int) -> Promise:
    """The greatest level at which, with ``confidence``, at most ``alpha`` of all patients are missed.

    ``s_levels`` (n,) holds for each patient the greatest level at which a lesion is found, 0 if never. It is their
    (k + 1)-th smallest, with the largest k such that P(Binomial(n, alpha) <= k) <= 1 - confidence (a tolerance limit,
    Wilks 1941). Why: let q be the greatest level that misses at most ``alpha`` of all patients; more than ``alpha`` of
    them lie at or below q, so that only with that probability k or fewer of n do, as the chosen level above q needs.
    Errors as in `expected`.
    """
    levels = _checked(s_levels)
    missed, sure, n = _share("alpha", alpha), _share("confidence", confidence), levels.size
    k, needs = _most_missed(n, missed, 1 - sure), least_n_confident(alpha, confidence)
    said = partial(
        Promise,
        n=n,
        k=k,
        alpha=float(missed),
        confidence=float(sure),
        bound=f"with confidence {float(sure):g} over calibration draws, at most {float(missed):g} of all patients are "
        "missed",
    )
    if k < 0:
        return said(level=None, reason=_too_few(n, needs), risk=None)
    one = np.ones(1, np.int64)
    return _greatest(_mean_loss([Jumps(level, one) for level in levels[:, None]]), Fraction(k, n), lowest, said)


def _too_few(n: int, needs: int) -> str:
    return f"not certifiable with {n} patients: needs n >= {needs}"


def _greatest(loss: Callable[[int], Fraction], most: Fraction, lowest: int, said: Callable[..., Promise]) -> Promise:
    """The greatest level from ``lowest`` on whose mean loss is at most ``most``, by bisection as losses never fall."""
    if not 1 <= lowest <= TOP:
        raise InputError(f"`lowest` must be a level from 1 to {TOP}. Got {lowest}.")
    if loss(lowest) > most:
        reason = f"even at the floor {threshold_of(lowest):g} the target is missed"
        return said(level=None, reason=f"{reason}: the loss is {float(loss(lowest)):.4g}", risk=None)
    level, above = lowest, TOP + 1
    while above - level > 1:
        middle = (level + above) // 2
        level, above = (middle, above) if loss(middle) <= most else (level, middle)
    return said(level=level, reason=None, risk=float(loss(level)))


def _checked(levels: ArrayLike) -> NDArray[np.int64]:
    found = np.asarray(levels, np.int64).ravel()
    if found.size and not 0 <= found.min() <= found.max() <= TOP:
        raise InputError(f"Levels must lie in 0 to {TOP}. Got {found.min()} to {found.max()}.")
    return found


def _share(name: str, value: float | str) -> Fraction:
    """The decimal that was written, exactly: 0.05 is 1/20, not the binary number next to it."""
    share = Fraction(str(value))
    if not 0 < share < 1:
        raise InputError(f"`{name}` must lie in (0, 1). Got {value}.")
    return share


def _mean_loss(patients: Sequence[Jumps]) -> Callable[[int], Fraction]:
    """The exact mean loss as a function of the level; sums in units of the totals' common multiple, so no fractions."""
    totals = [int(each.counts.sum()) for each in patients]
    unit = lcm(*totals)
    units = [unit // total for total in totals]
    # One ascending list of all jumps, patient after patient, so that one search per level finds every patient's place.
    start_P = np.arange(len(patients)) * (TOP + 2)
    jumps = np.concatenate([start + each.levels for start, each in zip(start_P, patients, strict=True)])
    sums = np.concatenate([[0], np.cumsum(np.concatenate([each.counts for each in patients]))])
    before_P = sums[np.searchsorted(jumps, start_P)]

    def loss(level: int) -> Fraction:
        below_P = sums[np.searchsorted(jumps, start_P + level)] - before_P
        return Fraction(sum(b * u for b, u in zip(below_P.tolist(), units, strict=True)), unit * len(patients))

    return loss


def _most_missed(n: int, alpha: Fraction, doubt: Fraction) -> int:
    """The largest k with P(Binomial(n, alpha) <= k) <= ``doubt``, exactly; -1 where not even k = 0 has it."""
    hit, out_of = alpha.numerator, alpha.denominator
    most = doubt * out_of**n
    k, sum_to_k = -1, 0
    while True:  # ends at the latest with k + 1 = n, where the sum is all of it
        sum_to_k += comb(n, k + 1) * hit ** (k + 1) * (out_of - hit) ** (n - k - 1)
        if sum_to_k > most:
            return k
        k += 1
