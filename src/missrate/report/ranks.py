"""How much a ranking is worth, how far seeds lie apart, and results within subgroups. Copies, never computes."""

from typing import Any

from missrate.report.material import Arm, Material
from missrate.report.versus import difference_cell
from missrate.report.words import Cell, Table, amount, arm_cell, block_cell, is_share, listed, share, without_undefined

Json = dict[str, Any]
RANKED = {
    "lesion_miss_rate": "lesion miss rate",
    "patient_miss_rate": "patient miss rate",
    "slice_miss_rate": "slice miss rate",
    "voxel_miss_rate": "voxel miss rate",
    "dice": "Dice, mean of cases",
}
SEEDED = ("lesion_miss_rate", "voxel_miss_rate", "patient_miss_rate", "voxel_precision", "false_positives_per_scan")
WITHIN = [("lesion miss rate", "lesion_miss_rate", "pooled"), ("voxel precision", "voxel_precision", "pooled")]


def ranks(material: Material) -> Table | None:
    """Rank, its interval and how often first, for each ranked metric; None with fewer than two ranked arms."""
    known = _known(material)
    if not known:
        return None
    rows = [
        [_arm(arm, material), *(_rank(value["arms"].get(arm.name)) for value in known.values())]
        for arm in material.trained_arms()
    ]
    read = (
        f"Rank among the arms (1 is best, ties share the better place), its 95 % interval over "
        f"{material.comparison['resamples']} resamples of {material.comparison['patients']} patients, and the share of "
        "resamples in which the arm is first. Null arms take no rank. Where intervals are wide, the order is chance."
    )
    return Table("How stable is the ranking?", ["arm", *(RANKED[metric] for metric in known)], rows, read, [])


def stability(material: Material) -> list[str]:
    """A sentence about the top of each ranking."""
    return [
        f"{RANKED[metric][0].upper()}{RANKED[metric][1:]}: {top(value)}" for metric, value in _known(material).items()
    ]


def top(value: Json) -> str:
    """Who is first, how often it stays so, and how many cannot be told from it."""
    names, stays, others = value["top"], value["top_stays"], value["others"]
    first = names[0]
    kept = "it is not known in how many resamples" if stays is None else f"in {stays:.1%} of the resamples"
    if len(names) > 1:
        begin = f"{len(names)} arms share the first place ({listed(names, 4)}) and keep it {kept}"
    else:
        begin = f"{first} is first and stays on top {kept}"
    if value["inseparable"] is None:
        return f"{begin}."
    return f"{begin}; {value['inseparable']} of the {others} others cannot be told from {first} (Holm)."


def seeds(material: Material) -> Table | None:
    """The spread between trainings that differ by their seed; None where every arm has one."""
    counts = material.comparison["seeds"]
    if max(counts.values(), default=1) < 2:
        return None
    rows = []
    for arm in material.arms:
        rates = material.comparison["rates"].get(arm.name, {})
        rows.append([_arm(arm, material), Cell(str(counts[arm.name])), *(_seed(rates.get(m), m) for m in SEEDED)])
    read = (
        "Mean over the seeds; below it each seed by itself and their standard deviation. The intervals of the "
        "comparison draw patients and a seed, so they hold both kinds of chance. One seed says nothing about "
        "this spread."
    )
    return Table("Seeds", ["arm", "seeds", *(metric.replace("_", " ") for metric in SEEDED)], rows, read, [])


def subgroups(material: Material) -> list[Table]:
    """For each column of the patients table: results within each value, then differences from the reference arm."""
    tables = []
    for column in material.arms[0].summary["subgroups"]:
        tables += [_within(material, column), _differences(material, column)]
    return [without_undefined(table) for table in tables if table.rows]


def _within(material: Material, column: str) -> Table:
    values: Json = material.arms[0].summary["subgroups"][column]
    rows = []
    for arm in material.arms:
        parts = arm.summary["subgroups"].get(column, {})
        blocks = [parts.get(v, {"metrics": {}})["metrics"].get(m, {}).get(a) for v in values for _, m, a in WITHIN]
        metrics = [metric for _ in values for _, metric, _ in WITHIN]
        rows.append([_arm(arm, material), *(block_cell(b, m) for b, m in zip(blocks, metrics, strict=True))])
    groups = [
        (f"{value}: {part['patients']} patients, {part['lesions']} lesions", len(WITHIN))
        for value, part in values.items()
    ]
    read = (
        "The same operating point in every subgroup. Small subgroups have wide intervals, and no subgroup "
        "is compared with another."
    )
    heads = ["arm", *(head for _ in values for head, _, _ in WITHIN)]
    return Table(f"Within each {column}", heads, rows, read, groups)


def _differences(material: Material, column: str) -> Table:
    rows, values = [], list(material.arms[0].summary["subgroups"][column])
    for arm in material.arms:
        parts = material.comparison["comparisons"].get(arm.name, {}).get("subgroups", {}).get(column)
        if parts:
            blocks = [parts.get(value, {"metrics": {}})["metrics"].get("lesion_miss_rate") for value in values]
            cells = [difference_cell(block, "lesion_miss_rate", dense=material.many) for block in blocks]
            rows.append([_arm(arm, material), *cells])
    title = f"Differences in lesion miss rate within each {column}"
    read = f"Arm minus {material.comparison['against']}; each value is corrected by Holm over the arms for itself."
    return Table(title, ["arm", *values], rows, read, [])


def _known(material: Material) -> Json:
    found: Json = material.comparison["ranks"]
    return {m: found[m] for m in RANKED if found.get(m, {}).get("others") and found[m]["top"]}


def _arm(arm: Arm, material: Material) -> Cell:
    return arm_cell(arm, material.comparison["against"])


def _rank(rank: Json | None) -> Cell:
    if rank is None:
        return Cell("undefined (all)", kind="undefined")
    spread = "no interval" if rank["ci95"] is None else f"{rank['ci95'][0]}–{rank['ci95'][1]}"
    first = "" if rank["first"] is None else f", first in {rank['first']:.1%}"
    return Cell(str(rank["rank"]), (f"{spread}{first}",))


def _seed(rate: Json | None, metric: str) -> Cell:
    if rate is None or rate["value"] is None:
        return Cell("undefined (all)", kind="undefined")
    form, given = share if is_share(metric) else amount, rate.get("seeds")
    if given is None:
        return Cell(form(rate["value"]), ("one seed",))
    each = ", ".join("undefined" if value is None else form(value) for value in given["values"])
    sd = (given["spread"] or {}).get("sd")
    sd = 0.0 if sd is not None and sd < 1e-12 else sd  # equal values, but for rounding
    return Cell(form(rate["value"]), (each, "no spread" if sd is None else f"sd {form(sd)}"))
