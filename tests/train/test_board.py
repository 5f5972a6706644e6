"""What TensorBoard shows of a training, and that showing it changes nothing."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from missrate.core.types import LESION
from missrate.train import loop
from missrate.train.board import _row
from tests.train import drawn


def _train(run: Path, **more: Any) -> Path:
    loop.train(run, drawn.recipe(), drawn.cohort(), [drawn.case("v")], provenance={"patients": {}}, **more)
    return run


def _events(run: Path) -> Any:
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return found


def test_every_step_and_validation_is_a_point(tmp_path: Path) -> None:
    events = _events(_train(tmp_path))
    assert [point.step for point in events.Scalars("loss")] == list(range(1, 9))
    assert [point.step for point in events.Scalars("validation_loss")] == [4, 8]
    assert {"lr", "grad_norm", "train/bce", "validation/bce"} <= set(events.Tags()["scalars"])
    assert [picture.step for picture in events.Images("validation")] == [4, 8]


@pytest.mark.parametrize("stopped", [2, 5])  # before the first snapshot and after it
def test_a_training_that_goes_on_has_every_step_once(tmp_path: Path, stopped: int) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done == stopped:
            raise Stopped

    with pytest.raises(Stopped):
        _train(tmp_path, progress=stop)
    # TensorBoard orders its files by name: the whole second, then a counter of the process in which .10 precedes .9.
    time.sleep(1 - time.time() % 1)
    assert [point.step for point in _events(_train(tmp_path)).Scalars("loss")] == list(range(1, 9))


def test_without_tensorboard_the_weights_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _train(tmp_path / "shown")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    hidden = _train(tmp_path / "hidden")
    assert not (hidden / "tensorboard").exists()
    assert (hidden / "weights.safetensors").read_bytes() == (shown / "weights.safetensors").read_bytes()


def test_pictures_stand_side_by_side_with_anterior_up() -> None:
    image, label, seen = np.zeros((1, 4, 6), np.float32), np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.float32)
    label[3, 5], seen[0, 5] = LESION, 1.0  # the most anterior row; last and first along X
    picture = _row(image, label, seen)
    assert picture.shape == (6, 12, 3)
    assert np.argwhere(picture.sum(axis=2) > 0).tolist() == [[0, 7], [0, 8]]
