"""From the statistics of several arms on the same cases to ``comparison.json`` (schema ``missrate/comparison/1``)."""

from typing import Any

import numpy as np

from missrate.compare.arms import Arm, require_same_cases
from missrate.compare.matched import curves, matched, works
from missrate.compare.paired import adjust, answer, paired
from missrate.core.case import CaseStatistics
from missrate.core.errors import UnknownNameError
from missrate.core.resampling import patient_weights
from missrate.core.types import Matching, OperatingPoint

SCHEMA = "missrate/comparison/1"


def compare(
    arms: dict[str, list[CaseStatistics]],
    points: dict[str, OperatingPoint],
    *,
    against: str,
    matching: Matching,
    resamples: int = 2000,
    seed: int = 0,
    baseline: str = "location_prior",
    fp_per_scan: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    fp_ml_per_scan: tuple[float, ...] = (5.0, 1.0, 20.0),
) -> dict[str, Any]:
    """Every arm against the arm ``against``, each at its own point; then all arms at matched false positives.

    Differences are arm minus ``against``, so a negative miss rate is better. Patients are resampled whole and together
    in both arms. An arm ``works`` if it beats the arm ``baseline`` in voxel miss rate at the first of
    ``fp_ml_per_scan``; None where there is no such arm or no millimetres. The result holds no nan and depends on the
    arguments alone. Raises InputError unless all arms hold the same cases with the same reference, and
    UnknownNameError when ``against`` is no arm or an arm has no point.
    """
    _require(arms, points, against)
    weights_BP = patient_weights(len({case.patient_id for case in arms[against]}), resamples, seed)
    made = {name: Arm.of(name, cases, points[name], matching) for name, cases in arms.items()}
    reference = made[against]
    comparisons = {
        name: paired(arm, reference, weights_BP, matching=matching, seed=seed)
        for name, arm in made.items()
        if name != against
    }
    adjust(comparisons)
    verdicts = works(made, baseline, weights_BP, volume_ml=fp_ml_per_scan[0] if fp_ml_per_scan else np.inf)
    return {
        "schema": SCHEMA,
        "arms": list(arms),
        "against": against,
        "baseline": baseline if baseline in arms else None,
        "cases": len(reference.cases),
        "patients": len(reference.patients),
        "lesions": sum(case.lesion_peak.size for case in reference.cases),
        "matching": {
            "rule": matching.rule,
            "minimum": matching.minimum,
            "strict": matching.strict,
            "connectivity": matching.connectivity,
            "least_volume_ml": matching.least_volume_ml,
        },
        "points": {name: arm.point_json() for name, arm in made.items()},
        "resamples": resamples,
        "seed": seed,
        "answer": answer(reference, comparisons, verdicts),
        "comparisons": comparisons,
        "matched": matched(
            made, against, weights_BP, matching=matching, fp_per_scan=fp_per_scan, fp_ml_per_scan=fp_ml_per_scan
        ),
        "works": {name: verdict["works"] for name, verdict in verdicts.items()},
        "works_because": verdicts,
        "curves": {name: curves(arm.sweep) for name, arm in made.items()},
    }


def _require(arms: dict[str, list[CaseStatistics]], points: dict[str, OperatingPoint], against: str) -> None:
    if against not in arms:
        raise UnknownNameError(f"The reference arm must be one of {', '.join(arms)}. Got {against!r}.")
    without = [name for name in arms if name not in points]
    if without:
        raise UnknownNameError(f"Every arm must have an operating point. Got none for {', '.join(without)}.")
    require_same_cases(arms, against)
