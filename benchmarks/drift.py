"""Whether the ratios in the documentation still hold: measures the quick ones anew, and names those that moved.

Usage: python -m benchmarks.drift [--only evaluation loading]; ends with 1 when a ratio moved by more than a third.
       python -m benchmarks.drift --write FILE.json ...; writes the ratios of ``benchmarks.evaluation --out FILE.json``.

``ratios.toml`` holds what is written: the CPU time of another tool / ours, both of one run, and memory: of evaluation
(arrays + peak) / arrays, of loading what another tool holds / what ours holds. The tables of docs/results/evaluation.md
and docs/benchmarks.md are tested against it. Measured here are the smaller volumes, tools whose time is not inferred,
and nnU-Net's loading where the scans are; training and the larger volumes take too long.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.evaluation import QUICK, Row, measured

from benchmarks import alone, volumes

WRITTEN = Path(__file__).with_name("ratios.toml")
MOVED = 4 / 3
REPEATS = 3
SLOW = ("plain in one box",)
"""Measured for the table only."""

Ratios = dict[str, dict[str, dict[str, float]]]
"""Volume (or kind of loading), then task (or change), then tool or "memory"."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A ratio as it is written and as it was measured; None where that failed."""

    what: str
    written: float
    now: float | None

    @property
    def moved(self) -> bool:
        """By more than a third in either direction, or not measured at all."""
        return self.now is None or not 1 / MOVED <= self.now / self.written <= MOVED


def read() -> dict[str, Ratios]:
    """What is written: evaluation and loading."""
    return tomllib.loads(WRITTEN.read_text(encoding="utf-8"))


def ratios_of(row: Row) -> dict[str, float]:
    """Other tools' time / ours, and memory; times that were inferred from a part are no ratios of one run."""
    mine = row.ms("ours")
    found = {
        tool: round(ms / mine, 3 if ms < mine else 2)
        for tool, told in row.tools.items()
        if mine and tool not in ("ours", "floor") and told.get("scale") == 1.0 and (ms := row.ms(tool)) is not None
    }
    size = row.volume.split()[0]
    if mine and size in volumes.SIZES:
        found["memory"] = round(memory(size, row.tools["ours"]["peak_mb"]), 2)
    return found


def memory(size: str, peak_mb: float) -> float:
    """(Arrays + peak) / arrays: float32 probabilities and a byte for the reference."""
    x, y, z = volumes.SIZES[size].shape
    arrays_mb = 5 * x * y * z / 2**20
    return (arrays_mb + peak_mb) / arrays_mb


def write(rows: list[Row], loading: Ratios) -> None:
    """Writes ``ratios.toml``."""
    lines = ["# Written by `python -m benchmarks.drift --write`; what is meant: see benchmarks/drift.py."]
    for row in rows:
        lines += ["", f'[evaluation."{row.volume}".{row.task}]', *_lines(ratios_of(row))]
    for kind, changes in loading.items():
        for change, found in changes.items():
            lines += ["", f'[loading."{kind}".{change}]', *_lines(found)]
    WRITTEN.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(found: dict[str, float]) -> list[str]:
    return [f'"{tool}" = {float(ratio)}' for tool, ratio in found.items()]


def evaluation(written: Ratios) -> list[Pair]:
    """The smaller volumes, tool by tool."""
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory() as name:
        for volume, tasks in written.items():
            if not volume.startswith(QUICK):
                continue
            volumes.save(volumes.make(volumes.SIZES[QUICK], volume.split()[1]), Path(name))
            for task, known in tasks.items():
                tools = [tool for tool in known if tool != "memory" and tool not in SLOW]
                now: dict[str, float] = {}
                for tool in tools:  # each right after ours: what else the machine does changes within minutes
                    now |= ratios_of(measured(Path(name), task, volume, ["ours", tool], REPEATS))
                pairs += [Pair(f"{volume}, {task}: {t}", known[t], now.get(t)) for t in [*tools, "memory"]]
    return pairs


def loading(written: Ratios) -> list[Pair]:
    """nnU-Net's loading beside ours; none where the scans are not beside this clone."""
    from benchmarks import raw

    if not alone.DATA.is_dir():
        print(f"loading is not measured: no scans in {alone.DATA}", file=sys.stderr)
        return []
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):
            raw.planned(Path(folder))
        for kind, changes in written.items():
            for change, known in changes.items():
                option = "none" if change == "unchanged" else "varied"
                mine, theirs = (
                    alone.child("benchmarks.loading", tool, kind, option, folder, "1") for tool in ("ours", "nnU-Net")
                )
                for tool, key in (("nnU-Net", "seconds"), ("memory", "held_mb")):
                    fine = mine["status"] == theirs["status"] == "ok"
                    pairs.append(
                        Pair(
                            f"loading {kind}, {change}: {tool}", known[tool], theirs[key] / mine[key] if fine else None
                        )
                    )
    return pairs


def table(pairs: list[Pair]) -> str:
    """Every ratio in a line; those that moved are said to have."""
    lines = ["| ratio | written | now | |", "|---|---|---|---|"]
    for pair in pairs:
        now = "-" if pair.now is None else f"{pair.now:.3g}"
        lines.append(f"| {pair.what} | {pair.written:.3g} | {now} | {'moved' if pair.moved else ''} |")
    return "\n".join(lines)


def main() -> None:
    """Measures and compares, or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("evaluation", "loading"), default=("evaluation", "loading"))
    parser.add_argument("--write", nargs="+", type=Path, metavar="FILE.json")
    asked = parser.parse_args()
    written: dict[str, Any] = read() if WRITTEN.exists() else {"loading": {}}
    if asked.write:
        rows = [Row(**row) for path in asked.write for row in json.loads(path.read_text())["rows"]]
        write(rows, written["loading"])
        return
    measure = {"evaluation": evaluation, "loading": loading}
    pairs = [pair for name in asked.only for pair in measure[name](written[name])]
    print(table(pairs))
    moved = [pair.what for pair in pairs if pair.moved]
    print(f"\n{len(moved)} of {len(pairs)} ratios moved by more than a third{': ' if moved else ''}{'; '.join(moved)}")
    sys.exit(bool(moved))


if __name__ == "__main__":
    main()
