"""From statistics and operating points to ``summary.json`` (schema ``missrate/evaluation/1``).

Shapes: B resamples, P patients in sorted order.
"""

from dataclasses import dataclass
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core import catalog
from missrate.core.admissible import common_levels, level_at
from missrate.core.errors import InputError
from missrate.core.matching import found
from missrate.core.pooling import PerPatient, Term, case_mean, pooled
from missrate.core.quantise import threshold_of
from missrate.core.resampling import clopper_pearson, patient_weights, percentile, ratio_interval, upper_one_sided
from missrate.core.types import CaseStatistics, Matching, OperatingPoint, Ratio

SCHEMA = "missrate/evaluation/1"
COHORT_RESAMPLES = 200
"""Metrics of the whole cohort are swept anew in each resample, so they get at most this many."""
BANDS_MM = {"<10": (0.0, 10.0), "10-20": (10.0, 20.0), ">=20": (20.0, np.inf)}
"""Half open [low, high), of the diameter of the sphere of equal volume."""

Json = dict[str, Any]


def summarise(
    cases: list[CaseStatistics],
    *,
    arm: str,
    points: list[OperatingPoint],
    matchings: list[Matching],
    part: str,
    seed: int | None,
    missing: list[str],
    failed: list[dict[str, str]],
    inputs: dict[str, str],
    resamples: int = 2000,
    bootstrap_seed: int = 0,
) -> Json:
    """Every metric of the shelf at every operating point under every rule, as one JSON value without nan.

    The first point and the first rule are primary and stand at the top, all other combinations in ``also``. ``missing``
    and ``failed`` (a case and a reason each) only stand there by name: whoever wants them as misses passes statistics
    of an empty prediction. Equal arguments give equal results. Raises InputError for no cases, points or rules, for a
    case that comes twice, and for a threshold whose candidates were not measured.
    """
    _require(cases, points, matchings)
    cohort = _Cohort.of(cases, min(resamples, COHORT_RESAMPLES), resamples, bootstrap_seed)
    entries = [_entry(cohort, point, matching) for point, matching in product(points, matchings)]
    folds = {case.fold for case in cases}
    return {
        "schema": SCHEMA,
        "arm": arm,
        "fold": folds.pop() if len(folds) == 1 else None,
        "seed": seed,
        "part": part,
        "cases": len(cases),
        "patients": len(cohort.patients),
        "healthy_cases": sum(case.healthy for case in cases),
        "lesions": sum(case.lesion_peak.size for case in cases),
        "missing_predictions": sorted(missing),
        "failed": failed,
        "inputs": inputs,
        "resamples": resamples,
        "bootstrap_seed": bootstrap_seed,
        **entries[0],
        "also": entries[1:],
    }


@dataclass(frozen=True, slots=True)
class _Cohort:
    """The cases and the resamples of their patients that all metrics share."""

    cases: list[CaseStatistics]
    patients: list[str]
    weights_BP: NDArray[np.float64]
    weights: list[dict[str, float]]  # the first resamples again, as the cohort metrics want them

    @staticmethod
    def of(cases: list[CaseStatistics], few: int, many: int, seed: int) -> "_Cohort":
        patients = sorted({case.patient_id for case in cases})
        weights_BP = patient_weights(len(patients), many, seed)
        weights = [dict(zip(patients, map(float, row), strict=True)) for row in weights_BP[:few]]
        return _Cohort(sorted(cases, key=lambda case: case.case_id), patients, weights_BP, weights)


def _require(cases: list[CaseStatistics], points: list[OperatingPoint], matchings: list[Matching]) -> None:
    if not cases or not points or not matchings:
        raise InputError(
            "A summary must have at least one case, one operating point and one matching rule. "
            f"Got {len(cases)}, {len(points)} and {len(matchings)}."
        )
    ids = [case.case_id for case in cases]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise InputError(f"Every case must come once. Got {', '.join(twice)} more than once.")


def _entry(cohort: _Cohort, point: OperatingPoint, matching: Matching) -> Json:
    entry: Json = {
        "operating_point": _point_json(point),
        "matching": {
            "rule": matching.rule,
            "minimum": matching.minimum,
            "strict": matching.strict,
            "connectivity": matching.connectivity,
            "least_volume_ml": matching.least_volume_ml,
            "floor": threshold_of(int(common_levels(cohort.cases)[0])),
        },
        "metrics": {},
    }
    levels = [level for level in (level_at(point, case) for case in cohort.cases) if level is not None]
    if len(levels) < len(cohort.cases):
        return entry | {"reason": f"no threshold was admissible: {point.target or point.name}"}
    for name in catalog.names("metrics"):
        entry["metrics"][name] = _metric(cohort, catalog.load("metrics", name), levels, matching)
    entry["metrics"]["lesion_miss_rate"]["by_diameter_mm"] = _by_diameter(cohort, levels, matching)
    return entry


