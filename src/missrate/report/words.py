"""Numbers as a reader sees them: fixed digits, an interval, n, and "undefined (k)" instead of a blank."""

from dataclasses import dataclass
from math import ceil, log10
from typing import Any

from missrate.report.material import Arm, Style

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: the number, smaller lines below it, and how it looks."""

    text: str
    below: tuple[str, ...] = ()
    kind: str = "number"
    span: int = 1
    style: Style | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with what it shows above it and how to read it below. ``groups`` are (title, columns) over the head."""

    title: str
    head: list[str]
    rows: list[list[Cell]]
    read: str
    groups: list[tuple[str, int]]

    @property
    def kinds(self) -> list[str]:
        """How the cells below each head look: words to the left, numbers to the right."""
        for row in self.rows:
            if len(row) == len(self.head):
                return ["text" if cell.kind == "text" else "number" for cell in row]
        return ["number"] * len(self.head)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure as SVG, what it shows, and how to read it; ``empty`` says why there is nothing to draw."""

    title: str
    svg: str
    read: str
    empty: str = ""


def share(value: float) -> str:
    """A share with three decimals, and with more where it would only round to 0 or 1."""
    apart = min(abs(value), abs(1.0 - value))
    return f"{value:.3f}" if apart == 0.0 or apart >= 0.0005 else f"{value:.{min(9, ceil(-log10(apart)))}f}"


def amount(value: float) -> str:
    """A count per scan, millilitres or millimetres: about three digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    if 0.0 < abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def signed(value: float) -> str:
    """A difference of shares, with a real minus sign; 0 has no sign."""
    return f"{value:+.3f}".replace("-", "−") if abs(value) >= 0.0005 else "0.000"


def signed_amount(value: float) -> str:
    """A difference of counts or millilitres."""
    return ("−" if value < 0 else "+") + amount(abs(value)) if abs(value) >= 0.0005 else "0.00"


def p_value(value: float | None) -> str:
    """A p value; never 0."""
    if value is None:
        return "undefined"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1."""
    return not metric.startswith("false_positive")


def block_cell(block: Json | None, metric: str) -> Cell:
    """Value, 95 % interval, n and how many were undefined, of one block of ``summary.json``."""
    if block is None:
        return Cell("undefined (all)", ("not measured",), "undefined")
    form = share if is_share(metric) else amount
    value, interval = block.get("value"), block.get("ci95")
    if value is None:
        k = block.get("undefined", block.get("n", 0)) or block.get("n", 0)
        return Cell(f"undefined ({k})", (block["reason"],) if block.get("reason") else (), "undefined")
    spread = "no interval" if interval is None else f"{form(interval[0])}–{form(interval[1])}"
    counts = [f"{_many(block['numerator'])} / {_many(block['denominator'])}"] if "denominator" in block else []
    n = f"n {block['n']}" + (f", undefined ({block['undefined']})" if block.get("undefined") else "")
    return Cell(form(value), (spread, *counts, n))


def _many(count: int) -> str:
    if count >= 10_000_000:
        return f"{count / 1e6:.0f}M"
    return f"{count / 1e3:.0f}k" if count >= 10_000 else str(count)


def arm_cell(arm: Arm, reference: str | None = None) -> Cell:
    """The name of an arm with its colour."""
    below = ("reference",) if arm.name == reference else ("null arm",) if arm.null else ()
    return Cell(arm.name, below, "arm", style=arm.style)


def text_cell(text: object, *, span: int = 1) -> Cell:
    """Plain words; nothing becomes a dash."""
    return Cell("—" if text is None or text == "" else str(text), kind="text", span=span)


def number_cell(text: object) -> Cell:
    """A number that is already in words; nothing becomes a dash."""
    return Cell("—" if text is None or text == "" else str(text))


def optional(value: float | None, unit: str = "") -> str:
    """A measured quantity, or "undefined" where the scan knows no millimetres."""
    return "undefined" if value is None else f"{amount(value)}{unit}"


def sentence(reason: str) -> str:
    """A reason or target that names metrics, for people."""
    return reason.replace("_", " ").replace("<= ", "≤\u00a0")


def point_words(point: Json) -> str:
    """An operating point in one phrase."""
    if point.get("thresholds"):
        values = sorted(set(point["thresholds"].values()))
        shown = f"{values[0]:.3g}" if len(values) == 1 else f"{values[0]:.3g} to {values[-1]:.3g}, by fold"
    else:
        shown = "none" if point["threshold"] is None else f"{point['threshold']:.3g}"
    return f"threshold {shown} ({'fixed' if point['chosen_on'] == 'fixed' else 'chosen on ' + point['chosen_on']})"
