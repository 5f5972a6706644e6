"""What every model on the shelf promises, on small configurations; see missrate.models._segmenter.Segmenter."""

import socket
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from missrate.core import catalog
from missrate.core.errors import ConfigError, UnknownNameError
from missrate.core.recipe import Recipe
from missrate.core.view import View
from missrate.models._build import build_model

torch.set_num_threads(1)

SMALL_MASKRCNN = {"backbone": "resnet18", "fpn_channels": 32, "mask_channels": 32, "mask_layers": 1, "box_channels": 64}
SMALL: dict[str, list[dict[str, Any]]] = {
    "unet2d": [
        {"loss": {"name": "tversky_ce"}, "config": {"decoder_channels": [32, 16, 16, 8, 8]}},
        {"loss": {"name": "cross_entropy"}, "config": {"encoder": "resnet34", "trainable_stages": 2}},
        {"loss": {"name": "cross_entropy"}, "config": {"encoder": "mobilenet_v2"}},
        {"loss": {"name": "dice_ce"}, "config": {"organ": True}},
        {"loss": {"name": "cross_entropy"}, "config": {"encoder": "efficientnet_lite0"}},
    ],
    "maskrcnn": [
        {"config": SMALL_MASKRCNN},
        {"config": SMALL_MASKRCNN | {"norm": "group", "input_px": 96, "combine": "mean", "mask": "hard"}},
        {"config": SMALL_MASKRCNN | {"targets": "whole_and_background", "trainable_stages": 3}},
        {"config": SMALL_MASKRCNN | {"backbone": "mobilenet_v2"}},
        {"config": SMALL_MASKRCNN | {"organ": True}},
        {"config": SMALL_MASKRCNN | {"backbone": "efficientnet_lite0"}},
    ],
}
RECIPES = [pytest.param(name, more, id=f"{name}-{k}") for name, all_ in SMALL.items() for k, more in enumerate(all_)]
FIRST = [pytest.param(name, all_[0], id=name) for name, all_ in SMALL.items()]


def model_of(name: str, more: dict[str, Any], *, seed: int = 0, context: int = 1) -> nn.Module:
    return build_model(Recipe(arm="arm", model=name, seed=seed, view=View(context_slices=context), **more))


