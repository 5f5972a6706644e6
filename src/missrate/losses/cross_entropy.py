"""Binary cross entropy, optionally with a weight on lesion voxels."""

from collections.abc import Callable
from functools import partial

from pydantic import Field
from torch import Tensor

from missrate.core.config import Frozen
from missrate.losses._binary import cross_entropy as mean_cross_entropy
from missrate.losses._binary import full_precision, prepare


class Config(Frozen):
    """``lesion_weight`` multiplies the term of every lesion voxel (and is not divided out again)."""

    lesion_weight: float = Field(default=1.0, gt=0)


def cross_entropy(logits_BCXY: Tensor, label_BXY: Tensor, *, config: Config) -> Tensor:
    """A scalar >= 0, float32, 0 at perfection; mean over the voxels that are not ignored. Also for 3D."""
    with full_precision(logits_BCXY):
        logits, target, weight = prepare(logits_BCXY, label_BXY)
        return mean_cross_entropy(logits, target, weight, config.lesion_weight)


def build(config: Config) -> Callable[[Tensor, Tensor], Tensor]:
    """(logits_BCXY with C = 1, label_BXY) -> scalar."""
    return partial(cross_entropy, config=config)
