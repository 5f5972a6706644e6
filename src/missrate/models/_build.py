"""From a recipe to a model at its random weights, the same for every arm of one seed."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from missrate.core import catalog, own, seed
from missrate.core.config import parse
from missrate.core.errors import ConfigError, MissrateError
from missrate.core.recipe import Recipe


def build_model(recipe: Recipe) -> nn.Module:
    """The recipe's Segmenter in training mode; ``initialise`` may then load weights into it.

    The random weights depend on the recipe's seed and the network alone, and torch's own random state is left as it
    was. Raises UnknownNameError for a model or loss that no shelf has, and ConfigError for an unknown key, a wrong
    value, or an init that the configuration cannot take.
    """
    shelf, config, loss = check(recipe)
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU, so the devices' states stay untouched
        torch.default_generator.manual_seed(seed.number(recipe.seed, "weights"))
        with buildable(recipe.model):
            model = shelf.build(config, loss, channels=recipe.view.channels)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{own.short(recipe.model)} must build a torch.nn.Module. Got {type(model).__name__}.")
    return model


def try_step(recipe: Recipe, model: nn.Module) -> None:
    """One step's losses and a prediction of two small slices, one of them with a lesion; leaves gradients and no more.

    For what a user wrote, before hours of preparation. Raises ConfigError for an exception in it, for losses that are
    no scalars, and for a prediction of another shape than B1XY.
    """
    image_BCXY = torch.rand(2, recipe.view.channels, 64, 64)
    label_BXY = torch.zeros(2, 64, 64, dtype=torch.uint8)
    label_BXY[0, 20:40, 24:40] = 1
    names = " and ".join(map(own.short, recipe.own_files()))
    with buildable(names):
        losses = model(image_BCXY, label_BXY)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        predicted: Any = model.eval().probability(image_BCXY)  # type: ignore[operator]
    if any(value.ndim for value in losses.values()):
        raise ConfigError(f"{names} must give losses that are scalars. Got one of shape {_shape(losses)}.")
    if tuple(predicted.shape) != (2, 1, 64, 64):
        raise ConfigError(f"{names} must give probabilities of shape (2, 1, 64, 64). Got {tuple(predicted.shape)}.")


def _shape(losses: dict[str, Tensor]) -> tuple[int, ...]:
    return next(tuple(value.shape) for value in losses.values() if value.ndim)


@contextmanager
def buildable(name: str) -> Iterator[None]:
    """Whatever a member raises while it is built or tried becomes a ConfigError that names it.

    The shelf's own members check their keys, but torch alone knows which of them do not go together.
    """
    try:
        yield
    except MissrateError:
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}".rstrip(".")
        raise ConfigError(f"{own.short(name)} must build and take a batch. Got {told}.") from error


def check(recipe: Recipe) -> tuple[ModuleType, Any, Any]:
    """The model's file, its config and the loss of a recipe; raises as ``build_model``, in a moment and before it."""
    shelf = catalog.load("models", recipe.model)
    config = parse(shelf.Config, recipe.config, where=f"config of arm {recipe.arm!r}")
    if hasattr(shelf, "check_init"):
        shelf.check_init(config, recipe.init)
    loss = None if recipe.loss is None else _build_loss(recipe.loss, where=f"loss of arm {recipe.arm!r}")
    return shelf, config, loss


def _build_loss(values: dict[str, Any], *, where: str) -> Any:
    """``{"name": "tversky_ce", ...}``: the name picks the file, the rest is for its Config."""
    if "name" not in values:
        raise ConfigError(f"{where}: 'name' must be given, one of {', '.join(catalog.names('losses'))}.")
    name = str(values["name"])
    shelf: ModuleType = catalog.load("losses", name)
    config = parse(shelf.Config, {k: v for k, v in values.items() if k != "name"}, where=where)
    with buildable(name):
        return shelf.build(config)
