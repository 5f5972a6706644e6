"""Forests: one row per arm, a dot with its interval in every panel. The main figures where there are many arms."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from missrate.report.canvas import drawn_on, svg_of
from missrate.report.material import Arm, Material, Style
from missrate.report.tables import band_words, bands_of
from missrate.report.words import Drawing, counted

Json = dict[str, Any]
FOREST = [
    ("voxel miss rate", "voxel_miss_rate"),
    ("slice miss rate", "slice_miss_rate"),
    ("lesion miss rate", "lesion_miss_rate"),
    ("patient miss rate", "patient_miss_rate"),
    ("voxel precision", "voxel_precision"),
]
DIFFERENCES = [
    ("voxel miss rate", "voxel_miss_rate"),
    ("lesion miss rate", "lesion_miss_rate"),
    ("patient miss rate", "patient_miss_rate"),
    ("voxel precision", "voxel_precision"),
]


@dataclass(frozen=True, slots=True)
class _Dot:
    """A value with its interval; ``hollow`` where it is not separable from no difference. No value: undefined."""

    value: float | None
    ci95: tuple[float, float] | None
    hollow: bool = False


_Panel = tuple[str, list[_Dot]]


def forest(material: Material) -> Drawing:
    """Every arm and level, at each arm's primary point."""
    panels = [(head, _dots(material, metric)) for head, metric in FOREST]
    order = "sorted by lesion miss rate" if material.many else "in the study's order"
    read = (
        f"One row per arm ({order}) at its own primary operating point; dot: pooled value, bar: 95 % interval, from "
        f"{_resampled(material)} (patients: Clopper-Pearson). In the first four panels left is better, in the last "
        "right is better: read them together. It cannot say whether two arms differ, since the same patients stand "
        f"behind both; the paired differences below can.{_zoomed(material)}"
    )
    return Drawing("The four levels at a glance", _forest(material, panels, "forest"), read)


def bands(material: Material) -> Drawing:
    """Lesion miss rate by size of the lesions, with the precision beside it."""
    known = [arm for arm in material.arms if arm.summary["metrics"]]
    panels = []
    for band in bands_of(material):
        by_arm = {arm.name: arm.summary["metrics"]["lesion_miss_rate"]["by_diameter_mm"][band] for arm in known}
        count = max((block["denominator"] for block in by_arm.values()), default=0)
        dots = [_dot(by_arm.get(arm.name, {})) for arm in _shown(material)]
        if count:
            panels.append((f"{band_words(band)}: {counted(count, 'lesion')}", dots))
    empty = "" if any(dot.value is not None for _, dots in panels for dot in dots) else "No lesion has millimetres."
    panels.append(("voxel precision", _dots(material, "voxel_precision")))
    read = (
        "Lesion miss rate of the lesions in each band of diameter (sphere of equal volume), at each arm's primary "
        f"operating point; bar: 95 % interval from {_resampled(material)}. Left is better, but not in the last panel: "
        "it says what the miss rates cost. Wide bars mean few lesions, or lesions in few patients."
        f"{_zoomed(material)}"
    )
    svg = "" if empty else _forest(material, panels, "bands")
    return Drawing("Lesion miss rate by size of the lesions", svg, read, empty)


def differences(material: Material) -> Drawing:
    """Every arm minus the reference arm, paired by patient."""
    against, compared = material.comparison["against"], material.comparison["comparisons"]
    names = [
        arm.name for arm in material.arms if not arm.null and "reason" not in compared.get(arm.name, {"reason": 1})
    ]
    panels = []
    for head, metric in DIFFERENCES:
        blocks = [compared[name]["metrics"].get(metric, {}).get("pooled") for name in names]
        panels.append((head, [_difference(block) for block in blocks]))
    read = (
        f"Arm minus {against}, each at its primary operating point; bar: 95 % interval, patients resampled in both "
        f"arms together ({_resampled(material)}). Filled: separable, that is p at most .05 after Holm's correction "
        f"over the {len(names)} comparisons; hollow: not separable, which does not mean equal. A bar that leaves "
        "out 0 may still be hollow, since it knows nothing of the other comparisons. Left of the line the "
        "arm misses less; in the last panel it is less precise. Null arms stand in the table only."
    )
    empty = "" if names else "There is no other arm to compare with the reference arm."
    svg = "" if empty else _forest(material, panels, "differences", names=names, signed=True)
    return Drawing(f"Differences from {against} at a glance", svg, read, empty)


