"""The networks through which models look at a slice: how each is built, tapped, begun, frozen, and named in files.

Shape letters: B batch, C channels, X right, Y anterior.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from math import gcd
from typing import Any, Literal

import timm
from torch import Tensor, nn
from torchvision.models import mobilenetv2, resnet
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from missrate.core.errors import ConfigError

Name = Literal["resnet18", "resnet34", "resnet50", "mobilenet_v2", "efficientnet_lite0"]
Norm = Literal["batch", "frozen_batch", "group"]

GREY_MEAN, GREY_STD = 0.45, 0.225
"""The mean of ImageNet's three means and standard deviations: a grey image has no colour to tell them apart."""
STAGES = 5
"""Every network halves five times; ``trainable_stages`` counts these."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """One network. ``taps`` are the modules whose outputs have strides 4, 8, 16 and 32, with ``widths`` channels.

    ``stages`` lists the modules of each of the five stages, from the image on. ``encoder`` is the name that
    segmentation-models-pytorch gives it, ``inside`` where that encoder keeps the modules that are named here.
    """

    make: Callable[[Callable[..., nn.Module]], nn.Module]
    taps: tuple[str, str, str, str]
    widths: tuple[int, int, int, int]
    stages: tuple[tuple[str, ...], ...]
    encoder: str
    inside: str = ""


class _Lite0(nn.Module):
    """EfficientNet-Lite0 of timm without its classifier; gives the outputs at strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.conv_stem = network.get_submodule("conv_stem")
        self.bn1 = network.get_submodule("bn1")
        self.blocks = network.get_submodule("blocks")

    def forward(self, image_BCXY: Tensor) -> "OrderedDict[str, Tensor]":
        found: OrderedDict[str, Tensor] = OrderedDict()
        x = self.bn1(self.conv_stem(image_BCXY))
        for number, block in enumerate(self.blocks.children()):
            x = block(x)
            if number in (1, 2, 4, 6):
                found[str(len(found))] = x
        return found


