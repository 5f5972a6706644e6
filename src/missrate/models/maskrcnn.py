"""Mask R-CNN over an FPN, from torchvision's detection classes.

Shape letters: B batch, C channels (context slices), X right, Y anterior, N instances in one slice. torchvision's
images are (channel, row, column) with row = Y and column = X, and its boxes are (xmin, ymin, xmax, ymax), so a box
reads the same on both sides.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import masks_to_boxes

from missrate.core.config import Frozen
from missrate.core.errors import ConfigError
from missrate.core.lesions import components
from missrate.core.types import LESION, ORGAN
from missrate.models._backbones import GREY_MEAN, GREY_STD, Name, Norm, Pyramid, freeze

Targets = Literal["lesions", "whole_and_background"]
Instances = dict[str, Tensor]
LESION_CLASS, ORGAN_CLASS = 1, 2
BOX_ROI = 7
"""Of torchvision: each box is pooled to 7 x 7."""


class Config(Frozen):
    """The widths are torchvision's, so that its weights fit; for CPUs ``resnet18`` and 64, 64 and 256 are enough.

    ``anchors_px`` has one size for each FPN level, in pixels of the image that the network sees: ``input_px`` is the
    length of its shorter side, None means the slice's own size. A lesion below ``score_threshold`` does not exist in
    the probability, so it must lie below every threshold of interest; ``nms``, ``detections_per_slice`` and the
    proposals (two numbers: kept on each level before NMS, and in all after it) remove lesions in silence as well.
    ``organ``: the organ, lesions included, is a class of its own beside the lesion; what comes out is the lesion.
    ``targets = "whole_and_background"`` is a fault on purpose: see ``targets_from_labels``. ``combine`` and ``mask``:
    see ``detections_to_map``.
    """

    backbone: Name = "resnet50"
    norm: Norm = "batch"
    trainable_stages: int = Field(default=5, ge=0, le=5)
    fpn_channels: int = Field(default=256, ge=1)
    box_channels: int = Field(default=1024, ge=1)
    mask_channels: int = Field(default=256, ge=1)
    mask_layers: int = Field(default=4, ge=1)
    anchors_px: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (8, 16, 32, 64, 128)
    aspect_ratios: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    input_px: int | None = Field(default=None, ge=32)
    proposals_train: tuple[PositiveInt, PositiveInt] = (400, 200)
    proposals_test: tuple[PositiveInt, PositiveInt] = (200, 100)
    box_samples: int = Field(default=64, ge=1)
    score_threshold: float = Field(default=0.02, ge=0, lt=1)
    nms: float = Field(default=0.5, gt=0, le=1)
    detections_per_slice: int = Field(default=20, ge=1)
    combine: Literal["max", "mean"] = "max"
    mask: Literal["soft", "hard"] = "soft"
    targets: Targets = "lesions"
    organ: bool = False


def check_init(config: Config, init: str) -> None:
    """Raises ConfigError where the normalisation cannot start from ``init`` (the recipe's own word)."""
    if config.norm == "frozen_batch" and init == "random":
        raise ConfigError(
            'norm must be "batch" or "group" with init "random": a frozen batch norm never learns its statistics, '
            'and random weights without normalisation diverge. Got "frozen_batch".'
        )
    if config.norm == "group" and init.startswith(("backbone:", "full:")):
        raise ConfigError(
            f'norm must be "batch" or "frozen_batch" with init {init!r}: those weights were trained with batch norm '
            'and mean nothing under another. Got "group".'
        )


def swap_xy(tensor: Tensor) -> Tensor:
    """...XY to torchvision's ...YX and back: the only place that turns the axes."""
    return tensor.transpose(-1, -2)


def targets_from_labels(label_XY: Tensor, kind: Targets = "lesions", *, organ: bool = False) -> Instances:
    """The instances of one slice for torchvision, on the label's device.

    ``lesions``: each 8-connected component of the lesion in the slice is one instance. Ignored pixels (255) count as
    background, as boxes know no "ignored". ``whole_and_background`` is the original experiment's fault, kept for
    ``studies/original``: the background is an instance of the lesion class, and all lesions together are one. With
    ``organ`` each component of organ and lesions together is an instance of the organ's class.

    Returns boxes (N, 4) float32, labels (N,) int64, masks (N, Y, X) uint8. Without an instance N is 0. A box ends one
    past its last pixel, so that a lesion of one pixel has a box of one pixel and not of none.
    """
    lesion_XY1 = (label_XY == LESION).cpu().numpy()[:, :, None]
    if kind == "lesions":
        components_XY1, count = components(lesion_XY1)
        masks = [components_XY1[:, :, 0] == k for k in range(1, count + 1)]
    else:
        masks = [mask for mask in (~lesion_XY1[:, :, 0], lesion_XY1[:, :, 0]) if mask.any()]
    classes = [LESION_CLASS] * len(masks)
    if organ:
        organ_XY1 = lesion_XY1 | (label_XY == ORGAN).cpu().numpy()[:, :, None]
        organs_XY1, count = components(organ_XY1)
        masks += [organs_XY1[:, :, 0] == k for k in range(1, count + 1)]
        classes += [ORGAN_CLASS] * count
    masks_NXY = torch.stack([torch.from_numpy(m) for m in masks]) if masks else torch.zeros(0, *label_XY.shape)
    masks_NXY = masks_NXY.to(label_XY.device, torch.uint8)
    boxes = masks_to_boxes(swap_xy(masks_NXY))
    boxes[:, 2:] += 1
    return {
        "boxes": boxes,
        "labels": torch.tensor(classes, dtype=torch.int64, device=label_XY.device),
        "masks": swap_xy(masks_NXY),
    }


def detections_to_map(
    scores_N: Tensor, masks_NXY: Tensor, *, combine: Literal["max", "mean"], mask: Literal["soft", "hard"]
) -> Tensor:
    """The instances of one slice as a probability: XY, float32, in [0, 1]; 0 where (or when) there is no instance.

    ``max`` takes each pixel's highest score x mask. ``mean`` averages the masks over all instances and forgets the
    scores: the original experiment's way, under which one lesion among four instances never reaches one half.
    ``hard`` first cuts each instance's mask at .5.
    """
    if len(scores_N) == 0:
        return torch.zeros(masks_NXY.shape[1:], dtype=torch.float32, device=masks_NXY.device)
    each_NXY = (masks_NXY >= 0.5).float() if mask == "hard" else masks_NXY.float()
    if combine == "mean":
        return each_NXY.mean(dim=0).clamp(0.0, 1.0)
    return (each_NXY * scores_N.float()[:, None, None]).amax(dim=0).clamp(0.0, 1.0)


class MaskRCNNSegmenter(nn.Module):
    """A Segmenter; see there. ``net`` is torchvision's MaskRCNN with its own parameter names.

    One context slice is repeated to three channels; three go in as they are; for any other number the first
    convolution is built with as many inputs.
    """

    ndim = 2

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.config = config
        self.repeat = 3 if channels == 1 else 1
        self.net: nn.Module = _network(config, channels * self.repeat)
        self._frozen = freeze(self.backbone(), config.backbone, config.trainable_stages)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """As ever, but a frozen stage keeps its statistics too."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, image_BCXY: Tensor, label_BXY: Tensor) -> dict[str, Tensor]:
        """torchvision's five losses, in training and evaluation mode alike (a validation loss needs them too)."""
        targets = [
            targets_from_labels(label_XY, self.config.targets, organ=self.config.organ) for label_XY in label_BXY
        ]
        with _giving_losses(self.net):
            losses: dict[str, Tensor] = self.net(self._images(image_BCXY), targets)
        return losses

    @torch.no_grad()
    def probability(self, image_BCXY: Tensor) -> Tensor:
        """B1XY in [0, 1], float32, always as in evaluation: the mode of the module is put back afterwards."""
        to_map = partial(detections_to_map, combine=self.config.combine, mask=self.config.mask)
        maps = [to_map(found["scores"], found["masks"]) for found in self._detect(image_BCXY)]
        return torch.stack(maps)[:, None]

    def backbone(self) -> nn.Module:
        """The network under the FPN, with the names of torchvision or timm, without its classifier."""
        return self.net.get_submodule("backbone.body")

    def _images(self, image_BCXY: Tensor) -> list[Tensor]:
        return list(swap_xy(image_BCXY.repeat(1, self.repeat, 1, 1)))

    def _detect(self, image_BCXY: Tensor) -> list[Instances]:
        was_training = self.training
        self.eval()
        try:
            found: list[Instances] = self.net(self._images(image_BCXY))
        finally:
            self.train(was_training)
        lesions = [{key: each[one["labels"] == LESION_CLASS] for key, each in one.items()} for one in found]
        return [one | {"masks": swap_xy(one["masks"][:, 0])} for one in lesions]


def build(config: Config, loss: Callable[[Tensor, Tensor], Tensor] | None, *, channels: int) -> MaskRCNNSegmenter:
    """A Mask R-CNN at random weights from torch's current state. Raises ConfigError when a loss is given."""
    if loss is not None:
        raise ConfigError("maskrcnn must be without a loss: it brings its own five. Got one; leave `loss` out.")
    return MaskRCNNSegmenter(config, channels)


def _network(config: Config, channels: int) -> nn.Module:
    """torchvision's MaskRCNN, assembled from its own parts. Nothing is downloaded: all weights are random."""
    ratios = (config.aspect_ratios,) * len(config.anchors_px)
    net: Any = MaskRCNN(
        Pyramid(config.backbone, channels, norm=config.norm, out_channels=config.fpn_channels),
        min_size=config.input_px or 1,
        max_size=2 * (config.input_px or 1),
        image_mean=[GREY_MEAN] * channels,
        image_std=[GREY_STD] * channels,
        rpn_anchor_generator=AnchorGenerator(tuple((px,) for px in config.anchors_px), ratios),
        rpn_pre_nms_top_n_train=config.proposals_train[0],
        rpn_post_nms_top_n_train=config.proposals_train[1],
        rpn_pre_nms_top_n_test=config.proposals_test[0],
        rpn_post_nms_top_n_test=config.proposals_test[1],
        box_head=TwoMLPHead(config.fpn_channels * BOX_ROI**2, config.box_channels),
        box_predictor=FastRCNNPredictor(config.box_channels, 2 + config.organ),
        box_score_thresh=config.score_threshold,
        box_nms_thresh=config.nms,
        box_detections_per_img=config.detections_per_slice,
        box_batch_size_per_image=config.box_samples,
        mask_head=MaskRCNNHeads(config.fpn_channels, (config.mask_channels,) * config.mask_layers, 1),
        mask_predictor=MaskRCNNPredictor(config.mask_channels, config.mask_channels, 2 + config.organ),
    )
    if config.input_px is None:
        net.transform.resize = _own_size
    _keep_coordinates_precise(net)
    assert isinstance(net, nn.Module)
    return net


def _own_size(image: Tensor, target: Instances | None = None) -> tuple[Tensor, Instances | None]:
    """In the place of torchvision's resizing, which has no "leave it"."""
    return image, target


def _keep_coordinates_precise(net: Any) -> None:
    """Under bf16 autocast torchvision computes anchors and boxes in bf16, whose steps are 2 px beyond 256 px.

    What a box is made of is therefore turned to float32 where it leaves the convolutions.
    """
    net.rpn.anchor_generator.register_forward_pre_hook(_float_anchors)
    net.rpn.head.register_forward_hook(_float_output)
    net.roi_heads.box_predictor.register_forward_hook(_float_output)
    net.roi_heads.mask_predictor.register_forward_hook(_float_output)


def _float_anchors(_: nn.Module, arguments: tuple[Any, list[Tensor]]) -> tuple[Any, list[Tensor]]:
    images, features = arguments  # only shape, type and device of the features are looked at
    return images, [torch.empty_like(feature, dtype=torch.float32) for feature in features]


def _float_output(_: nn.Module, __: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(_float_output(_, __, part) for part in output)


@contextmanager
def _giving_losses(net: Any) -> Iterator[None]:
    """torchvision gives losses only in training mode; the flag is set on the three modules that read it and on no
    batch norm, so that a validation loss leaves the statistics alone."""
    readers = (net, net.rpn, net.roi_heads)
    flags = [module.training for module in readers]
    for module in readers:
        module.training = True
    try:
        yield
    finally:
        for module, flag in zip(readers, flags, strict=True):
            module.training = flag
