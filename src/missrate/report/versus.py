"""The paired comparison as tables: differences, who misses what, and all arms at equal cost. Copies, never computes."""

from dataclasses import replace
from typing import Any

from missrate.core.intervals import mark
from missrate.report.material import Arm, Material
from missrate.report.tables import band_words
from missrate.report.words import (
    Cell,
    Table,
    amount,
    arm_cell,
    counted,
    p_value,
    sentence,
    share,
    signed,
    signed_amount,
    text_cell,
    without_undefined,
)

Json = dict[str, Any]

BASELINE = "location_prior"
COMPARED = [
    ("voxel miss rate", "voxel_miss_rate", "pooled"),
    ("slice miss rate", "slice_miss_rate", "pooled"),
    ("lesion miss rate", "lesion_miss_rate", "pooled"),
    ("voxel precision", "voxel_precision", "pooled"),
    ("Dice, mean of cases", "dice", "case_mean"),
    ("false positives per scan", "false_positives_per_scan", "pooled"),
    ("false positive ml per scan", "false_positive_ml_per_scan", "case_mean"),
]


def differences(material: Material) -> Table:
    """Every arm minus the reference arm, paired by patient."""
    comparison = material.comparison
    rows = []
    for arm in material.arms:
        if arm.name not in comparison["comparisons"]:
            continue
        against = comparison["comparisons"][arm.name]
        if against.get("reason"):
            rows.append(
                [_arm(arm, material), text_cell(f"not compared: {sentence(against['reason'])}", span=len(COMPARED))]
            )
            continue
        blocks = [(against["metrics"].get(metric, {}).get(average), metric) for _, metric, average in COMPARED]
        rows.append([_arm(arm, material), *(difference_cell(block, m, dense=material.many) for block, m in blocks)])
    read = (
        f"Arm minus {comparison['against']}, each at its own primary point; a negative miss rate is better. Below it "
        "the 95 % interval (patients resampled in both arms together) and p after Holm's correction over the arms "
        "(null arms are described, not tested), "
        f"with {comparison['patients']} patients in {comparison['cases']} cases. "
        "“Not separable” means that this many patients cannot tell them apart, not that they are equal."
    )
    title = f"Differences from the reference arm {comparison['against']}"
    groups = [("missed", 3), ("at what cost", 4)]
    return without_undefined(Table(title, ["arm", *(head for head, _, _ in COMPARED)], rows, read, groups))


def by_band(material: Material) -> Table | None:
    """The differences of lesion miss rates within each band of diameter; None where no lesion has millimetres."""
    compared = material.comparison["comparisons"]
    found = {arm.name: compared.get(arm.name, {}).get("by_diameter_mm") for arm in material.arms}
    bands = list(next((each for each in found.values() if each), {}))
    bands.sort(key=lambda band: (not band.startswith("<"), float(band.strip("<>=").split("-")[0])))
    if not bands:
        return None
    rows = []
    for arm in material.arms:
        if blocks := found[arm.name]:
            cells = [difference_cell(blocks.get(b), "lesion_miss_rate", dense=material.many) for b in bands]
            rows.append([_arm(arm, material), *cells])
    counts = [next(each[band]["lesions"] for each in found.values() if each) for band in bands]
    heads = [f"{band_words(band)}\n{counted(count, 'lesion')}" for band, count in zip(bands, counts, strict=True)]
    read = (
        f"Arm minus {material.comparison['against']} among the lesions of each band; negative: the arm misses fewer of "
        "them. Each band is corrected by Holm over the arms for itself."
    )
    title = f"Differences from {material.comparison['against']} in lesion miss rate, by size"
    return without_undefined(Table(title, ["arm", *heads], rows, read, []))


def who_misses(material: Material) -> Table:
    """Patients and lesions missed by one arm only, with McNemar's test."""
    against, baseline = material.comparison["against"], any(arm.name == BASELINE for arm in material.arms)
    rows = []
    for arm in material.arms:
        comparison = material.comparison["comparisons"].get(arm.name, {})
        for seed, each in enumerate(comparison.get("by_seed", [comparison] if "patients" in comparison else []), 1):
            rows.append(_who(arm, material, each, seed=seed if "by_seed" in comparison else None, works=baseline))
    read = (
        f"Ref = {against}. McNemar's exact test looks only at patients missed by one of the two. False positives stand "
        "in the tables above."
    )
    if baseline:
        read += (
            " “Works”: at an equal volume of false positives the arm misses fewer voxels than the mean training mask "
            f"({BASELINE}) does, beyond noise; an arm that does not has learned nothing about the image."
        )
    head = ["arm", "arm only", "ref only", "both", "arm only", "ref only", "both", "neither", "p", "p, Holm", "verdict"]
    groups = [("lesions missed by", 3), ("patients missed by", 4), ("McNemar, patients", 3)]
    if baseline:
        head, groups = [*head, "works"], [*groups, ("", 1)]
    return Table(f"Who misses what, against {against}", head, rows, read, groups)


def _who(arm: Arm, material: Material, comparison: Json, *, seed: int | None, works: bool) -> list[Cell]:
    """The row of one training against one of the reference arm."""
    patients, lesions = comparison["patients"], comparison["lesions"]
    kinds = ("missed_by_arm_only", "missed_by_against_only", "missed_by_both")
    counts = [str(patients[kind]) for kind in (*kinds, "missed_by_neither")]
    holm = p_value(patients["p_holm"]) if "p_holm" in patients else "not corrected"
    verdict = " ".join(_verdict(patients)) if "p_holm" in patients else ""
    found = [str(lesions[kind]["count"]) for kind in kinds]
    cells = [*(Cell(t) for t in (*found, *counts, p_value(patients["p"]), holm)), text_cell(verdict)]
    if works:
        cells.append(_works(material.comparison, arm.name if seed is None else f"{arm.name} seed {seed}"))
    name = _arm(arm, material)
    return [name if seed is None else replace(name, below=(*name.below, f"seed {seed}")), *cells]


