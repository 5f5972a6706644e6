"""Curves and dots as inline SVG. Bytes depend on the numbers alone; text stays text, in the reader's own font."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from missrate.report.material import Arm, Material, Style, size
from missrate.report.words import Drawing

Json = dict[str, Any]
INK = "#222222"
LOOK: Any = {
    "svg.hashsalt": "missrate",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#eeeeee",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
}
FOREST = [
    ("voxel miss rate", "voxel_miss_rate"),
    ("slice miss rate", "slice_miss_rate"),
    ("lesion miss rate", "lesion_miss_rate"),
    ("patient miss rate", "patient_miss_rate"),
    ("voxel precision", "voxel_precision"),
]
SMOOTHED = 40
"""At most this many points of a smoothed loss curve."""


def forest(material: Material) -> Drawing:
    """A dot with its interval for every arm and level, at each arm's primary point."""
    arms = material.arms
    with _figure(10.6, 0.9 + 0.27 * len(arms), 1, len(FOREST), sharey=True) as (figure, panels):
        for panel, (head, metric) in zip(panels, FOREST, strict=True):
            for row, arm in enumerate(arms):
                block = arm.summary["metrics"].get(metric, {}).get("pooled", {})
                _dot(panel, row, block, arm.style)
            panel.set(title=head, xlim=(-0.03, 1.03), xticks=[0, 0.5, 1], xticklabels=["0", ".5", "1"])
            panel.title.set_fontsize(9)
            panel.tick_params(axis="y", length=0)
        panels[0].set_ylim(len(arms) - 0.4, -0.6)
        panels[0].set_yticks(range(len(arms)), [arm.name for arm in arms])
        svg = _svg(figure, "forest")
    read = (
        "One row per arm at its own primary operating point; dot: pooled value, bar: 95 % interval. In the first "
        "four panels left is better, in the last right is better: read them together. It cannot say whether two "
        "arms differ, since the same patients stand behind both; the paired differences below can."
    )
    return Drawing("The four levels at a glance", svg, read)


def tradeoff(material: Material) -> Drawing:
    """Voxel miss rate against voxel precision over all thresholds, with the primary point of each arm."""
    curves: Json = material.comparison["curves"]
    with _figure(7.2, 4.4) as (figure, (panel,)):
        for arm in material.arms:
            rows = _rows(curves.get(arm.name, {}).get("voxel_miss_rate_precision", []))
            if rows.size:
                panel.plot(rows[:, 1], rows[:, 0], **_line(arm, rows))
            _mark_point(panel, arm)
        panel.set(xlabel="voxel precision (right: fewer false alarms)", ylabel="voxel miss rate (down: misses less)")
        panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _legend(figure, panel)
        svg = _svg(figure, "tradeoff")
    empty = "" if any(c.get("voxel_miss_rate_precision") for c in curves.values()) else "There is no lesion to miss."
    read = (
        "Each line sweeps the threshold of one arm; the large mark is its primary operating point. Better is to "
        "the right and down. A lower miss rate on the same line was paid for with precision; only a line below "
        "another is a better model. Lines carry no interval."
    )
    return Drawing("Miss rate against precision", svg, read, empty)


def froc(material: Material) -> Drawing:
    """The FROC of the threshold sweep, by count and by volume of false positives."""
    curves: Json = material.comparison["curves"]
    kinds = [("froc_by_count", "false positives per scan"), ("froc_by_volume", "false positive ml per scan")]
    with _figure(10.6, 3.9, 1, 2, sharey=True) as (figure, panels):
        for panel, (kind, label) in zip(panels, kinds, strict=True):
            drawn = [(arm, _rows(curves.get(arm.name, {}).get(kind, []))) for arm in material.arms]
            for arm, rows in drawn:
                if rows.size:
                    panel.plot(rows[:, 0], rows[:, 1], **_line(arm, rows))
            # Linear up to a tenth, so that 0 has a place.
            panel.set_xscale("symlog", linthresh=0.1, linscale=0.4)
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter("{x:g}")
            panel.set(xlabel=f"{label} (logarithmic above .1)", xlim=(0, None), ylim=(-0.02, 1.02))
            if not any(rows.size for _, rows in drawn):
                panel.text(0.5, 0.5, "no millimetres or no lesion", ha="center", transform=panel.transAxes)
        panels[0].set_ylabel("share of lesions found")
        _legend(figure, panels[0])
        svg = _svg(figure, "froc")
    empty = "" if any(c.get("froc_by_count") for c in curves.values()) else "There is no lesion to find."
    read = (
        "The threshold sweep curve: at each threshold the map is cut anew into candidates (any overlap finds a "
        "lesion); a FROC that sweeps the score of fixed candidates is another curve. Up and to the left is better. "
        "The left panel can flatter: at low thresholds candidates merge into few huge ones, and the line turns "
        "back. Volume, on the right, cannot be gamed that way. Curves carry no interval."
    )
    return Drawing("FROC: lesions found against false positives", svg, read, empty)


