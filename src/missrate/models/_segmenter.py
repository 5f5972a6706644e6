"""What every model offers to training and prediction.

Shape letters: B batch, C channels (context slices), X right, Y anterior, Z superior.
"""

from typing import Protocol

from torch import Tensor, nn


class Segmenter(Protocol):
    """An ``nn.Module`` that gives its own losses in training and the probability of lesion in prediction.

    ``forward`` gives the losses, so that data-parallel wrappers see the call. Images lie in [0, 1]; labels are
    0 background, 1 lesion, 2 organ, 255 ignored (uint8). Every batch may be without a lesion.
    """

    ndim: int

    def forward(self, image_BCXY: Tensor, label_BXY: Tensor) -> dict[str, Tensor]:
        """Named scalar losses; the loop minimises their sum."""
        ...

    def probability(self, image_BCXY: Tensor) -> Tensor:
        """B1XY in [0, 1], float32, on the image's own grid."""
        ...

    def backbone(self) -> nn.Module:
        """The part that ``init = "backbone:..."`` loads; its parameter names are those of torchvision's ResNet."""
        ...
