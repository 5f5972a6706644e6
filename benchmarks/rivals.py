"""Other intervals of a ratio of sums over patients, to be measured beside ours in ``benchmarks.coverage``.

Each takes numerators and denominators (P,) of patients with a denominator above 0 and multinomial weights (B, P), and
gives two limits of 95 %.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Limits = tuple[float, float]
TAILS = (0.025, 0.975)


def percentile(numerator_P: Floats, denominator_P: Floats, weights_BP: Floats) -> Limits:
    """Percentiles of the bootstrap (Efron 1981): what missrate printed before."""
    low, high = np.quantile(_ratios(numerator_P, denominator_P, weights_BP), TAILS)
    return float(low), float(high)


def bca(numerator_P: Floats, denominator_P: Floats, weights_BP: Floats) -> Limits:
    """Bias-corrected and accelerated percentiles (Efron 1987)."""
    draws_B = _ratios(numerator_P, denominator_P, weights_BP)
    value, without_P = _value(numerator_P, denominator_P), _left_out(numerator_P, denominator_P)
    apart_P = without_P.mean() - without_P
    spread = 6.0 * float((apart_P**2).sum()) ** 1.5
    acceleration = float((apart_P**3).sum()) / spread if spread > 0 else 0.0
    below = float((draws_B < value).mean() + 0.5 * (draws_B == value).mean())
    bias = stats.norm.ppf(min(max(below, 0.5 / draws_B.size), 1 - 0.5 / draws_B.size))
    z = bias + stats.norm.ppf(TAILS)
    low, high = np.quantile(draws_B, stats.norm.cdf(bias + z / (1.0 - acceleration * z)))
    return float(low), float(high)


def studentised(numerator_P: Floats, denominator_P: Floats, weights_BP: Floats) -> Limits:
    """The bootstrap-t on the logit scale with linearised standard errors; of 0 or 1, Clopper and Pearson's of patients.

    For rates in [0, 1] only.
    """
    value = _value(numerator_P, denominator_P)
    if not 0.0 < value < 1.0:
        return _clopper_pearson(value, _effective(denominator_P))
    total = float(denominator_P.sum())
    error = float(np.sqrt(((numerator_P - value * denominator_P) ** 2).sum())) / total
    draws_B, totals_B = _ratios(numerator_P, denominator_P, weights_BP), weights_BP @ denominator_P
    residual_BP = numerator_P - draws_B[:, None] * denominator_P
    errors_B = np.sqrt((weights_BP * residual_BP**2).sum(axis=1)) / totals_B
    good = (draws_B > 0) & (draws_B < 1) & (errors_B > 0)
    if error == 0.0 or not good.any():
        return _clopper_pearson(value, _effective(denominator_P))
    scale_B = errors_B[good] / (draws_B[good] * (1 - draws_B[good]))
    t_low, t_high = np.quantile((_logit(draws_B[good]) - _logit(value)) / scale_B, TAILS)
    reach = error / (value * (1 - value))
    return _logistic(_logit(value) - t_high * reach), _logistic(_logit(value) - t_low * reach)


def cluster_robust(numerator_P: Floats, denominator_P: Floats, _: Floats) -> Limits:
    """Clopper and Pearson's of the effective number of units (Korn and Graubard 1998); jackknife variance.

    Degrees of freedom: the effective number of patients, less one. For rates in [0, 1] only.
    """
    value, patients = _value(numerator_P, denominator_P), denominator_P.size
    effective = _effective(denominator_P)
    without_P = _left_out(numerator_P, denominator_P)
    variance = (patients - 1) / patients * float(((without_P - value) ** 2).sum())
    if variance <= 0.0 or not 0.0 < value < 1.0:
        return _clopper_pearson(value, effective)
    units = min(value * (1.0 - value) / variance, float(denominator_P.sum()))
    shrunk = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, max(effective - 1.0, 1.0))) ** 2
    return _clopper_pearson(value, units * float(shrunk))


RIVALS = {
    "percentile": percentile,
    "BCa": bca,
    "studentised": studentised,
    "cluster-robust": cluster_robust,
}


def _value(numerator_P: Floats, denominator_P: Floats) -> float:
    return float(numerator_P.sum() / denominator_P.sum())


def _ratios(numerator_P: Floats, denominator_P: Floats, weights_BP: Floats) -> Floats:
    return np.asarray((weights_BP @ numerator_P) / (weights_BP @ denominator_P))


def _left_out(numerator_P: Floats, denominator_P: Floats) -> Floats:
    """The ratio without each patient."""
    return np.asarray((numerator_P.sum() - numerator_P) / (denominator_P.sum() - denominator_P))


def _effective(denominator_P: Floats) -> float:
    """How many patients of equal size would weigh as much."""
    return float(denominator_P.sum() ** 2 / (denominator_P**2).sum())


def _clopper_pearson(value: float, n: float) -> Limits:
    hits = value * n
    low = 0.0 if hits <= 0 else float(stats.beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits >= n else float(stats.beta.ppf(0.975, hits + 1, n - hits))
    return low, high


def _logit(share: Floats | float) -> Floats:
    return np.asarray(np.log(share / (1.0 - np.asarray(share))))


def _logistic(x: Floats | float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.asarray(x))))
