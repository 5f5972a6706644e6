"""Area under the ROC curve of patients with and without a lesion: DeLong's interval and paired test.

Shapes: A scores (arms), I patients with a lesion (ill), H without (healthy). A higher score means more suspicious. The
area is the probability that an ill patient scores higher than a healthy one, a tie counting half.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from missrate.core.errors import InputError
from missrate.core.resampling import PValue, clopper_pearson

DELONG = "DeLong (logit)"
PAIRS = "Clopper-Pearson on disjoint pairs"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Area:
    """An area, its interval (None with the ``reason``) and how that was made."""

    value: float
    ci: tuple[float, float] | None
    interval: str | None  # DELONG or PAIRS
    reason: str | None


@dataclass(frozen=True, slots=True)
class AreaDifference:
    """Area of the first score minus that of the second on the same patients; what is None has a ``reason``."""

    difference: float
    ci: tuple[float, float] | None
    test: PValue | None
    reason: str | None


def area(ill_I: Floats, healthy_H: Floats, confidence: float = 0.95) -> Area | None:
    """The area with DeLong's interval (DeLong, DeLong and Clarke-Pearson 1988); None when one group is empty.

    The interval is symmetric on the logit scale: there it cannot leave [0, 1] and covers near 1 where the plain one
    falls short (normal scores, 30 ill and 20 healthy, true area .9 or .97: 96 and 95 % of draws against 90 and 81).
    When every ill patient scores higher than every healthy one (or lower), DeLong's variance is 0, which is no
    certainty: then the interval is that of min(I, H) pairs without a common patient, each in the right order with
    a probability that is the area, all of them observed right: Clopper and Pearson's, wide and honest. Fewer than two
    patients in a group, or one score for all, give no interval.
    """
    if ill_I.size == 0 or healthy_H.size == 0:
        return None
    values_A, covariance_AA = _areas(ill_I[None], healthy_H[None])
    value = float(values_A[0])
    if covariance_AA is None:
        return Area(value, None, None, "an interval needs two patients with and two without a lesion")
    if value in (0.0, 1.0):
        pairs = min(ill_I.size, healthy_H.size)
        return Area(value, clopper_pearson(round(value * pairs), pairs, confidence), PAIRS, None)
    variance = float(covariance_AA[0, 0])
    if variance <= 0.0:
        return Area(value, None, None, "all patients have the same score")
    middle, reach = log(value / (1.0 - value)), _normal(confidence) * sqrt(variance) / (value * (1.0 - value))
    return Area(value, (_logistic(middle - reach), _logistic(middle + reach)), DELONG, None)


def area_difference(ill_2I: Floats, healthy_2H: Floats, confidence: float = 0.95) -> AreaDifference | None:
    """The difference of two scores' areas on the same patients, DeLong's paired interval and two-sided test.

    Rows are the two scores. None when one group is empty. Where the difference has variance 0 there is no interval; two
    scores that order all pairs alike have p = 1, others (both without an error in opposite directions) no test. The
    test is asymptotic: its ``least_p`` is 0. Raises InputError unless there are two rows of equal patients.
    """
    if len(ill_2I) != 2 or len(healthy_2H) != 2:
        raise InputError(f"A difference must have two scores. Got {len(ill_2I)} and {len(healthy_2H)} rows.")
    if ill_2I.size == 0 or healthy_2H.size == 0:
        return None
    values_2, covariance_22 = _areas(ill_2I, healthy_2H)
    difference = float(values_2[0] - values_2[1])
    if covariance_22 is None:
        return AreaDifference(difference, None, None, "a test needs two patients with and two without a lesion")
    variance = float(covariance_22[0, 0] + covariance_22[1, 1] - 2.0 * covariance_22[0, 1])
    if variance <= 1e-15:  # rounding of areas that agree in every patient
        same = abs(difference) < 1e-12
        test = PValue(1.0, 0.0, "paired DeLong") if same else None
        return AreaDifference(difference, None, test, "the difference has no variance over these patients")
    error = sqrt(variance)
    reach = _normal(confidence) * error
    p = float(2.0 * stats.norm.sf(abs(difference) / error))
    return AreaDifference(
        difference,
        (max(-1.0, difference - reach), min(1.0, difference + reach)),
        PValue(p, 0.0, "paired DeLong"),
        None,
    )


def components(ill_AI: Floats, healthy_AH: Floats) -> tuple[Floats, Floats]:
    """DeLong's structural components: (A, I) the share of healthy patients below each ill one, (A, H) of ill above.

    Ties count half. By midranks (Sun and Xu 2014): the rank among all patients minus that within the own group counts
    the other group's patients below, so that no pair is written out.
    """
    ill, healthy = ill_AI.shape[1], healthy_AH.shape[1]
    ranks = stats.rankdata(np.concatenate([ill_AI, healthy_AH], axis=1), axis=1)
    below_AI = ranks[:, :ill] - stats.rankdata(ill_AI, axis=1)
    below_AH = ranks[:, ill:] - stats.rankdata(healthy_AH, axis=1)
    return below_AI / healthy, 1.0 - below_AH / ill


def _areas(ill_AI: Floats, healthy_AH: Floats) -> tuple[Floats, Floats | None]:
    """The areas (A,) and their covariance (A, A): of the components over I by I, plus over H by H. None below two."""
    by_ill_AI, by_healthy_AH = components(ill_AI, healthy_AH)
    ill, healthy = ill_AI.shape[1], healthy_AH.shape[1]
    if min(ill, healthy) < 2:
        return by_ill_AI.mean(axis=1), None
    covariance = np.atleast_2d(np.cov(by_ill_AI)) / ill + np.atleast_2d(np.cov(by_healthy_AH)) / healthy
    return by_ill_AI.mean(axis=1), covariance


def _normal(confidence: float) -> float:
    return float(stats.norm.ppf(0.5 + confidence / 2.0))


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))
