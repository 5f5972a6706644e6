"""Where work runs: single-thread processes on this machine. A task is a module-level function and its arguments.

Processes are started fresh (never forked: torch and OpenMP do not survive a fork), compute with one thread each,
and end at once when the main process ends, however it ended, so that nothing writes into a study folder that
nobody holds.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from missrate.core.errors import MissrateError
from missrate.core.timing import Cost, measured

SINGLE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLOSC_NTHREADS")
Advance = Callable[[int, int], None]
"""``advance(done, of)``: how far a long task is."""

_reports: Any = None
_label: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """``run(**arguments)`` in a worker process; both must pickle."""

    label: str
    run: Callable[..., None]
    arguments: dict[str, Any] = field(default_factory=dict)


def advance(done: int, of: int) -> None:
    """Called inside a task: tells the main process how far it is; does nothing elsewhere."""
    if _reports is not None:
        _reports.put((_label, done, of))


class Ended(NamedTuple):
    """A task that ended, with the exception that it raised, or what it cost."""

    task: Task
    error: BaseException | None
    cost: Cost


class Pool:
    """Worker processes that start with the first task; ``submit`` tasks, then ``completed`` gives them as they end.

    With no workers tasks run in this process as they are submitted: for debuggers and quick tests.
    """

    def __init__(self, workers: int) -> None:
        self.workers = max(workers, 1)
        self._inline = workers == 0
        self._executor: ProcessPoolExecutor | None = None
        self._reports: Any = None
        self._running: dict[Future[Cost], Task] = {}

    @property
    def free(self) -> int:
        """How many more tasks would start at once."""
        return self.workers - len(self._running)

    def submit(self, task: Task) -> None:
        """Hands a task to a worker."""
        if self._inline:
            self._running[_run_here(task)] = task
            return
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            self._reports = context.Queue()
            self._executor = ProcessPoolExecutor(self.workers, context, _start_worker, (os.getpid(), self._reports))
        self._running[self._executor.submit(_run, task)] = task

    def completed(self, seconds: float) -> list[Ended]:
        """The tasks that ended within ``seconds``, each with its exception if it raised one, or else its cost.

        Raises MissrateError when a worker process died.
        """
        done, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED)
        result = []
        for future in done:
            task = self._running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                raise MissrateError(
                    f"A worker process died during {task.label}; perhaps memory ran out: use fewer --workers. "
                    "What was finished is kept; run the same command again."
                ) from error
            result.append(Ended(task, error, Cost() if error is not None else future.result()))
        return result

    def progress(self) -> Iterator[tuple[str, int, int]]:
        """What tasks told through ``advance`` since the last call: (label, done, of)."""
        while self._reports is not None and not self._reports.empty():
            yield self._reports.get()

    def close(self) -> None:
        """Ends the workers; running tasks are cut off (they write atomically)."""
        if self._executor is None:
            return
        processes = list((self._executor._processes or {}).values())
        if self._running:
            for process in processes:
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._reports.close()


def _run_here(task: Task) -> Future[Cost]:
    future: Future[Cost] = Future()
    try:
        with measured() as cost:
            task.run(**task.arguments)
        future.set_result(cost)
    except Exception as error:  # handed on exactly as a worker process would
        future.set_exception(error)
    return future


@contextmanager
def pool(workers: int) -> Iterator[Pool]:
    """Worker processes for the length of a block. They inherit an environment with one thread each."""
    before = {name: os.environ.get(name) for name in (*SINGLE_THREAD, "OMP_WAIT_POLICY")}
    os.environ.update(dict.fromkeys(SINGLE_THREAD, "1") | {"OMP_WAIT_POLICY": "passive"})
    running = Pool(workers)
    try:
        yield running
    finally:
        running.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def run_all(tasks: list[Task], workers: int, ended: Callable[[], None] = lambda: None) -> None:
    """Runs independent tasks to the end, telling of each that it ended. Raises the first exception of any of them."""
    waiting = tasks[::-1]
    with pool(workers) as running:
        while waiting or running.free < running.workers:
            while waiting and running.free:
                running.submit(waiting.pop())
            for _, error, _ in running.completed(seconds=1.0):
                if error is not None:
                    raise error
                ended()


def _start_worker(main_pid: int, reports: Any) -> None:
    global _reports  # noqa: PLW0603 - one per process, set once
    _reports = reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides what Ctrl-C means
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_end_with, args=(main_pid,), daemon=True).start()


def _end_with(main_pid: int) -> None:
    while os.getppid() == main_pid:
        time.sleep(0.5)
    os._exit(1)


def _run(task: Task) -> Cost:
    global _label  # noqa: PLW0603 - one task at a time in a process
    _label = task.label
    with measured() as cost:
        task.run(**task.arguments)
    return cost
