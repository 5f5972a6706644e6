"""The results of every arm as tables: four levels, matching rules, size bands. Copies, never computes."""

from dataclasses import dataclass
from typing import Any

from missrate.report.material import Arm, Material
from missrate.report.words import Cell, Table, arm_cell, block_cell, sentence, text_cell

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One metric of ``summary.json``: where it stands and what its head says."""

    head: str
    metric: str
    average: str = "pooled"
    rule: str = "overlap"


FOUR_LEVELS = [
    Column("voxel miss rate", "voxel_miss_rate"),
    Column("slice miss rate", "slice_miss_rate"),
    Column("lesion miss rate", "lesion_miss_rate"),
    Column("patient miss rate", "patient_miss_rate"),
    Column("voxel precision", "voxel_precision"),
    Column("false positives per scan", "false_positives_per_scan"),
    Column("per healthy scan", "false_positives_per_healthy_scan"),
    Column("false positive ml per scan", "false_positive_ml_per_scan", "case_mean"),
]
BOTH_RULES = [
    Column(head, metric, rule=rule)
    for rule in ("overlap", "iou")
    for head, metric in (
        ("lesion miss rate", "lesion_miss_rate"),
        ("lesion precision", "lesion_precision"),
        ("false positives per scan", "false_positives_per_scan"),
    )
]
BESIDE = [
    Column("Dice, mean of cases", "dice", "case_mean"),
    Column("voxel accuracy", "voxel_accuracy"),
    Column("patient AUROC", "patient_auroc", "cohort"),
    Column("lesion average precision", "lesion_average_precision", "cohort"),
    Column("FROC sensitivity", "froc_sensitivity", "cohort"),
    Column("voxel precision", "voxel_precision"),
]
CASE_MEANS = [
    Column("voxel miss rate", "voxel_miss_rate", "case_mean"),
    Column("slice miss rate", "slice_miss_rate", "case_mean"),
    Column("slice miss rate, no voxel at all", "slice_miss_rate_any", "case_mean"),
    Column("lesion miss rate", "lesion_miss_rate", "case_mean"),
    Column("voxel precision", "voxel_precision", "case_mean"),
    Column("Dice, pooled", "dice", "pooled"),
]
LEVELS_READ = (
    "Each cell: the value, its 95 % interval, and n (numerator / denominator). Left: the share of lesion voxels, axial "
    "slices with lesion, lesions and patients that the arm misses; lower is better. Right: what it costs; an arm that "
    "marks everything misses nothing. Intervals resample whole patients (patient miss rate: Clopper-Pearson). "
    "Overlapping intervals of two arms prove nothing either way: use the paired comparison."
)


def levels(material: Material, point: str) -> Table:
    """The four miss rates at one operating point, with their cost beside them."""
    title, groups = f"The four levels at {_named(point)}", [("missed", 4), ("at what cost", 4)]
    return _metric_table(material, point, FOUR_LEVELS, title=title, read=LEVELS_READ, groups=groups)


def rules(material: Material, point: str) -> Table:
    """The lesion level under both matching rules."""
    title = f"The lesion level under two matching rules at {_named(point)}"
    minimum = next(
        (e["matching"]["minimum"] for a in material.arms for e in a.entries() if e["matching"]["minimum"]), ""
    )
    groups = [("any overlap", 3), (f"one to one, IoU ≥ {minimum}", 3)]
    read = (
        "The same masks, counted twice: a lesion is found when any voxel of a candidate touches it, or when one "
        "candidate of its own covers it well enough. The rule alone can move a miss rate by tens of points, so compare "
        "with a publication only under its rule."
    )
    return _metric_table(material, point, BOTH_RULES, title=title, read=read, groups=groups)


def beside(material: Material, point: str) -> Table:
    """Dice, accuracy and the measures that sweep the threshold."""
    read = (
        "Accuracy is near 1 for an arm that finds nothing, because lesions are small: it says nothing here and is "
        "shown for that reason. AUROC asks whether a patient's highest score separates the ill from the healthy; "
        "average precision and FROC sensitivity sweep the threshold and do not depend on the operating point. They "
        "need scores, so they are undefined for plain masks."
    )
    title = f"Beside the miss rates at {_named(point)}"
    groups = [("at the operating point", 2), ("over all thresholds", 3), ("again, beside them", 1)]
    return _metric_table(material, point, BESIDE, title=title, read=read, groups=groups)


def case_means(material: Material, point: str) -> Table:
    """Means over cases, where large lesions weigh no more than small ones."""
    read = (
        "Here every case weighs the same, where above every voxel, slice or lesion does. A healthy case has no miss "
        "rate and a case without candidates no precision: they are counted as undefined, never as 0 or 1."
    )
    title, groups = f"Means over cases at {_named(point)}", [("missed", 4), ("at what cost", 2)]
    return _metric_table(material, point, CASE_MEANS, title=title, read=read, groups=groups)


def bands(material: Material) -> Table:
    """Missed lesions by size at each arm's primary point."""
    known = [arm for arm in material.arms if arm.summary["metrics"]]
    inner = known[0].summary["metrics"]["lesion_miss_rate"]["by_diameter_mm"] if known else {}
    sizes = sorted(inner, key=lambda band: (not band.startswith("<"), float(band.strip("<>=").split("-")[0])))
    columns = [Column("", "lesion_miss_rate"), Column("", "false_positives_per_scan"), Column("", "voxel_precision")]
    rows = []
    for arm in material.arms:
        if not arm.summary["metrics"]:
            rows.append([_arm(arm, material), _without_point(arm.summary, len(sizes) + len(columns))])
            continue
        inner = arm.summary["metrics"]["lesion_miss_rate"]["by_diameter_mm"]
        cells = [block_cell(inner[size], "lesion_miss_rate") for size in sizes]
        rows.append([_arm(arm, material), *cells, *(_cell(arm.summary, column) for column in columns)])
    return Table(
        "Lesion miss rate by size, at each arm's primary operating point",
        [
            "arm",
            *(f"{size} mm".replace(">=", "≥ ").replace("<", "< ").replace("-", "–") for size in sizes),
            "all lesions",
            "false positives per scan",
            "voxel precision",
        ],
        rows,
        "Diameter of the sphere of equal volume. Small lesions are missed most: a mean over all sizes says as much "
        "about the sizes in the cohort as about the arm. Bands with few lesions have wide intervals.",
        [("lesion miss rate", len(sizes) + 1), ("at what cost", 2)],
    )


def _metric_table(
    material: Material, point: str, columns: list[Column], *, title: str, read: str, groups: list[tuple[str, int]]
) -> Table:
    rows = []
    for arm in material.arms:
        entry = arm.entry(point)
        if entry is None or not entry["metrics"]:
            rows.append([_arm(arm, material), _without_point(entry, len(columns))])
            continue
        by_rule = {rule: arm.entry(point, rule) for rule in {column.rule for column in columns}}
        rows.append([_arm(arm, material), *(_cell(by_rule[column.rule], column) for column in columns)])
    return Table(title, ["arm", *(column.head for column in columns)], rows, read, groups)


def _arm(arm: Arm, material: Material) -> Cell:
    return arm_cell(arm, material.comparison["against"])


def _cell(entry: Json | None, column: Column) -> Cell:
    block = entry["metrics"].get(column.metric, {}).get(column.average) if entry else None
    return block_cell(block, column.metric)


def _without_point(entry: Json | None, span: int) -> Cell:
    reason = "no such operating point" if entry is None else entry.get("reason", "not measured")
    return text_cell(f"undefined (all): {sentence(reason)}", span=span)


def _named(point: str) -> str:
    return f"threshold {point}" if point.replace(".", "").isdigit() else f"the {point} point"
