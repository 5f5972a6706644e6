"""The paper that figures are drawn on, as inline SVG: bytes depend on the numbers alone, and text stays text."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#222222"
LOOK: Any = {
    "svg.hashsalt": "missrate",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are what people wrote: "$" is a dollar sign
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


@contextmanager
def drawn_on(
    width: float, height: float, rows: int = 1, columns: int = 1, *, sharey: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of this size in inches and its panels, row by row."""
    with rc_context(LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
        yield figure, list(panels.ravel())


def legend_beside(figure: Figure, panel: Axes) -> None:
    """The labels of a panel, outside it."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", handlelength=2.6)


def svg_of(figure: Figure, name: str) -> str:
    """The bare ``<svg>`` element; ids begin with ``name``, since many figures share one page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
