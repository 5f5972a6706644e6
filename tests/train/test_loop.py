"""A training ends with the same weights however often it was stopped, and stops with a sentence when it must."""

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from missrate.core import checkpoint, store
from missrate.core.errors import InputError, StoreError, TrainingError
from missrate.core.recipe import Recipe, TrainConfig, read_recipe
from missrate.train import loop, state
from missrate.train.optimise import learning_rate
from tests.train import drawn

RESULTS = ("weights.safetensors", "recipe.toml", "log.jsonl", "provenance.json")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


class Stop(Exception):
    """Raised by a test in the middle of a training."""


def run_training(run: Path, recipe: Recipe | None = None, *, stop_after: int | None = None, **more: Any) -> Path:
    """Trains on the drawn cohort; with ``stop_after`` it raises Stop after so many steps of this call."""
    taken = 0

    def progress(_done: int, _of: int) -> None:
        nonlocal taken
        taken += 1
        if taken == stop_after:
            raise Stop

    cases = drawn.cohort()
    settings: dict[str, Any] = {"provenance": {"patients": {}}, "progress": progress, "validation": cases[:2]} | more
    loop.train(run, recipe or drawn.recipe(), cases, **settings)
    return run


def hashes(run: Path) -> dict[str, str]:
    return {name: store.hash_file(run / name) for name in RESULTS}


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_training(tmp_path_factory.mktemp("undisturbed"))


def test_a_run_holds_what_its_readers_need(undisturbed: Path) -> None:
    assert {path.name for path in undisturbed.iterdir()} == {*RESULTS, "timing.json", "tensorboard", "tiny.py"}
    # The largest slice of the cohort: prediction pads to what training saw.
    assert read_recipe(undisturbed / "recipe.toml") == drawn.recipe(patch_px=(16, 20)).pinned(Path()).placed(
        undisturbed
    )
    provenance = store.read_json(undisturbed / "provenance.json", store.PROVENANCE)
    assert provenance["patients"] == {} and provenance["precision"] == "32-true"
    assert provenance["versions"].keys() == {"python", "missrate", "numpy", "torch", "torchvision"}
    assert checkpoint.load(undisturbed / "weights.safetensors").keys() >= {"net.0.weight", "net.1.running_mean"}


def test_the_log_has_every_step_and_every_validation(undisturbed: Path) -> None:
    steps = [row for row in rows(undisturbed) if "losses" in row]
    assert [row["step"] for row in steps] == list(range(1, 9))
    assert all(row["losses"].keys() == {"bce", "noise"} for row in steps)
    assert steps[0]["loss"] == sum(steps[0]["losses"].values()) and steps[0]["grad_norm"] > 0
    assert [row["step"] for row in rows(undisturbed) if "validation" in row] == [4, 8]


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path, undisturbed: Path) -> None:
    torch.manual_seed(99)  # nobody's state matters
    assert hashes(run_training(tmp_path)) == hashes(undisturbed)


def test_another_seed_gives_other_weights(tmp_path: Path, undisturbed: Path) -> None:
    assert hashes(run_training(tmp_path, drawn.recipe(seed=1))) != hashes(undisturbed)


@pytest.mark.parametrize("stops", [[1], [3], [4], [7], [8], [4, 2, 1, 1]])
def test_a_stopped_training_ends_with_the_same_bytes(tmp_path: Path, undisturbed: Path, stops: list[int]) -> None:
    for stop in stops:
        with pytest.raises(Stop):
            run_training(tmp_path, stop_after=stop)
    assert hashes(run_training(tmp_path)) == hashes(undisturbed)


