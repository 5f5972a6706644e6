"""A view is written once, survives being stopped anywhere, and takes the memory of a few scans, not of all."""

import os
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from missrate.core import store
from missrate.core.grid import Grid
from missrate.core.types import LESION, LabelledScan
from missrate.core.view import View
from missrate.core.viewed import read_view
from missrate.prepare.views import materialise
from tests.prepare.test_prepare import make, prepare, volumes

FILES = 4
"""What one case of a view consists of; its ``.json`` comes last."""


def prepared(tmp_path: Path) -> store.Prepared:
    for seed, case in enumerate("ab"):
        make(tmp_path / "raw", case, *volumes(seed))
    assert prepare(tmp_path / "raw", tmp_path / "out") == {}
    return store.Prepared(tmp_path / "out")


def run(source: store.Prepared, folder: Path) -> None:
    for case in "ab":
        materialise(source, case, case, view=View(), folder=folder)


def run_killed(source: store.Prepared, folder: Path, after: int) -> int:
    """A fork of this process that dies when it has put ``after`` files into their places; gives the signal."""
    pid = os.fork()
    if pid == 0:
        replace, done = Path.replace, 0

        def deadly(part: Path, target: Path) -> Path:
            nonlocal done
            if done == after:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return replace(part, target)

        setattr(Path, "replace", deadly)  # noqa: B010 - on purpose
        run(source, folder)
        os._exit(0)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of one process")
@pytest.mark.parametrize("after", range(2 * FILES))
def test_killed_before_any_file_it_ends_the_same_and_leaves_whole_cases_alone(tmp_path: Path, after: int) -> None:
    source, folder, whole = prepared(tmp_path), tmp_path / "views", tmp_path / "whole"
    run(source, whole)
    assert len(contents(whole)) == 2 * FILES
    assert run_killed(source, folder, after) == signal.SIGKILL
    finished = sorted(path for path in folder.iterdir() if path.name.startswith("a.") and after >= FILES)
    assert len(finished) == (FILES if after >= FILES else 0)
    for path in finished:
        os.utime(path, ns=(1, 1))
    store.remove_parts(folder)
    run(source, folder)
    assert contents(folder) == contents(whole)
    assert all(path.stat().st_mtime_ns == 1 for path in finished)


class Large(store.Prepared):
    """Gives scans made up when they are asked for, so that nothing else is held."""

    shape = (128, 128, 48)
    case_bytes = 128 * 128 * 48 * 3

    def load(self, case_id: str, patient_id: str) -> LabelledScan:
        image_XYZ = np.random.default_rng(ord(case_id)).integers(-400, 400, self.shape).astype(np.int16)
        label_XYZ = np.zeros(self.shape, np.uint8)
        label_XYZ[40:60, 40:60, 20:30] = LESION
        grid = Grid.of(self.shape, np.diag([0.7, 0.7, 2.5, 1.0]))
        return LabelledScan(case_id, patient_id, image_XYZ, label_XYZ, grid)


@pytest.mark.parametrize("view", [View(), View(spacing_mm=1.0), View(crop="body")])
def test_many_cases_take_the_memory_of_one(tmp_path: Path, view: View) -> None:
    """Image and label, the image as float once or twice, and what is written: eight times a case at most."""
    source, peaks = Large(tmp_path), []
    for cases in ("a", "bcde"):
        tracemalloc.start()
        for case in cases:
            materialise(source, case, case, view=view, folder=tmp_path / "views")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Four cases peak as one does, within a tenth.
    assert peaks[0] < 8 * Large.case_bytes and peaks[1] < 1.1 * peaks[0]
    assert read_view(tmp_path / "views", "e").lesion_slices.size == 10
