"""The loss on validation patients: watched, never used to choose anything, and without a trace in the training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from missrate.core import seed
from missrate.core.recipe import Recipe
from missrate.core.viewed import ViewedCase
from missrate.train.batches import validation_batch

BATCHES = 4
"""Fixed batches of the recipe's size: enough to see over-fitting, at the cost of about two training steps."""


@torch.no_grad()
def validation_losses(
    fabric: Any, forward: nn.Module, model: nn.Module, cases: Sequence[ViewedCase], recipe: Recipe
) -> dict[str, float]:
    """The mean of each loss over the fixed batches; ``forward`` is ``model`` as Fabric wrapped it.

    The model stays in training mode, since a detector gives losses in no other, but its batch norms use the running
    statistics and do not change them, and dropout is off. torch's random numbers (a detector samples its proposals)
    are those of the batch's number; the next training step seeds them anew. Ends in training mode.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _NormBase | _DropoutNd):
            module.eval()
    totals: dict[str, float] = {}
    for number in range(BATCHES):
        torch.manual_seed(seed.number(recipe.seed, "validation", number))
        image, label = validation_batch(cases, recipe, number)
        losses = forward(fabric.to_device(torch.from_numpy(image)), fabric.to_device(torch.from_numpy(label)))
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + value.item() / BATCHES
    model.train()
    return totals
