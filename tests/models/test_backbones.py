"""The networks under the models: strides, freezing, and the names of their weights in other people's files."""

from typing import Any

import pytest
import timm
import torch
from torchvision.models import mobilenet_v2

from missrate.core.errors import ConfigError
from missrate.core.recipe import Recipe
from missrate.models._backbones import BACKBONES, Pyramid, first_convolution, timm_name
from missrate.models._build import build_model

torch.set_num_threads(1)
NAMES = sorted(BACKBONES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_levels_halve_from_stride_four_on(name: Any, channels: int) -> None:
    pyramid = Pyramid(name, channels, norm="batch", out_channels=8).eval()
    levels = pyramid(torch.zeros(1, channels, 128, 64))
    assert [tuple(level.shape) for level in levels.values()] == [
        (1, 8, 128 // stride, 64 // stride) for stride in (4, 8, 16, 32, 64)
    ]
    assert list(levels) == ["0", "1", "2", "3", "pool"]


@pytest.mark.parametrize("name", NAMES)
def test_the_five_stages_are_the_whole_network_and_each_halves(name: Any) -> None:
    body = Pyramid(name, 3, norm="batch", out_channels=8).body
    parts = [part for stage in BACKBONES[name].stages for part in stage]
    frozen = {id(p) for part in parts for p in body.get_submodule(part).parameters()}
    assert frozen == {id(p) for p in body.parameters()}
    for stage in BACKBONES[name].stages[1:]:  # the taps are the ends of the last four stages
        assert any(part in BACKBONES[name].taps for part in stage)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", ["maskrcnn", "unet2d"])
def test_frozen_stages_learn_nothing_and_the_others_do(name: str, model: str) -> None:
    config = {"encoder": name} if model == "unet2d" else {"backbone": name, "fpn_channels": 16, "box_channels": 16}
    loss = {"name": "cross_entropy"} if model == "unet2d" else None
    built: Any = build_model(Recipe(arm="a", model=model, config=config | {"trainable_stages": 2}, loss=loss))
    body = built.backbone()
    stages = BACKBONES[name].stages
    learns = {
        part: any(p.requires_grad for p in body.get_submodule(part).parameters()) for stage in stages for part in stage
    }
    assert {part for part, does in learns.items() if does} == {part for stage in stages[3:] for part in stage}


def test_group_norm_divides_what_there_is() -> None:
    pyramid = Pyramid("mobilenet_v2", 3, norm="group", out_channels=8)
    assert all(torch.isfinite(level).all() for level in pyramid(torch.rand(1, 3, 64, 64)).values())
    with pytest.raises(ConfigError, match='norm must be "batch" with the backbone efficientnet_lite0'):
        Pyramid("efficientnet_lite0", 3, norm="group", out_channels=8)


def test_mobilenet_has_torchvisions_names() -> None:
    theirs = {name.removeprefix("features."): v.shape for name, v in mobilenet_v2().state_dict().items()}
    own = Pyramid("mobilenet_v2", 3, norm="batch", out_channels=8).body
    assert first_convolution(own) == "0.0"
    assert {name: value.shape for name, value in own.state_dict().items()} == {
        name: shape for name, shape in theirs.items() if not name.startswith("classifier")
    }


def test_names_of_efficientnet_pytorch_become_those_of_timm() -> None:
    """Both list their tensors in the order in which a picture passes them, so the n-th is the n-th."""
    norm = [f".{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]

    def block(number: int) -> list[str]:
        parts = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")][number == 0 :]
        return [
            f"_blocks.{number}.{name}"
            for convolution, bn in parts
            for name in (f"{convolution}.weight", *(bn + end for end in norm))
        ]

    theirs = ["_conv_stem.weight", *("_bn0" + end for end in norm), *(n for k in range(16) for n in block(k))]
    theirs += ["_conv_head.weight", *("_bn1" + end for end in norm), "_fc.weight", "_fc.bias"]
    own = list(timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict())
    assert [timm_name(name) for name in theirs] == own
    for name in ("conv1.weight", "_blocks.16._bn0.weight", "features.0.0.weight"):
        assert timm_name(name) == name