def _point_json(point: OperatingPoint) -> Json:
    thresholds = list(point.thresholds.values())
    result: Json = {
        "name": point.name,
        "threshold": thresholds[0] if len(thresholds) == 1 else None,
        "chosen_on": point.chosen_on,
        "target": point.target,
        "certified": point.certified,
    }
    if len(thresholds) > 1:
        result["thresholds"] = {str(fold): threshold for fold, threshold in point.thresholds.items()}
    return result


def _metric(cohort: _Cohort, metric: ModuleType, levels: list[int], matching: Matching) -> Json:
    if metric.LEVEL == "cohort":
        return {"cohort": _cohort_block(cohort, metric, levels, matching)}
    if metric.LEVEL == "patient":
        return {"pooled": _patient_block(cohort, metric, levels, matching)}
    pairs = zip(cohort.cases, levels, strict=True)
    terms: list[Term] = [(case.patient_id, metric.measure(case, level, matching)) for case, level in pairs]
    mean = {"case_mean": _block(cohort, case_mean(terms, cohort.patients))}
    # A sum of millilitres, distances or other floats has no numerator and denominator of its own.
    if any(isinstance(value, float) for _, value in terms) or all(value is None for _, value in terms):
        return mean
    return {"pooled": _ratio_block(cohort, pooled(terms, cohort.patients)), **mean}


def _block(cohort: _Cohort, sums: PerPatient) -> Json:
    interval = ratio_interval(sums.numerator, sums.denominator, cohort.weights_BP)
    return {
        "value": sums.value,
        "n": sums.n,
        "undefined": sums.undefined,
        "ci95": None if interval is None else [interval.low, interval.high],
        "interval": "patient-bootstrap",
        "resamples_undefined": 0 if interval is None else interval.undefined,
    }


def _ratio_block(cohort: _Cohort, sums: PerPatient) -> Json:
    whole = {"numerator": int(sums.numerator.sum()), "denominator": int(sums.denominator.sum())}
    return {**_block(cohort, sums), **whole}


def _patient_block(cohort: _Cohort, metric: ModuleType, levels: list[int], matching: Matching) -> Json:
    total, undefined = Ratio(0, 0), 0
    for patient in cohort.patients:
        mine = [(case, at) for case, at in zip(cohort.cases, levels, strict=True) if case.patient_id == patient]
        thresholds = {at for _, at in mine}
        if len(thresholds) > 1:
            raise InputError(f"All scans of patient {patient} must lie in one fold. Got several thresholds.")
        ratio: Ratio = metric.measure([case for case, _ in mine], thresholds.pop(), matching)
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


def _cohort_block(cohort: _Cohort, metric: ModuleType, levels: list[int], matching: Matching) -> Json:
    # 0 is no threshold: with folds a metric of the whole cohort that needs one gets an error, not a wrong number.
    at = levels[0] if len(set(levels)) == 1 else 0
    value: float | None = metric.measure(cohort.cases, at, matching, None)
    block: Json = {"value": value, "n": len(cohort.cases), "ci95": None, "interval": "patient-bootstrap"}
    if value is None:
        binary = any(case.binary for case in cohort.cases)
        return {**block, "reason": "needs scores" if binary else "needs lesions, or patients with and without them"}
    if hasattr(metric, "measure_each"):
        drawn = metric.measure_each(cohort.cases, matching, cohort.weights)
    else:
        drawn = [metric.measure(cohort.cases, at, matching, weight) for weight in cohort.weights]
    draws_B = np.array([np.nan if draw is None else draw for draw in drawn])
    interval = percentile(draws_B) if len(cohort.patients) > 1 else None
    if interval is not None:
        block["ci95"] = [interval.low, interval.high]
    return {**block, "resamples": draws_B.size, "resamples_undefined": int(np.isnan(draws_B).sum())}


def _by_diameter(cohort: _Cohort, levels: list[int], matching: Matching) -> Json:
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
    return {band: _ratio_block(cohort, pooled(values, cohort.patients)) for band, values in terms.items()}
