"""The results of every arm as tables: four levels, matching rules, size bands. Copies, never computes."""

from dataclasses import dataclass
from typing import Any

from missrate.report.material import Arm, Material
from missrate.report.words import Cell, Table, arm_cell, column_cells, sentence, text_cell, without_undefined

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
    Column("lesion average precision by score", "lesion_average_precision_by_score", "cohort"),
    Column("FROC sensitivity by score", "froc_sensitivity_by_score", "cohort"),
    Column("voxel precision", "voxel_precision"),
]
DISTANCES = {
    "hd95_directed_max_mm": "HD95 in mm, directed maximum",
    "hd95_pooled_mm": "HD95 in mm, pooled",
    "hd95_surfel_mm": "HD95 in mm, by surfels",
}
CASE_MEANS = [
    Column("voxel miss rate", "voxel_miss_rate", "case_mean"),
    Column("slice miss rate", "slice_miss_rate", "case_mean"),
    Column("slice miss rate, no voxel at all", "slice_miss_rate_any", "case_mean"),
    Column("lesion miss rate", "lesion_miss_rate", "case_mean"),
    Column("voxel precision", "voxel_precision", "case_mean"),
    Column("Dice, pooled", "dice", "pooled"),
]
LEVELS_READ = (
    "Each cell: the value, its 95 % interval, and n (numerator / denominator), which the head says where all arms "
    "share it. Left: the share of lesion voxels, axial "
    "slices with lesion, lesions and patients that the arm misses; lower is better. Right: what it costs; an arm that "
    "marks everything misses nothing. Intervals resample whole patients (patient miss rate: Clopper-Pearson). "
    "Overlapping intervals of two arms prove nothing either way: use the paired comparison."
)


def levels(material: Material, point: str) -> Table:
    """The four miss rates at one operating point, with their cost beside them."""
    title, groups = f"The four levels{_named(material, point)}", [("missed", 4), ("at what cost", 4)]
    return _metric_table(material, point, FOUR_LEVELS, title=title, read=LEVELS_READ, groups=groups)


def rules(material: Material, point: str) -> Table:
    """The lesion level under both matching rules."""
    title = f"The lesion level under two matching rules{_named(material, point)}"
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
        "average precision and FROC sensitivity sweep the threshold, which cuts the map into candidates anew. “By "
        "score”: candidates are cut once and ranked by their scores, another curve with other values. These do not "
        "depend on the operating point, and need scores, which plain masks lack."
    )
    title = f"Beside the miss rates{_named(material, point)}"
    groups = [("at the operating point", 2), ("over all thresholds", 3), ("over all scores", 2), ("again", 1)]
    return _metric_table(material, point, BESIDE, title=title, read=read, groups=groups)


def case_means(material: Material, point: str) -> Table:
    """Means over cases, where large lesions weigh no more than small ones."""
    read = (
        "Here every case weighs the same, where above every voxel, slice or lesion does. A healthy case has no miss "
        "rate and a case without candidates no precision: they are counted as undefined, never as 0 or 1."
    )
    title, groups = f"Means over cases{_named(material, point)}", [("missed", 4), ("at what cost", 2)]
    return _metric_table(material, point, CASE_MEANS, title=title, read=read, groups=groups)


def distances(material: Material, point: str) -> Table | None:
    """Surface distances and surface Dice, with the misses that a mean of distances cannot hold.

    None at a point at which distances were not measured.
    """
    entries = [arm.entry(point) for arm in material.trained_arms() or material.arms]
    known = {n: m for entry in entries if entry for n, m in entry["metrics"].items() if n.startswith(("hd95", "nsd"))}
    if all("measured at" in each["case_mean"].get("reason", "") for each in known.values()):
        return None
    columns = [Column(_distance(name), name, "case_mean") for name in known]
    read = (
        "Means over cases. A case in which the arm marks nothing has no distance: it is left out of the mean and "
        "counted; “with them” puts the diagonal of the scan in its place. An arm that misses more hard cases can thus "
        "have the smaller mean. NSD: share of both surfaces that lie within the tolerance; a miss is 0."
    )
    title, groups = f"Surfaces{_named(material, point)}", [("distance and overlap of surfaces", len(columns)), ("", 2)]
    columns += [Column("Dice", "dice", "case_mean"), Column("lesion miss rate", "lesion_miss_rate", "case_mean")]
    return _metric_table(material, point, columns, title=title, read=read, groups=groups)


