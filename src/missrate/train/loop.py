"""Trains one model on one set of cases: a fixed number of steps, exactly resumable, on one device.

Every step draws its batch and its random numbers from (seed, step), and the learning rate is a function of the step,
so the state to go on from is weights, optimiser and averages.
"""

import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from missrate.core import checkpoint, own, seed, store
from missrate.core.config import fingerprint
from missrate.core.errors import StoreError, TrainingError
from missrate.core.guard import understood
from missrate.core.precision import cpu_info, uses_bf16
from missrate.core.recipe import Recipe
from missrate.core.timing import cpu_seconds
from missrate.core.viewed import ViewedCase
from missrate.models._build import build_model
from missrate.models._initial import initialise
from missrate.train.batches import Batch, batches, patch_size, validation_batch
from missrate.train.board import Board
from missrate.train.optimise import build_optimiser, copy_state, ema_decay, learning_rate, update_ema
from missrate.train.state import STATE, Snapshot, finish, load_snapshot, remove_leftovers, save_snapshot, versions
from missrate.train.validate import validation_losses

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def train(
    run: Path,
    recipe: Recipe,
    cases: list[ViewedCase],
    validation: list[ViewedCase],
    *,
    provenance: dict[str, Any],
    arm_weights: Path | None = None,
    offline: bool = False,
    folder: Path = Path(),
    progress: Progress | None = None,
) -> None:
    """Writes ``recipe.toml``, ``log.jsonl``, ``provenance.json``, ``timing.json`` and, last, ``weights.safetensors``.

    Own files of the recipe, which lie below ``folder``, are copied beside them. The recipe that is written has
    ``patch_px`` resolved (see ``batches.patch_size``), for prediction pads alike. Goes on from ``state.pt`` when it
    belongs to the same recipe, provenance, programs and device; a finished run is left as it is. ``provenance`` (plain
    JSON values) is written with what was added here. ``validation`` may be empty. ``progress(done, of)`` is called
    after each step. ``arm_weights``, ``offline`` and ``folder`` are for ``initialise``.

    Raises InputError and ConfigError for what cannot be trained, StoreError when the run holds another recipe's
    weights, and TrainingError when the loss or its gradient is infinite or not a number; ``state.pt`` then stays.
    """
    recipe = _resolved(recipe.pinned(folder), cases)
    remove_leftovers(run)
    if checkpoint.finished(run):
        _require_same_recipe(run, recipe)
        return
    if recipe.train.insertion > 0 and not any(case.organ_slices.size for case in cases):
        logger.warning(
            "arm %s: insertion must find an organ to paste lesions into. Got no voxel of one in %d cases, so every "
            "lesion stays where it is; perhaps name the organ in [sources.NAME] labels.",
            *(recipe.arm, len(cases)),
        )
    fabric = _fabric(recipe)
    about = _provenance(recipe, provenance, fabric, arm_weights)
    with _own_randomness(fabric.device):
        loop = _Loop(run, recipe, fabric, identity=fingerprint([recipe.model_dump(mode="json"), about]))
        loop.begin(arm_weights, offline=offline, folder=folder)
        loop.go(cases, validation, progress)
    finish(run, recipe, loop.snapshot(), about)


