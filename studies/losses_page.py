"""Tables and figures of docs/results/losses.md from a finished run of studies/losses.toml.

Usage: python studies/losses_page.py FOLDER (the study's --out). Replaces what stands between the page's markers.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

Json = dict[str, Any]
PAGE = Path(__file__).parents[1] / "docs" / "results" / "losses.md"
BANDS = ("<10", "10-20", ">=20")
NAMED = ("WCE", "SS", "pGDice", "Tversky", "ExpLog", "DiceCE", "CE", "Focal", "2-DiceTopK10", "2-Dice", "TopK50")
"""The networks that the cost figure names: all 33 names would cover one another."""
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"


def read(folder: Path) -> tuple[dict[str, Json], Json]:
    """Every arm's summary, and the comparison."""
    comparison = json.loads((folder / "comparison" / "comparison.json").read_text())
    arms = [arm for arm in comparison["arms"] if arm != "nothing"]
    return {arm: json.loads((folder / "evaluation" / arm / "summary.json").read_text()) for arm in arms}, comparison


def block(summary: Json, metric: str, average: str = "pooled", rule: str = "overlap") -> Json:
    """One block at the primary point."""
    entry = next(e for e in (summary, *summary["also"]) if e["matching"]["rule"] == rule)
    found: Json = entry["metrics"][metric][average]
    return found


def number(found: Json, digits: int = 3, *, spread: bool = False) -> str:
    """A value without its leading zero, and its interval where asked."""

    def short(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.{digits}f}".replace("0.", ".", 1 if abs(value) < 1 else 0)

    return short(found["value"]) + (f" [{short(found['ci95'][0])}, {short(found['ci95'][1])}]" if spread else "")


def verdict(comparison: Json, arm: str, metric: str, average: str = "pooled") -> str:
    """How the arm differs from the reference arm: + misses more, - misses fewer, nothing: not separable (Holm)."""
    if arm == comparison["against"]:
        return "reference"
    found = comparison["comparisons"][arm]["metrics"][metric][average]
    return "" if not found["separable"] else f"{found['difference']:+.3f}".replace("0.", ".")


def table(summaries: dict[str, Json], comparison: Json) -> str:
    """One row per network, fewest missed lesions first (pancreas: fewest missed voxels)."""
    by = "lesion_miss_rate" if comparison["lesions"] > 2 * comparison["patients"] else "voxel_miss_rate"
    head = ["loss", "voxel miss rate", "slice", "lesion, any overlap", "lesion, IoU >= .1", *(f"{b} mm" for b in BANDS)]
    head += ["patient", "voxel precision", "Dice, mean", "FP per scan", "FP ml per scan", "lesion diff.", "voxel diff."]
    rows = [head, ["---"] * len(head)]
    for arm in sorted(summaries, key=lambda a: (block(summaries[a], by)["value"], a)):
        one = summaries[arm]
        bands = block(one, "lesion_miss_rate", "by_diameter_mm")
        row = [arm, number(block(one, "voxel_miss_rate"), spread=True), number(block(one, "slice_miss_rate"))]
        row += [number(block(one, "lesion_miss_rate"), spread=True), number(block(one, "lesion_miss_rate", rule="iou"))]
        row += [number(bands[band]) if bands[band]["denominator"] > 1 else "" for band in BANDS]
        row += [number(block(one, "patient_miss_rate"), spread=True), number(block(one, "voxel_precision"))]
        row += [number(block(one, "dice", "case_mean"), 4), number(block(one, "false_positives_per_scan"), 2)]
        row += [number(block(one, "false_positive_ml_per_scan", "case_mean"), 1)]
        row += [verdict(comparison, arm, "lesion_miss_rate"), verdict(comparison, arm, "voxel_miss_rate")]
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def ranks(comparison: Json) -> str:
    """How much the ranking is worth, metric by metric."""
    rows = [["ranked by", "first", "stays first in", "not separable from it"], ["---"] * 4]
    for metric, found in comparison["ranks"].items():
        top = found.get("top")
        if top is None:
            continue
        first = ", ".join(top) if len(top) <= 3 else f"{len(top)} networks share the first place"
        rest = f"{found['inseparable']} of {found['others']}"
        words = f"{metric}, {'mean over cases' if found['average'] == 'case_mean' else 'pooled'}"
        rows.append([words, first, f"{found['top_stays']:.0%} of resamples", rest])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def forest(summaries: dict[str, Json], comparison: Json, metric: str, words: str, out: Path) -> None:
    """A row per network: value and interval, filled where it is separable from the reference."""
    order = sorted(summaries, key=lambda a: -block(summaries[a], metric)["value"])
    figure, axes = plt.subplots(figsize=(7, 0.22 * len(order) + 1.1), layout="constrained")
    for y, arm in enumerate(order):
        found = block(summaries[arm], metric)
        separable = verdict(comparison, arm, metric) not in ("", "reference")
        colour = ORANGE if separable else BLUE
        axes.plot(found["ci95"], [y, y], color=colour, lw=1.2)
        axes.plot(found["value"], y, "o", color=colour, mfc=colour if separable else "white", ms=4.5)
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.set_xlabel(f"{words}, 95 % interval over {comparison['patients']} patients", fontsize=9)
    axes.set_title(f"filled orange: separable from {comparison['against']} (Holm)", fontsize=9)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)


