"""One metric of one cohort at one operating point under one rule: the blocks of which ``summary.json`` consists.

Shapes: B resamples, P patients in sorted order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf, isfinite
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core import catalog, own
from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.intervals import (
    FEW,
    SHARE,
    Interval,
    Range,
    Weights,
    between,
    patient_weights,
    range_of,
    ratio_interval,
)
from missrate.core.matching import found, voxel_counts
from missrate.core.pooling import PerPatient, Term, case_mean, pooled
from missrate.core.quantise import threshold_of
from missrate.core.resampling import clopper_pearson, upper_one_sided
from missrate.core.sweep import Sweep, sweep
from missrate.core.types import Matching, Ratio
from missrate.core.unseen import unseen_cases

BANDS_MM = {"<10": (0.0, 10.0), "10-20": (10.0, 20.0), ">=20": (20.0, np.inf)}
"""Half open [low, high), of the diameter of the sphere of equal volume."""
NO_VOXELS = "the predictions are points: needs voxels"
NO_SCORES = "the predictions are masks: needs scores"

Json = dict[str, Any]
Draws = Sequence[float | None]
"""One value a resample."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A member of the shelf with its parameter, under the name that it has in results."""

    name: str
    module: ModuleType
    measure: Callable[..., Any]

    @property
    def needs(self) -> tuple[str, ...]:
        """Of "voxels", "distances", "surfels" and "scores" those without which it is undefined."""
        needs: str | tuple[str, ...] = getattr(self.module, "NEEDS", ())
        stated = (needs,) if isinstance(needs, str) else tuple(needs)
        return (*stated, "distances") if "surfels" in stated else stated  # areas come with the distances

    @property
    def values(self) -> Range:
        """The values that it can have."""
        return range_of(self.module)


def shelf(wanted: Sequence[str] = (), tolerances_mm: Sequence[float] = (2.0,)) -> list[Metric]:
    """The metrics that are always measured, and those ``wanted`` by name; one with a tolerance once for each.

    Raises UnknownNameError for a name that is not on the shelf, InputError for an own file of which the name in results
    is taken, and errors of own files as ``catalog.load``.
    """
    names = catalog.names("metrics")
    further = [name for name in dict.fromkeys(wanted) if name not in names]
    result = []
    for name in [*names, *further]:
        module = catalog.load("metrics", name)
        if not getattr(module, "DEFAULT", True) and name not in wanted:
            continue
        plain = _checked(own.stem(name), module) if own.is_own(name) else module.measure
        if not hasattr(module, "PARAMETER"):
            result.append(Metric(own.stem(name), module, plain))
            continue
        for tolerance_mm in tolerances_mm:
            measure = partial(plain, **{module.PARAMETER: tolerance_mm})
            result.append(Metric(f"{own.stem(name)}_{tolerance_mm:g}mm", module, measure))
    _require_own_names(result)
    return result


def _checked(name: str, module: ModuleType) -> Callable[..., Any]:
    """The ``measure`` of somebody's own file: whatever it does but give a number, a ratio or None is one sentence."""
    values = range_of(module)

    def measure(*given: Any, **options: Any) -> Any:
        try:
            found = module.measure(*given, **options)
        except (Exception, SystemExit) as error:
            raise InputError(f"Metric {name} must measure every case. Got {type(error).__name__}: {error}.") from error
        number = found.value if isinstance(found, Ratio) else found
        if number is not None and not (isinstance(number, int | float) and isfinite(number)):
            raise InputError(f"Metric {name} must give a Ratio, a finite number or None. Got {found!r:.100}.")
        low, high = (-inf if values.low is None else values.low), (inf if values.high is None else values.high)
        if number is not None and not low <= number <= high:
            raise InputError(
                f"Metric {name} must lie in [{low:g}, {high:g}]. Got {number:g}; perhaps it needs a RANGE."
            )
        return found

    return measure


def needs_surfels(wanted: Sequence[str]) -> bool:
    """Whether a metric that is asked for needs distances by area, which cost more. Raises as ``shelf``."""
    return any("surfels" in metric.needs for metric in shelf(wanted))


def _require_own_names(metrics: list[Metric]) -> None:
    names = [metric.name for metric in metrics]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Metrics must have different names. Got {twice[0]} twice; perhaps rename your own file.")


