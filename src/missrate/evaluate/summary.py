"""From statistics and operating points to ``summary.json`` (schema ``missrate/evaluation/1``)."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from missrate.core.admissible import level_at
from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError, some
from missrate.core.quantise import level_of, threshold_of
from missrate.core.sweep import common_floor
from missrate.core.types import Matching, OperatingPoint
from missrate.evaluate.blocks import Cohort, Json, Metric, block, by_diameter, shelf

SCHEMA = "missrate/evaluation/1"
ALL = "all cases"
"""Stands for the id where a warning is of no case alone."""
SUBGROUP_METRICS = (
    "voxel_miss_rate",
    "slice_miss_rate",
    "lesion_miss_rate",
    "patient_miss_rate",
    "voxel_precision",
    "dice",
    "false_positives_per_scan",
    "false_positive_ml_per_scan",
)


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
    extra: Sequence[str] = (),
    warnings: Sequence[dict[str, str]] = (),
    floor: float = 0.01,
    metrics: Sequence[str] = (),
    tolerances_mm: Sequence[float] = (2.0,),
    subgroups: dict[str, dict[str, str]] | None = None,
    resamples: int = 2000,
    bootstrap_seed: int = 0,
) -> Json:
    """Every metric of the shelf at every operating point under every rule, as one JSON value without nan.

    The first point and the first rule are primary and stand at the top, all other combinations in ``also``.
    ``missing``, ``extra`` (predictions of no case), ``failed`` and ``warnings`` (rows that name a case) are only
    shown: whoever wants them as misses passes statistics of an empty prediction. ``metrics`` are asked for beyond the
    usual ones. ``subgroups`` maps a column to the value of each case id: the main metrics are repeated for each value.
    Equal arguments give equal results. Raises InputError for no cases, points or rules, for a case that comes twice,
    and for a threshold at which the candidates are not known.
    """
    _require(cases, points, matchings)
    cohort = Cohort.of(cases, resamples, bootstrap_seed)
    chosen = shelf(metrics, tolerances_mm)
    entries = [_entry(cohort, point, matching, chosen) for point, matching in product(points, matchings)]
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
        "extra_predictions": sorted(extra),
        "failed": failed,
        "warnings": [*warnings, *_below_floor(cohort.cases, level_of(floor))],
        "raised_floors": _raised_floors(cohort.cases, level_of(floor)),
        "inputs": inputs,
        "resamples": resamples,
        "bootstrap_seed": bootstrap_seed,
        **entries[0],
        "also": entries[1:],
        "subgroups": {
            column: _by_value(cohort, value_of, points[0], matchings[0], resamples=resamples, seed=bootstrap_seed)
            for column, value_of in (subgroups or {}).items()
        },
    }


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


def _raised_floors(cases: list[CaseStatistics], asked: int) -> dict[str, float]:
    """The cases so noisy that their candidates are known from a higher threshold on only: it bounds a certificate."""
    return {case.case_id: threshold_of(case.floor) for case in cases if case.scored and case.floor > asked}


def _below_floor(cases: Sequence[CaseStatistics], asked: int) -> list[dict[str, str]]:
    """Scans, and lesions, whose highest probability is not 0 and yet below what curves over thresholds look at."""
    scored, common = [case for case in cases if case.scored], common_floor(cases)
    low = [(case, _highest(case)) for case in scored if 0 < _highest(case) < asked]
    said = []
    if low:
        highest, known = max(level for _, level in low), max(case.floor for case, _ in low)
        said.append(
            f"{len(low)} of {len(cases)} scans have no probability as high as the floor {threshold_of(asked):g} "
            f"(at most {threshold_of(highest):.3g}): their candidates are known from {threshold_of(known):.3g} upwards "
            f"and count in curves from {threshold_of(common):.3g} upwards: {some([case.case_id for case, _ in low])}"
        )
    peaks = {case.case_id: case.lesion_peak[(case.lesion_peak > 0) & (case.lesion_peak < common)] for case in scored}
    within = {case_id: levels for case_id, levels in peaks.items() if levels.size}
    if within:
        said.append(
            f"{sum(levels.size for levels in within.values())} lesions have a highest probability above 0 and below "
            f"{threshold_of(common):.3g}, so that curves count them as found at no threshold (lesions.csv has it; "
            f"perhaps a lower floor): {some(list(within))}"
        )
    return [{"case_id": ALL, "warning": text} for text in said]


def _highest(case: CaseStatistics) -> int:
    """The highest level of a case; of candidates without voxels that of the highest one."""
    levels = (case.slice_peak, case.lesion_peak, case.trees[0].peak)
    return max(int(each.max(initial=0)) for each in levels)


def _levels(cohort: Cohort, point: OperatingPoint) -> list[int] | None:
    """The level of each case; None where the point has no threshold for one of them."""
    levels = [level for level in (level_at(point, case) for case in cohort.cases) if level is not None]
    return levels if len(levels) == len(cohort.cases) else None


def _entry(cohort: Cohort, point: OperatingPoint, matching: Matching, metrics: list[Metric]) -> Json:
    entry: Json = {
        "operating_point": _point_json(point),
        "matching": {
            "rule": matching.rule,
            "minimum": matching.minimum,
            "strict": matching.strict,
            "connectivity": matching.connectivity,
            "least_volume_ml": matching.least_volume_ml,
            "floor": threshold_of(common_floor(cohort.cases)),
        },
        "metrics": {},
    }
    levels = _levels(cohort, point)
    if levels is None:
        return entry | {"reason": point.reason or f"no threshold was admissible: {point.target or point.name}"}
    entry["metrics"] = {metric.name: block(cohort, metric, levels, matching) for metric in metrics}
    entry["metrics"]["lesion_miss_rate"]["by_diameter_mm"] = by_diameter(cohort, levels, matching)
    return entry


def _by_value(
    cohort: Cohort, value_of: dict[str, str], point: OperatingPoint, matching: Matching, *, resamples: int, seed: int
) -> Json:
    """The main metrics of the cases with each value of one column, at the primary point under the primary rule."""
    result: Json = {}
    main = [metric for metric in shelf() if metric.name in SUBGROUP_METRICS]
    for value in sorted({value_of[case.case_id] for case in cohort.cases}):
        part = Cohort.of([case for case in cohort.cases if value_of[case.case_id] == value], resamples, seed)
        levels = _levels(part, point)
        result[value] = {
            "cases": len(part.cases),
            "patients": len(part.patients),
            "lesions": sum(case.lesion_peak.size for case in part.cases),
            "metrics": {}
            if levels is None
            else {metric.name: block(part, metric, levels, matching) for metric in main},
        }
    return result


def _point_json(point: OperatingPoint) -> dict[str, Any]:
    thresholds = list(point.thresholds.values())
    result: Json = {
        "name": point.name,
        "threshold": thresholds[0] if len(thresholds) == 1 else None,
        "chosen_on": point.chosen_on,
        "target": point.target,
        "certified": point.certified,
    }
    if point.certificate is not None:
        result["certificate"] = asdict(point.certificate)
    if len(thresholds) > 1:
        result["thresholds"] = {str(fold): threshold for fold, threshold in point.thresholds.items()}
    return result
