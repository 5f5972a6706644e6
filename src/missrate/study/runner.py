"""Runs the stages of a study: what is done stays, what can run runs, the longest way first."""

import heapq
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from missrate.core import store
from missrate.core.errors import MissrateError, ProvenanceError
from missrate.core.timing import Timing, measured
from missrate.engine import Pool, Task, pool
from missrate.study.stages import Ledger, Stage, State

logger = logging.getLogger(__name__)

Watch = Callable[["Event"], None]


@dataclass(frozen=True, slots=True)
class Event:
    """What a watcher is told of a stage. ``done`` of its ``of`` tasks have ended, parts of those under way included.

    kept      it was done already
    begun     its tasks wait for a worker
    started   one of them was given to a worker
    advanced  one of them told how far it is
    finished  one of them ended after ``seconds``, while ``beside`` of the stage's tasks ran, itself included
    ended     the stage is done
    failed    it is not, for the reason in ``detail``
    ticked    nothing new; of no stage
    """

    kind: str
    stage: str
    done: float = 0.0
    of: int = 0
    detail: str = ""
    seconds: float = 0.0
    beside: int = 1


@dataclass(frozen=True, slots=True)
class Status:
    """A stage and its state, without running anything."""

    stage: Stage
    state: State


def status(stages: list[Stage], out: Path) -> list[Status]:
    """Every stage as done, stale or missing. A stage whose input is not done counts as stale if it ever ran."""
    ledger = Ledger(out)
    outputs: dict[str, str] = {}
    result = []
    for stage in stages:
        state = ledger.state(stage, outputs)
        if state == "done":
            mark = ledger.mark(stage)
            assert mark is not None
            outputs[stage.name] = mark["output"]
        result.append(Status(stage, state))
    return result


def until(stages: list[Stage], room: str | None) -> list[Stage]:
    """The stages that the verb ``room`` needs: its own and all their inputs; all stages for None."""
    if room is None:
        return stages
    wanted = {stage.name for stage in stages if stage.room == room}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted.update(stage.inputs)
    return [stage for stage in stages if stage.name in wanted]


def run(stages: list[Stage], out: Path, *, workers: int, watch: Watch) -> None:
    """Brings every stage to "done". Stages that do not depend on a failed one still run.

    Raises MissrateError with every failed stage, LockedError when another process works in ``out``.
    """
    with store.lock(out):
        store.remove_parts(out)
        _Run(stages, out, watch).go(workers)


class _Run:
    def __init__(self, stages: list[Stage], out: Path, watch: Watch) -> None:
        self.stages = stages
        self.names = {stage.name for stage in stages}
        self.ledger = Ledger(out)
        self.watch = watch
        self.outputs: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.waiting: dict[str, int] = {}  # tasks of a begun stage that have not ended
        self.tasks: dict[str, int] = {}  # all tasks of a begun stage
        self.queue: list[tuple[float, int, Stage, Task]] = []
        self.priority = _priorities(stages)
        self.running: dict[str, Stage] = {}  # by the label of a task that a worker has
        self.partial: dict[str, float] = {}  # by label: how much of the task is done
        self.timing = Timing(out)
        self.counter = 0

    def go(self, workers: int) -> None:
        with pool(workers) as running:
            while True:
                self._begin_ready()
                while self.queue and running.free > 0:
                    _, _, stage, task = heapq.heappop(self.queue)
                    self.running[task.label] = stage
                    self._tell("started", stage)
                    running.submit(task)
                if running.free == running.workers:
                    break
                self._collect(running)
        if self.failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failed.items())
            raise MissrateError(f"{len(self.failed)} stage(s) could not finish; the rest is kept. {reasons}")

    def _begin_ready(self) -> None:
        """Begins every stage whose inputs are done; repeats, as a stage without tasks ends at once."""
        changed = True
        while changed:
            changed = False
            for stage in self.stages:
                waits = (*stage.inputs, *(name for name in stage.after if name in self.names))
                if stage.name not in self.keys and all(name in self.outputs for name in waits):
                    changed |= self._begin(stage)

    def _begin(self, stage: Stage) -> bool:
        if stage.name in self.failed:
            return False
        self.keys[stage.name] = self.ledger.key(stage, self.outputs)
        if self.ledger.state(stage, self.outputs) == "done":
            self._keep(stage)
            return True
        try:
            if self.ledger.begin(stage, self.keys[stage.name]):
                self.timing.reset(stage.name)
            tasks = stage.tasks()
        except MissrateError as error:
            self._fail(stage, error)
            return True
        self.waiting[stage.name] = self.tasks[stage.name] = len(tasks)
        self._tell("begun", stage)
        for task in tasks:
            self.counter += 1
            heapq.heappush(self.queue, (-self.priority[stage.name], self.counter, stage, task))
        if not tasks:
            self._end(stage)
        return True

    def _keep(self, stage: Stage) -> None:
        if not self.ledger.intact(stage):
            raise ProvenanceError(
                f"The files of {stage.name} must be as that stage left them. Got others; "
                f"remove {self.ledger.path(stage)} to make them anew."
            )
        mark = self.ledger.mark(stage)
        assert mark is not None
        self.outputs[stage.name] = mark["output"]
        self._tell("kept", stage)

    def _collect(self, running: Pool) -> None:
        # First how far tasks say they are, so that one that ended is not taken for one under way.
        for label, done, of in running.progress():
            if label in self.running:
                self.partial[label] = done / max(of, 1)
                self._tell("advanced", self.running[label], detail=f"{done}/{of}")
        ended = running.completed(seconds=0.5)
        for task, error, cost in ended:
            beside = sum(stage is self.running[task.label] for stage in self.running.values())
            stage = self.running.pop(task.label)
            self.waiting[stage.name] -= 1
            self.partial.pop(task.label, None)
            self.timing.add(stage.name, cost)
            if error is not None:
                self._fail(stage, error)
                continue
            if stage.name in self.failed:
                continue
            self._tell("finished", stage, seconds=cost.seconds, beside=beside)
            if self.waiting[stage.name] == 0:
                self._end(stage)
        if ended:
            self.timing.write()
        self.watch(Event("ticked", ""))

    def _end(self, stage: Stage) -> None:
        try:
            with measured() as cost:
                files = stage.finish()
                self.outputs[stage.name] = self.ledger.end(stage, self.keys[stage.name], files)
        except MissrateError as error:
            self._fail(stage, error)
            return
        cost.tasks = 0  # it belongs to the stage's own tasks
        self.timing.add(stage.name, cost)
        self._tell("ended", stage)

    def _fail(self, stage: Stage, error: BaseException) -> None:
        if not isinstance(error, MissrateError):
            raise error
        self.failed.setdefault(stage.name, str(error))
        self.queue = [item for item in self.queue if item[2] is not stage]
        heapq.heapify(self.queue)
        self._tell("failed", stage, detail=str(error))

    def _tell(self, kind: str, stage: Stage, **more: Any) -> None:
        of = self.tasks.get(stage.name, 0)
        parts = sum(share for label, share in self.partial.items() if self.running.get(label) is stage)
        done = of - self.waiting.get(stage.name, of) + parts
        self.watch(Event(kind, stage.name, done, of, **more))


def _priorities(stages: list[Stage]) -> dict[str, float]:
    """The estimated seconds from the start of each stage to the end of the study along its longest way."""
    result = {stage.name: stage.estimate.seconds for stage in stages}
    for stage in reversed(stages):
        for name in stage.inputs:
            own = next(s.estimate.seconds for s in stages if s.name == name)
            result[name] = max(result[name], own + result[stage.name])
    return result


def default_workers() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