def matched(material: Material) -> Table:
    """Lesion miss rate where all arms cost the same."""
    value = material.comparison["matched"]
    kinds = [("by_false_positives_per_scan", "≤ {} per scan"), ("by_false_positive_ml_per_scan", "≤ {} ml per scan")]
    head, groups = ["arm"], []
    for kind, words in kinds:
        bounds = sorted(row["bound"] for row in next(iter(value[kind].values()), []))
        head += [words.format(f"{bound:g}") for bound in bounds]
        groups += [("at equal " + ("false positives" if kind == kinds[0][0] else "false-positive volume"), len(bounds))]
    rows = [
        [
            _arm(arm, material),
            *(_matched(row) for kind, _ in kinds for row in sorted(value[kind].get(arm.name, []), key=_bound)),
        ]
        for arm in material.arms
    ]
    read = (
        "Lesion miss rate and 95 % interval when every arm may cost the same, with the false positives and millilitres "
        "per scan that it then has. The thresholds were found on these same test patients: a description of what the "
        "scores could do, not a performance to expect."
    )
    return Table("At equal cost", head, rows, read, [group for group in groups if group[1]])


def equal_sensitivity(material: Material) -> Table:
    """What it costs each arm to miss no more lesions than the reference arm."""
    value = material.comparison["matched"]["by_lesion_miss_rate"]
    rows = []
    for arm in material.arms:
        cost = value["arms"].get(arm.name)
        if cost is None:
            rows.append([_arm(arm, material), text_cell("never misses so few", span=4)])
            continue
        per_scan = [_costing(cost[f"false_positive{kind}_per_scan"]) for kind in ("s", "_ml")]
        first = [Cell(share(cost["lesion_miss_rate"])), Cell(f"{cost['threshold']:.3g}")]
        rows.append([_arm(arm, material), *first, *per_scan])
    bound = "undefined" if value["bound"] is None else share(value["bound"])
    read = (
        f"The highest threshold at which an arm misses at most {bound} of the lesions, the rate of "
        f"{material.comparison['against']} at its point, and the false positives that it then has. "
        "Found on these same test patients, so it describes and does not predict."
    )
    head = ["arm", "lesion miss rate", "threshold", "false positives per scan", "false positive ml per scan"]
    return Table("At equal sensitivity", head, rows, read, [])


def _arm(arm: Arm, material: Material) -> Cell:
    return arm_cell(arm, material.comparison["against"])


def difference_cell(block: Json | None, metric: str, *, dense: bool) -> Cell:
    """A difference with its interval, p values and verdict; ``dense`` in two lines instead of three."""
    if block is None or block["difference"] is None:
        k = (block or {}).get("undefined", "all")
        return Cell(f"undefined ({k})", kind="undefined")
    form = signed if not metric.startswith("false_positive") else signed_amount
    ends = block["ci95"]
    interval = "no interval" if ends is None else f"{form(ends[0])} to {form(ends[1])}{mark(block)}"
    holm = p_value(block.get("p_holm"))
    if block.get("described"):
        lines = [interval, *_verdict(block)]
    elif dense:
        lines = [interval, f"{'separable' if block.get('separable') else 'not separable'}, p {holm}"]
    else:
        lines = [interval, f"p {p_value(block.get('p'))}, Holm {holm}", *_verdict(block)]
    if block.get("undefined") and not dense:
        lines.append(f"n {block['n']}, undefined ({block['undefined']})")
    return Cell(form(block["difference"]), tuple(lines), "number separable" if block.get("separable") else "number")


def _verdict(block: Json) -> list[str]:
    if block.get("described"):
        return ["null arm: not tested"]
    if block.get("separable"):
        return ["separable"]
    return ["not separable"] if block.get("attainable", True) else ["not separable", "(too few patients)"]


def _works(comparison: Json, name: str) -> Cell:
    name = name if name in comparison.get("works", {}) else name.rpartition(" seed ")[0] or name
    verdict = comparison.get("works", {}).get(name)
    reason = comparison.get("works_because", {}).get(name, {}).get("reason")
    return text_cell({True: "yes", False: "no"}.get(verdict, f"undefined: {reason or 'not asked'}"))


def _bound(row: Json) -> float:
    return float(row["bound"])


def _matched(row: Json) -> Cell:
    block = row["lesion_miss_rate"]
    costs = f"{amount(row['false_positives_per_scan'])} per scan"
    if row["false_positive_ml_per_scan"] is not None:
        costs += f", {amount(row['false_positive_ml_per_scan'])} ml"
    if block["value"] is None:
        return Cell("undefined (all)", (costs,), "undefined")
    interval = (
        "no interval" if block["ci95"] is None else f"{share(block['ci95'][0])}–{share(block['ci95'][1])}{mark(block)}"
    )
    return Cell(share(block["value"]), (interval, costs))


def _costing(block: Json | None) -> Cell:
    if block is None or block["value"] is None:
        return Cell("undefined (all)", ("no millimetres",), "undefined")
    interval = (
        "no interval"
        if block["ci95"] is None
        else f"{amount(block['ci95'][0])}–{amount(block['ci95'][1])}{mark(block)}"
    )
    return Cell(amount(block["value"]), (interval,))
