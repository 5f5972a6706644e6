"""From the statistics of several arms on the same cases to ``comparison.json`` (schema ``missrate/comparison/2``)."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from missrate.compare.areas import auroc
from missrate.compare.arms import NULL_ARMS, Arm, Given, Points, common_cases, ready_arms
from missrate.compare.gate import Gate, judge
from missrate.compare.headline import adjust_levels, headline
from missrate.compare.matched import curves, matched, works
from missrate.compare.paired import adjust, describe, paired
from missrate.compare.pairs import all_pairs
from missrate.compare.ranking import ranks
from missrate.compare.rates import rates
from missrate.compare.subgroups import by_column, by_diameter, require_columns
from missrate.core.intervals import Weights, patient_weights
from missrate.core.miss_rates import LEVELS
from missrate.core.resampling import draws_for
from missrate.core.types import Matching

SCHEMA = "missrate/comparison/2"
Columns = dict[str, dict[str, str]]
"""The value of each case id in each column of a patients table."""
Json = dict[str, Any]

__all__ = ["SCHEMA", "Columns", "Gate", "compare"]


def compare(
    arms: Mapping[str, Given],
    points: Mapping[str, Points],
    *,
    against: str,
    matching: Matching,
    resamples: int = 2000,
    seed: int = 0,
    baseline: str = "location_prior",
    fp_per_scan: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    fp_ml_per_scan: tuple[float, ...] = (5.0, 1.0, 20.0),
    pairs: Literal["reference", "all"] = "reference",
    subgroups: Columns | None = None,
    gate: Gate | None = None,
    leave_out: bool = False,
    trained: Mapping[str, str] | None = None,
) -> Json:
    """Every arm against the arm ``against``, each at its own point; then all arms at matched false positives.

    An arm is a list of cases, or with several seeds a list of such lists: its estimate is the mean over seeds, its
    interval draws patients and a seed, and what belongs to one training (McNemar, curves, matched false positives)
    stands for each seed by itself. Differences are arm minus ``against``, so a negative miss rate is better. Patients
    are resampled whole and together in all arms, and so are seeds where arms are one training applied in several ways
    (``trained``: whose, of each such arm). Holm corrects over the comparisons with ``against``; ``pairs`` "all"
    adds every pair, corrected over all pairs. ``gate`` adds the regression gate. An arm ``works`` if it beats the arm
    ``baseline`` in voxel miss rate at the first of ``fp_ml_per_scan``; None where there is no such arm or no
    millimetres. The result holds no nan and depends on the arguments alone. Raises InputError unless all arms hold the
    same cases with the same reference, and UnknownNameError when ``against`` is no arm or an arm has no point. With
    ``leave_out`` the cases that some arm lacks are compared in none, and named in ``left_out`` and in the answer.
    """
    arms, left_out = common_cases(arms) if leave_out else (arms, {})
    made = ready_arms(arms, points, against, matching, trained)
    reference, columns = made[against], subgroups or {}
    require_columns(reference, columns)
    weights = patient_weights(len(reference.patients), resamples, seed)
    draws = draws_for(len(LEVELS) * max(len(made.keys() - set(NULL_ARMS) - {against}), 1))
    comparisons = {
        name: _against(arm, reference, columns, weights, seed=seed, draws=draws)
        for name, arm in made.items()
        if name != against
    }
    adjust(comparisons)
    adjust_levels(comparisons)
    own = {name: rates(arm, weights, seed) for name, arm in made.items()}
    runs = {run.name: run for arm in made.values() for run in arm.runs}
    verdicts = works(runs, baseline, weights, volume_ml=fp_ml_per_scan[0] if fp_ml_per_scan else np.inf)
    rate = own[against].get("lesion_miss_rate", {}).get("value")
    return {
        "schema": SCHEMA,
        "arms": list(arms),
        "against": against,
        "baseline": baseline if baseline in arms else None,
        **_about(made, reference),
        "matching": {
            "rule": matching.rule,
            "minimum": matching.minimum,
            "strict": matching.strict,
            "connectivity": matching.connectivity,
            "least_volume_ml": matching.least_volume_ml,
        },
        "points": {name: arm.point_json() for name, arm in made.items()},
        "resamples": resamples,
        "permutations": draws,
        "seed": seed,
        "left_out": left_out,
        "answer": [*headline(against, comparisons, verdicts), *_absent(left_out)],
        "rates": own,
        "comparisons": comparisons,
        "all_pairs": all_pairs(made, weights, seed=seed) if pairs == "all" else None,
        "ranks": ranks(made, resamples, seed),
        "gate": None if gate is None else judge(made, against, weights, gate, seed=seed),
        "matched": matched(runs, rate, weights, fp_per_scan=fp_per_scan, fp_ml_per_scan=fp_ml_per_scan),
        "works": {name: verdict["works"] for name, verdict in verdicts.items()},
        "works_because": verdicts,
        "curves": {name: curves(run.sweep) for name, run in runs.items()},
    }


def _against(arm: Arm, reference: Arm, columns: Columns, weights: Weights, *, seed: int, draws: int) -> Json:
    result = paired(arm, reference, weights, seed=seed, draws=draws)
    if "reason" in result:
        return result
    result["auroc"] = auroc(arm, reference)
    result["by_diameter_mm"] = by_diameter(arm, reference, weights, seed=seed, draws=draws)
    result["subgroups"] = by_column(arm, reference, columns, weights, seed=seed, draws=draws)
    if {arm.name, reference.name} & set(NULL_ARMS):
        describe(result)
    return result


def _absent(left_out: dict[str, list[str]]) -> list[str]:
    """A sentence about each case that no arm is compared on."""
    return [
        f"Case {case_id} is left out of all comparisons: {', '.join(names[:3])}"
        f"{f' and {len(names) - 3} more' if len(names) > 3 else ''} could not be evaluated there."
        for case_id, names in left_out.items()
    ]


def _about(arms: dict[str, Arm], reference: Arm) -> Json:
    return {
        "seeds": {name: len(arm.runs) for name, arm in arms.items()},
        "cases": len(reference.cases),
        "patients": len(reference.patients),
        "lesions": sum(case.lesion_peak.size for case in reference.cases),
    }
