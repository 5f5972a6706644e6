"""Soft Dice over the batch plus cross entropy: nnU-Net's pair."""

from collections.abc import Callable
from functools import partial

from pydantic import Field
from torch import Tensor

from missrate.core.config import Frozen
from missrate.losses._binary import cross_entropy, full_precision, prepare, tversky


class Config(Frozen):
    """``smooth`` is in voxels; the two weights multiply the two terms."""

    dice_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    smooth: float = Field(default=1.0, gt=0)


def dice_ce(logits_BCXY: Tensor, label_BXY: Tensor, *, config: Config) -> Tensor:
    """1 - (2 TP + s) / (2 TP + FP + FN + s), soft and over the whole batch, plus cross entropy. Also for 3D.

    A scalar >= 0, float32, 0 at perfection. Milletari et al. 2016 for Dice (theirs squares the denominator).
    """
    with full_precision(logits_BCXY):
        logits, target, weight = prepare(logits_BCXY, label_BXY)
        # Dice is Tversky with both weights one half
        dice = tversky(logits, target, weight, fp=0.5, fn=0.5, smooth=config.smooth / 2)
        return config.dice_weight * dice + config.ce_weight * cross_entropy(logits, target, weight)


def build(config: Config) -> Callable[[Tensor, Tensor], Tensor]:
    """(logits_BCXY with C = 1, label_BXY) -> scalar."""
    return partial(dice_ce, config=config)