@dataclass(frozen=True, slots=True)
class Cohort:
    """The cases in the order of their ids, and the resamples of their patients that all metrics share."""

    cases: list[CaseStatistics]
    patients: list[str]
    weights: Weights
    _known: dict[Any, Any] = field(default_factory=dict)  # what does not depend on the operating point

    @staticmethod
    def of(cases: list[CaseStatistics], resamples: int, seed: int) -> "Cohort":
        patients = sorted({case.patient_id for case in cases})
        weights = patient_weights(len(patients), resamples, seed)
        return Cohort(sorted(cases, key=lambda case: case.case_id), patients, weights)

    def sweep(self, matching: Matching) -> Sweep:
        """All thresholds, once for each rule."""
        result: Sweep = self.once(("sweep", matching), lambda: sweep(self.cases, matching))
        return result

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def block(cohort: Cohort, metric: Metric, levels: list[int], matching: Matching) -> Json:
    """The averages of one metric at each case's level; undefined, with the reason, where predictions lack something."""
    reason = _lacking(cohort, metric, levels)
    average = {"case": "case_mean", "patient": "pooled", "cohort": "cohort"}[metric.module.LEVEL]
    if reason is not None:
        return {average: {"value": None, "n": 0, "undefined": len(cohort.cases), "ci95": None, "reason": reason}}
    if metric.module.LEVEL == "cohort":
        return {"cohort": _cohort_block(cohort, metric, levels, matching)}
    if metric.module.LEVEL == "patient":
        return {"pooled": _patient_block(cohort, metric, levels, matching)}
    pairs = zip(cohort.cases, levels, strict=True)
    terms: list[Term] = [(case.patient_id, metric.measure(case, level, matching)) for case, level in pairs]
    mean = _sums_block(cohort, case_mean(terms, cohort.patients), metric.values)
    if "distances" in metric.needs and metric.module.UNIT == "mm":
        mean |= _left_out(cohort, terms, levels)
    # A sum of millilitres, distances or other floats has no numerator and denominator of its own.
    if any(isinstance(value, float) for _, value in terms) or all(value is None for _, value in terms):
        return {"case_mean": mean}
    return {"pooled": ratio_block(cohort, pooled(terms, cohort.patients), metric.values), "case_mean": mean}


def _lacking(cohort: Cohort, metric: Metric, levels: list[int]) -> str | None:
    if {"voxels", "distances"} & {*metric.needs} and any(case.kind == "points" for case in cohort.cases):
        return NO_VOXELS
    if "scores" in metric.needs and not all(case.scored for case in cohort.cases):
        return NO_SCORES
    if "distances" in metric.needs:
        pairs = list(zip(cohort.cases, levels, strict=True))
        if any(case.voxel_ml is not None and not _measured(case, level) for case, level in pairs):
            known = sorted({threshold_of(d.level) for case in cohort.cases for d in case.distances})
            return f"distances were measured at {', '.join(f'{t:g}' for t in known) or 'no threshold'} only"
    return None


def _measured(case: CaseStatistics, level: int) -> bool:
    return any(case.kind == "mask" or each.level == level for each in case.distances)


def _left_out(cohort: Cohort, terms: list[Term], levels: list[int]) -> Json:
    """How many misses a mean of distances leaves out, and the mean with the scan's diagonal in their place."""
    missed, imputed = 0, []
    for case, level, (patient, value) in zip(cohort.cases, levels, terms, strict=True):
        total_miss = not case.healthy and voxel_counts(case, level).true_positives == 0
        nothing = total_miss and voxel_counts(case, level).false_positives == 0
        missed += nothing
        imputed.append((patient, case.diagonal_mm if nothing else value))
    return {
        "misses_left_out": missed,
        "with_diagonal_for_misses": case_mean(imputed, cohort.patients).value,
    }


def _sums_block(cohort: Cohort, sums: PerPatient, values: Range) -> Json:
    interval = ratio_interval(sums.numerator, sums.denominator, cohort.weights, values)
    return {
        "value": sums.value,
        "n": sums.n,
        "undefined": sums.undefined,
        "ci95": _limits(interval),
        "interval": "patient-bootstrap",
        "few_patients": int((sums.denominator != 0.0).sum()) < FEW,
    }