def test_a_stopped_training_does_not_repeat_what_was_kept(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run_training(tmp_path, stop_after=7)
    done: list[int] = []
    run_training(tmp_path, progress=lambda step, _of: done.append(step))
    assert done == [7, 8]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of one process")
def test_a_training_killed_at_any_point_ends_with_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.train.killed", str(tmp_path)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[2])
    wanted = hashes(tmp_path / "undisturbed")
    killed = sorted(path.name for path in tmp_path.iterdir() if path.name != "undisturbed")
    # Two snapshots, the model's own file, four others and the weights; before-9 and after-9 found no such point.
    assert len(killed) == 2 * (8 + 1)
    assert {name: hashes(tmp_path / name) for name in killed} == dict.fromkeys(killed, wanted)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") or path.name == state.STATE]


def test_proposals_of_mask_rcnn_are_the_same_after_a_stop(tmp_path: Path) -> None:
    small = {"backbone": "resnet18", "fpn_channels": 16, "box_channels": 16, "mask_channels": 16, "mask_layers": 1}
    recipe = drawn.recipe(model="maskrcnn", config=small, steps=3, snapshot_every=1, batch=2, patch_px=(32, 32))
    run_training(tmp_path / "whole", recipe, validation=[])
    with pytest.raises(Stop):
        run_training(tmp_path / "stopped", recipe, validation=[], stop_after=2)
    run_training(tmp_path / "stopped", recipe, validation=[])
    assert hashes(tmp_path / "stopped") == hashes(tmp_path / "whole")


@pytest.mark.parametrize("damage", [b"", b"not a state", None])
def test_a_damaged_state_is_ignored_with_a_warning(
    tmp_path: Path, undisturbed: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Stop):
        run_training(tmp_path, stop_after=4)
    path = tmp_path / state.STATE
    path.write_bytes(path.read_bytes()[:-500] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        run_training(tmp_path)
    assert "is damaged: the training starts anew" in caplog.text
    assert hashes(tmp_path) == hashes(undisturbed)


@pytest.mark.parametrize("change", [{"provenance": {"patients": {"x": []}}}, {"recipe": drawn.recipe(lr=0.5)}])
def test_the_state_of_another_training_is_ignored_with_a_warning(
    tmp_path: Path, undisturbed: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Stop):
        run_training(tmp_path, stop_after=4, **change)
    with caplog.at_level(logging.WARNING):
        run_training(tmp_path)
    assert "belongs to another recipe" in caplog.text
    assert hashes(tmp_path) == hashes(undisturbed)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    run_training(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    run_training(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    with pytest.raises(StoreError, match="must be a new folder"):
        run_training(tmp_path, drawn.recipe(lr=0.5))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tmp_path: Path, what: str) -> None:
    broken = drawn.recipe(config={"breaks_at": 5, "what": what})
    with pytest.raises(TrainingError, match=r"step 5; perhaps lower train\.lr"):
        run_training(tmp_path, broken)
    assert not checkpoint.finished(tmp_path)
    kept = torch.load(tmp_path / state.STATE, weights_only=True)
    assert kept["step"] == 3 and all(tensor.isfinite().all() for tensor in kept["model"].values())


def test_validation_leaves_no_trace_in_the_weights(tmp_path: Path, undisturbed: Path) -> None:
    alone = checkpoint.load(run_training(tmp_path, validation=[]) / "weights.safetensors")
    watched = checkpoint.load(undisturbed / "weights.safetensors")
    assert alone.keys() == watched.keys() and "net.1.num_batches_tracked" in alone
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    assert not any("validation" in row for row in rows(tmp_path))


def test_the_validation_loss_is_of_the_same_batches_every_time(tmp_path: Path) -> None:
    run = run_training(tmp_path, drawn.recipe(lr=1e-12, weight_decay=0.0, validate_every=1, ema=None))
    first, *others = [row["validation"]["noise"] for row in rows(run) if "validation" in row]
    # Only batch norm's statistics move; fresh noise would differ by tenths.
    assert others == pytest.approx([first] * 7, abs=0.05)


def test_averaged_weights_follow_the_last_ones(tmp_path: Path, undisturbed: Path) -> None:
    average = checkpoint.load(run_training(tmp_path, drawn.recipe(ema=0.99)) / "weights.safetensors")
    last = checkpoint.load(undisturbed / "weights.safetensors")
    assert not torch.equal(average["net.0.weight"], last["net.0.weight"])
    assert torch.allclose(average["net.0.weight"], last["net.0.weight"], atol=0.01)
    assert average["calls"] == last["calls"] == 8


def test_other_settings_train_too(tmp_path: Path) -> None:
    run_training(tmp_path, drawn.recipe(optimiser="sgd", schedule="constant", precision="bf16", flip_x=True))
    assert store.read_json(tmp_path / "provenance.json")["precision"] == "bf16-mixed"


def test_the_caller_keeps_torch_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    run_training(tmp_path)
    assert torch.equal(torch.rand(3), wanted)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_setting_that_can_do_nothing_is_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_training(tmp_path, drawn.recipe(insertion=0.5))
    assert "insertion must find an organ" in caplog.text


def test_training_without_a_lesion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must get a case with a lesion"):
        loop.train(tmp_path, drawn.recipe(), [drawn.case("healthy", lesion=None)], [], provenance={})
    with pytest.raises(InputError, match="must get at least one case"):
        loop.train(tmp_path, drawn.recipe(), [], [], provenance={})


def test_the_rate_rises_and_falls() -> None:
    config = TrainConfig(steps=30, warmup=10, lr=2.0)
    rates = [learning_rate(step, config) for step in range(31)]
    assert rates[0] == 0.2 and rates[9] == rates[10] == 2.0
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[20] == pytest.approx(1.0) and rates[30] == pytest.approx(0.0)
    constant = TrainConfig(steps=30, warmup=0, lr=2.0, schedule="constant")
    assert {learning_rate(step, constant) for step in range(30)} == {2.0}
    assert math.isfinite(learning_rate(4, TrainConfig(steps=5, warmup=5)))
