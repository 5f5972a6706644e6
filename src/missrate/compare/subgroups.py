"""Differences within size bands of lesions and within the values of any column of a patients table.

Patients are resampled as everywhere in a comparison; one without such a lesion, or such a case, adds nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.compare.arms import Arm, Bools, stacked
from missrate.compare.differences import Sums, patient_test, pooled_difference, swap_test
from missrate.core.errors import InputError
from missrate.core.intervals import Weights

BANDS_MM = {"<10": (0.0, 10.0), "10-20": (10.0, 20.0), ">=20": (20.0, np.inf)}
"""Half open [low, high), of the diameter of the sphere of equal volume; the bands of an evaluation."""
METRICS = ("voxel_miss_rate", "lesion_miss_rate", "patient_miss_rate")
Json = dict[str, Any]
Floats = NDArray[np.float64]


def by_diameter(arm: Arm, against: Arm, weights: Weights, *, seed: int, draws: int) -> Json:
    """The difference of lesion miss rates in each band; empty where some case knows pixels only."""
    if any(case.voxel_ml is None for case in against.cases):
        return {}
    result: Json = {}
    for band, (low, high) in BANDS_MM.items():
        within = [(c.lesions.diameter_mm >= low) & (c.lesions.diameter_mm < high) for c in against.cases]
        sums = _lesion_sums(arm, within), _lesion_sums(against, within)
        test = swap_test(sums, seed, draws)
        lesions = int(sum(each.sum() for each in within))
        result[band] = {"lesions": lesions} | pooled_difference(
            arm, against, sums, "lesion_miss_rate", weights, seed=seed, test=test
        )
    return result


def by_column(
    arm: Arm, against: Arm, columns: dict[str, dict[str, str]], weights: Weights, *, seed: int, draws: int
) -> Json:
    """The differences of the main miss rates among the cases with each value of each column."""
    return {
        column: {
            value: _within(arm, against, keep_N, weights, seed=seed, draws=draws)
            for value, keep_N in _kept(against, value_of).items()
        }
        for column, value_of in columns.items()
    }


def require_columns(against: Arm, columns: dict[str, dict[str, str]]) -> None:
    """Raises InputError when a case has no value in some column."""
    for column, value_of in columns.items():
        absent = [case.case_id for case in against.cases if case.case_id not in value_of]
        if absent:
            raise InputError(
                f"Every case must have a value in column {column!r}. Got none for {', '.join(absent[:5])} "
                f"({len(absent)} in all)."
            )


def _kept(against: Arm, value_of: dict[str, str]) -> dict[str, Bools]:
    mine = [value_of[case.case_id] for case in against.cases]
    return {value: np.array([each == value for each in mine]) for value in sorted(set(mine))}


def _within(arm: Arm, against: Arm, keep_N: Bools, weights: Weights, *, seed: int, draws: int) -> Json:
    cases = [case for case, keep in zip(against.cases, keep_N.tolist(), strict=True) if keep]
    metrics = {}
    for name in METRICS:
        sums = arm.sums(name, keep_N), against.sums(name, keep_N)
        test = (patient_test if name == "patient_miss_rate" else swap_test)(sums, seed, draws)
        metrics[name] = pooled_difference(arm, against, sums, name, weights, seed=seed, test=test)
    return {
        "cases": len(cases),
        "patients": len({case.patient_id for case in cases}),
        "lesions": sum(case.lesion_peak.size for case in cases),
        "metrics": metrics,
    }


def _lesion_sums(arm: Arm, within: list[Bools]) -> Sums:
    return stacked([run.sums(run.misses(within)) for run in arm.runs])