def _shown(material: Material) -> list[Arm]:
    """Null arms lie at the ends of the axes: with many arms they would leave too little room for all others."""
    return material.trained_arms() if material.many else material.arms


def _zoomed(material: Material) -> str:
    return " Each axis shows only where arms lie. Null arms stand in the tables." if material.many else ""


def _resampled(material: Material) -> str:
    summary = material.arms[0].summary
    return (
        f"{summary['resamples']} resamples of {summary['patients']} patients with {summary['lesions']} lesions in "
        f"{summary['cases']} cases"
    )


def _dots(material: Material, metric: str) -> list[_Dot]:
    return [_dot(arm.summary["metrics"].get(metric, {}).get("pooled", {})) for arm in _shown(material)]


def _dot(block: Json) -> _Dot:
    interval = block.get("ci95")
    return _Dot(block.get("value"), None if interval is None else (interval[0], interval[1]))


def _difference(block: Json | None) -> _Dot:
    if block is None:
        return _Dot(None, None)
    interval = block["ci95"]
    return _Dot(
        block["difference"], None if interval is None else (interval[0], interval[1]), not block.get("separable")
    )


def _forest(
    material: Material, panels: list[_Panel], name: str, *, names: list[str] | None = None, signed: bool = False
) -> str:
    shown = [arm.name for arm in _shown(material)] if names is None else names
    row = 0.19 if material.many else 0.27
    with drawn_on(10.6, 0.9 + row * len(shown), 1, len(panels), sharey=True) as (figure, axes):
        for panel, (head, dots) in zip(axes, panels, strict=True):
            _fill(panel, dots, [material.styles[each] for each in shown])
            panel.set_title(head, fontsize=9)
            panel.tick_params(axis="y", length=0)
            panel.yaxis.grid(visible=False)
            if signed:
                panel.axvline(0, color="#999999", linewidth=1, zorder=0)
            elif not material.many:
                panel.set(xlim=(-0.03, 1.03), xticks=[0, 0.5, 1], xticklabels=["0", ".5", "1"])
        axes[0].set_ylim(len(shown) - 0.4, -0.6)
        axes[0].set_yticks(range(len(shown)), shown)
        return svg_of(figure, name)


def _fill(panel: Axes, dots: list[_Dot], styles: list[Style]) -> None:
    """One collection for all bars of a panel and one line per look of dots: many artists make a large file."""
    known = [(row, dot) for row, dot in enumerate(dots) if dot.value is not None]
    bars = [(row, dot.ci95) for row, dot in known if dot.ci95 is not None]
    colours = [styles[row].colour for row, _ in bars]
    lows, highs = [span[0] for _, span in bars], [span[1] for _, span in bars]
    panel.hlines([row for row, _ in bars], lows, highs, colors=colours, linewidth=2, alpha=0.45)
    for style, hollow in sorted({(styles[row], dot.hollow) for row, dot in known}, key=str):
        same = [(dot.value, row) for row, dot in known if (styles[row], dot.hollow) == (style, hollow)]
        panel.add_line(_marks(same, style, hollow))
    for row, dot in enumerate(dots):
        if dot.value is None:
            across = panel.get_yaxis_transform()
            panel.text(0.5, row, "undefined", ha="center", va="center", color="#777777", fontsize=8, transform=across)
    panel.autoscale_view()


def _marks(points: list[tuple[float | None, int]], style: Style, hollow: bool) -> Line2D:
    values, rows = [value for value, _ in points if value is not None], [row for _, row in points]
    face = "white" if hollow else style.colour
    size = 7 if style.marker == "." else 5
    return Line2D(
        values,
        rows,
        linestyle="",
        marker=style.marker,
        color=style.colour,
        markerfacecolor=face,
        markersize=size,
        zorder=3,
    )
