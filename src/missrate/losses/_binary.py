"""What the losses share: the binary target, what is ignored, and the two sums that most of them are made of.

Shape letters: B batch, C = 1 logit of lesion, X right, Y anterior, Z superior (absent in 2D).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from missrate.core.types import IGNORED, LESION


@contextmanager
def full_precision(logits: Tensor) -> Iterator[None]:
    """No autocast inside: sums over many voxels and logarithms are not for 8 bits of mantissa."""
    with torch.autocast(device_type=logits.device.type, enabled=False):
        yield


def prepare(logits_BCXY: Tensor, label_BXY: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Float32 logits, target (1 in a lesion, else 0) and weight (0 where ignored, else 1), each BXY or BXYZ."""
    assert logits_BCXY.shape[1] == 1, "one logit per voxel"
    assert logits_BCXY[:, 0].shape == label_BXY.shape, "logits and label on one grid"
    return logits_BCXY[:, 0].float(), (label_BXY == LESION).float(), (label_BXY != IGNORED).float()


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor, lesion_weight: float = 1.0) -> Tensor:
    """Mean of -log(probability of the true class) over the weight, a lesion's times its own; 0 if all is ignored."""
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * weight * (1 + (lesion_weight - 1) * target)).sum() / weight.sum().clamp(min=1.0)


def tversky(logits: Tensor, target: Tensor, weight: Tensor, *, fp: float, fn: float, smooth: float) -> Tensor:
    """1 - (TP + s) / (TP + fp FP + fn FN + s), with soft counts over the whole batch; in [0, 1), 0 at perfection.

    ``smooth`` > 0 (in voxels) keeps it finite without a lesion: then it is fp FP / (fp FP + s).
    Salehi, Erdogmus, Gholipour 2017, "Tversky loss function for image segmentation", eq. 3 and 4.
    """
    probability = logits.sigmoid()
    true_positive = (probability * target * weight).sum()
    false_positive = (probability * (1 - target) * weight).sum()
    false_negative = ((1 - probability) * target * weight).sum()
    wrong = fp * false_positive + fn * false_negative
    return wrong / (true_positive + wrong + smooth)
