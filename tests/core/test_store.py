"""Files: whole or absent, the same bytes for the same values, refused when they are something else."""

import errno
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from missrate.core import store
from missrate.core.crop import Crop
from missrate.core.errors import LockedError, StoreError
from missrate.core.grid import Grid
from missrate.core.types import Prediction

GRID = Grid.of((9, 8, 7), np.diag([1.0, 1.0, 3.0, 1.0]))


def test_a_full_disk_keeps_the_old_file_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    store.write_json(path, {"old": True})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"a\.json could not be written: No space left on device"):
        store.write_json(path, {"old": False})
    assert store.read_json(path) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        store.write_text(tmp_path / "file" / "below", "x")


def test_equal_text_is_not_written_again(tmp_path: Path) -> None:
    store.write_json(tmp_path / "a.json", {"x": 1})
    os.utime(tmp_path / "a.json", ns=(1, 1))
    store.write_json(tmp_path / "a.json", {"x": 1})
    assert (tmp_path / "a.json").stat().st_mtime_ns == 1
    store.write_json(tmp_path / "a.json", {"x": 2})
    assert store.read_json(tmp_path / "a.json") == {"x": 2}


def test_nan_never_reaches_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write_json(tmp_path / "a.json", {"rate": float("nan")})


def test_another_schema_is_refused(tmp_path: Path) -> None:
    store.write_json(tmp_path / "a.json", {"schema": "missrate/split/0"})
    with pytest.raises(StoreError, match="must have schema missrate/split/1"):
        store.read_json(tmp_path / "a.json", store.SPLIT)


def test_volume_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    values = np.arange(9 * 8 * 7, dtype=np.int16).reshape(9, 8, 7)
    store.write_volume(tmp_path / "a.b2nd", values, {"x": 1})
    store.write_volume(tmp_path / "b.b2nd", values, {"x": 1})
    back, meta = store.read_volume(tmp_path / "a.b2nd")
    assert (back == values).all()
    assert back.dtype == np.int16
    assert meta == {"x": 1}
    assert (tmp_path / "a.b2nd").read_bytes() == (tmp_path / "b.b2nd").read_bytes()


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_volume_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.b2nd"
    store.write_volume(path, np.arange(9 * 8 * 7, dtype=np.int16).reshape(9, 8, 7), {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match="must be a volume of missrate"):
        store.read_volume(path)


def test_prediction_is_cropped_and_comes_back_whole(tmp_path: Path) -> None:
    levels = np.zeros(GRID.shape, np.uint16)
    levels[2:4, 5, 6] = 30_000
    store.write_prediction(tmp_path / "p.b2nd", Prediction(Crop.whole(levels, GRID), "probability"))
    assert store.read_volume(tmp_path / "p.b2nd")[0].shape == (2, 1, 1)
    back = store.read_prediction(tmp_path / "p.b2nd")
    assert (back.levels.full() == levels).all()
    assert back.levels.grid == GRID
    assert back.kind == "probability"


def test_an_empty_prediction_is_a_prediction(tmp_path: Path) -> None:
    nothing = Crop.whole(np.zeros(GRID.shape, np.uint16), GRID)
    store.write_prediction(tmp_path / "p.b2nd", Prediction(nothing, "mask"))
    back = store.read_prediction(tmp_path / "p.b2nd")
    assert not back.levels.full().any()
    assert back.kind == "mask"


def _hold(folder: Path) -> None:
    with store.lock(folder):
        (folder / "held").touch()
        time.sleep(30)


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path,))
    holder.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.05)
    with pytest.raises(LockedError, match="in use by another missrate process"), store.lock(tmp_path):
        pass
    holder.kill()
    holder.join()
    with store.lock(tmp_path):
        pass


@settings(max_examples=30)
@given(st.tuples(st.integers(1, 40), st.integers(1, 300), st.integers(1, 270)), st.randoms(use_true_random=False))
def test_any_box_of_a_stored_scan_is_that_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, shape_ZYX: tuple[int, int, int], random: Any
) -> None:
    shape = shape_ZYX[::-1]
    values = np.random.default_rng(random.randrange(99)).integers(-1000, 3000, shape).astype(np.int16)
    grid = Grid.of(shape, np.diag([0.7, 0.8, 2.5, 1.0]))
    path = tmp_path_factory.mktemp("x") / "image.b2nd"
    store.write_image(path, values, grid)
    image = store.Image(path)
    assert image.grid == grid
    assert (image.whole() == values).all()
    spans = [sorted(random.sample(range(n + 1), 2)) for n in shape]
    x, y, z = (slice(*span) for span in spans)
    assert (image.box((x, y, z)) == values[x, y, z]).all()
    assert (image.slab(z.start, z.stop) == values[:, :, z]).all()


@pytest.mark.parametrize("keep", [0, 10, 200, 3000])
def test_a_truncated_scan_is_refused(tmp_path: Path, keep: int) -> None:
    values = np.random.default_rng(0).integers(-1000, 3000, (64, 64, 9)).astype(np.int16)
    path = tmp_path / "image.b2nd"
    store.write_image(path, values, Grid.of(values.shape, None))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match="must be a scan of missrate"):
        store.Image(path).whole()