def bands(material: Material) -> Table:
    """Missed lesions by size at each arm's primary point."""
    sizes = bands_of(material)
    columns = [Column("", "lesion_miss_rate"), Column("", "false_positives_per_scan"), Column("", "voxel_precision")]
    known = [arm for arm in material.arms if arm.summary["metrics"]]
    heads = [band_words(size) for size in sizes] + ["all lesions", "false positives per scan", "voxel precision"]
    blocks = [
        *([arm.summary["metrics"]["lesion_miss_rate"]["by_diameter_mm"].get(size) for arm in known] for size in sizes),
        *([_block(arm.summary, column) for arm in known] for column in columns),
    ]
    metrics = ["lesion_miss_rate"] * len(sizes) + [column.metric for column in columns]
    read = (
        "Diameter of the sphere of equal volume. Small lesions are usually missed most: a mean over all sizes says as "
        "much about the sizes in the cohort as about the arm. Bands with few lesions have wide intervals."
    )
    groups = [("lesion miss rate", len(sizes) + 1), ("at what cost", 2)]
    given = list(zip(heads, metrics, blocks, strict=True))
    without = {arm.name: _without_point(arm.summary, len(heads)) for arm in material.arms if arm not in known}
    title = "Lesion miss rate by size, at each arm's primary operating point"
    return _assemble(material, title, given, without, read=read, groups=groups)


def bands_of(material: Material) -> list[str]:
    """The names of the bands of diameter, from the smallest lesions to the largest."""
    known = [arm for arm in material.arms if arm.summary["metrics"]]
    inner = known[0].summary["metrics"]["lesion_miss_rate"]["by_diameter_mm"] if known else {}
    return sorted(inner, key=lambda band: (not band.startswith("<"), float(band.strip("<>=").split("-")[0])))


def band_words(size: str) -> str:
    """A band as a reader writes it."""
    return f"{size} mm".replace(">=", "≥ ").replace("<", "< ").replace("-", "–")


def _metric_table(
    material: Material, point: str, columns: list[Column], *, title: str, read: str, groups: list[tuple[str, int]]
) -> Table:
    entries = {arm.name: arm.entry(point) for arm in material.arms}
    without = {n: _without_point(e, len(columns)) for n, e in entries.items() if e is None or not e["metrics"]}
    known = [arm for arm in material.arms if arm.name not in without]
    blocks = [(column, [_block(arm.entry(point, column.rule), column) for arm in known]) for column in columns]
    given = [(column.head, column.metric, values) for column, values in blocks]
    return _assemble(material, title, given, without, read=read, groups=groups)


def _assemble(
    material: Material,
    title: str,
    columns: list[tuple[str, str, list[Json | None]]],
    without: dict[str, Cell],
    *,
    read: str,
    groups: list[tuple[str, int]],
) -> Table:
    """A row per arm from columns of (head, metric, blocks of the arms that are not ``without`` a result)."""
    made = [(head, *column_cells(blocks, metric, dense=material.many)) for head, metric, blocks in columns]
    names = iter(range(len(material.arms)))
    rows = []
    for arm in material.arms:
        if arm.name in without:
            rows.append([_arm(arm, material), without[arm.name]])
        else:
            place = next(names)
            rows.append([_arm(arm, material), *(cells[place] for _, _, cells in made)])
    heads = ["arm", *(f"{head}\n{shared}" if shared else head for head, shared, _ in made)]
    return without_undefined(Table(title, heads, rows, read, groups))


def _arm(arm: Arm, material: Material) -> Cell:
    return arm_cell(arm, material.comparison["against"])


def _block(entry: Json | None, column: Column) -> Json | None:
    block: Json | None = entry["metrics"].get(column.metric, {}).get(column.average) if entry else None
    return block


def _without_point(entry: Json | None, span: int) -> Cell:
    reason = "no such operating point" if entry is None else entry.get("reason", "not measured")
    return text_cell(f"undefined (all): {sentence(reason)}", span=span)


def _named(material: Material, point: str) -> str:
    """Where a table was measured, as the end of its title; masks are what they are at every threshold."""
    if material.masks:
        return ""
    return f" at threshold {point}" if point.replace(".", "").isdigit() else f" at the {point} point"


def _distance(name: str) -> str:
    tolerance = name.rpartition("_")[2].removesuffix("mm")
    kind = "by surfels" if "surfel" in name else "by voxels"
    return DISTANCES.get(name, f"NSD within {tolerance} mm, {kind}")
