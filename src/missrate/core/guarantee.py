"""Thresholds that come with a promise, and exactly what it says: tolerance limits and conformal risk control.

A mask at level t is ``level >= t`` (levels as in `quantise`). A patient's loss L(t) is the weighted share of the
patient's units (a patient, lesions, voxels) that lie below t: non-decreasing, left-continuous, so that the greatest t
that keeps a bound exists. The promises hold for exchangeable patients with a lesion who were used for nothing else:
who trained, selected or compared arms on them has none. All comparisons are exact, in whole numbers.

Both promises are about *calibration draws*: repeat the calibration with other patients, and count how often it ends in
a threshold that misses too much. A draw that ends without a threshold breaks no promise, so neither says what holds of
the certificates that come out. Nothing can, without knowing the distribution: let P be one under which a rule gives a
threshold with probability p > 0, and let a share e > alpha of patients never be found. Under the mixture (1 - e) P + e
(never found) all n patients come from P with probability (1 - e)^n, and then the rule gives a threshold as under P; so
thresholds come out with probability of at least (1 - e)^n p > 0, and every one of them misses more than alpha. Hence
patients who are found at no threshold are counted first, and nothing is promised where their share may exceed alpha.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil, comb, lcm, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from missrate.core.errors import InputError
from missrate.core.intervals import outwards
from missrate.core.quantise import TOP, threshold_of
from missrate.core.resampling import upper_one_sided

E = Fraction(2_718_281_829, 1_000_000_000)
"""Euler's number, rounded up."""


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
    never_found: int  # of these, at no level from the lowest on
    never_found_at_most: float  # the exact one-sided upper bound of their share, at ``confidence``
    alpha: float
    confidence: float
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
    """Return how many patients conformal risk control needs at least: alpha >= 1 / (n + 1), so 19 for 5 %."""
    return max(1, ceil(1 / _share("alpha", alpha)) - 1)


def least_n_confident(alpha: float | str, confidence: float | str = 0.95) -> int:
    """Return with how many patients a share of never found ones can be bounded by ``alpha``: none among n.

    (1 - alpha)**n <= 1 - confidence, so 59 for 5 % at 95 %, 29 for 10 %.
    """
    missed, doubt = _share("alpha", alpha), 1 - _share("confidence", confidence)
    n = max(1, int(log(doubt) / log(1 - missed)) - 1)  # begins below, whatever the logarithms round to
    while (1 - missed) ** n > doubt:
        n += 1
    return n


def confident(
    patients: Sequence[Jumps],
    alpha: float | str,
    confidence: float | str = 0.95,
    *,
    lowest: int,
    of: str = "patients",
    all_or_nothing: bool = True,
) -> Promise:
    """Promise a miss rate of at most ``alpha`` in all but 1 - ``confidence`` of calibration draws.

    The greatest level, from ``lowest`` (the floor above which candidates are known, at least 1) to ``TOP``, at which
    the mean loss of the n patients is at most a limit r(n). Let q be the lowest level that misses more than ``alpha``
    of all patients: the promise breaks only where the mean loss *at q* is at most r, and r is chosen such that this has
    a probability of at most 1 - confidence, whatever the distribution.

    Where a patient is missed or not (``all_or_nothing``), the number of missed patients at q is binomial, and r = k / n
    with the largest k such that P(Binomial(n, alpha) <= k) <= 1 - confidence (a tolerance limit, Wilks 1941). Shares of
    lesions or voxels lie between: r is the greater of the limits of Hoeffding (1963) and Bentkus (2004) for the mean of
    values in [0, 1], as Bates et al. (arXiv 2101.02703) use them.

    ``of`` names what is missed. Raises InputError for an alpha or confidence outside (0, 1) or a lowest outside 1 to
    TOP.
    """
    missed, sure, n = _share("alpha", alpha), _share("confidence", confidence), len(patients)
    most = _highest_mean(n, missed, 1 - sure, all_or_nothing=all_or_nothing)
    bound = (
        f"at most {float(missed):g} of {of} are missed, with {float(sure):g} confidence over calibrations: were this "
        f"one repeated with {n} other patients each time, at most {float(1 - sure):.4g} of the repeats would end in a "
        "threshold that misses more; repeats that end without a threshold are among the others"
    )
    return _promised(patients, missed, sure, most=most, lowest=lowest, bound=bound)


