"""``comparison.json`` as short Markdown tables that can also be read in a terminal. Copies, never computes."""

from typing import Any

from missrate.core.intervals import FEW_SAID, mark

Json = dict[str, Any]
SHARES = {
    "voxel": "voxel_miss_rate",
    "slice": "slice_miss_rate",
    "lesion ({rule})": "lesion_miss_rate",
    "patient": "patient_miss_rate",
    "precision": "voxel_precision",
}
UNDEFINED = "undefined"


def table(value: Json) -> str:
    """What each arm does, the differences from the reference arm, then the answers as sentences, those of a gate last.

    Two tables, because one would be wider than a terminal.
    """
    parts = [_head(value), _aligned(_rates(value)), _aligned(_differences(value))]
    parts += [_aligned(rows) for rows in (_subgroups(value),) if len(rows) > 1]
    parts.append("\n".join([*value["answer"], *_ranked(value), *_pairs(value)]))
    if value.get("gate"):
        parts.append(_gate(value["gate"]))
    if any("]*" in part for part in parts):
        parts[0] += f"\n{FEW_SAID}."
    return "\n\n".join(parts)


def _head(value: Json) -> str:
    return (
        f"{value['cases']} cases, {value['patients']} patients, {value['lesions']} lesions.\n"
        "Miss rates of voxels, slices, lesions and patients, and the precision of voxels, in %; false positives (FP) "
        f"per scan.\nIn brackets 95 % intervals: {value['resamples']} resamples of patients; patients missed: "
        "Clopper-Pearson."
    )


def _rates(value: Json) -> list[list[str]]:
    rule = value["matching"]["rule"]
    if value["matching"]["minimum"] is not None:
        rule += f" >= {value['matching']['minimum']:g}"
    several = any(count > 1 for count in value["seeds"].values())
    head = ["arm", "threshold", *(name.format(rule=rule) for name in SHARES), "FP per scan"]
    rows = [head + (["lesion, over seeds"] if several else [])]
    for name in value["arms"]:
        rates = value["rates"][name]
        row = [_named(value, name), _threshold(value["points"][name])]
        row += [_spread(rates.get(metric), 100.0, ".1f") for metric in SHARES.values()]
        row.append(_spread(rates.get("false_positives_per_scan"), 1.0, ".2f"))
        rows.append(row + ([_over_seeds(rates.get("lesion_miss_rate"))] if several else []))
    return rows


def _differences(value: Json) -> list[list[str]]:
    rows = [[f"arm minus {value['against']}", "lesions missed, points", "p (Holm)", "least p", "verdict"]]
    for name, comparison in value["comparisons"].items():
        if "reason" in comparison:
            rows.append([_named(value, name), UNDEFINED, "", "", comparison["reason"]])
            continue
        rows.append([_named(value, name), *_tested(comparison["metrics"]["lesion_miss_rate"]["pooled"])])
    return rows


def _named(value: Json, arm: str) -> str:
    """An arm that was given another budget on purpose is marked wherever it stands in a table."""
    return f"{arm} (unequal budget)" if arm in value.get("unequal", {}) else arm


def _subgroups(value: Json) -> list[list[str]]:
    rows = [["arm", "subgroup", "lesions", "lesions missed, points", "p (Holm)", "least p", "verdict"]]
    for name, comparison in value["comparisons"].items():
        for column, values in comparison.get("subgroups", {}).items():
            for each, part in values.items():
                tested = _tested(part["metrics"]["lesion_miss_rate"])
                rows.append([name, f"{column} = {each}", str(part["lesions"]), *tested])
    return rows


def _tested(block: Json) -> list[str]:
    difference = _spread(block | {"value": block["difference"]}, 100.0, "+.1f")
    return [difference, _p(block["p_holm"]), _p(block["least_p"]), _verdict(block)]


def _verdict(block: Json) -> str:
    if block.get("described"):
        return "null arm: not tested"
    if block["p"] is None:
        return UNDEFINED
    if block["separable"]:
        return "misses fewer" if block["difference"] < 0 else "misses more"
    return "not separable" if block["attainable"] else "not separable (too few patients differ)"


def _ranked(value: Json) -> list[str]:
    """Where there are more than two arms to rank: how much being first is worth."""
    lines = []
    for metric, words in (("dice", "mean Dice"), ("lesion_miss_rate", "lesion miss rate")):
        found = value["ranks"].get(metric)
        if not found or found["others"] < 2 or found["top_stays"] is None:
            continue
        top = found["top"][0] if len(found["top"]) == 1 else f"{found['top'][0]} (of {len(found['top'])} equal ones)"
        lines.append(
            f"By {words} {top} is first and stays on top in {found['top_stays']:.0%} of resamples; "
            f"{found['inseparable']} of the other {found['others']} cannot be told from it."
        )
    return lines


def _pairs(value: Json) -> list[str]:
    rows = [row for row in value["all_pairs"] or [] if row["metric"] == "lesion_miss_rate"]
    if not rows:
        return []
    separable = [f"{row['arm']} and {row['other']}" for row in rows if row["separable"]]
    names = f": {', '.join(separable[:10])}{', ...' if len(separable) > 10 else ''}" if separable else ""
    return [f"Of all {len(rows)} pairs {len(separable)} are separable in lesion miss rate (Holm over all){names}."]


def _gate(gate: Json) -> str:
    return "\n".join(row["sentence"] for row in gate["arms"].values())


def _threshold(point: Any) -> str:
    points = point if isinstance(point, list) else [point]
    known = {t for each in points for t in each["thresholds"].values()}
    if None in known:
        return "none"
    where = "" if points[0]["chosen_on"] == "fixed" else f" ({points[0]['chosen_on']})"
    return f"{known.pop():.4g}{where}" if len(known) == 1 else f"{min(known):.3g} to {max(known):.3g}{where}"


def _spread(block: Json | None, scale: float, form: str) -> str:
    if block is None or block["value"] is None:
        return UNDEFINED
    text = f"{block['value'] * scale:{form}}"
    if block["ci95"] is None:
        return text
    low, high = block["ci95"]
    return f"{text} [{low * scale:{form}}, {high * scale:{form}}]{mark(block)}"


def _over_seeds(block: Json | None) -> str:
    if block is None or block.get("seeds") is None or block["seeds"]["spread"] is None:
        return ""
    spread = block["seeds"]["spread"]
    return f"{spread['low'] * 100:.1f} to {spread['high'] * 100:.1f}"


def _p(p: float | None) -> str:
    if p is None:
        return UNDEFINED
    return "<.0001" if 0.0 < p < 0.0001 else f"{p:.2g}"


def _aligned(rows: list[list[str]]) -> str:
    """A Markdown table with equal columns: words to the left, numbers to the right; a bar in a name is escaped."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [name in {"arm", "subgroup", "verdict"} or name.startswith("arm minus") for name in rows[0]]
    lines = ["| " + " | ".join(map(_padded, row, widths, left)) + " |" for row in cells]
    rules = ("-" * (width + 2) if words else "-" * (width + 1) + ":" for width, words in zip(widths, left, strict=True))
    return "\n".join([lines[0], "|" + "|".join(rules) + "|", *lines[1:]])


def _padded(cell: str, width: int, words: bool) -> str:
    return cell.ljust(width) if words else cell.rjust(width)
