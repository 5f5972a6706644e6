"""Runs a study again and again, each time killed (SIGKILL) at another moment, until it ends. Prints what each left.

Usage: python -m tests.study.killed STUDY.toml OUT PATTERN:MOMENT...
A moment is "before" (the file is written beside its place but not yet renamed into it) or "after" (just renamed).
Each attempt is a fork of this process, so that the heavy imports are paid once.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from missrate.study import config, runner, work
from missrate.study.plan import plan


def finished_files(out: Path) -> dict[str, int]:
    """Every file that a later attempt must not touch, with its time of change."""
    passing = ("state.pt", ".lock")
    files = [p for p in out.rglob("*") if p.is_file() and p.name not in passing and not p.name.endswith(".part")]
    whole = [p for p in files if "stages" not in p.parts and _last_of_its_case(p).exists()]
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in whole}


def _last_of_its_case(path: Path) -> Path:
    """The file that says that a case or a run of several files is whole."""
    if path.name.endswith(".b2nd") and "cases" in path.parts:
        return path.with_name("case.json")
    if "runs" in path.parts:
        return path.with_name("weights.safetensors")
    if path.name.endswith(".npy"):
        return path.with_name(f"{path.name.split('.')[0]}.json")
    return path


def attempt(study: Path, out: Path, pattern: str | None, moment: str) -> int:
    """Runs the study in a fork that dies at the pattern's moment; gives the signal that ended it, or 0."""
    pid = os.fork()
    if pid == 0:
        if pattern is not None:
            _die_at(pattern, moment)
        runner.run(plan(config.read_study(study, []), out), out, workers=0, watch=lambda _: None)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def _die_at(pattern: str, moment: str) -> None:
    replace: Callable[[Path, Path], Path] = Path.replace

    def deadly(self: Path, target: Path) -> Path:
        hit = pattern in str(target)
        if hit and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = replace(self, target)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Path.replace = deadly  # type: ignore[method-assign, assignment]


def main() -> None:
    study, out, moments = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    for name in ("train.loop", "predict.run2d", "predict.null", "report.page"):
        __import__(f"missrate.{name}")
    assert work is not None
    report = []
    for pattern, _, moment in (text.partition(":") for text in moments):
        before = finished_files(out) if out.exists() else {}
        ended = attempt(study, out, pattern, moment)
        now = finished_files(out)
        report.append(
            {"ended": ended, "touched": [f for f, time in before.items() if now.get(f) != time], "at": pattern}
        )
    before = finished_files(out)
    ended = attempt(study, out, None, "")
    now = finished_files(out)
    report.append({"ended": ended, "touched": [f for f, time in before.items() if now.get(f) != time], "at": "end"})
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
