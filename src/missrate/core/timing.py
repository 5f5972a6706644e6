"""What work has cost: wall seconds and CPU seconds, kept beside results and never within them."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from missrate.core import store

TIMING = "missrate/timing/1"


@dataclass(slots=True)
class Cost:
    """Wall and CPU seconds of so many tasks, each counted by itself: tasks side by side add up."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    tasks: int = 0

    def add(self, other: "Cost") -> None:
        """Adds another cost to this one."""
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        self.tasks += other.tasks


def cpu_seconds() -> float:
    """CPU seconds, user and system, of this process so far, its ended children and all threads included."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextmanager
def measured() -> Iterator[Cost]:
    """The cost of a block as one task; complete once the block has ended, also by an exception."""
    cost, began, cpu_began = Cost(tasks=1), time.perf_counter(), cpu_seconds()
    try:
        yield cost
    finally:
        cost.seconds, cost.cpu_seconds = time.perf_counter() - began, cpu_seconds() - cpu_began


class Timing:
    """``stages/timing.json`` of a study's folder: the cost of each stage, summed over all calls that worked on it."""

    def __init__(self, out: Path) -> None:
        self.path = _path(out)
        self.stages = read_timing(out)

    def reset(self, stage: str) -> None:
        """Forgets what a stage cost that begins anew."""
        self.stages.pop(stage, None)

    def add(self, stage: str, cost: Cost) -> None:
        """Adds to what a stage has cost so far."""
        self.stages.setdefault(stage, Cost()).add(cost)

    def write(self) -> None:
        """Writes the file as it stands now. Raises StoreError."""
        stages = {name: _json(cost) for name, cost in self.stages.items()}
        text = json.dumps({"schema": TIMING, "stages": stages}, indent=1, sort_keys=True)
        store.write_atomic(self.path, f"{text}\n".encode(), durable=False)


def read_timing(out: Path) -> dict[str, Cost]:
    """The cost of each stage; empty where nothing was measured. Raises StoreError for another kind of file."""
    path = _path(out)
    if not path.exists():
        return {}
    stages: dict[str, dict[str, Any]] = store.read_json(path, TIMING)["stages"]
    return {name: Cost(each["seconds"], each["cpu_seconds"], each["tasks"]) for name, each in stages.items()}


def _path(out: Path) -> Path:
    return out / "stages" / "timing.json"


def _json(cost: Cost) -> dict[str, float]:
    return {"seconds": round(cost.seconds, 3), "cpu_seconds": round(cost.cpu_seconds, 3), "tasks": cost.tasks}


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would choose: "8.3 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