def _limits(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def ratio_block(cohort: Cohort, sums: PerPatient, values: Range = SHARE) -> Json:
    """A ratio of sums with its two whole numbers."""
    whole = {"numerator": int(sums.numerator.sum()), "denominator": int(sums.denominator.sum())}
    return {**_sums_block(cohort, sums, values), **whole}


def _patient_block(cohort: Cohort, metric: Metric, levels: list[int], matching: Matching) -> Json:
    total, undefined = Ratio(0, 0), 0
    mine: dict[str, list[tuple[CaseStatistics, int]]] = {}
    for case, at in zip(cohort.cases, levels, strict=True):
        mine.setdefault(case.patient_id, []).append((case, at))
    for patient, pairs in mine.items():
        thresholds = {at for _, at in pairs}
        if len(thresholds) > 1:
            raise InputError(f"All scans of patient {patient} must lie in one fold. Got several thresholds.")
        ratio: Ratio = metric.measure([case for case, _ in pairs], thresholds.pop(), matching)
        total, undefined = total + ratio, undefined + (ratio.denominator == 0)
    both = clopper_pearson(total.numerator, total.denominator)
    return {
        "value": total.value,
        "numerator": total.numerator,
        "denominator": total.denominator,
        "n": total.denominator,
        "undefined": undefined,
        "ci95": None if both is None else list(both),
        "interval": "clopper-pearson",
        "upper95_one_sided": upper_one_sided(total.numerator, total.denominator),
    }


def _cohort_block(cohort: Cohort, metric: Metric, levels: list[int], matching: Matching) -> Json:
    if hasattr(metric.module, "measure_each") or hasattr(metric.module, "interval"):  # of all thresholds
        result: Json = cohort.once((metric.name, matching), lambda: _over_thresholds(cohort, metric, matching))
        return result
    if hasattr(metric.module, "measure_at"):
        return _at_each_level(cohort, metric, levels, matching)
    if len(set(levels)) > 1:
        reason = "the folds have different thresholds, and this metric takes one (no measure_at)"
        return {"value": None, "n": len(cohort.cases), "ci95": None, "interval": None, "reason": reason}
    value: float | None = metric.measure(cohort.cases, levels[0], matching, None)
    return _undefined_block(cohort) if value is None else _drawn_block(cohort, value, None)


def _at_each_level(cohort: Cohort, metric: Metric, levels: list[int], matching: Matching) -> Json:
    """One value at the operating point, whose level may differ from fold to fold."""
    value = metric.module.measure_at(cohort.cases, levels, matching, np.ones((1, len(cohort.patients))))[0]
    if value is None:
        return _undefined_block(cohort)
    if not getattr(metric.module, "RESAMPLED", True):
        return _drawn_block(cohort, value, None)

    def draws(unseen: CaseStatistics, weights_BP: NDArray[np.float64]) -> Draws:
        # The unseen patient is found, or not, at every level that a fold may have.
        return metric.module.measure_at([*cohort.cases, unseen], [*levels, levels[0]], matching, weights_BP)  # type: ignore[no-any-return]

    return _drawn_block(cohort, value, _with_unseen(cohort, draws))


def _over_thresholds(cohort: Cohort, metric: Metric, matching: Matching) -> Json:
    value: float | None = metric.measure(cohort.cases, 0, matching, None)
    if value is None:
        return _undefined_block(cohort)
    if hasattr(metric.module, "measure_each"):

        def draws(unseen: CaseStatistics, weights_BP: NDArray[np.float64]) -> Draws:
            return metric.module.measure_each(sweep([*cohort.cases, unseen], matching), weights_BP)  # type: ignore[no-any-return]

        return _drawn_block(cohort, value, _with_unseen(cohort, draws))
    known = metric.module.interval(cohort.cases, matching)
    given = {"ci95": None if known.ci is None else list(known.ci), "interval": known.interval}
    reason = {} if known.reason is None else {"interval_reason": known.reason}
    return {"value": value, "n": len(cohort.patients), **given, **reason}


def _undefined_block(cohort: Cohort) -> Json:
    reason = "needs lesions, or patients with and without them"
    return {"value": None, "n": len(cohort.cases), "ci95": None, "interval": "patient-bootstrap", "reason": reason}


def _with_unseen(
    cohort: Cohort, draws: Callable[[CaseStatistics, NDArray[np.float64]], Draws]
) -> tuple[Draws, Draws] | None:
    """The draws beside an unseen patient at worst, and at best; None where there are no lesions."""
    unseen = unseen_cases(cohort.cases)
    if unseen is None:
        return None
    worst, best = (draws(each, cohort.weights.with_unseen) for each in unseen)
    return worst, best


def _drawn_block(cohort: Cohort, value: float, draws: tuple[Draws, Draws] | None) -> Json:
    result: Json = {"value": value, "n": len(cohort.cases), "ci95": None, "interval": "patient-bootstrap"}
    if draws is None:
        return result | {"interval": None, "interval_reason": "this metric is not resampled"}
    below_B, above_B = (np.array([each for each in part if each is not None], np.float64) for part in draws)
    if len(cohort.patients) > 1 and below_B.size and above_B.size:
        result["ci95"] = _limits(between(below_B, above_B))
    few = len({case.patient_id for case in cohort.cases if not case.healthy}) < FEW
    return result | {"resamples": cohort.weights.unseen_B.size, "few_patients": few}


def by_diameter(cohort: Cohort, levels: list[int], matching: Matching) -> Json:
    """Pooled misses per band of diameter; a case on a "pixels only" grid has no diameter, so then all are undefined."""
    if any(case.voxel_ml is None for case in cohort.cases):
        empty = {"value": None, "numerator": 0, "denominator": 0, "n": 0, "ci95": None, "reason": "no millimetres"}
        return {band: dict(empty) for band in BANDS_MM}
    terms: dict[str, list[Term]] = {band: [] for band in BANDS_MM}
    for case, level in zip(cohort.cases, levels, strict=True):
        missed_L = ~found(case, level, matching)
        for band, (low, high) in BANDS_MM.items():
            within_L = (case.lesions.diameter_mm >= low) & (case.lesions.diameter_mm < high)
            ratio = Ratio(int((missed_L & within_L).sum()), int(within_L.sum()))
            terms[band].append((case.patient_id, ratio))
    return {band: ratio_block(cohort, pooled(values, cohort.patients)) for band, values in terms.items()}
