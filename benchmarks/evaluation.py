"""How long evaluation takes: ours, the best plain code and other tools, on the same arrays in one run.

Usage: python -m benchmarks.evaluation [--quick] [--sizes S ...] [--tasks T ...] [--tools N ...] [--out FILE.json].
Prints a Markdown table: CPU milliseconds of one thread (medians), ratios within this run, peak memory beyond the
arrays. ``make bench-setup`` makes the environment. Each figure comes from a process of its own (``benchmarks.child``).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.alone import ONE_THREAD
from benchmarks.child import TASKS
from benchmarks.peers import PEERS, RESAMPLES

from benchmarks import volumes

QUICK = "256x256x64"
TIMEOUT_S = 1800
PACKAGES = (
    "numpy", "scipy", "numba", "connected-components-3d", "edt", "medpy", "monai", "nnunetv2", "panoptica",
    "picai-eval", "scikit-learn", "surface-distance", "torch", "torchmetrics",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One task on one volume: what the child said of each tool."""

    task: str
    volume: str
    tools: dict[str, dict[str, Any]]

    def ms(self, tool: str) -> float | None:
        """The tool's median, or None where it gave none."""
        value = self.tools.get(tool, {}).get("ms")
        return None if value is None else float(value)


def asked_of(task: str, volume: str, only: list[str] | None) -> list[str]:
    """The tools to measure at a task; peers that relabel at every threshold are asked on the smaller volume only."""
    peers = [n for n, peer in PEERS[task].items() if volume.startswith(QUICK) or task != "lesions" or peer.scale == 1.0]
    names = ["ours", "plain", *peers] if task == "bootstrap" else ["floor", "ours", "plain", *peers]
    return [n for n in names if only is None or n in only]


def child(folder: Path, task: str, tool: str, repeats: int) -> dict[str, Any]:
    """One tool at one task, in a fresh process that inherits no memory."""
    command = [sys.executable, "-m", "benchmarks.child", str(folder), task, tool, str(repeats)]
    environment = {**os.environ, **ONE_THREAD, "OMP_WAIT_POLICY": "passive"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"status": f"over {TIMEOUT_S} s"}
    lines = done.stdout.strip().splitlines()
    return dict(json.loads(lines[-1])) if lines and done.returncode == 0 else {"status": f"ended {done.returncode}"}


def measured(folder: Path, task: str, volume: str, only: list[str] | None, repeats: int) -> Row:
    """All tools at one task on the volume in ``folder``."""
    row = Row(task, volume, {})
    for tool in asked_of(task, volume, only):
        row.tools[tool] = child(folder, task, tool, repeats)
        print(f"{volume} {task} {tool}: {said(row, tool, None)}", file=sys.stderr, flush=True)
    return row


def said(row: Row, tool: str, unit_ms: float | None) -> str:
    """Milliseconds and the ratio to ``unit_ms``; "~" marks what was inferred from a part."""
    ms = row.ms(tool)
    if ms is None:
        return str(row.tools.get(tool, {}).get("status", "-"))
    inferred = "~" if row.tools[tool]["scale"] != 1.0 else ""
    ratio = "" if unit_ms is None else f" ({ms / unit_ms:.3g}x)"
    return f"{inferred}{ms:,.{0 if ms >= 100 else 1}f}{ratio}"


def line(row: Row) -> str:
    """One line of the table. Ratios are to ours, or to the plain code where ours gave no time."""
    unit_ms = row.ms("ours") or row.ms("plain")
    peers = "; ".join(f"{name} {said(row, name, unit_ms)}" for name in PEERS[row.task] if name in row.tools)
    peaks = [
        f"{name} {found['peak_mb']:.0f}" for name, found in row.tools.items() if "peak_mb" in found and name != "floor"
    ]
    cells = [row.task, row.volume, said(row, "ours", None), said(row, "plain", unit_ms), peers, "; ".join(peaks)]
    return " | ".join(["", *cells, said(row, "floor", None), ""]).strip()


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cpu = [x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return {"processor": cpu[0] if cpu else platform.machine(), "python": platform.python_version()} | {
        name: _version(name) for name in PACKAGES
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smaller volume only, three repeats")
    parser.add_argument("--sizes", nargs="+", choices=list(volumes.SIZES), help="these volumes only")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--tools", nargs="+", help="these only, such as: floor ours plain MONAI")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    return parser.parse_args()


def main() -> None:
    """Measures, prints the table, and writes every figure to ``--out``."""
    asked = arguments()
    sizes, repeats = asked.sizes or ([QUICK] if asked.quick else list(volumes.SIZES)), 3 if asked.quick else 7
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in sizes:
            for kind in volumes.KINDS:
                volumes.save(volumes.make(volumes.SIZES[size], kind), folder)
                for task in (t for t in asked.tasks if t != "bootstrap"):
                    rows.append(measured(folder, task, f"{size} {kind}", asked.tools, repeats))
        if "bootstrap" in asked.tasks:
            what = f"{volumes.PATIENTS} patients, {volumes.LEVELS} levels, {RESAMPLES} resamples"
            rows.append(measured(folder, "bootstrap", what, asked.tools, repeats))
    print("| task | volume | ours ms | plain ms | other tools ms | peak MB over arrays | read floor ms |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(line(row))
    print()
    for task in asked.tasks:
        for name, peer in PEERS[task].items():
            print(f"- {task}, {name}: {peer.answers}.")
    if asked.out is not None:
        asked.out.write_text(json.dumps({"machine": machine(), "rows": [asdict(r) for r in rows]}, indent=1))


if __name__ == "__main__":
    main()
