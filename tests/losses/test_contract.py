"""What every loss on the shelf promises."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from missrate.core import catalog
from missrate.core.config import parse
from missrate.core.errors import ConfigError

torch.set_num_threads(1)

LOSSES = catalog.names("losses")
CERTAIN = 30.0
"""A logit whose probability is 1 within float32."""


def build(name: str, **config: Any) -> Any:
    shelf = catalog.load("losses", name)
    return shelf.build(parse(shelf.Config, config, where="test"))


def label_of(kind: str, ndim: int) -> Tensor:
    shape = (2, 6, 5, 4)[: ndim + 1]
    label = torch.zeros(shape, dtype=torch.uint8)
    if kind == "full":
        label[:] = 1
    elif kind == "one voxel":
        label[(1,) * (ndim + 1)] = 1
    elif kind == "ignored":
        label[:] = 255
    elif kind == "mixed":
        label[0, 1:4, 1:4], label[0, 5], label[1, 0], label[1, 2] = 1, 2, 255, 1
    return label


def perfect(label: Tensor) -> Tensor:
    return torch.where(label == 1, CERTAIN, -CERTAIN)[:, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["empty", "full", "one voxel", "ignored", "mixed"])
@pytest.mark.parametrize("name", LOSSES)
def test_finite_with_a_finite_gradient(name: str, kind: str, ndim: int, dtype: torch.dtype) -> None:
    label, loss = label_of(kind, ndim), build(name)
    spread = torch.linspace(-8, 8, label.numel()).reshape(label.shape)[:, None]
    for values in (spread, perfect(label), -perfect(label), torch.zeros_like(spread)):
        logits = values.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(logits, label)
        value.backward()
        assert value.dtype == torch.float32
        assert value.ndim == 0
        assert value.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["empty", "full", "one voxel", "mixed"])
@pytest.mark.parametrize("name", LOSSES)
def test_zero_at_perfection_and_nowhere_else(name: str, kind: str, ndim: int) -> None:
    label, loss = label_of(kind, ndim), build(name)
    assert 0 <= loss(perfect(label), label) < 1e-6
    for value in {0, 1} & set(label.flatten().tolist()):
        wrong = perfect(label).flatten()
        wrong[(label == value).flatten().nonzero()[0]] *= -1
        assert loss(wrong.reshape(label.shape)[:, None], label) > 1e-3
    uncertain = perfect(label) / 10
    assert loss(perfect(label), label) < loss(uncertain, label) < loss(-uncertain, label)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_points_to_the_label(name: str) -> None:
    label = label_of("mixed", 2)
    logits = torch.zeros(2, 1, 6, 5, requires_grad=True)
    build(name)(logits, label).backward()
    assert logits.grad is not None
    gradient = logits.grad[:, 0]
    assert (gradient[label == 1] < 0).all()
    assert (gradient[(label == 0) | (label == 2)] > 0).all()
    assert (gradient[label == 255] == 0).all(), "ignored voxels have no say"


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_voxels_change_nothing(name: str) -> None:
    label, loss = label_of("mixed", 2), build(name)
    logits = torch.randn(2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[:, 0][label == 255] += 5
    assert loss(logits, label) == loss(other, label)
    if name == "cross_entropy":
        counted = label != 255
        expected = functional.binary_cross_entropy_with_logits(logits[:, 0][counted], (label == 1)[counted].float())
        assert loss(logits, label).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", LOSSES)
def test_unknown_keys_are_errors(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown key 'gamma'"):
        build(name, gamma=2)


HAND_LOGITS = torch.tensor([[[[math.log(3), 0.0, -math.log(4), -math.log(9)]]]])
HAND_LABEL = torch.tensor([[[1, 1, 0, 0]]], dtype=torch.uint8)
"""Probabilities .75 .5 .2 .1 on lesion lesion background background: TP = 1.25, FP = .3, FN = .75."""
HAND_CE = -(math.log(0.75) + math.log(0.5) + math.log(0.8) + math.log(0.9)) / 4


def test_hand_computed_cross_entropy() -> None:
    assert build("cross_entropy")(HAND_LOGITS, HAND_LABEL).item() == pytest.approx(HAND_CE)
    weighted = -(3 * math.log(0.75) + 3 * math.log(0.5) + math.log(0.8) + math.log(0.9)) / 4
    assert build("cross_entropy", lesion_weight=3)(HAND_LOGITS, HAND_LABEL).item() == pytest.approx(weighted)


def test_hand_computed_dice() -> None:
    dice = 1 - (2 * 1.25 + 1) / (2 * 1.25 + 0.3 + 0.75 + 1)
    assert build("dice_ce", ce_weight=0)(HAND_LOGITS, HAND_LABEL).item() == pytest.approx(dice)
    assert build("dice_ce")(HAND_LOGITS, HAND_LABEL).item() == pytest.approx(dice + HAND_CE)


def test_hand_computed_tversky() -> None:
    tversky = 1 - (1.25 + 1) / (1.25 + 0.3 * 0.3 + 0.7 * 0.75 + 1)
    assert build("tversky_ce", ce_weight=0)(HAND_LOGITS, HAND_LABEL).item() == pytest.approx(tversky)
    assert build("tversky_ce")(HAND_LOGITS, HAND_LABEL).item() == pytest.approx(tversky + HAND_CE)


def test_a_missed_voxel_costs_more_than_a_false_one() -> None:
    label = label_of("mixed", 2)
    one, none = (label == 1).nonzero()[0].tolist(), (label == 0).nonzero()[0].tolist()
    missed, false = perfect(label), perfect(label)
    missed[one[0], 0, one[1], one[2]], false[none[0], 0, none[1], none[2]] = -CERTAIN, CERTAIN
    loss = build("tversky_ce", ce_weight=0)
    assert loss(missed, label) > loss(false, label)


def test_agreement_with_segmentation_models_pytorch() -> None:
    from segmentation_models_pytorch.losses import DiceLoss, TverskyLoss

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 9, 7, generator=generator)
    label = (torch.rand(2, 9, 7, generator=generator) < 0.3).to(torch.uint8)
    dice = DiceLoss("binary", smooth=0.5)(logits, label[:, None])  # added to half of our numerator and denominator
    assert build("dice_ce", ce_weight=0)(logits, label).item() == pytest.approx(dice.item(), rel=1e-5)
    tversky = TverskyLoss("binary", smooth=1.0, alpha=0.3, beta=0.7)(logits, label[:, None])
    assert build("tversky_ce", ce_weight=0)(logits, label).item() == pytest.approx(tversky.item(), rel=1e-5)


def test_cross_entropy_still_pulls_a_confidently_missed_lesion() -> None:
    """A lesion of 20 voxels at probability 3e-4 among 1000: overlap alone has almost no gradient left."""
    label = torch.zeros(1, 20, 50, dtype=torch.uint8)
    label[0, 0, :20] = 1
    pulls = {}
    for weights in ({"ce_weight": 0.0}, {"tversky_weight": 0.0}):
        logits = torch.full((1, 1, 20, 50), math.log(3e-4)).requires_grad_()
        build("tversky_ce", **weights)(logits, label).backward()
        assert logits.grad is not None
        pulls[next(iter(weights))] = float(logits.grad[0, 0, 0, 0].abs())
    assert pulls["tversky_weight"] > 10 * pulls["ce_weight"]