def _resnet(name: str, widths: tuple[int, int, int, int]) -> Backbone:
    return Backbone(
        make=lambda norm: getattr(resnet, name)(weights=None, norm_layer=norm),
        taps=("layer1", "layer2", "layer3", "layer4"),
        widths=widths,
        stages=(("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
        encoder=name,
    )


def _mobilenet(norm: Callable[..., nn.Module]) -> nn.Module:
    features: nn.Module = mobilenetv2.mobilenet_v2(weights=None, norm_layer=norm).features
    return features


def _efficientnet(norm: Callable[..., nn.Module]) -> nn.Module:
    if norm is not nn.BatchNorm2d:
        raise ConfigError('norm must be "batch" with the backbone efficientnet_lite0. Got another.')
    return _Lite0()


def _numbered(first: int, last: int, prefix: str = "") -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(first, last + 1))


BACKBONES: dict[str, Backbone] = {
    "resnet18": _resnet("resnet18", (64, 128, 256, 512)),
    "resnet34": _resnet("resnet34", (64, 128, 256, 512)),
    "resnet50": _resnet("resnet50", (256, 512, 1024, 2048)),
    # torchvision's own FPN over MobileNetV2 taps stride 32 twice and stride 4 never, where small lesions are.
    "mobilenet_v2": Backbone(
        make=_mobilenet,
        taps=("3", "6", "13", "18"),
        widths=(24, 32, 96, 1280),
        stages=(_numbered(0, 1), _numbered(2, 3), _numbered(4, 6), _numbered(7, 13), _numbered(14, 18)),
        encoder="mobilenet_v2",
        inside="features",
    ),
    "efficientnet_lite0": Backbone(
        make=_efficientnet,
        taps=("blocks.1", "blocks.2", "blocks.4", "blocks.6"),
        widths=(24, 40, 112, 320),
        stages=(
            ("conv_stem", "bn1", "blocks.0"),
            ("blocks.1",),
            ("blocks.2",),
            _numbered(3, 4, "blocks."),
            _numbered(5, 6, "blocks."),
        ),
        encoder="tu-tf_efficientnet_lite0",
        inside="model",
    ),
}


def _group(channels: int) -> nn.Module:
    """32 groups, or as many as divide the channels."""
    return nn.GroupNorm(gcd(32, channels), channels)


NORMS: dict[str, Callable[..., nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "frozen_batch": FrozenBatchNorm2d,
    "group": _group,
}


class Pyramid(nn.Module):
    """A backbone with an FPN of any width over strides 4, 8, 16, 32, and 64 by pooling.

    Its parameters are named as in torchvision's ``BackboneWithFPN``, so that its weights fit.
    """

    def __init__(self, name: Name, channels: int, *, norm: Norm, out_channels: int) -> None:
        super().__init__()
        network = BACKBONES[name]
        body = network.make(NORMS[norm])
        begin(body, channels)
        taps = {tap: str(level) for level, tap in enumerate(network.taps)}
        self.body: nn.Module = body if isinstance(body, _Lite0) else IntermediateLayerGetter(body, taps)
        self.fpn = FeaturePyramidNetwork(list(network.widths), out_channels, LastLevelMaxPool())
        self.out_channels = out_channels

    def forward(self, image_BCXY: Tensor) -> "OrderedDict[str, Tensor]":
        """The five levels by name, each B x ``out_channels``."""
        levels: OrderedDict[str, Tensor] = self.fpn(self.body(image_BCXY))
        return levels


def first_convolution(body: nn.Module) -> str | None:
    """Return the name of the convolution that sees the image: the first of all; None where there is none."""
    return next((name for name, module in body.named_modules() if isinstance(module, nn.Conv2d)), None)


def begin(body: nn.Module, channels: int) -> None:
    """Give a network a random first convolution for ``channels`` inputs whose outputs have about unit variance.

    Batch norm's statistics begin at variance 1. torchvision scales by the number of outputs, which for one grey channel
    gives .004: evaluation mode is then wrong for some 80 steps, a good part of a short training.
    """
    parent, _, name = str(first_convolution(body)).rpartition(".")
    place = body.get_submodule(parent)
    old: Any = getattr(place, name)
    new = type(old)(channels, old.out_channels, old.kernel_size, old.stride, padding=old.padding, bias=False)
    nn.init.kaiming_normal_(new.weight, mode="fan_in", nonlinearity="relu")
    setattr(place, name, new)


def freeze(body: nn.Module, name: Name, trainable_stages: int) -> list[nn.Module]:
    """Make all but the last ``trainable_stages`` (0 to 5) stages of a network constant and return their modules.

    torchvision ignores its own switch when no weights are given, so it is done by hand. A frozen stage at random
    weights stays random.
    """
    stages = BACKBONES[name].stages
    frozen = [body.get_submodule(part) for stage in stages[: STAGES - trainable_stages] for part in stage]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def standardise(image: Tensor) -> Tensor:
    """[0, 1] to about the range that ImageNet's networks were trained on; any shape."""
    return (image - GREY_MEAN) / GREY_STD


LITE0_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks in each of EfficientNet-Lite0's seven stages; elsewhere they are counted through."""
LITE_PARTS = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw", "_project_conv": "conv_pwl"}
LITE_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
LITE_BLOCK = re.compile(r"_blocks\.(?P<block>\d+)\.(?P<part>_\w+)\.(?P<rest>\w+)")


def timm_name(name: str) -> str:
    """Return timm's name of a tensor of EfficientNet-Lite0 that is named as in the package efficientnet_pytorch.

    Any other name comes back as it is.
    """
    head, _, rest = name.rpartition(".")
    if head in LITE_ENDS:
        return f"{LITE_ENDS[head]}.{rest}"
    found = LITE_BLOCK.fullmatch(name)
    if found is None or int(found["block"]) >= sum(LITE0_DEPTHS):
        return name
    block, part = int(found["block"]), found["part"]
    ends = list(accumulate(LITE0_DEPTHS))
    stage = next(number for number, end in enumerate(ends) if block < end)
    place = f"blocks.{stage}.{block - ends[stage] + LITE0_DEPTHS[stage]}"
    if block == 0:  # the one block that does not expand first
        own = {"_bn1": "bn1", "_bn2": "bn2", "_project_conv": "conv_pw"}.get(part) or LITE_PARTS[part]
    else:
        own = {"_bn0": "bn1", "_bn1": "bn2", "_bn2": "bn3"}.get(part) or LITE_PARTS[part]
    return f"{place}.{own}.{found['rest']}"
