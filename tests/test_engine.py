"""Worker processes: one thread each, they report, and none outlives the main process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from missrate.core.errors import DataError, MissrateError
from missrate.engine import Pool, Task, advance, pool


def note(path: Path) -> None:
    advance(1, 2)
    path.write_text(os.environ["OMP_NUM_THREADS"])


def fail() -> None:
    raise DataError("no")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def drain(running: Pool) -> list[BaseException | None]:
    errors = []
    while running.free < running.workers:
        errors += [error for _, error, _ in running.completed(1.0)]
    return errors


def test_tasks_run_alone_report_and_raise(tmp_path: Path) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    with pool(1) as running:
        running.submit(Task("write", note, {"path": tmp_path / "a"}))
        assert drain(running) == [None]
        assert told(running) == [("write", 1, 2)]
        running.submit(Task("fail", fail))
        assert isinstance(drain(running)[0], DataError)
    assert (tmp_path / "a").read_text() == "1"
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_a_worker_that_dies_is_one_sentence() -> None:
    with pool(1) as running:
        running.submit(Task("die", die))
        with pytest.raises(MissrateError, match=r"A worker process died during die; perhaps memory"):
            drain(running)


def told(running: Pool) -> list[tuple[str, int, int]]:
    """What a task reported; the queue between processes may deliver a little later than the result."""
    for _ in range(100):
        reports = list(running.progress())
        if reports:
            return reports
        time.sleep(0.05)
    return []


ROOT = str(Path(__file__).parents[1])
ORPHAN = """
import os, sys, time
from pathlib import Path
from missrate.engine import Task, pool
from tests.test_engine import forever
if __name__ == "__main__":
    with pool(1) as running:
        running.submit(Task("forever", forever, {"path": Path(sys.argv[1])}))
        running.completed(60)
"""


def forever(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(120)


def test_no_worker_outlives_a_killed_main_process(tmp_path: Path) -> None:
    script, seen = tmp_path / "main.py", tmp_path / "pid"
    script.write_text(ORPHAN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}
    main = subprocess.Popen([sys.executable, str(script), str(seen)], env=environment)
    while not (seen.exists() and seen.read_text()):
        time.sleep(0.05)
        assert main.poll() is None
    main.kill()
    main.wait()
    worker = int(seen.read_text())
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2]:
            return
        time.sleep(0.05)
    pytest.fail("the worker is still there")


def odd() -> None:
    raise Odd("one", "two")


class Odd(Exception):
    """Cannot be made from what it keeps, as exceptions of some libraries."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def test_an_exception_comes_back_with_the_traceback_of_the_worker() -> None:
    with pool(1) as running:
        running.submit(Task("fail", fail))
        (failed,) = drain(running)
        running.submit(Task("odd", odd))
        (foreign,) = drain(running)
    assert isinstance(failed, DataError) and str(failed) == "no"
    assert "in fail" in "".join(failed.__notes__)
    assert isinstance(foreign, RuntimeError) and "tests.test_engine.Odd: one" in str(foreign)


def test_several_workers_take_turns_and_all_reports_arrive(tmp_path: Path) -> None:
    seen: list[str] = []
    with pool(2) as running:
        waiting = [Task(str(n), note, {"path": tmp_path / str(n)}) for n in range(5)]
        while waiting or running.free < running.workers:
            while waiting and running.free:
                running.submit(waiting.pop())
            seen += [task.label for task, error, _ in running.completed(1.0) if error is None]
        assert sorted(label for label, _, _ in running.progress()) == sorted(seen) == [str(n) for n in range(5)]


SHARED_MEMORY = Path("/dev/shm")


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs a system that shows its shared memory")
def test_a_killed_group_of_processes_leaves_nothing_in_shared_memory(tmp_path: Path) -> None:
    """The whole group at once: then nobody is left to clear anything away."""
    script, seen = tmp_path / "main.py", tmp_path / "pid"
    script.write_text(ORPHAN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}
    main = subprocess.Popen([sys.executable, str(script), str(seen)], env=environment, start_new_session=True)
    while not (seen.exists() and seen.read_text()):
        time.sleep(0.05)
        assert main.poll() is None
    mapped = [Path(f"/proc/{pid}/maps").read_text() for pid in (main.pid, int(seen.read_text()))]
    os.killpg(main.pid, signal.SIGKILL)
    main.wait()
    held = {Path(word).name for text in mapped for word in text.split() if word.startswith("/dev/shm/")}
    assert not [name for name in held if (SHARED_MEMORY / name).exists()], "named after whoever was killed"
