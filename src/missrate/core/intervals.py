"""Intervals over patients: a Bayesian bootstrap that leaves room for one patient who was not drawn.

A bootstrap of the patients at hand knows nothing of those it has not seen: 10 patients without a miss give an interval
of width 0, and a rate that a few patients make up is covered in 60 to 90 % of samples instead of 95. So each resample
here weighs the patients with exponential random weights (Rubin 1981) and adds one *unseen* patient: for the upper limit
one with the highest value that the metric can take, for the lower limit one with the lowest. For the mean of bounded
values this is the bound of Gaffke (2005; Learned-Miller and Thomas 2019, arXiv 1905.06208); where every patient holds
one unit that is missed or found it is the interval of Clopper and Pearson. No width is ever 0.

A rate pooled over lesions or voxels is a ratio of sums, in which patients have sizes. The unseen patient is as large as
the one to whom a unit picked at random belongs: sum of squared sizes / sum of sizes. So the wider the sizes spread, the
more room is left: the largest tumour may be among those who are not here.

The difference of two arms leaves room for a patient on whom they differ as much as on any patient at hand, in either
direction. That patient is smaller, between an average one and the one above: large patients differ less, since each of
their lesions differs by itself. What all of this covers, and what it costs in width, is measured in
``docs/results/coverage.md``.

Shapes: P patients, B resamples, S seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, sqrt
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.seed import generator

Floats = NDArray[np.float64]
FEW = 20
"""Below so many contributing patients the intervals may cover less than 93 % (docs/results/coverage.md)."""
FEW_SAID = (
    f"* few patients: fewer than {FEW} contribute, or a few with large lesions outweigh the others, so the interval "
    "may be too narrow"
)
BEYOND = 0.5
"""Without a bound an unseen patient lies at most this share of the range beyond the largest value seen."""


def outwards(limit: float, digits: int, *, upper: bool) -> float:
    """Return a limit with so many decimals, an upper one rounded up, a lower one down: what is printed holds, too."""
    scale: float = 10.0**digits
    return (ceil(limit * scale - 1e-6) if upper else floor(limit * scale + 1e-6)) / scale


@dataclass(frozen=True, slots=True)
class Range:
    """The values that one patient can have; None: no bound. ``step`` is the least value above ``low`` (counts: 1)."""

    low: float | None = 0.0
    high: float | None = 1.0
    step: float = 0.0

    def unseen(self, seen: Floats) -> tuple[float, float]:
        """Return the lowest and the highest value that a patient beside those ``seen`` may have.

        Where there is no bound: ``BEYOND`` of the range outside of what was seen, and at least ``step`` above ``low``.
        """
        lowest, highest = float(seen.min()), float(seen.max())
        below = lowest if self.low is None else self.low
        room = BEYOND * (highest - below)
        low = lowest - room if self.low is None else self.low
        if self.high is not None:
            return low, self.high
        return low, max(highest + room, below + self.step)


SHARE, COUNT, AMOUNT, ANY = Range(), Range(0.0, None, 1.0), Range(0.0, None), Range(None, None)


def range_of(metric: ModuleType) -> Range:
    """Return the range of a metric: its ``RANGE``, or that of a share where its unit is a share or a probability."""
    given: Range | None = getattr(metric, "RANGE", None)
    if given is not None:
        return given
    return SHARE if str(metric.UNIT).startswith(("share", "probability")) else ANY


def mark(block: Mapping[str, Any]) -> str:
    """Return the star of a block of results to which few patients contribute (``FEW_SAID``), or nothing."""
    return "*" if block.get("few_patients") and block.get("ci95") is not None else ""


@dataclass(frozen=True, slots=True)
class Interval:
    """Two limits, the lower one first."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Weights:
    """What each patient, and one unseen patient, weighs in each resample; all are positive and 1 on average."""

    patient_BP: Floats
    unseen_B: Floats

    @property
    def with_unseen(self) -> Floats:
        """Those of the patients and of the unseen one after them, (B, P + 1)."""
        return np.concatenate([self.patient_BP, self.unseen_B[:, None]], axis=1)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A ratio of sums over patients in each resample, without the unseen patient."""

    numerator_B: Floats
    denominator_B: Floats  # above 0
    size: float  # of the patient to whom a unit picked at random belongs
    mean_size: float  # of an average patient
    rate_SP: Floats  # of each patient, nan for one who adds nothing

    @property
    def ratio_b(self) -> Floats:
        """The ratio in each resample."""
        return self.numerator_B / self.denominator_B

    @property
    def patients(self) -> int:
        """How many add something: of several seeds, in the one where they are fewest."""
        return int((~np.isnan(self.rate_SP)).sum(axis=1).min())

    @property
    def effective(self) -> float:
        """How many patients of equal size would weigh as much."""
        return self.patients * self.mean_size / self.size

    def beside(self, unseen_B: Floats, rate: float, size: float) -> Floats:
        """Return the ratio in each resample with the unseen patient at ``rate``, (B,)."""
        weight_B = unseen_B * size
        return (self.numerator_B + weight_B * rate) / (self.denominator_B + weight_B)


def patient_weights(patients: int, resamples: int, seed: int) -> Weights:
    """Draw the weights of P patients, and of the unseen one, in B resamples; P = 0 gives shape (B, 0)."""
    drawn = generator(seed, "bootstrap", patients, resamples).standard_exponential((resamples, patients + 1))
    return Weights(np.ascontiguousarray(drawn[:, :patients]), drawn[:, patients])


def drawn(numerator_SP: Floats, denominator_SP: Floats, weights: Weights, seed_B: NDArray[np.int64]) -> Drawn:
    """Draw a ratio of sums; ``seed_B`` says which of the S seeds each resample takes. Every seed must be defined."""
    rows = np.arange(seed_B.size)
    above_B = (weights.patient_BP @ numerator_SP.T)[rows, seed_B]
    below_B = (weights.patient_BP @ denominator_SP.T)[rows, seed_B]
    known_SP = denominator_SP != 0.0
    rate_SP = np.divide(numerator_SP, denominator_SP, out=np.full(numerator_SP.shape, np.nan), where=known_SP)
    total = float(denominator_SP.sum())
    size, mean = float((denominator_SP**2).sum()) / total, total / int(known_SP.sum())
    return Drawn(above_B, below_B, size, mean, rate_SP)


def ratio_interval(
    numerator_P: Floats, denominator_P: Floats, weights: Weights, values: Range = SHARE, *, confidence: float = 0.95
) -> Interval | None:
    """Return the interval of a ratio of sums over patients; None where fewer than two patients contribute.

    None also where nothing is known of how far values may reach: all are 0, and there is no bound.
    """
    if int((denominator_P != 0.0).sum()) < 2:
        return None
    one_seed = np.zeros(weights.unseen_B.size, np.int64)
    return limits(drawn(numerator_P[None], denominator_P[None], weights, one_seed), weights, values, confidence)


def limits(found: Drawn, weights: Weights, values: Range, confidence: float = 0.95) -> Interval | None:
    """Return the limits of a drawn ratio; None as in ``ratio_interval``."""
    if found.patients < 2:
        return None
    lowest, highest = values.unseen(found.rate_SP[~np.isnan(found.rate_SP)])
    if lowest == highest:
        return None
    below_B, above_B = (found.beside(weights.unseen_B, rate, found.size) for rate in (lowest, highest))
    return between(below_B, above_B, confidence)


def between(below_B: Floats, above_B: Floats, confidence: float = 0.95) -> Interval:
    """Return the lower quantile of the one and the upper quantile of the other draws, each beyond half of the rest."""
    tail = (1.0 - confidence) / 2.0
    return Interval(float(np.quantile(below_B, tail)), float(np.quantile(above_B, 1.0 - tail)))


def difference_limits(
    first: Drawn, second: Drawn, weights: Weights, values: Range, confidence: float = 0.95
) -> Interval | None:
    """Return the limits of first minus second, paired by patient; None as in ``ratio_interval``.

    The unseen patient lies around the middle of both ratios, and the arms differ there as far as on any patient at hand
    (arms that differ nowhere: as far as values can).
    """
    if min(first.patients, second.patients) < 2:
        return None
    swing = _largest_difference(first, second, values)
    if swing == 0.0:
        return None
    middle = (_pooled(first) + _pooled(second)) / 2.0
    below_B, above_B = (_apart(first, second, weights.unseen_B, _pair(middle, d, values)) for d in (-swing, swing))
    return between(below_B, above_B, confidence)


def greatest_increase(first: Drawn, second: Drawn, weights: Weights, values: Range, confidence: float) -> float:
    """Return the one-sided upper limit of first minus second, beside an unseen patient on whom they differ by all.

    The unseen patient is the worst there can be for the first and the best for the second: who claims that the first
    is not worse must exclude that, however little the two differ on the patients at hand.
    """
    seen = np.concatenate([each.rate_SP[~np.isnan(each.rate_SP)] for each in (first, second)])
    lowest, highest = values.unseen(seen)
    return float(np.quantile(_apart(first, second, weights.unseen_B, (highest, lowest)), confidence))


def _pooled(found: Drawn) -> float:
    """The ratio in the middle of all resamples."""
    return float(np.median(found.ratio_b))


def _largest_difference(first: Drawn, second: Drawn, values: Range) -> float:
    """How far the two arms lie apart on the patient on whom they differ most, each the mean over its seeds."""
    one_P, other_P = (_mean_over_seeds(each.rate_SP) for each in (first, second))
    apart_P = np.abs(one_P - other_P)
    largest = float(np.nanmax(apart_P)) if (~np.isnan(apart_P)).any() else 0.0
    if largest > 0.0:
        return largest
    lowest, highest = values.unseen(np.concatenate([one_P[~np.isnan(one_P)], other_P[~np.isnan(other_P)]]))
    return highest - lowest


def _mean_over_seeds(rate_SP: Floats) -> Floats:
    """The mean of each patient, nan for one who adds nothing in some seed, (P,)."""
    return np.asarray(rate_SP.mean(axis=0))


def _pair(middle: float, difference: float, values: Range) -> tuple[float, float]:
    """Two values that lie ``difference`` apart around the middle, moved to where values can be."""
    low = -np.inf if values.low is None else values.low
    high = np.inf if values.high is None else values.high
    first = min(max(middle + difference / 2.0, low), high)
    second = min(max(first - difference, low), high)
    return min(max(second + difference, low), high), second


def _apart(first: Drawn, second: Drawn, unseen_B: Floats, rates: tuple[float, float]) -> Floats:
    apart = [
        each.beside(unseen_B, rate, sqrt(each.size * each.mean_size))
        for each, rate in zip((first, second), rates, strict=True)
    ]
    return apart[0] - apart[1]


def curve_interval(
    numerator_KP: Floats, denominator: Floats, weights: Weights, values: Range = SHARE, *, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Return ``ratio_interval`` at each of K levels of a curve, (K,) lower and upper limits; nan where it is None.

    ``denominator`` is (P,) for all levels or (K, P). Columns are patients: the cases of one patient are summed before.
    """
    denominator_KP = np.broadcast_to(denominator, numerator_KP.shape)
    known_KP = denominator_KP != 0.0
    rate_KP = np.divide(numerator_KP, denominator_KP, out=np.full(numerator_KP.shape, np.nan), where=known_KP)
    several_K = known_KP.sum(axis=1) >= 2
    ends_K2 = np.array([values.unseen(r[k]) if k.any() else (0.0, 0.0) for r, k in zip(rate_KP, known_KP, strict=True)])
    total_K = np.maximum(denominator_KP.sum(axis=1), 1e-300)
    unseen_KB = ((denominator_KP**2).sum(axis=1) / total_K)[:, None] * weights.unseen_B
    above_KB = numerator_KP @ weights.patient_BP.T
    below_KB = unseen_KB + (
        denominator @ weights.patient_BP.T if denominator.ndim == 1 else denominator_KP @ weights.patient_BP.T
    )
    tail = (1.0 - confidence) / 2.0
    limits_K = []
    for end, share in ((0, tail), (1, 1.0 - tail)):
        draws_KB = np.divide(
            above_KB + unseen_KB * ends_K2[:, end, None], below_KB, out=np.zeros_like(above_KB), where=below_KB > 0
        )
        limits_K.append(
            np.where(several_K & (ends_K2[:, 0] < ends_K2[:, 1]), np.quantile(draws_KB, share, axis=1), np.nan)
        )
    return limits_K[0], limits_K[1]
