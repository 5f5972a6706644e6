"""An arm against the reference arm on the same patients: every difference, and who misses what.

Shapes: B resamples, P patients in sorted order.
"""

from collections.abc import Iterator
from typing import Any

from missrate.compare.arms import Arm, Run
from missrate.compare.differences import mean_difference, patient_test, pooled_difference, swap_test
from missrate.core.intervals import Weights
from missrate.core.resampling import holm, mcnemar

ALPHA = 0.05
POOLED = (
    "voxel_miss_rate",
    "slice_miss_rate",
    "lesion_miss_rate",
    "patient_miss_rate",
    "dice",
    "voxel_precision",
    "lesion_precision",
    "false_positives_per_scan",
)
CASE_MEAN = ("dice", "false_positive_ml_per_scan")
MISSES = ("arm_only", "against_only", "both", "neither")

Json = dict[str, Any]


def paired(arm: Arm, against: Arm, weights: Weights, *, seed: int, draws: int) -> Json:
    """All differences ``arm`` minus ``against`` at their points; Holm's adjustment comes later, over all arms.

    Who misses what stands at the top for one seed each, otherwise seed by seed in ``by_seed``. Without a threshold in
    one of the two there is nothing to compare: empty, with the reason.
    """
    without = [each.name for each in (arm, against) if not each.ready]
    if without:
        return {"metrics": {}, "reason": f"no threshold was admissible for {' and '.join(without)}"}
    metrics: dict[str, Json] = {name: {} for name in (*POOLED, *CASE_MEAN)}
    for name in POOLED:
        sums = arm.sums(name), against.sums(name)
        tested = patient_test if name == "patient_miss_rate" else swap_test
        test = tested(sums, seed, draws)
        metrics[name]["pooled"] = pooled_difference(arm, against, sums, name, weights, seed=seed, test=test)
    for name in CASE_MEAN:
        metrics[name]["case_mean"] = mean_difference(arm, against, name, weights, seed=seed, draws=draws)
    return {"metrics": metrics, **_misses_by_seed(arm, against)}


def describe(comparison: Json) -> None:
    """Take the tests out of a comparison with a null arm, in place: it is described, and in no family.

    Nobody doubts that a model differs from predicting nothing, and its small p would only make Holm's correction of the
    other arms weaker.
    """
    for _, block in _blocks(comparison):
        block |= {"p": None, "least_p": None, "test": None, "described": True}


def adjust(comparisons: dict[str, Json]) -> None:
    """Adds to every test in place ``p_holm`` (over the arms), ``separable`` and ``attainable``.

    Every metric, size band and subgroup is a family by itself. Separable: p_holm is at most ``ALPHA``, and with
    several seeds the interval, which knows their spread, leaves 0 out. Attainable: the least p that the test could
    give would have been at most ``ALPHA``, beside the others of its family as they are; where it is False, more
    patients must differ.
    """
    families: dict[str, list[Json]] = {}
    for comparison in comparisons.values():
        for key, block in _blocks(comparison):
            families.setdefault(key, []).append(block)
    for blocks in families.values():
        adjust_family(blocks)


def adjust_family(blocks: list[Json]) -> None:
    """As ``adjust`` for the comparisons of one family."""
    adjust_as(blocks, "p_holm", "separable", "attainable")


def adjust_as(blocks: list[Json], adjusted: str, shown: str, attainable: str) -> None:
    """The same under other names: the adjusted p, whether it shows a difference, and whether it could have."""
    tested = [block for block in blocks if block["p"] is not None]
    for block in blocks:
        block |= {adjusted: None, shown: False, attainable: False}
    found = [block["p"] for block in tested]
    for index, (block, p) in enumerate(zip(tested, holm(found), strict=True)):
        could = holm([*found[:index], block["least_p"], *found[index + 1 :]])[index] <= ALPHA
        clear = "seeds" not in block or block["ci95"][0] > 0.0 or block["ci95"][1] < 0.0
        block |= {adjusted: p, shown: p <= ALPHA and clear, attainable: could}


def _blocks(comparison: Json) -> Iterator[tuple[str, Json]]:
    """Every block with a test, and the family in which Holm adjusts it."""
    for name, averages in comparison["metrics"].items():
        for average, block in averages.items():
            yield f"{name}/{average}", block
    for part in ("patients", "auroc"):
        if part in comparison:
            yield part, comparison[part]
    for band, block in comparison.get("by_diameter_mm", {}).items():
        yield f"diameter/{band}", block
    for column, values in comparison.get("subgroups", {}).items():
        for value, part in values.items():
            for name, block in part["metrics"].items():
                yield f"subgroup/{column}/{value}/{name}", block


def _misses_by_seed(arm: Arm, against: Arm) -> Json:
    """Seed k against seed k, or each seed against the only one of the other arm; never pooled."""
    mine, theirs = arm.runs, against.runs
    if len(mine) == len(theirs) == 1:
        return _misses(mine[0], theirs[0])
    if len(mine) != len(theirs) and 1 not in (len(mine), len(theirs)):
        reason = f"{arm.name} has {len(mine)} seeds and {against.name} {len(theirs)}: they do not pair up"
        return {"by_seed": [], "by_seed_reason": reason}
    count = max(len(mine), len(theirs))
    rows = zip(mine * (count // len(mine)), theirs * (count // len(theirs)), strict=True)
    return {"by_seed": [_misses(a, b) for a, b in rows]}


def _misses(arm: Run, against: Run) -> Json:
    """Lesions and patients that one run misses and the other finds; rows are [patient, case, lesion from 1]."""
    rows: dict[str, list[list[str | int]]] = {kind: [] for kind in MISSES[:3]}
    for case, mine, theirs in zip(arm.cases, arm.found, against.found, strict=True):
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            if not (a and b):
                kind = "both" if not a and not b else "against_only" if a else "arm_only"
                rows[kind].append([case.patient_id, case.case_id, i + 1])
    first, second = arm.patient_sums(), against.patient_sums()
    ill_P, a_P, b_P = first.denominator > 0, first.numerator > 0, second.numerator > 0
    kinds = (a_P & ~b_P, b_P & ~a_P, a_P & b_P, ill_P & ~a_P & ~b_P)
    counts = {f"missed_by_{kind}": int(which.sum()) for kind, which in zip(MISSES, kinds, strict=True)}
    test = mcnemar(counts["missed_by_arm_only"], counts["missed_by_against_only"])
    patients = {**counts, "p": test.p, "least_p": test.least_p, "test": test.test}
    lesions = {f"missed_by_{kind}": {"count": len(each), "rows": each} for kind, each in rows.items()}
    return {"patients": patients, "lesions": lesions}
