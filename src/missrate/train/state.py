"""What a training leaves on disk while it runs, so that a killed one goes on, and when it ends."""

import io
import json
import logging
import math
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from missrate.core import checkpoint, own, store
from missrate.core.errors import StoreError
from missrate.core.guard import understood
from missrate.core.recipe import Recipe

logger = logging.getLogger(__name__)

STATE = "state.pt"
Row = dict[str, Any]
"""One line of ``log.jsonl``: numbers, None, and dictionaries of them."""


@dataclass(slots=True)
class Snapshot:
    """All that the next step depends on, besides the recipe and the cases. ``step`` is how many steps were taken."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    loaded: list[str] = field(default_factory=list)  # what ``initialise`` said
    log: list[Row] = field(default_factory=list)
    model: dict[str, Tensor] = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    ema: dict[str, Tensor] | None = None


def save_snapshot(run: Path, snapshot: Snapshot, identity: str) -> None:
    """Writes ``state.pt`` whole or not at all; the one before it stays until then. Raises StoreError."""
    buffer = io.BytesIO()
    values = {name: getattr(snapshot, name) for name in Snapshot.__slots__}
    torch.save({"identity": identity, **values}, buffer)
    store.write_atomic(run / STATE, buffer.getvalue())


def load_snapshot(run: Path, identity: str) -> Snapshot | None:
    """The state to go on from, or None: there is none, it is damaged, or it belongs to another recipe or data.

    The last two are logged as warnings. Nothing in the file is executed.
    """
    path = run / STATE
    if not path.exists():
        return None
    try:
        with understood(path, "the state of a training"):
            values = torch.load(path, map_location="cpu", weights_only=True)
            found = values.pop("identity")
            snapshot = Snapshot(**values)
            if type(snapshot.step) is not int or not isinstance(snapshot.log, list):
                raise TypeError("steps that are no number")
    except StoreError:
        logger.warning("%s is damaged: the training starts anew", path)
        return None
    if found != identity:
        logger.warning("%s belongs to another recipe, data or program: the training starts anew", path)
        return None
    return snapshot


def remove_leftovers(run: Path) -> None:
    """Removes what a process that was killed left behind; nobody else writes into a run's folder."""
    for part in run.glob(".*.part"):
        part.unlink(missing_ok=True)
    if checkpoint.finished(run):
        (run / STATE).unlink(missing_ok=True)


def finish(run: Path, recipe: Recipe, snapshot: Snapshot, provenance: dict[str, Any]) -> None:
    """Writes the run; the weights (the averaged ones where there are any) come last and say that it is finished.

    Own files of the recipe are copied beside them, as they were pinned, so that the run can be applied from anywhere.
    """
    for name in recipe.own_files():
        store.write_atomic(run / own.path_of(name).name, own.read(name))
    store.write_text(run / "recipe.toml", recipe.to_toml())
    lines = [json.dumps(finite(row), sort_keys=True, allow_nan=False) + "\n" for row in snapshot.log]
    store.write_text(run / "log.jsonl", "".join(lines))
    store.write_json(run / "provenance.json", provenance | {"loaded": snapshot.loaded})
    timing = {"seconds": round(snapshot.seconds, 3), "cpu_seconds": round(snapshot.cpu_seconds, 3)}
    store.write_json(run / "timing.json", timing | {"steps": snapshot.step})
    checkpoint.save(run / checkpoint.WEIGHTS, snapshot.ema or snapshot.model)
    (run / STATE).unlink(missing_ok=True)


def finite(value: Any) -> Any:
    """``value`` with None for every number that is infinite or not a number: a validation loss may be."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """The programs that a weight depends on."""
    from importlib.metadata import version

    names = ("missrate", "numpy", "torch", "torchvision")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
