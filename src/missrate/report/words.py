"""Numbers as a reader sees them: fixed digits, an interval, n, and "undefined (k)" instead of a blank."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, log10
from typing import Any

from missrate.core.intervals import mark
from missrate.report.material import Arm, Style

Json = dict[str, Any]
METRICS = (
    "voxel_miss_rate",
    "lesion_miss_rate",
    "patient_miss_rate",
    "false_positives_per_scan",
    "false_positive_ml_per_scan",
)
"""What targets and reasons may name; other names with underscores are ids, and stay as they are."""


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
    """A table with what it shows above it and how to read it below. ``groups`` are (title, columns) over the head.

    What follows a line break in a head stands in small letters below it.
    """

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


def without_undefined(table: Table) -> Table:
    """The table without columns that are undefined in every row for one reason; a sentence says which and why."""
    full = [row for row in table.rows if len(row) == len(table.head)]
    gone: dict[int, str] = {}
    for column in range(1, len(table.head)) if full else ():
        cells = [row[column] for row in full]
        reasons = {cell.below[0] if cell.below else "" for cell in cells}
        if all(cell.kind == "undefined" for cell in cells) and len(reasons) == 1:
            gone[column] = reasons.pop()
    if not gone or len(gone) == len(table.head) - 1:
        return table
    groups, first = [], 1
    for words, span in table.groups:
        groups.append((words, sum(column not in gone for column in range(first, first + span))))
        first += span
    kept = [column for column in range(len(table.head)) if column not in gone]
    rows = [
        [row[column] for column in kept] if row in full else [row[0], replace(row[1], span=len(kept) - 1)]
        for row in table.rows
    ]
    return replace(
        table,
        head=[table.head[column] for column in kept],
        rows=rows,
        read=f"{table.read} {_why(table.head, gone)}".strip(),
        groups=[group for group in groups if group[1]],
    )


def _why(head: list[str], gone: dict[int, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for column, reason in gone.items():
        by_reason.setdefault(reason, []).append(head[column].split("\n")[0])
    parts = [f"{', '.join(dict.fromkeys(names))}{f' ({reason})' * bool(reason)}" for reason, names in by_reason.items()]
    return f"Undefined in every row and left out: {'; '.join(parts)}."


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
    return not metric.startswith(("false_positive", "hd95"))


def block_cell(block: Json | None, metric: str) -> Cell:
    """Value, 95 % interval, n and how many were undefined, of one block of ``summary.json``."""
    if block is None:
        return Cell("undefined (all)", ("not measured",), "undefined")
    form = share if is_share(metric) else amount
    value, interval = block.get("value"), block.get("ci95")
    if value is None:
        k = block.get("undefined", block.get("n", 0)) or block.get("n", 0)
        return Cell(f"undefined ({k})", (block["reason"],) if block.get("reason") else (), "undefined")
    spread = "no interval" if interval is None else f"{form(interval[0])}–{form(interval[1])}{mark(block)}"
    counts = [f"{_many(block['numerator'])} / {_many(block['denominator'])}"] if "denominator" in block else []
    left_out = block.get("misses_left_out")
    misses = [] if left_out is None or not metric.startswith("hd95") else [_left_out(block, form)]
    return Cell(form(value), (spread, *counts, *misses, n_of(block)))


def column_cells(blocks: list[Json | None], metric: str, *, dense: bool) -> tuple[str, list[Cell]]:
    """The cells of one column; ``dense``: what all of them share (n, a denominator) is given apart, for the head."""
    cells = [block_cell(block, metric) for block in blocks]
    if not dense:
        return "", cells
    valued = [block for block in blocks if block is not None and block.get("value") is not None]
    everyone = {block["n"] + block.get("undefined", 0) for block in valued}
    totals, counts = {block.get("denominator") for block in valued}, {n_of(block) for block in valued}
    n = counts.pop() if len(counts) == 1 else f"n {everyone.pop()} less undefined" if len(everyone) == 1 else ""
    shared = [*([n] if n else []), *(f"of {_many(total)}" for total in totals if total and len(totals) == 1)]
    return ", ".join(shared), [_thin(cell, n) for cell in cells]


def _thin(cell: Cell, shared: str) -> Cell:
    """Without the line of numerator and denominator, and without what the head says of n."""
    if cell.kind == "undefined":
        return cell
    *lines, n = [line for line in cell.below if " / " not in line]
    own = n if not shared else n.partition(", ")[2] if shared.endswith("undefined") else ""
    return replace(cell, below=(*lines, own) if own else tuple(lines))


def n_of(block: Json) -> str:
    """How many cases or patients a block rests on, and how many were undefined."""
    return f"n {block['n']}" + (f", undefined ({block['undefined']})" if block.get("undefined") else "")


def _left_out(block: Json, form: Callable[[float], str]) -> str:
    if not block["misses_left_out"]:
        return "none left out as missed"
    imputed = block.get("with_diagonal_for_misses")
    return f"{block['misses_left_out']} left out as missed" + (
        "" if imputed is None else f", with them {form(imputed)}"
    )


def _many(count: int) -> str:
    if count >= 10_000_000:
        return f"{count / 1e6:.0f}M"
    return f"{count / 1e3:.0f}k" if count >= 10_000 else str(count)


def arm_cell(arm: Arm, reference: str | None = None) -> Cell:
    """The name of an arm with its colour."""
    below = ("reference",) if arm.name == reference else ("null arm",) if arm.null else ()
    below = (*below, "unequal budget") if arm.unequal else below
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
    for metric in METRICS:
        reason = reason.replace(metric, metric.replace("_", " "))
    return reason.replace("<= ", "≤\u00a0")


def point_words(point: Json) -> str:
    """An operating point in one phrase."""
    if point.get("thresholds"):
        values = sorted(set(point["thresholds"].values()))
        shown = f"{values[0]:.3g}" if len(values) == 1 else f"{values[0]:.3g} to {values[-1]:.3g}, by fold"
    else:
        shown = "none" if point["threshold"] is None else f"{point['threshold']:.3g}"
    return f"threshold {shown} ({'fixed' if point['chosen_on'] == 'fixed' else 'chosen on ' + point['chosen_on']})"


def counted(count: int, word: str) -> str:
    """A number of things, one of them without an s."""
    return f"{count} {word}{'s' * (count != 1)}"


def listed(names: Sequence[str], most: int) -> str:
    """Up to ``most`` names, then how many more."""
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"
