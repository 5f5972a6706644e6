"""A Segmenter that trains in milliseconds and has what a resumed training could get wrong.

Batch norm (buffers), dropout and noise (torch's random state); it can also break at a given call.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from missrate.core.config import Frozen
from missrate.core.types import LESION


class Config(Frozen):
    """``breaks_at``: the training call, from 1, in which the loss, or only its gradient, is no number."""

    breaks_at: int = 0
    dropout: float = 0.2
    what: Literal["loss", "gradient"] = "loss"


class Tiny(nn.Module):
    ndim = 2
    calls: Tensor

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Conv2d(8, 1, 1),
        )
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, image_BCXY: Tensor, label_BXY: Tensor) -> dict[str, Tensor]:
        if torch.is_grad_enabled():
            self.calls += 1
        logits_BXY = self.net(image_BCXY)[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits_BXY, (label_BXY == LESION).float())
        if self.config.breaks_at and int(self.calls) == self.config.breaks_at:
            zero = (logits_BXY * 0.0).sum()
            loss = loss * torch.nan if self.config.what == "loss" else loss + zero.abs().sqrt()
        return {"bce": loss, "noise": (logits_BXY * torch.randn_like(logits_BXY)).mean()}

    def probability(self, image_BCXY: Tensor) -> Tensor:
        result: Tensor = self.net(image_BCXY).sigmoid()
        return result

    def backbone(self) -> nn.Module:
        return self.net


def build(config: Config, loss: object, *, channels: int) -> Tiny:
    return Tiny(config, channels)