class _Loop:
    def __init__(self, run: Path, recipe: Recipe, fabric: Any, *, identity: str) -> None:
        self.run, self.recipe, self.config, self.fabric, self.identity = run, recipe, recipe.train, fabric, identity
        self.model = build_model(recipe)
        optimiser = build_optimiser(self.model, recipe.train)
        # One object twice: ``model`` to save and to switch modes, ``forward`` to call (precision, later data-parallel).
        self.forward, self.optimiser = fabric.setup(self.model, optimiser)
        self.kept = Snapshot()

    def begin(self, arm_weights: Path | None, *, offline: bool, folder: Path) -> None:
        """Loads the state of a training that was stopped, or else the initial weights. Raises StoreError."""
        found = load_snapshot(self.run, self.identity)
        if found is None:
            self.kept.loaded = initialise(
                self.model, self.recipe.init, arm_weights=arm_weights, offline=offline, folder=folder
            )
            self.kept.ema = copy_state(self.model) if self.config.ema is not None else None
            if len(self.kept.loaded) > 1:  # not all of it, or not all of the model
                logger.warning("arm %s: %s", self.recipe.arm, "\n  ".join(map(_shortened, self.kept.loaded)))
            return
        logger.info("%s: goes on after step %d", self.run, found.step)
        with understood(self.run / STATE, "the state of this training", perhaps="perhaps remove it"):
            self.model.load_state_dict(found.model)
            self.optimiser.load_state_dict(found.optimiser)
            if found.ema is not None:
                found.ema = {name: tensor.to(self.fabric.device) for name, tensor in found.ema.items()}
        self.kept = found

    def go(self, cases: list[ViewedCase], validation: list[ViewedCase], progress: Progress | None) -> None:
        """The steps that are left."""
        with closing(Board(self.run, self.kept.step)) as board:
            self._go(cases, validation, progress, board)

    def _go(
        self, cases: list[ViewedCase], validation: list[ViewedCase], progress: Progress | None, board: Board
    ) -> None:
        config, kept = self.config, self.kept
        began, cpu_began = time.perf_counter() - kept.seconds, cpu_seconds() - kept.cpu_seconds
        name, shown = ("validation", validation) if validation else ("training", cases)
        self.model.train()
        for data in batches(cases, self.recipe, range(kept.step, config.steps)):
            kept.log.append(self._step(kept.step, data))
            board.row(kept.log[-1])
            kept.step += 1
            if validation and kept.step % config.validate_every == 0:
                losses = validation_losses(self.fabric, self.forward, self.model, validation, self.recipe)
                kept.log.append({"step": kept.step, "validation": losses, "validation_loss": sum(losses.values())})
                board.row(kept.log[-1])
            if board.open and kept.step % config.validate_every == 0:
                board.pictures(name, self.model, validation_batch(shown, self.recipe, 0), kept.step)
            kept.seconds, kept.cpu_seconds = time.perf_counter() - began, cpu_seconds() - cpu_began
            if kept.step % config.snapshot_every == 0 and kept.step < config.steps:
                save_snapshot(self.run, self.snapshot(), self.identity)
            if progress is not None:
                progress(kept.step, config.steps)

    def _step(self, step: int, data: Batch) -> dict[str, Any]:
        """One update and its line in the log; ``step`` counts from 0, lines from 1. Raises TrainingError."""
        torch.manual_seed(seed.number(self.recipe.seed, "step", step))
        lr = learning_rate(step, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        image_BCXY, label_BXY = (self.fabric.to_device(torch.from_numpy(values)) for values in data)
        losses = self.forward(image_BCXY, label_BXY)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(torch.stack(list(losses.values())).sum())
        norm = self.fabric.clip_gradients(
            self.forward, self.optimiser, max_norm=self.config.clip or math.inf, error_if_nonfinite=False
        )
        # Together, so that a GPU is waited for once.
        values = dict(zip(losses, torch.stack([v.detach().float() for v in losses.values()]).tolist(), strict=True))
        row = {"step": step + 1, "losses": values, "loss": sum(values.values()), "lr": lr, "grad_norm": float(norm)}
        self._require_finite(row)
        self.optimiser.step()
        if self.config.ema is not None and self.kept.ema is not None:
            update_ema(self.kept.ema, self.model, ema_decay(step, self.config.ema))
        return row

    def _require_finite(self, row: dict[str, Any]) -> None:
        if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
            return
        clip = f"lower train.clip ({self.config.clip:g})" if self.config.clip else "clip gradients (train.clip = 5)"
        raise TrainingError(
            f"Arm {self.recipe.arm!r}: loss and gradient must be finite. Got loss {row['loss']:g} and gradient norm "
            f"{row['grad_norm']:g} in step {row['step']}; perhaps lower train.lr ({self.config.lr:g}), {clip}, "
            f"or set train.precision to float32. The last good state is kept in {self.run}."
        )

    def snapshot(self) -> Snapshot:
        """The training as it stands now; tensors are the live ones, not copies."""
        self.kept.model = self.model.state_dict()
        self.kept.optimiser = self.optimiser.state_dict()
        return self.kept


def _shortened(line: str, names: int = 6) -> str:
    """The beginning of a list of tensors, and how many more there are; provenance.json has them all."""
    head, colon, listed = line.partition(": ")
    each = listed.split(", ")
    return f"{head}{colon}{', '.join(each[:names])} and {len(each) - names} more" if len(each) > names else line


def _resolved(recipe: Recipe, cases: list[ViewedCase]) -> Recipe:
    train_config = recipe.train.model_copy(update={"patch_px": patch_size(cases, recipe)})
    return recipe.model_copy(update={"train": train_config})


def _fabric(recipe: Recipe) -> Any:
    # Late: it costs about three seconds more than torch and torchvision do.
    from lightning.fabric import Fabric
    from lightning.fabric.accelerators import CUDAAccelerator, MPSAccelerator

    for name in ("lightning.fabric", "lightning.pytorch"):  # they announce the precision and advertise on stderr
        logging.getLogger(name).setLevel(logging.WARNING)
    device = "cuda" if CUDAAccelerator.is_available() else "mps" if MPSAccelerator.is_available() else "cpu"
    precision = "bf16-mixed" if uses_bf16(recipe.train.precision, device) else "32-true"
    return Fabric(accelerator=device, devices=1, precision=precision)


def _provenance(recipe: Recipe, given: dict[str, Any], fabric: Any, arm_weights: Path | None) -> dict[str, Any]:
    device: torch.device = fabric.device
    members = own.identities(recipe.own_files())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_info("model name") or platform.machine()
    return {
        **given,
        "schema": store.PROVENANCE,
        "init": recipe.init,
        "seed": recipe.seed,
        "arm_weights": store.hash_file(arm_weights) if arm_weights is not None and arm_weights.is_file() else None,
        "versions": versions(),
        "device": name,
        "precision": fabric._precision.precision,
        **({"own_files": members} if members else {}),
    }


def _require_same_recipe(run: Path, recipe: Recipe) -> None:
    if (run / "recipe.toml").read_text(encoding="utf-8") != recipe.to_toml():
        raise StoreError(f"{run} must be a new folder, or hold a run of the same recipe. Got weights of another one.")


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """torch's random state and its choice of algorithms are the caller's again afterwards.

    On a CPU only deterministic algorithms; on a GPU torchvision's RoIAlign and others have none.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.use_deterministic_algorithms(device.type == "cpu", warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