def bands(summaries: dict[str, Json], out: Path) -> None:
    """Missed lesions by size: every network a dot, the middle one named by its number."""
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    random = np.random.default_rng(0)
    for x, band in enumerate(BANDS):
        found = {arm: block(one, "lesion_miss_rate", "by_diameter_mm")[band] for arm, one in summaries.items()}
        values = np.array([each["value"] for each in found.values()])
        axes.plot(x + random.uniform(-0.12, 0.12, values.size), values, "o", color=BLUE, alpha=0.6, ms=4)
        axes.plot([x - 0.25, x + 0.25], [np.median(values)] * 2, color=ORANGE)
        axes.text(x + 0.28, float(np.median(values)), f"{np.median(values):.2f}".lstrip("0"), va="center", fontsize=9)
    of_one = block(next(iter(summaries.values())), "lesion_miss_rate", "by_diameter_mm")
    sizes = [of_one[band]["denominator"] for band in BANDS]  # the same reference for all
    axes.set_xticks(range(len(BANDS)), [f"{b} mm (n = {n})" for b, n in zip(BANDS, sizes, strict=True)])
    axes.set_ylabel("lesion miss rate, any overlap")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(-0.5, len(BANDS) - 0.4)
    axes.set_title(f"{len(summaries)} networks; line: the median network", fontsize=9)
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)


def cost(summaries: dict[str, Json], out: Path) -> None:
    """What a low miss rate costs: voxel miss rate against precision."""
    figure, axes = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
    for arm, one in summaries.items():
        x, y = block(one, "voxel_miss_rate")["value"], block(one, "voxel_precision")["value"]
        axes.plot(x, y, "o", color=BLUE, ms=4)
        if arm in NAMED:
            axes.annotate(arm, (x, y), xytext=(4, -3), textcoords="offset points", fontsize=7, color=GREY)
    axes.margins(x=0.12)
    axes.set_xlabel("voxel miss rate, pooled (lower is better)")
    axes.set_ylabel("voxel precision, pooled (higher is better)")
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Fills the page and draws its figures."""
    mpl.rcParams |= {"svg.hashsalt": "missrate", "text.parse_math": False}
    text = PAGE.read_text(encoding="utf-8")
    for source in ("liver", "pancreas"):
        summaries, comparison = read(Path(sys.argv[1]) / source)
        parts = {f"table {source}": table(summaries, comparison), f"ranks {source}": ranks(comparison)}
        for name, content in parts.items():
            pattern = rf"(<!-- {name} -->\n)(?:(?!<!-- end).)*(<!-- end -->)"
            text = re.sub(pattern, lambda m, c=content: m[1] + c + "\n" + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
        metric = "lesion_miss_rate" if source == "liver" else "voxel_miss_rate"
        words = "lesion miss rate, any overlap" if source == "liver" else "voxel miss rate"
        forest(summaries, comparison, metric, words, PAGE.with_name(f"losses-{source}.svg"))
        cost(summaries, PAGE.with_name(f"losses-{source}-cost.svg"))
        if source == "liver":
            bands(summaries, PAGE.with_name("losses-liver-size.svg"))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