def matrix(material: Material) -> Drawing:
    """Which lesion is missed by which arm: one column a lesion, ordered by size."""
    rows = material.arms[0].lesions
    order = sorted(range(len(rows)), key=lambda i: (size(rows[i]), rows[i]["case_id"], int(rows[i]["lesion"])))
    place = {(rows[i]["case_id"], rows[i]["lesion"]): x for x, i in enumerate(order)}
    width = max(0.8, min(30.0, 500 / max(len(rows), 1)))  # points; all columns together span about 650
    with _figure(10.6, 0.9 + 0.25 * len(material.arms)) as (figure, (panel,)):
        for y, arm in enumerate(material.arms):
            missed = [place[row["case_id"], row["lesion"]] for row in arm.missed()]
            panel.vlines(range(len(rows)), y - 0.36, y + 0.36, colors="#efefef", linewidth=width)
            panel.vlines(missed, y - 0.36, y + 0.36, colors=arm.style.colour, linewidth=width)
        panel.set_yticks(range(len(material.arms)), [arm.name for arm in material.arms])
        panel.set(xlim=(-1, len(rows)), ylim=(len(material.arms) - 0.4, -0.6))
        shown = sorted({round(i) for i in np.linspace(0, len(rows) - 1, 9)}) if rows else []
        panel.set_xticks(shown, [_size(rows[order[x]]) for x in shown])
        panel.grid(visible=False)
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel("lesions from the smallest to the largest (diameter, mm)")
        svg = _svg(figure, "matrix")
    empty = "" if rows else "There is no lesion to miss."
    read = (
        "One column per lesion, the same in every row; coloured: missed by that arm at its primary point; pale: found. "
        "A column coloured in all rows is a lesion that no arm sees; a lone mark is one that another arm would have "
        "found. It does not show false positives: an arm without marks may be one that marks everything."
    )
    return Drawing("Who misses which lesion", svg, read, empty)


def losses(material: Material) -> Drawing:
    """Training loss of every run, smoothed, with validation losses where there are any."""
    with _figure(7.2, 3.6) as (figure, (panel,)):
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
            _legend(figure, panel)
        svg = _svg(figure, "losses") if drawn else ""
    read = (
        "Lines: means over windows of steps; open marks: loss on validation patients, if the study has any. Look "
        "for lines that still fall at their end: those arms were cut short. Heights of different models and losses "
        "cannot be compared, and a low loss is not a low miss rate."
    )
    return Drawing("Loss during training", svg, read, "" if drawn else "No run left a log.")


def _dot(panel: Axes, row: int, block: Json, style: Style) -> None:
    if block.get("value") is None:
        panel.text(0.5, row, "undefined", ha="center", va="center", color="#777777", fontsize=8)
        return
    if block["ci95"] is not None:
        panel.plot(block["ci95"], [row, row], color=style.colour, linewidth=2, alpha=0.55, solid_capstyle="round")
    panel.plot([block["value"]], [row], style.marker, color=style.colour, markersize=6)


def _mark_point(panel: Axes, arm: Arm) -> None:
    metrics = arm.summary["metrics"]
    values = [metrics.get(name, {}).get("pooled", {}).get("value") for name in ("voxel_precision", "voxel_miss_rate")]
    if None not in values:
        panel.plot(
            *([v] for v in values), arm.style.marker, color=arm.style.colour, markersize=8, markeredgecolor="white"
        )


def _line(arm: Arm, rows: np.ndarray[Any, Any]) -> Json:
    alone = {"marker": arm.style.marker} if len(np.unique(rows[:, :2], axis=0)) == 1 else {}
    width = 1.2 if arm.null else 1.8
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


@contextmanager
def _figure(
    width: float, height: float, rows: int = 1, columns: int = 1, *, sharey: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    with rc_context(LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
        yield figure, list(panels.ravel())


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", handlelength=2.6)


def _svg(figure: Figure, name: str) -> str:
    """The bare ``<svg>`` element; ids begin with ``name``, since many figures share one page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
