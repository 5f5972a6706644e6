"""Tversky over the batch plus cross entropy: a missed voxel costs more than a false one."""

from collections.abc import Callable
from functools import partial

from pydantic import Field
from torch import Tensor

from missrate.core.config import Frozen
from missrate.losses._binary import cross_entropy, full_precision, prepare, tversky


class Config(Frozen):
    """``alpha`` weighs false positives, ``beta`` false negatives; ``smooth`` is in voxels.

    Cross entropy stays beside it: on a confidently missed lesion (probability 3e-4) the gradient of Tversky alone is
    1.8e-5, that of cross entropy 3.9e-3.
    """

    alpha: float = Field(default=0.3, ge=0)
    beta: float = Field(default=0.7, ge=0)
    tversky_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    smooth: float = Field(default=1.0, gt=0)


def tversky_ce(logits_BCXY: Tensor, label_BXY: Tensor, *, config: Config) -> Tensor:
    """1 - (TP + s) / (TP + alpha FP + beta FN + s), soft and over the whole batch, plus cross entropy. Also for 3D.

    A scalar >= 0, float32, 0 at perfection. Salehi et al. 2017.
    """
    with full_precision(logits_BCXY):
        logits, target, weight = prepare(logits_BCXY, label_BXY)
        overlap = tversky(logits, target, weight, fp=config.alpha, fn=config.beta, smooth=config.smooth)
        return config.tversky_weight * overlap + config.ce_weight * cross_entropy(logits, target, weight)


def build(config: Config) -> Callable[[Tensor, Tensor], Tensor]:
    """(logits_BCXY with C = 1, label_BXY) -> scalar."""
    return partial(tversky_ce, config=config)
