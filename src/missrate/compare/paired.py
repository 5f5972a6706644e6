"""Two arms on the same patients: differences with paired intervals and tests, and who misses what.

Shapes: B resamples, P patients in sorted order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.compare.arms import Arm
from missrate.core.matching import found
from missrate.core.pooling import Term, case_mean, pooled
from missrate.core.resampling import (
    PValue,
    holm,
    label_swap,
    mcnemar,
    percentile,
    ratio_draws,
    ratio_interval,
    sign_flip,
)
from missrate.core.types import Matching, Ratio

ALPHA = 0.05
POOLED = (
    "voxel_miss_rate",
    "slice_miss_rate",
    "lesion_miss_rate",
    "dice",
    "voxel_precision",
    "lesion_precision",
    "false_positives_per_scan",
)
CASE_MEAN = ("dice", "false_positive_ml_per_scan")
PAIRED_INTERVAL = "paired patient-bootstrap"

Json = dict[str, Any]


def paired(arm: Arm, against: Arm, weights_BP: NDArray[np.float64], *, matching: Matching, seed: int) -> Json:
    """All differences ``arm`` minus ``against`` at their points; Holm's adjustment comes later, over all arms.

    Without a threshold in one of the two there is nothing to compare: empty, with the reason.
    """
    without = [each.name for each in (arm, against) if each.levels is None]
    if without:
        return {"metrics": {}, "reason": f"no threshold was admissible for {' and '.join(without)}"}
    metrics: dict[str, Json] = {name: {} for name in (*POOLED, *CASE_MEAN)}
    for name in POOLED:
        terms = arm.terms(name, matching), against.terms(name, matching)
        metrics[name]["pooled"] = _pooled_difference(*terms, arm.patients, weights_BP, seed=seed)
    for name in CASE_MEAN:
        terms = arm.terms(name, matching), against.terms(name, matching)
        metrics[name]["case_mean"] = _mean_difference(*terms, arm.patients, weights_BP, seed=seed)
    return {"metrics": metrics, **_misses(arm, against, matching)}


def adjust(comparisons: dict[str, Json]) -> None:
    """Adds to every test in place ``p_holm`` (over the arms), ``separable`` and ``attainable``.

    Separable: p_holm is at most ``ALPHA``. Attainable: the least p that the test could give would have been, even as
    the smallest of its family; where it is False, more patients are needed, whatever the arms do.
    """
    families: dict[str, list[Json]] = {}
    for comparison in comparisons.values():
        for name, averages in comparison["metrics"].items():
            for average, block in averages.items():
                families.setdefault(f"{name}/{average}", []).append(block)
        if "patients" in comparison:
            families.setdefault("patients", []).append(comparison["patients"])
    for blocks in families.values():
        tested = [block for block in blocks if block["p"] is not None]
        for block in blocks:
            block |= {"p_holm": None, "separable": False, "attainable": False}
        for block, p in zip(tested, holm([block["p"] for block in tested]), strict=True):
            attainable = block["least_p"] * len(tested) <= ALPHA
            block |= {"p_holm": p, "separable": p <= ALPHA, "attainable": attainable}


def answer(against: Arm, comparisons: dict[str, Json], verdicts: dict[str, Json]) -> list[str]:
    """Plain sentences: one about each comparison, one about each arm that does not beat the baseline."""
    lines = []
    for name, comparison in comparisons.items():
        if "reason" in comparison:
            lines.append(f"{name} cannot be compared with {against.name}: {comparison['reason']}.")
            continue
        block = comparison["metrics"]["lesion_miss_rate"]["pooled"]
        lines.append(_sentence(name, against.name, block))
    for name, verdict in verdicts.items():
        if verdict["works"] is False:
            lines.append(f"{name} does not beat {verdict['baseline']} at matched false-positive volume.")
    return lines


def _sentence(name: str, against: str, block: Json) -> str:
    if block["difference"] is None:
        return f"{name} and {against} cannot be compared: there is no lesion."
    head = f"{name} misses {block['arm']:.1%} of the lesions, {against} {block['against']:.1%}"
    if block["ci95"] is None:
        return f"{head} (too few patients for an interval)."
    low, high = block["ci95"]
    spread = f"difference {block['difference']:+.1%} [{low:+.1%}, {high:+.1%}], p = {block['p_holm']:.3g} (Holm)"
    if not block["separable"]:
        return f"{head}: not separable ({spread})."
    return f"{head}: {name if block['difference'] < 0 else against} misses fewer ({spread})."


def _pooled_difference(
    mine: list[Term], theirs: list[Term], patients: list[str], weights_BP: NDArray[np.float64], *, seed: int
) -> Json:
    """The difference of two ratios of sums, each resampled with the same patients; None from fewer than two."""
    a, b = pooled(mine, patients), pooled(theirs, patients)
    if a.value is None or b.value is None:
        return _block(a.value, b.value, None, None)
    draws_B = ratio_draws(a.numerator, a.denominator, weights_BP) - ratio_draws(b.numerator, b.denominator, weights_BP)
    if min(int((a.denominator > 0).sum()), int((b.denominator > 0).sum())) < 2:
        return _block(a.value, b.value, None, None)
    interval = percentile(draws_B)
    both = None if interval is None else [interval.low, interval.high]
    sums_a, sums_b = (np.stack([each.numerator, each.denominator], axis=1) for each in (a, b))
    block = _block(a.value, b.value, both, label_swap(sums_a, sums_b, seed))
    return block | {"resamples_undefined": int(np.isnan(draws_B).sum())}


def _mean_difference(
    mine: list[Term], theirs: list[Term], patients: list[str], weights_BP: NDArray[np.float64], *, seed: int
) -> Json:
    """The mean difference over the cases where both arms are defined; the others are counted as ``undefined``."""
    values = [(name, _number(a), _number(b)) for (name, a), (_, b) in zip(mine, theirs, strict=True)]
    defined = [(name, a, b) for name, a, b in values if a is not None and b is not None]
    sums = case_mean([(name, a - b) for name, a, b in defined], patients)
    known_P = sums.denominator > 0
    interval = ratio_interval(sums.numerator, sums.denominator, weights_BP)
    test = sign_flip(sums.numerator[known_P] / sums.denominator[known_P], seed) if known_P.sum() > 1 else None
    a_mean = case_mean([(name, a) for name, a, _ in defined], patients).value
    b_mean = case_mean([(name, b) for name, _, b in defined], patients).value
    block = _block(a_mean, b_mean, None if interval is None else [interval.low, interval.high], test)
    return block | {"n": len(defined), "undefined": len(values) - len(defined)}


def _number(value: Ratio | float | None) -> float | None:
    return value.value if isinstance(value, Ratio) else value


def _block(mine: float | None, theirs: float | None, ci95: list[float] | None, test: PValue | None) -> Json:
    return {
        "arm": mine,
        "against": theirs,
        "difference": None if mine is None or theirs is None else mine - theirs,
        "ci95": ci95,
        "interval": PAIRED_INTERVAL,
        "p": None if test is None else test.p,
        "least_p": None if test is None else test.least_p,
        "test": None if test is None else test.test,
    }


def _misses(arm: Arm, against: Arm, matching: Matching) -> Json:
    """Lesions and patients that one arm misses and the other finds; rows are [patient, case, lesion from 1]."""
    assert arm.levels is not None and against.levels is not None
    rows: dict[str, list[list[str | int]]] = {"arm_only": [], "against_only": [], "both": []}
    found_by_patient: dict[str, list[tuple[bool, bool]]] = {}
    for mine, level, theirs, other in zip(arm.cases, arm.levels, against.cases, against.levels, strict=True):
        pairs = zip(found(mine, level, matching), found(theirs, other, matching), strict=True)
        for i, (a, b) in enumerate(pairs):
            found_by_patient.setdefault(mine.patient_id, []).append((bool(a), bool(b)))
            if not (a and b):
                kind = "both" if not a and not b else "against_only" if a else "arm_only"
                rows[kind].append([mine.patient_id, mine.case_id, i + 1])
    missed = [
        (not any(a for a, _ in hits), not any(b for _, b in hits)) for hits in found_by_patient.values()
    ]  # of each patient with a lesion: by arm, by against
    test = mcnemar(missed.count((True, False)), missed.count((False, True)))
    patients = {
        "missed_by_arm_only": missed.count((True, False)),
        "missed_by_against_only": missed.count((False, True)),
        "missed_by_both": missed.count((True, True)),
        "missed_by_neither": missed.count((False, False)),
        "p": test.p,
        "least_p": test.least_p,
        "test": test.test,
    }
    lesions = {f"missed_by_{kind}": {"count": len(each), "rows": each} for kind, each in rows.items()}
    return {"patients": patients, "lesions": lesions}
