"""Curves, points and the matrix of misses as inline SVG."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from missrate.report.canvas import INK, drawn_on, legend_beside, svg_of
from missrate.report.material import PLAIN, Arm, Material, Style
from missrate.report.words import Drawing

Json = dict[str, Any]
SMOOTHED = 40
"""At most this many points of a smoothed loss curve."""
WIDE = 80
"""Up to this many lesions there is room for gaps between them."""


def tradeoff(material: Material) -> Drawing:
    """What is missed against what it costs: curves over all thresholds, or, of many arms or of masks, named points."""
    return _named_points(material) if material.many else _curves(material)


def _curves(material: Material) -> Drawing:
    """Voxel miss rate against voxel precision over all thresholds, with the primary point of each arm."""
    curves: Json = material.comparison["curves"]
    with drawn_on(7.2, 4.4) as (figure, (panel,)):
        for arm in material.arms:
            rows = _rows(curves.get(arm.name, {}).get("voxel_miss_rate_precision", []))
            if rows.size:
                panel.plot(rows[:, 1], rows[:, 0], **_line(arm, rows))
            _mark_point(panel, arm)
        panel.set(xlabel="voxel precision (right: fewer false alarms)", ylabel="voxel miss rate (down: misses less)")
        panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        legend_beside(figure, panel)
        svg = svg_of(figure, "tradeoff")
    empty = "" if any(c.get("voxel_miss_rate_precision") for c in curves.values()) else "There is no lesion to miss."
    lines = (
        "One mark per arm, since masks have no threshold to sweep. Better is to the right and down. Of two arms of "
        "which one is further right and the other further down, neither is better: each pays for what it gains. Marks "
        "carry no interval here; the forest above shows them."
        if material.masks
        else "Each line sweeps the threshold of one arm; the large mark is its primary operating point. Better is to "
        "the right and down. A lower miss rate on the same line was paid for with precision; only a line below "
        "another is a better model. Lines carry no interval."
    )
    return Drawing("Miss rate against precision", svg, f"{lines} {_rests_on(material)}", empty)


def _named_points(material: Material) -> Drawing:
    """The primary point of every arm at voxel and lesion level, each with its name at the right margin."""
    shown = material.trained_arms()
    kinds = [
        ("voxel_precision", "voxel_miss_rate", "voxel precision (right is better)", "voxel miss rate (down is better)"),
        (
            "false_positives_per_scan",
            "lesion_miss_rate",
            "false positives per scan, logarithmic above 1 (left is better)",
            "lesion miss rate (down is better)",
        ),
    ]
    with drawn_on(10.6, 1.0 + 0.17 * len(shown), 1, 2) as (figure, panels):
        for panel, (across, up, xlabel, ylabel) in zip(panels, kinds, strict=True):
            points = [(arm, _value(arm, across), _value(arm, up)) for arm in shown]
            known = [(arm, x, y) for arm, x, y in points if x is not None and y is not None]
            if across.startswith("false"):
                panel.set_xscale("symlog", linthresh=1.0)
                panel.xaxis.set_minor_locator(NullLocator())
                panel.xaxis.set_major_formatter("{x:g}")
            _label_points(panel, known)
            panel.set(xlabel=xlabel, ylabel=ylabel)
        svg = svg_of(figure, "tradeoff")
    empty = "" if any(_value(arm, "voxel_miss_rate") is not None for arm in shown) else "There is no lesion to miss."
    read = (
        "One mark per arm at its primary operating point, joined to its name; the axes show only where marks lie and "
        "do not begin at 0. Of two arms of which one misses less and the other costs less, neither is better. Marks "
        f"carry no interval here; the forest above shows them. Null arms are left out. {_rests_on(material)}"
    )
    return Drawing("Miss rate against its cost", svg, read, empty)


def _label_points(panel: Axes, points: list[tuple[Arm, float, float]]) -> None:
    """Marks, and their names in a column at the right, in the order of the marks' heights so that few lines cross."""
    if not points:
        return
    ordered = sorted(points, key=lambda point: (-point[2], -point[1]))
    heights = np.linspace(0.99, 0.01, len(ordered)) if len(ordered) > 1 else [0.5]
    for (arm, x, y), height in zip(ordered, heights, strict=True):
        panel.annotate(
            arm.name,
            (x, y),
            (1.04, height),
            textcoords="axes fraction",
            va="center",
            fontsize=7.5,
            color=arm.style.colour if arm.style.colour != PLAIN else INK,
            arrowprops={"arrowstyle": "-", "color": "#c9c9c9", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
        )
        panel.plot([x], [y], arm.style.marker, color=arm.style.colour, markersize=5, zorder=3)
    panel.margins(0.05)


def _rests_on(material: Material) -> str:
    summary = material.arms[0].summary
    return f"n: {summary['cases']} cases of {summary['patients']} patients with {summary['lesions']} lesions."


def _value(arm: Arm, metric: str) -> float | None:
    value: float | None = arm.summary["metrics"].get(metric, {}).get("pooled", {}).get("value")
    return value


def froc(material: Material) -> Drawing:
    """The FROC of the threshold sweep, by count and by volume of false positives."""
    if material.masks:
        reason = "Left out: the predictions are masks, so each arm has one point, shown above, and no curve."
        return Drawing("FROC: lesions found against false positives", "", "A FROC needs scores.", reason)
    curves: Json = material.comparison["curves"]
    kinds = [("froc_by_count", "false positives per scan"), ("froc_by_volume", "false positive ml per scan")]
    with drawn_on(10.6, 3.9, 1, 2, sharey=True) as (figure, panels):
        for panel, (kind, label) in zip(panels, kinds, strict=True):
            drawn = [(arm, _rows(curves.get(arm.name, {}).get(kind, []))) for arm in material.arms]
            for arm, rows in drawn:
                if rows.size:
                    panel.plot(rows[:, 0], rows[:, 1], **_line(arm, rows, named=not material.many))
            # Linear up to a tenth, so that 0 has a place.
            panel.set_xscale("symlog", linthresh=0.1, linscale=0.4)
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter("{x:g}")
            panel.set(xlabel=f"{label} (logarithmic above .1)", xlim=(0, None), ylim=(-0.02, 1.02))
            if not any(rows.size for _, rows in drawn):
                panel.text(0.5, 0.5, "no millimetres or no lesion", ha="center", transform=panel.transAxes)
        panels[0].set_ylabel("share of lesions found")
        if not material.many:
            legend_beside(figure, panels[0])
        svg = svg_of(figure, "froc")
    empty = "" if any(c.get("froc_by_count") for c in curves.values()) else "There is no lesion to find."
    read = (
        "The threshold sweep curve: at each threshold the map is cut anew into candidates (any overlap finds a "
        "lesion); a FROC that sweeps the score of fixed candidates is another curve. Up and to the left is better. "
        "The left panel can flatter: at low thresholds candidates merge into few huge ones, and the line turns "
        f"back. Volume, on the right, cannot be gamed that way. Curves carry no interval. {_rests_on(material)}"
    )
    if material.many:
        read += f" Orange: {material.comparison['against']}, the reference; grey: null arms; blue: all others."
    return Drawing("FROC: lesions found against false positives", svg, read, empty)


def matrix(material: Material) -> Drawing:
    """Which lesion is missed by which arm: one column a lesion, ordered by size."""
    rows = material.lesions()
    place = {(row["case_id"], row["lesion"]): x for x, row in enumerate(rows)}
    half = 0.4 if len(rows) <= WIDE else 0.5
    with drawn_on(10.6, 0.9 + (0.19 if material.many else 0.25) * len(material.arms)) as (figure, (panel,)):
        for y, arm in enumerate(material.arms):
            missed = sorted(place[row["case_id"], row["lesion"]] for row in arm.missed())
            asked = sorted(place[row["case_id"], row["lesion"]] for row in arm.lesions)
            _bricks(panel, asked, y, "#efefef", half=0.5)
            _bricks(panel, missed, y, arm.style.colour, half=half)
        panel.set_yticks(range(len(material.arms)), [arm.name for arm in material.arms])
        panel.set(xlim=(-1, len(rows)), ylim=(len(material.arms) - 0.4, -0.6))
        shown = sorted({round(i) for i in np.linspace(0, len(rows) - 1, 9)}) if rows else []
        panel.set_xticks(shown, [_size(rows[x]) for x in shown])
        panel.grid(visible=False)
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel("lesions from the smallest to the largest (diameter, mm)")
        svg = svg_of(figure, "matrix")
    empty = "" if rows else "There is no lesion to miss."
    read = (
        "One column per lesion, the same in every row; coloured: missed by that arm at its primary point; pale: found; "
        "white: no result of that case. A column coloured in all rows is a lesion that no arm sees; a lone mark is one "
        "that another arm would have found. It does not show false positives: an arm without marks may be one that "
        "marks everything. "
        f"{_rests_on(material)}"
    )
    return Drawing("Who misses which lesion", svg, read, empty)


def _bricks(panel: Axes, columns: list[int], y: int, colour: str, *, half: float) -> None:
    """Bricks of twice ``half`` in row ``y``, all of them one path: thousands of paths would make a large file."""
    if not columns:
        return
    touching = half >= 0.5  # neighbours then are one brick
    starts = [x for i, x in enumerate(columns) if not (touching and i and columns[i - 1] == x - 1)]
    ends = [x for i, x in enumerate(columns) if not (touching and i + 1 < len(columns) and columns[i + 1] == x + 1)]
    corners = [
        [(a - half, y - 0.36), (b + half, y - 0.36), (b + half, y + 0.36), (a - half, y + 0.36), (a - half, y - 0.36)]
        for a, b in zip(starts, ends, strict=True)
    ]
    path = Outline.make_compound_path(*(Outline(each, closed=True) for each in corners))
    panel.add_patch(PathPatch(path, facecolor=colour, edgecolor="none"))


def losses(material: Material) -> Drawing:
    """Training loss of every run, smoothed, with validation losses where there are any."""
    with drawn_on(7.2, 3.6) as (figure, (panel,)):
        drawn = 0
        for name, runs in material.runs.items():
            for fold, run in enumerate(runs):
                drawn += _loss(panel, run.log, material.styles[name], name if fold == 0 else "_")
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set(xlabel="optimiser step", ylabel="training loss", xlim=(0, None))
        if drawn:
            legend_beside(figure, panel)
        svg = svg_of(figure, "losses") if drawn else ""
    read = (
        "Lines: means over windows of steps; open marks: loss on validation patients, if the study has any. Look "
        "for lines that still fall at their end: those arms were cut short. Heights of different models and losses "
        "cannot be compared, and a low loss is not a low miss rate."
    )
    return Drawing("Loss during training", svg, read, "" if drawn else "No run left a log.")


def _mark_point(panel: Axes, arm: Arm) -> None:
    metrics = arm.summary["metrics"]
    values = [metrics.get(name, {}).get("pooled", {}).get("value") for name in ("voxel_precision", "voxel_miss_rate")]
    if None not in values:
        panel.plot(
            *([v] for v in values), arm.style.marker, color=arm.style.colour, markersize=8, markeredgecolor="white"
        )


def _line(arm: Arm, rows: np.ndarray[Any, Any], *, named: bool = True) -> Json:
    alone = {"marker": arm.style.marker} if len(np.unique(rows[:, :2], axis=0)) == 1 else {}
    width = 0.8 if not named else 1.2 if arm.null else 1.8
    return {"color": arm.style.colour, "linestyle": arm.style.line, "linewidth": width, "label": arm.name, **alone}


def _rows(values: list[list[float]]) -> np.ndarray[Any, Any]:
    return np.array(values, np.float64).reshape(-1, 3)


def _size(row: dict[str, str]) -> str:
    return f"{float(row['diameter_mm']):.0f}" if row["diameter_mm"] else f"{row['voxels']} voxels"


def _loss(panel: Axes, log: list[Json], style: Style, label: str) -> int:
    """Draws one run; 1 if there was something to draw. Other keys and other rows are left alone."""
    steps = [(row["step"], value) for row in log if (value := _total(row.get("loss", row.get("losses")))) is not None]
    checks = [
        (row["step"], v) for row in log if (v := _total(row.get("validation_loss", row.get("validation")))) is not None
    ]
    if not steps:
        return 0
    pieces = np.array_split(np.array(steps, np.float64), min(SMOOTHED, len(steps)))
    means = np.array([piece.mean(axis=0) for piece in pieces])
    panel.plot(means[:, 0], means[:, 1], color=style.colour, linestyle=style.line, linewidth=1.6, label=label)
    if checks:
        panel.plot(*np.array(checks, np.float64).T, style.marker, color=style.colour, markersize=4, fillstyle="none")
    return 1


def _total(value: Any) -> float | None:
    """One number of a log row: a loss, or the sum of the losses by name; None where it is absent or was infinite."""
    if isinstance(value, dict):
        parts = list(value.values())
        return None if not parts or None in parts else float(sum(parts))
    return None if value is None else float(value)
