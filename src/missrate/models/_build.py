"""From a recipe to a model at its random weights, the same for every arm of one seed."""

from types import ModuleType
from typing import Any

import torch
from torch import nn

from missrate.core import catalog, seed
from missrate.core.config import parse
from missrate.core.errors import ConfigError
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
        model = shelf.build(config, loss, channels=recipe.view.channels)
    assert isinstance(model, nn.Module)
    return model


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
    shelf: ModuleType = catalog.load("losses", str(values["name"]))
    return shelf.build(parse(shelf.Config, {k: v for k, v in values.items() if k != "name"}, where=where))
