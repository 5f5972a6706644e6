"""``python -m tests.train.killed FOLDER``: trainings that are killed (SIGKILL) at every point where it could matter.

A point is just before or just after a file is put in its place; steps leave nothing else behind. Each training is a
fork of a process that has imported everything and never computed, since imports take longer than all trainings.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

import torch
from lightning.fabric import Fabric

from missrate.train.loop import train
from tests.train import drawn

assert Fabric is not None  # imported here so that the forks need not
REPLACE = Path.replace


class Killer:
    """Kills this process at the ``count``-th point of its kind; a count of 0 never comes."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.left = kind, count

    def point(self, kind: str) -> None:
        if kind == self.kind:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path) -> None:
    """Leaves ``undisturbed/`` and ``before-1/``, ``after-1/``, ...: killed there once, then run to the end."""
    assert run_in_fork(folder / "undisturbed", Killer("never", 0)) == 0
    for kind in ("before", "after"):
        for count in itertools.count(1):
            run = folder / f"{kind}-{count}"
            status = run_in_fork(run, Killer(kind, count))
            if status == 0:  # there are fewer points than that
                break
            assert status == signal.SIGKILL, status
            assert run_in_fork(run, Killer("never", 0)) == 0


def run_in_fork(run: Path, killer: Killer) -> int:
    """The exit status of a training in a process of its own: 0, or the signal that killed it."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    code = 1
    try:
        setattr(Path, "replace", lambda part, target: replace(part, target, killer))  # noqa: B010 - on purpose
        cases = drawn.cohort()
        train(run, drawn.recipe(ema=0.9), cases, cases[:2], provenance={"patients": {}})
        code = 0
    finally:
        os._exit(code)


def replace(part: Path, target: Path, killer: Killer) -> Path:
    """``Path.replace`` with a point on either side."""
    killer.point("before")
    result = REPLACE(part, target)
    killer.point("after")
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
