"""The price of a promise: what each promised miss rate costs in false positives, on the calibration patients."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from missrate.report.canvas import drawn_on, legend_beside, svg_of
from missrate.report.material import Material, Style
from missrate.report.words import Drawing

Json = dict[str, Any]
AXES = {
    "false_positives_per_scan": "false positives per scan",
    "false_positive_ml_per_scan": "false-positive ml per scan",
}
TITLE = "The price of a promise"


def drawing(material: Material) -> Drawing | None:
    """Return the figure of all arms, null arms left out; None where the study promises nothing."""
    arms = [arm for arm in material.trained_arms() if arm.name in material.promises]
    if not arms:
        return None
    promises = {arm.name: material.promises[arm.name] for arm in arms}
    return of_promises(promises, {arm.name: arm.style for arm in arms})


def of_promises(promises: dict[str, Json], styles: dict[str, Style]) -> Drawing:
    """Return a line an arm, a step at every promise that could be made; the mark is the one that was asked for.

    ``promises`` holds the files of the certified points: ``price``, ``certificate``, ``reason``, ``target``.
    """
    rows = [row for promise in promises.values() for row in promise["price"]]
    axes = {kind: label for kind, label in AXES.items() if any(row[kind] is not None for row in rows)} or AXES
    with drawn_on(3.2 + 3.9 * len(axes), 3.9, 1, len(axes)) as (figure, panels):
        for panel, (kind, label) in zip(panels, axes.items(), strict=True):
            for name, promise in promises.items():
                _line(panel, promise, kind, name, styles[name])
            # Linear up to a tenth, so that 0 has a place.
            panel.set_yscale("symlog", linthresh=0.1, linscale=0.4)
            panel.yaxis.set_minor_locator(NullLocator())
            panel.yaxis.set_major_formatter("{x:g}")
            panel.set(xlabel="promised miss rate, at most", ylabel=f"{label} (logarithmic above .1)", xlim=(0, 0.51))
            panel.set_ylim(bottom=0)
        legend_beside(figure, panels[0])
        svg = svg_of(figure, "price")
    empty = "" if any(promise["price"] for promise in promises.values()) else " ".join(_refusals(promises))
    read = (
        "Each step is a promise that these calibration patients can bear, and what its threshold costs on the same "
        "patients. A line begins at the strictest promise that can be made at all; the large mark is the promise that "
        "was asked for, hollow where it is empty. Each promise holds by itself: who picks one from this figure has "
        "chosen on the calibration patients, and needs others to certify it. " + " ".join(_told(promises))
    )
    return Drawing(TITLE, svg, read.strip(), empty)


def _line(panel: Axes, promise: Json, kind: str, name: str, style: Style) -> None:
    rows = [(row["miss_rate"], row[kind]) for row in promise["price"] if row[kind] is not None]
    if not rows:
        return
    rate, price = np.array(rows).T
    panel.plot(rate, price, drawstyle="steps-post", color=style.colour, linestyle=style.line, label=name)
    certificate = promise["certificate"]
    if certificate and certificate[kind] is not None:
        face = "white" if certificate["empty"] else style.colour
        mark: Any = {"marker": style.marker, "markersize": 8, "markerfacecolor": face, "color": style.colour}
        mark["clip_on"] = False  # a promise that costs nothing lies on the axis
        panel.plot([certificate["miss_rate"]], [certificate[kind]], linestyle="none", **mark)


def _told(promises: dict[str, Json]) -> list[str]:
    """A sentence an arm whose promise is empty, or was refused."""
    empty = [
        f"{name}: an empty promise, {promise['certificate']['empty']}."
        for name, promise in promises.items()
        if promise["certificate"] and promise["certificate"]["empty"]
    ]
    return [*empty, *(_refusals(promises) if any(promise["price"] for promise in promises.values()) else [])]


def _refusals(promises: dict[str, Json]) -> list[str]:
    return [
        f"{name}: no promise, {promise['reason']}." for name, promise in promises.items() if not promise["certificate"]
    ]