def expected(
    patients: Sequence[Jumps],
    alpha: float | str,
    confidence: float | str = 0.95,
    *,
    lowest: int,
    of: str = "patients",
) -> Promise:
    """Promise an expected miss rate of at most ``alpha``, where draws without a threshold count as no misses.

    ``sup {t : mean_i L_i(t) <= ((n + 1) alpha - 1) / n}`` (Angelopoulos et al., arXiv 2208.02814, with B = 1). With one
    unit a patient it is the k-th smallest of their levels, k = floor((n + 1) alpha). The expectation is over new
    patients and over draws of the calibration patients; among the draws that end in a threshold the mean may be higher.
    ``confidence`` is that with which patients who are never found are bounded first. Errors as in `confident`.
    """
    missed, sure, n = _share("alpha", alpha), _share("confidence", confidence), len(patients)
    most = ((n + 1) * missed - 1) / n if n >= least_n_expected(alpha) else None
    bound = (
        f"at most {float(missed):g} of {of} are missed on average over calibrations: were this one repeated with {n} "
        "other patients each time, and repeats that end without a threshold counted as missing nobody; of repeats that "
        "end in a threshold the average may be higher"
    )
    return _promised(patients, missed, sure, most=most, lowest=lowest, bound=bound)


def _promised(
    patients: Sequence[Jumps], alpha: Fraction, confidence: Fraction, *, most: Fraction | None, lowest: int, bound: str
) -> Promise:
    if not 1 <= lowest <= TOP:
        raise InputError(f"`lowest` must be a level from 1 to {TOP}. Got {lowest}.")
    n = len(patients)
    never = sum(int(each.levels[-1]) < lowest for each in patients)
    at_most = upper_one_sided(never, n, float(confidence))
    never_at_most = 1.0 if at_most is None else at_most
    made = partial(
        Promise,
        n=n,
        never_found=never,
        never_found_at_most=never_at_most,
        alpha=float(alpha),
        confidence=float(confidence),
        bound=bound,
    )
    needs = max(least_n_confident(str(alpha), str(confidence)), least_n_expected(str(alpha)) if most is None else 0)
    if n < needs or most is None:
        return made(level=None, reason=f"not certifiable with {n} patients: needs n >= {needs}", risk=None)
    if never > _most_missed(n, alpha, 1 - confidence):
        reason = (
            f"{never} of {n} calibration patients are found at no threshold, so "
            f"{outwards(never_at_most, 4, upper=True):g} of all patients may never be found "
            f"({float(confidence):g} confidence), more than {float(alpha):g}"
        )
        return made(level=None, reason=reason, risk=None)
    return _greatest(_mean_loss(patients), most, lowest, made)


def _highest_mean(n: int, alpha: Fraction, doubt: Fraction, *, all_or_nothing: bool) -> Fraction | None:
    """The mean loss that n patients keep with a probability of at most ``doubt`` where all patients lose ``alpha``."""
    k = _most_missed(n, alpha, doubt if all_or_nothing else doubt / E)
    bentkus = Fraction(k, n) if k >= 0 and n else None
    if all_or_nothing or n < least_n_confident(str(alpha), str(1 - doubt)):
        return bentkus
    return max(_hoeffding(n, float(alpha), float(doubt)), bentkus or Fraction(0))


def _hoeffding(n: int, alpha: float, doubt: float) -> Fraction:
    """The greatest mean r with exp(-n kl(r, alpha)) <= ``doubt``, a little less than that; 0 where it is just kept."""
    low, high = 0.0, alpha
    for _ in range(60):
        middle = (low + high) / 2.0
        apart = (1.0 - middle) * log((1.0 - middle) / (1.0 - alpha))
        apart += middle * log(middle / alpha) if middle > 0.0 else 0.0
        low, high = (middle, high) if n * apart >= -log(doubt) else (low, middle)
    return Fraction(low * (1.0 - 1e-9))


def _greatest(loss: Callable[[int], Fraction], most: Fraction, lowest: int, made: Callable[..., Promise]) -> Promise:
    """The greatest level from ``lowest`` on whose mean loss is at most ``most``, by bisection as losses never fall."""
    if loss(lowest) > most:
        reason = f"even at the floor {threshold_of(lowest):g} the target is missed"
        return made(level=None, reason=f"{reason}: the loss is {float(loss(lowest)):.4g}", risk=None)
    level, above = lowest, TOP + 1
    while above - level > 1:
        middle = (level + above) // 2
        level, above = (middle, above) if loss(middle) <= most else (level, middle)
    return made(level=level, reason=None, risk=float(loss(level)))


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
