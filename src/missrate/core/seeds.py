"""Several seeds of one arm: the estimate is their mean, and intervals draw a seed and patients together.

Never pooled: three trainings on 60 patients are not 180 patients. Shapes: S seeds, P patients, B resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import InputError
from missrate.core.resampling import Interval, PValue, mcnemar, percentile
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
    draws_B: Floats  # nan marks 0/0
    interval: Interval | None  # None also where fewer than two patients contribute to some defined seed


@dataclass(frozen=True, slots=True)
class SeedDifference:
    """The difference of two arms' estimates, first minus second."""

    difference: float | None
    draws_B: Floats
    interval: Interval | None


def seed_ratio(
    numerator_SP: Floats,
    denominator_SP: Floats,
    weights_BP: Floats,
    seed: int,
    *,
    arm: str,
    confidence: float = 0.95,
) -> OverSeeds:
    """The ratio of sums over patients, with one training seed a row.

    Each resample draws one of the defined seeds and takes its ratio over the patients of ``weights_BP``, so that the
    interval is that of one further training on other patients: it holds the spread over seeds in full, not divided by
    S. Arms with the same weights pair up by patient; only one training under several names has the same ``arm``, and
    draws the same seeds. With one seed it is ``ratio_interval``. Raises InputError for no seed or shapes that do not
    fit.
    """
    if numerator_SP.shape != denominator_SP.shape or numerator_SP.ndim != 2 or len(numerator_SP) == 0:
        raise InputError(
            "Numerators and denominators must both be (seeds, patients) with at least one seed. "
            f"Got {numerator_SP.shape} and {denominator_SP.shape}."
        )
    ratio_1S = _ratios(numerator_SP, denominator_SP, np.ones((1, numerator_SP.shape[1])))
    defined = np.flatnonzero(~np.isnan(ratio_1S[0]))
    per_seed = tuple(None if np.isnan(value) else float(value) for value in ratio_1S[0])
    if defined.size == 0:
        return OverSeeds(per_seed, len(per_seed), None, None, np.full(len(weights_BP), np.nan), None)
    ratio_BD = _ratios(numerator_SP[defined], denominator_SP[defined], weights_BP)
    drawn_B = generator(seed, "seeds", arm, defined.size).integers(0, defined.size, size=len(weights_BP))
    draws_B = ratio_BD[np.arange(len(weights_BP)), drawn_B]
    contribute = (denominator_SP[defined] != 0.0).sum(axis=1).min() >= 2
    values = ratio_1S[0, defined]
    return OverSeeds(
        per_seed,
        len(per_seed) - int(defined.size),
        float(values.mean()),
        Spread(float(values.min()), float(values.max()), float(values.std(ddof=1)) if values.size > 1 else None),
        draws_B,
        percentile(draws_B, confidence) if contribute else None,
    )


def seed_difference(first: OverSeeds, second: OverSeeds, confidence: float = 0.95) -> SeedDifference:
    """The difference of two arms from ``seed_ratio`` with the same weights; they may have different seeds.

    No interval where one of the two has none. Raises InputError for different numbers of resamples.
    """
    if first.draws_B.shape != second.draws_B.shape:
        raise InputError(f"Both arms must have the same resamples. Got {first.draws_B.size} and {second.draws_B.size}.")
    draws_B = first.draws_B - second.draws_B
    if first.estimate is None or second.estimate is None:
        return SeedDifference(None, draws_B, None)
    known = first.interval is not None and second.interval is not None
    return SeedDifference(first.estimate - second.estimate, draws_B, percentile(draws_B, confidence) if known else None)


def mcnemar_by_seed(missed_a_SP: NDArray[np.bool_], missed_b_SP: NDArray[np.bool_]) -> list[PValue]:
    """The exact test of each seed of two arms on the same patients; one p value a seed, never one for all.

    Raises InputError unless both have the same seeds and patients.
    """
    if missed_a_SP.shape != missed_b_SP.shape:
        raise InputError(f"Both arms must have the same seeds. Got {missed_a_SP.shape} and {missed_b_SP.shape}.")
    return [mcnemar(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in zip(missed_a_SP, missed_b_SP, strict=True)]


def _ratios(numerator_SP: Floats, denominator_SP: Floats, weights_BP: Floats) -> Floats:
    """The ratio of sums of each seed in each resample, (B, S); nan marks 0/0."""
    above_BS, below_BS = weights_BP @ numerator_SP.T, weights_BP @ denominator_SP.T
    return np.divide(above_BS, below_BS, out=np.full_like(above_BS, np.nan), where=below_BS != 0.0)
