"""A tool in a process of its own: one thread, CPU time by the clock of the process, peak memory since it was ready."""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR")}
TIMEOUT_S = 1800
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "sts-ct" / "nifti"
"""26 CT scans of soft-tissue sarcoma, 198 x 202 x 59 voxels and the like; read in place, part of no repository."""


def child(module: str, *words: str) -> dict[str, Any]:
    """What ``python -m module --child words`` prints as its last line, or a status in words."""
    environment = {**os.environ, **ONE_THREAD, "BLOSC_NTHREADS": "1", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-W", "ignore", "-m", module, "--child", *words]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"status": f"over {TIMEOUT_S} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"status": (done.stderr.strip().splitlines() or [f"ended {done.returncode}"])[-1][:120]}
    return dict(json.loads(lines[-1]))


def measured(run: Callable[[], int], repeats: int) -> dict[str, Any]:
    """CPU seconds for each of what ``run`` counts, the median of ``repeats`` after one to warm up, and the peak."""
    run()
    before = reset_peak()
    each = []
    for _ in range(repeats):
        began = time.process_time()
        count = run()
        each.append((time.process_time() - began) / count)
    return {"status": "ok", "seconds": statistics.median(each), "all": each, "peak_mb": peak_mb() - before,
            "held_mb": before}  # fmt: skip


def machine() -> str:
    """In plain words."""
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    return f"{name[1] if name else platform.machine()}, one thread, Python {platform.python_version()}"


def reset_peak() -> float:
    """Forgets the process's peak memory so far; gives what it holds now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def peak_mb() -> float:
    """The process's peak memory since ``reset_peak``. ``ru_maxrss`` would include the parent's and the imports'."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) / 1024
