"""The ladder: one row per rung, each with what its evaluation makes of accuracy, precision, recall and miss rate."""

from typing import Any

from missrate.core.ladder import METRICS
from missrate.report.canvas import drawn_on, svg_of
from missrate.report.material import COLOURS, Material
from missrate.report.words import Cell, Drawing, Table, share

Json = dict[str, Any]
HEADS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "miss_rate": "miss rate"}


def table(material: Material) -> Table | None:
    """None where the study has no ladder."""
    if material.ladder is None:
        return None
    rows = [
        [
            Cell(rung["name"], (f"arm {rung['arm']}, {_how(rung)}",), "text"),
            *(_value(rung["metrics"][metric]) for metric in METRICS),
            Cell(str(rung["slices"]), (f"{rung['patients']} patients",)),
        ]
        for rung in material.ladder["rungs"]
    ]
    read = (
        "Pixels of axial slices on each scan's own grid. Every rung is a complete evaluation; what changes from one to "
        "the next is named. Below each rate: its 95 % interval over patients, and how many slices a mean over slices "
        "dropped since their own rate is 0/0. A rung that looks better than the one below it may only hide more."
    )
    absent = sorted({case_id for rung in material.ladder["rungs"] for case_id in rung["absent"]})
    if absent:
        read += f" Left out for lack of a prediction: {', '.join(absent)}."
    head = ["rung", *HEADS.values(), "slices"]
    return Table("What each correction does", head, rows, read, [])


def drawing(material: Material) -> Drawing | None:
    """The rates from rung to rung."""
    if material.ladder is None:
        return None
    rungs = material.ladder["rungs"]
    with drawn_on(9.6, 0.9 + 0.32 * len(rungs), 1, len(METRICS), sharey=True) as (figure, panels):
        for panel, metric, colour in zip(panels, METRICS, COLOURS, strict=False):
            for place, rung in enumerate(rungs):
                found = rung["metrics"][metric]
                if found["value"] is None:
                    panel.text(0.02, place, "undefined", va="center", fontsize=7.5, color="#777777")
                    continue
                if found["ci95"] is not None:
                    panel.plot(found["ci95"], [place, place], "-", color=colour, linewidth=1.4)
                panel.plot([found["value"]], [place], "o", color=colour, markersize=5)
            panel.set(xlim=(-0.03, 1.03), title=HEADS[metric])
            panel.title.set_fontsize(9)
        panels[0].set_yticks(range(len(rungs)), [rung["name"] for rung in rungs])
        panels[0].invert_yaxis()
        svg = svg_of(figure, "ladder")
    read = (
        "From the first rung (top) to the last (bottom); dot: value, bar: 95 % interval over patients. In the first "
        "three panels right is better, in the last left is."
    )
    return Drawing("The ladder", svg, read)


def _how(rung: Json) -> str:
    if rung["reason"]:
        return str(rung["reason"])
    parts = [f"threshold {', '.join(f'{value:.3g}' for value in rung['thresholds'])}"]
    if rung["threshold"] == "calibrated":
        parts[0] += " (calibrated)"
    parts.append("every slice" if rung["slices_counted"] == "all" else "slices with a lesion")
    parts.append("pooled" if rung["average"] == "pooled" else "mean over slices")
    if rung["largest_share"] is not None:
        parts.append(f"emptied above {rung['largest_share']:.0%} of a slice")
    return ", ".join(parts)


def _value(found: Json) -> Cell:
    if found["value"] is None:
        return Cell("undefined (all)", kind="undefined")
    interval = "no interval" if found["ci95"] is None else f"[{share(found['ci95'][0])}, {share(found['ci95'][1])}]"
    below = [interval.replace(", ", " to ").replace("[", "").replace("]", "")]
    if found["undefined"]:
        below.append(f"{found['undefined']} slices 0/0")
    return Cell(f"{found['value']:.4f}", tuple(below))  # accuracies differ in the last digit
