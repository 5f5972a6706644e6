"""Measures one tool at one task in a process of its own, and prints the result as one line of JSON.

Usage: python -m benchmarks.child FOLDER TASK TOOL REPEATS. FOLDER holds the arrays (``volumes.save``). CPU time is that
of the whole process, the median over the repeats, after one run on a small part of the volume that takes the imports
and the compiler's work. The peak is the greatest memory while the task runs, less what the process holds before it.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.alone import peak_mb, reset_peak
from benchmarks.peers import LEVELS_K, PEERS, RESAMPLES, THRESHOLD

from benchmarks import ours, plain, volumes

TASKS = ("counts", "curve", "matching", "lesions", "surfaces", "bootstrap", "everything")
SECONDS = 20.0
"""No further repeat is begun when those so far took this long."""

OURS: dict[str, Callable[[Any], Any]] = {
    "counts": lambda case: ours.counts(case, THRESHOLD),
    "curve": ours.curve,
    "matching": lambda case: ours.matching(case, THRESHOLD),
    "lesions": lambda case: ours.lesions(case, LEVELS_K),
    "surfaces": lambda case: ours.surfaces(case, THRESHOLD),
    "bootstrap": lambda patients: ours.bootstrap(patients, RESAMPLES),
    "everything": lambda case: ours.everything(case, LEVELS_K, THRESHOLD),
}
PLAIN: dict[str, Callable[[Any], Any]] = {
    "counts": lambda c: plain.counts(c.reference_XYZ, c.probability_XYZ, THRESHOLD),
    "curve": lambda c: plain.curve(c.reference_XYZ, c.probability_XYZ),
    "matching": lambda c: plain.matching(c.reference_XYZ, c.probability_XYZ, THRESHOLD),
    "lesions": lambda c: plain.lesions(c.reference_XYZ, c.probability_XYZ, LEVELS_K),
    "surfaces": lambda c: plain.surfaces(c.reference_XYZ, c.probability_XYZ, c.spacing_mm, THRESHOLD),
    "bootstrap": lambda p: plain.bootstrap(p.inside_PK, p.outside_PK, p.reference_P, RESAMPLES),
    "everything": lambda c: plain.everything(c.reference_XYZ, c.probability_XYZ, c.spacing_mm, LEVELS_K, THRESHOLD),
}


def read_floor(case: volumes.Case) -> Any:
    """Streams through both arrays once: nothing that looks at every voxel can be quicker."""
    return case.probability_XYZ.view(np.int32).max(), case.reference_XYZ.max()


def tool(task: str, name: str) -> tuple[Callable[[Any], Any], float]:
    """The function to call and the factor for its time."""
    if name == "floor":
        return read_floor, 1.0
    if name in ("ours", "plain"):
        return (OURS if name == "ours" else PLAIN)[task], 1.0
    peer = PEERS[task][name]
    return peer.run, peer.scale


def small_part(case: Any) -> Any:
    """A corner of a lesion, to warm up on; counts of patients are small already."""
    if isinstance(case, volumes.Patients):
        return case
    low = [max(0, int(k) - 16) for k in np.argwhere(case.reference_XYZ)[0]]
    cut = tuple(slice(k, k + 32) for k in low)
    return volumes.Case(np.ascontiguousarray(case.reference_XYZ[cut]), np.ascontiguousarray(case.probability_XYZ[cut]))


def measure(run: Callable[[Any], Any], given: Any, repeats: int) -> dict[str, Any]:
    """Median milliseconds of CPU, all of them, and the peak in MB."""
    run(small_part(given))
    before = reset_peak()
    times: list[float] = []
    while len(times) < repeats and sum(times) < 1000 * SECONDS:
        began = time.process_time()
        run(given)
        times.append(1000 * (time.process_time() - began))
    return {"ms": statistics.median(times), "all_ms": times, "peak_mb": peak_mb() - before}


def main() -> None:
    """Prints {"status": "ok", "ms": ...}, or a status in words where there is nothing to measure."""
    folder, task, name, repeats = sys.argv[1:]
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    try:
        given: Any = volumes.patients() if task == "bootstrap" else volumes.load(Path(folder))
        run, scale = tool(task, name)
        result = measure(run, given, int(repeats))
        result = {"status": "ok", **result, "ms": result["ms"] * scale, "scale": scale}
    except NotImplementedError:
        result = {"status": "-"}
    except (ImportError, metadata.PackageNotFoundError):
        result = {"status": "not installed"}
    except Exception as error:
        result = {"status": f"{type(error).__name__}: {str(error)[:80]}"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
