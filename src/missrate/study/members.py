"""The members that a study names: own files beside its file are pinned, names of the shelves are known ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from missrate.core import catalog, own

if TYPE_CHECKING:
    from missrate.study.config import ArmConfig, StudyConfig


def pinned(study: "StudyConfig", folder: Path) -> "StudyConfig":
    """Return the study with every own file below ``folder`` pinned (``core.own``), and every model's default loss said.

    Readers of sources are pinned where their paths are anchored. Raises UnknownNameError for a member that no shelf
    has and for an absent file, ConfigError for a file that states another hash than it has.
    """
    models = {_known("models", name, folder): config for name, config in study.models.items()}
    metrics = tuple(_known("metrics", name, folder) for name in study.evaluate.metrics)
    return study.model_copy(
        update={
            "arms": tuple(_arm(arm, folder) for arm in study.arms),
            "models": models,
            "evaluate": study.evaluate.model_copy(update={"metrics": metrics}),
        }
    )


def _arm(arm: "ArmConfig", folder: Path) -> "ArmConfig":
    if arm.reader is not None:
        arm = arm.model_copy(update={"reader": _known("readers", arm.reader, folder)})
    if arm.model is None:
        return arm
    model = _known("models", arm.model, folder)
    return arm.model_copy(update={"model": model, "loss": _loss(model, arm.loss, folder)})


def _loss(model: str, loss: dict[str, Any] | None, folder: Path) -> dict[str, Any] | None:
    """The arm's loss, or the one that the model's file names as ``DEFAULT_LOSS``; None for models that bring theirs."""
    if loss is None:
        name = catalog.constant("models", model, "DEFAULT_LOSS")
        return None if name is None else {"name": _known("losses", str(name), folder)}
    return {key: _known("losses", str(value), folder) if key == "name" else value for key, value in loss.items()}


def _known(shelf: catalog.Shelf, name: str, folder: Path) -> str:
    catalog.require_known(shelf, name)
    return own.pinned(name, folder)
