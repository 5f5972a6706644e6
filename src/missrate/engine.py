"""Where work runs: single-thread processes on this machine. A task is a module-level function and its arguments.

Processes are started fresh (never forked: torch and OpenMP do not survive a fork), compute with one thread each,
and end at once when the main process ends, however it ended, so that nothing writes into a study folder that
nobody holds.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from missrate.core.errors import MissrateError
from missrate.core.timing import Cost, measured

SINGLE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLOSC_NTHREADS")
Advance = Callable[[int, int], None]
"""``advance(done, of)``: how far a long task is."""

_reports: "Connection | None" = None
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
        _reports.send((_label, done, of))


@dataclass(slots=True)
class _Worker:
    """A process, our end of the pipe to it, and what it works on (None: nothing)."""

    process: BaseProcess
    pipe: Connection
    task: Task | None = None


class Ended(NamedTuple):
    """A task that ended, with the exception that it raised, or what it cost."""

    task: Task
    error: BaseException | None
    cost: Cost


class Pool:
    """Worker processes that start with the first task; ``submit`` tasks, then ``completed`` gives them as they end.

    Each worker has a pipe of its own, for tasks in one direction, and reports and results in the other. The executor
    and the queues of the standard library would do the same with named semaphores, which stay in shared memory when
    the whole group of processes is killed.

    With no workers tasks run in this process as they are submitted: for debuggers and quick tests.
    """

    def __init__(self, workers: int) -> None:
        self.workers = max(workers, 1)
        self._inline = workers == 0
        self._started: list[_Worker] = []
        self._ended: list[Ended] = []
        self._told: list[tuple[str, int, int]] = []

    @property
    def free(self) -> int:
        """How many more tasks would start at once."""
        return self.workers - sum(worker.task is not None for worker in self._started) - len(self._ended)

    def submit(self, task: Task) -> None:
        """Hands a task to a worker, of which one must be free."""
        assert self.free > 0
        if self._inline:
            self._ended.append(_ended(task, _outcome(task)))
            return
        worker = next((each for each in self._started if each.task is None), None) or self._start()
        worker.task = task
        with suppress(OSError):  # of a worker that died while nobody looked: ``completed`` says so
            worker.pipe.send(task)

    def completed(self, seconds: float) -> list[Ended]:
        """The tasks that ended within ``seconds``, each with its exception if it raised one, or else its cost.

        Raises MissrateError when a worker process died.
        """
        until = time.monotonic() + seconds
        while not self._ended and (busy := [worker for worker in self._started if worker.task is not None]):
            ready = wait([worker.pipe for worker in busy], max(until - time.monotonic(), 0.0))
            if not ready:
                break
            for worker in (each for each in busy if each.pipe in ready):
                self._take(worker)
        ended, self._ended = self._ended, []
        return ended

    def progress(self) -> Iterator[tuple[str, int, int]]:
        """What tasks told through ``advance`` since the last call: (label, done, of)."""
        told, self._told = self._told, []
        yield from told

    def close(self) -> None:
        """Ends the workers; running tasks are cut off (they write atomically)."""
        for worker in self._started:
            if worker.task is not None:
                worker.process.kill()
            worker.pipe.close()  # whoever waits for a task reads that there will be none
        for worker in self._started:
            worker.process.join()
            worker.process.close()
        self._started = []

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(os.getpid(), theirs))
        process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self._started.append(_Worker(process, ours))
        return self._started[-1]

    def _take(self, worker: _Worker) -> None:
        """One message: how far a task is, or how it ended."""
        assert worker.task is not None
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError) as error:
            raise MissrateError(
                f"A worker process died during {worker.task.label}; perhaps memory ran out: use fewer --workers. "
                "What was finished is kept; run the same command again."
            ) from error
        if isinstance(message, tuple):
            self._told.append(message)
        else:
            self._ended.append(_ended(worker.task, message))
            worker.task = None


def _outcome(task: Task) -> Exception | Cost:
    """Runs a task here; its exception is handed on exactly as a worker process would, and otherwise its cost."""
    try:
        with measured() as cost:
            task.run(**task.arguments)
    except Exception as error:
        return error
    return cost


def _ended(task: Task, outcome: Exception | Cost) -> Ended:
    return Ended(task, None, outcome) if isinstance(outcome, Cost) else Ended(task, outcome, Cost())


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


def _work(main_pid: int, pipe: Connection) -> None:
    """The life of a worker: tasks until the pipe ends."""
    global _reports, _label  # noqa: PLW0603 - one task at a time in a process
    _reports = pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides what Ctrl-C means
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_end_with, args=(main_pid,), daemon=True).start()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        _label = task.label
        pipe.send(_portable(_outcome(task)))


def _portable(error: Exception | Cost) -> Exception | Cost:
    """The exception as another process can read it, with the traceback that it had here; a cost as it is."""
    if isinstance(error, Cost):
        return error
    told = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker process:\n{told}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception of a foreign library may hold what cannot be sent
        return RuntimeError(told)
    return error


def _end_with(main_pid: int) -> None:
    while os.getppid() == main_pid:
        time.sleep(0.5)
    os._exit(1)