def batch(*shape: int, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Two slices; only the first has lesions: one of 6 x 4 pixels, one of a single pixel, and ignored pixels."""
    image_BCXY = torch.rand(2, channels, *shape, generator=torch.Generator().manual_seed(3))
    label_BXY = torch.zeros(2, *shape, dtype=torch.uint8)
    label_BXY[0, 10:16, 20:24] = 1
    label_BXY[0, 30, 5] = 1
    label_BXY[0, 0, :] = 255
    label_BXY[1, 20:30, 20:30] = 2
    return image_BCXY, label_BXY


@pytest.fixture(autouse=True)
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building, training and predicting never open one."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)


def test_every_model_of_the_shelf_is_tested() -> None:
    assert sorted(SMALL) == catalog.names("models")


@pytest.mark.parametrize(("name", "more"), RECIPES)
def test_losses_are_finite_and_reach_the_first_trainable_stage(name: str, more: dict[str, Any]) -> None:
    model = model_of(name, more)
    image_BCXY, label_BXY = batch(64, 48)
    for label in (label_BXY, torch.zeros_like(label_BXY)):
        model.zero_grad()
        losses: dict[str, Tensor] = model(image_BCXY, label)
        assert losses
        assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
        torch.autograd.backward(list(losses.values()))
        parameters = list(model.backbone().parameters())  # type: ignore[operator]
        gradients = [p.grad for p in parameters if p.requires_grad]
        assert gradients
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert any(g is not None and g.abs().max() > 0 for g in gradients)
        assert all(p.grad is None for p in parameters if not p.requires_grad)


@pytest.mark.parametrize("shape", [(64, 48), (61, 47)])
@pytest.mark.parametrize(("name", "more"), RECIPES)
def test_probability_lies_on_the_images_grid(name: str, more: dict[str, Any], shape: tuple[int, int]) -> None:
    model = model_of(name, more)
    image_BCXY, _ = batch(*shape)
    probability_B1XY = model.probability(image_BCXY)  # type: ignore[operator]
    assert probability_B1XY.shape == (2, 1, *shape)
    assert probability_B1XY.dtype == torch.float32
    assert 0 <= probability_B1XY.min() <= probability_B1XY.max() <= 1
    assert not probability_B1XY.requires_grad
    assert model.training, "the mode is put back"
    again = model.eval().probability(image_BCXY)  # type: ignore[operator]
    assert torch.equal(probability_B1XY, again), "and does not matter"


@pytest.mark.parametrize(("name", "more"), FIRST)
def test_validation_loss_leaves_the_statistics_alone(name: str, more: dict[str, Any]) -> None:
    model = model_of(name, more).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    losses = model(*batch(64, 48))
    assert all(loss.isfinite() for loss in losses.values())
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("name", "more"), FIRST)
def test_frozen_stages_keep_weights_and_statistics(name: str, more: dict[str, Any]) -> None:
    model = model_of(name, {**more, "config": {**more["config"], "trainable_stages": 3}})
    body = model.backbone()  # type: ignore[operator]
    before = {key: value.clone() for key, value in body.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    torch.autograd.backward(list(model(*batch(64, 48)).values()))
    optimiser.step()
    changed = {key.split(".")[0] for key, value in body.state_dict().items() if not torch.equal(before[key], value)}
    assert changed == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize(("name", "more"), FIRST)
def test_the_seed_alone_decides_the_weights(name: str, more: dict[str, Any]) -> None:
    torch.manual_seed(1)
    expected_next = torch.rand(1, generator=torch.Generator().manual_seed(1))
    one = model_of(name, more).state_dict()
    assert torch.equal(torch.rand(1), expected_next), "torch's own state is left as it was"
    two = model_of(name, more).state_dict()
    other = model_of(name, more, seed=1).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("name", "more"), FIRST)
def test_weights_alone_rebuild_the_model(name: str, more: dict[str, Any]) -> None:
    image_BCXY, label_BXY = batch(64, 48)
    model, other = model_of(name, more), model_of(name, more, seed=1)
    model(image_BCXY, label_BXY)  # moves the statistics
    other.load_state_dict(model.state_dict())
    expected, got = (m.probability(image_BCXY) for m in (model, other))  # type: ignore[operator]
    assert torch.equal(expected, got)


@pytest.mark.parametrize("context", [3, 5])
@pytest.mark.parametrize(("name", "more"), FIRST)
def test_neighbouring_slices_are_channels(name: str, more: dict[str, Any], context: int) -> None:
    model = model_of(name, more, context=context)
    image_BCXY, label_BXY = batch(64, 48, channels=context)
    assert all(loss.isfinite() for loss in model(image_BCXY, label_BXY).values())
    assert model.backbone().conv1.in_channels == context  # type: ignore[operator]


@pytest.mark.parametrize(("name", "more"), FIRST)
def test_backbone_has_the_names_of_torchvision(name: str, more: dict[str, Any]) -> None:
    from torchvision.models import resnet18

    body = model_of(name, more).backbone()  # type: ignore[operator]
    assert {f"{key}" for key in body.state_dict()} == {k for k in resnet18().state_dict() if not k.startswith("fc.")}


@pytest.mark.parametrize(("name", "more"), FIRST)
def test_bf16_gives_float32_out(name: str, more: dict[str, Any]) -> None:
    model = model_of(name, more)
    image_BCXY, label_BXY = batch(64, 48)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(image_BCXY, label_BXY)
        probability = model.probability(image_BCXY)  # type: ignore[operator]
    assert probability.dtype == torch.float32
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize(("name", "more"), FIRST)
def test_overfits_three_slices_the_right_way_round(name: str, more: dict[str, Any]) -> None:
    """Lesions at different x and y in a grid that is not square: a transposed output could not reach this Dice."""
    model = model_of(name, more)
    label_BXY = torch.zeros(3, 64, 48, dtype=torch.uint8)
    label_BXY[0, 8:20, 26:36] = 1
    label_BXY[1, 40:58, 6:20] = 1
    noise = torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(0))
    image_BCXY = (0.4 + 0.2 * noise - 0.25 * label_BXY)[:, None].clamp(0, 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(35):
            optimiser.zero_grad()
            torch.autograd.backward(list(model(image_BCXY, label_BXY).values()))
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
    found = model.probability(image_BCXY)[:, 0] >= 0.5  # type: ignore[operator]
    dice = 2 * (found & (label_BXY == 1)).sum() / (found.sum() + label_BXY.sum())
    assert dice >= 0.7


def test_recipe_errors_name_the_near_word() -> None:
    with pytest.raises(UnknownNameError, match="Perhaps 'unet2d'"):
        model_of("unet3d", {})
    with pytest.raises(ConfigError, match="Perhaps 'encoder'"):
        model_of("unet2d", {"config": {"encoders": "resnet18"}})
    with pytest.raises(UnknownNameError, match="Perhaps 'tversky_ce'"):
        model_of("unet2d", {"loss": {"name": "tversky_ec"}})
    with pytest.raises(ConfigError, match=r"loss of arm 'arm'.*Perhaps 'alpha'"):
        model_of("unet2d", {"loss": {"name": "tversky_ce", "alfa": 0.2}})
    with pytest.raises(ConfigError, match="'name' must be given"):
        model_of("unet2d", {"loss": {"alpha": 0.2}})


def test_who_brings_the_loss() -> None:
    with pytest.raises(ConfigError, match="must be given a loss"):
        model_of("unet2d", {})
    with pytest.raises(ConfigError, match="brings its own"):
        model_of("maskrcnn", {"loss": {"name": "dice_ce"}})
