"""Several seeds of one arm: the estimate is their mean, and intervals draw a seed and patients together.

Never pooled: three trainings on 60 patients are not 180 patients. Shapes: S seeds, P patients, B resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import InputError
from missrate.core.intervals import SHARE, Drawn, Interval, Range, Weights, difference_limits, drawn, limits
from missrate.core.resampling import PValue, mcnemar
from missrate.core.seed import generator

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """Between seeds, the patients being the same; ``sd`` (n - 1) is None for one seed."""

    low: float
    high: float
    sd: float | None


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A ratio over seeds; None where no seed is defined."""

    per_seed: tuple[float | None, ...]
    undefined: int  # seeds that are 0/0: in neither the estimate nor the draws
    estimate: float | None  # mean over the defined seeds
    spread: Spread | None
    drawn: Drawn | None
    values: Range  # what the metric can be
    interval: Interval | None  # None also where fewer than two patients contribute to some defined seed

    @property
    def patients(self) -> int:
        """How many patients contribute."""
        return 0 if self.drawn is None else self.drawn.patients

    @property
    def effective(self) -> float:
        """How many patients of equal size would weigh as much."""
        return 0.0 if self.drawn is None else self.drawn.effective


@dataclass(frozen=True, slots=True)
class SeedDifference:
    """The difference of two arms' estimates, first minus second."""

    difference: float | None
    interval: Interval | None


def seed_ratio(
    numerator_SP: Floats,
    denominator_SP: Floats,
    weights: Weights,
    seed: int,
    *,
    arm: str,
    values: Range = SHARE,
    confidence: float = 0.95,
) -> OverSeeds:
    """Return the ratio of sums over patients, with one training seed a row.

    Each resample draws one of the defined seeds and takes its ratio over the weighted patients, so that the
    interval is that of one further training on other patients: it holds the spread over seeds in full, not divided by
    S. Arms with the same weights pair up by patient; only one training under several names has the same ``arm``, and
    draws the same seeds. With one seed it is ``intervals.ratio_interval``. Raises InputError for no seed or shapes that
    do not fit.
    """
    if numerator_SP.shape != denominator_SP.shape or numerator_SP.ndim != 2 or len(numerator_SP) == 0:
        raise InputError(
            "Numerators and denominators must both be (seeds, patients) with at least one seed. "
            f"Got {numerator_SP.shape} and {denominator_SP.shape}."
        )
    totals_S = denominator_SP.sum(axis=1)
    defined = np.flatnonzero(totals_S != 0.0)
    ratio_D = numerator_SP[defined].sum(axis=1) / totals_S[defined]
    known = dict(zip(defined.tolist(), ratio_D.tolist(), strict=True))
    per_seed = tuple(known.get(s) for s in range(len(totals_S)))
    if defined.size == 0:
        return OverSeeds(per_seed, len(per_seed), None, None, None, values, None)
    seed_B = generator(seed, "seeds", arm, defined.size).integers(0, defined.size, size=weights.unseen_B.size)
    found = drawn(numerator_SP[defined], denominator_SP[defined], weights, seed_B)
    return OverSeeds(
        per_seed,
        len(per_seed) - int(defined.size),
        float(ratio_D.mean()),
        Spread(float(ratio_D.min()), float(ratio_D.max()), float(ratio_D.std(ddof=1)) if ratio_D.size > 1 else None),
        found,
        values,
        limits(found, weights, values, confidence),
    )


def seed_difference(first: OverSeeds, second: OverSeeds, weights: Weights, confidence: float = 0.95) -> SeedDifference:
    """Return the difference of two arms from ``seed_ratio`` with the same weights; they may have different seeds.

    No interval where one of the two has none.
    """
    if first.estimate is None or second.estimate is None or first.drawn is None or second.drawn is None:
        return SeedDifference(None, None)
    between = difference_limits(first.drawn, second.drawn, weights, first.values, confidence)
    return SeedDifference(first.estimate - second.estimate, between)


def mcnemar_by_seed(missed_a_SP: NDArray[np.bool_], missed_b_SP: NDArray[np.bool_]) -> list[PValue]:
    """The exact test of each seed of two arms on the same patients; one p value a seed, never one for all.

    Raises InputError unless both have the same seeds and patients.
    """
    if missed_a_SP.shape != missed_b_SP.shape:
        raise InputError(f"Both arms must have the same seeds. Got {missed_a_SP.shape} and {missed_b_SP.shape}.")
    return [mcnemar(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in zip(missed_a_SP, missed_b_SP, strict=True)]
