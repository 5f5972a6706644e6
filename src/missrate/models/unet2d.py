"""U-Net for axial slices over an encoder of ImageNet's networks, from segmentation-models-pytorch.

Shape letters: B batch, C channels (context slices), X right, Y anterior.
"""

from collections.abc import Callable
from typing import Any, Literal, Self

import segmentation_models_pytorch as smp
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from missrate.core.config import Frozen
from missrate.core.errors import ConfigError
from missrate.core.types import LESION, ORGAN
from missrate.models._backbones import BACKBONES, Name, begin, freeze, standardise

Loss = Callable[[Tensor, Tensor], Tensor]
DEFAULT_LOSS = "dice_ce"
"""Of an arm that names none; a literal, since it is read without importing torch."""
STRIDE = 32
"""The encoder halves five times; other sizes are padded up to a multiple and cropped back."""


class Config(Frozen):
    """The defaults train on CPUs. ``decoder_channels`` run from the deepest level to the image's own.

    ``organ``: the organ, lesions included, is learned beside the lesion by the same loss; what comes out is the lesion.
    """

    encoder: Name = "resnet18"
    decoder_channels: tuple[int, int, int, int, int] = (128, 64, 32, 16, 16)
    norm: Literal["batch"] = "batch"
    trainable_stages: int = Field(default=5, ge=0, le=5)
    organ: bool = False


class UNet2D(nn.Module):
    """A Segmenter; see there. The loss sees logits on the image's own grid, never the padding."""

    ndim = 2

    def __init__(self, config: Config, loss: Loss, channels: int) -> None:
        super().__init__()
        self.loss = loss
        self._inside = BACKBONES[config.encoder].inside
        # weights come from the recipe's init and never from here, so that nothing is downloaded
        self.net: nn.Module = smp.Unet(
            BACKBONES[config.encoder].encoder,
            encoder_weights=None,
            decoder_channels=config.decoder_channels,
            decoder_use_norm="batchnorm",
            in_channels=channels,
            classes=1 + config.organ,
        )
        begin(self.backbone(), channels)
        self._frozen = freeze(self.backbone(), config.encoder, config.trainable_stages)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """As ever, but a frozen stage keeps its statistics too."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def logits(self, image_BCXY: Tensor) -> Tensor:
        """B1XY of the lesion, or B2XY with the organ after it, float32, on the image's own grid of any size."""
        x, y = image_BCXY.shape[-2:]
        padding = (0, -y % STRIDE, 0, -x % STRIDE)
        padded_BCXY = functional.pad(standardise(image_BCXY), padding, mode="replicate")
        logits_BKXY: Tensor = self.net(padded_BCXY)
        return logits_BKXY[..., :x, :y].float()

    def forward(self, image_BCXY: Tensor, label_BXY: Tensor) -> dict[str, Tensor]:
        """One scalar under the loss function's own name, and one of the organ."""
        named: Any = getattr(self.loss, "func", self.loss)  # a functools.partial holds the function inside
        name, logits_BKXY = getattr(named, "__name__", "loss"), self.logits(image_BCXY)
        losses = {name: self.loss(logits_BKXY[:, :1], label_BXY)}
        if logits_BKXY.shape[1] > 1:
            organ_BXY = torch.where(label_BXY == ORGAN, LESION, label_BXY)
            losses[f"organ_{name}"] = self.loss(logits_BKXY[:, 1:], organ_BXY)
        return losses

    @torch.no_grad()
    def probability(self, image_BCXY: Tensor) -> Tensor:
        """B1XY in [0, 1], float32, always as in evaluation: the mode of the module is put back afterwards."""
        was_training = self.training
        self.eval()
        try:
            return self.logits(image_BCXY)[:, :1].sigmoid()
        finally:
            self.train(was_training)

    def backbone(self) -> nn.Module:
        """The encoder, with the names of torchvision or timm, without its classifier."""
        return self.net.get_submodule("encoder").get_submodule(self._inside)


def build(config: Config, loss: Loss | None, *, channels: int) -> UNet2D:
    """A U-Net at random weights from torch's current state. Raises ConfigError without a loss."""
    if loss is None:
        raise ConfigError('unet2d must be given a loss, such as loss = {name = "tversky_ce"}. Got none.')
    return UNet2D(config, loss, channels)
