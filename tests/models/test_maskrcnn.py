"""What only Mask R-CNN's file knows: instances, boxes, and the way back to a map."""

from typing import Any

import pytest
import torch
from torch import Tensor

from missrate.core.errors import ConfigError
from missrate.core.recipe import Recipe
from missrate.models._build import build_model
from missrate.models.maskrcnn import Config, check_init, detections_to_map, targets_from_labels

torch.set_num_threads(1)


def label(*lesions: tuple[slice, slice]) -> Tensor:
    label_XY = torch.zeros(12, 8, dtype=torch.uint8)
    for lesion in lesions:
        label_XY[lesion] = 1
    return label_XY


def test_an_asymmetric_lesion_is_not_turned() -> None:
    """x runs from 2 to 9 and y from 5 to 6::

    x 0 . . . . . . . .
      2 . . . . . # # .
      9 . . . . . # . .
    """
    label_XY = label((slice(2, 10), slice(5, 7)))
    label_XY[9, 6] = 0
    targets = targets_from_labels(label_XY)
    assert targets["boxes"].tolist() == [[2, 5, 10, 7]]
    assert targets["boxes"].dtype == torch.float32
    assert targets["labels"].tolist() == [1]
    assert targets["masks"].shape == (1, 8, 12), "rows are Y"
    assert targets["masks"].dtype == torch.uint8
    assert torch.equal(targets["masks"][0].T, label_XY)


def test_a_lesion_of_one_pixel_has_a_box_of_one_pixel() -> None:
    targets = targets_from_labels(label((slice(11, 12), slice(7, 8))))
    assert targets["boxes"].tolist() == [[11, 7, 12, 8]]


def test_separate_lesions_are_separate_instances_and_corners_touch() -> None:
    label_XY = label((slice(0, 2), slice(0, 2)), (slice(6, 7), slice(3, 4)), (slice(7, 8), slice(4, 5)))
    targets = targets_from_labels(label_XY)
    assert sorted(targets["boxes"].tolist()) == [[0, 0, 2, 2], [6, 3, 8, 5]]
    assert torch.equal(targets["masks"].sum(dim=0).T, label_XY)


def test_a_slice_without_a_lesion_has_empty_targets_and_ignored_is_background() -> None:
    label_XY = label()
    label_XY[0], label_XY[1] = 255, 2
    targets = targets_from_labels(label_XY)
    assert [tuple(targets[key].shape) for key in ("boxes", "labels", "masks")] == [(0, 4), (0,), (0, 8, 12)]
    assert targets["labels"].dtype == torch.int64


def test_the_originals_fault_is_reproduced() -> None:
    """The background is an instance of the lesion class, and two lesions are one."""
    label_XY = label((slice(0, 2), slice(0, 2)), (slice(6, 9), slice(3, 5)))
    targets = targets_from_labels(label_XY, "whole_and_background")
    assert targets["labels"].tolist() == [1, 1]
    assert targets["boxes"].tolist() == [[0, 0, 12, 8], [0, 0, 9, 5]]
    assert torch.equal(targets["masks"][0].T, 1 - label_XY)
    assert torch.equal(targets["masks"][1].T, label_XY)
    assert targets_from_labels(label(), "whole_and_background")["boxes"].tolist() == [[0, 0, 12, 8]]


def test_averaging_hides_a_lesion_that_the_maximum_shows() -> None:
    """Four instances, the first (score .9) on a lesion alone: the average is .25 there, the maximum .9."""
    masks_NXY = torch.zeros(4, 12, 8)
    masks_NXY[0, 2, 3] = 1.0
    masks_NXY[1:, 9, 1] = 1.0
    scores_N = torch.tensor([0.9, 0.3, 0.2, 0.1])
    mean_XY = detections_to_map(scores_N, masks_NXY, combine="mean", mask="soft")
    max_XY = detections_to_map(scores_N, masks_NXY, combine="max", mask="soft")
    assert mean_XY[2, 3] == 0.25
    assert mean_XY[9, 1] == 0.75, "and three weak instances look certain"
    assert max_XY[2, 3] == pytest.approx(0.9)
    assert max_XY[9, 1] == pytest.approx(0.3)
    assert max_XY.sum() == pytest.approx(1.2)


def test_hard_masks_are_cut_before_they_are_combined() -> None:
    masks_NXY = torch.tensor([[[0.49, 0.5]], [[0.6, 0.1]]])
    scores_N = torch.tensor([0.8, 0.5])
    assert detections_to_map(scores_N, masks_NXY, combine="max", mask="hard").equal(torch.tensor([[0.5, 0.8]]))
    assert detections_to_map(scores_N, masks_NXY, combine="mean", mask="hard").tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("combine", ["max", "mean"])
def test_no_instance_is_probability_zero(combine: Any) -> None:
    empty_XY = detections_to_map(torch.zeros(0), torch.zeros(0, 12, 8), combine=combine, mask="soft")
    assert empty_XY.shape == (12, 8)
    assert not empty_XY.any()


def test_norms_that_cannot_start_are_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="never learns its statistics"):
        check_init(Config(norm="frozen_batch"), "random")
    with pytest.raises(ConfigError, match="trained with batch norm"):
        check_init(Config(norm="group"), "full:MaskRCNN_ResNet50_FPN_Weights.COCO_V1")
    for norm, init in [("batch", "random"), ("frozen_batch", "backbone:X"), ("group", "random"), ("group", "arm:pre")]:
        check_init(Config(norm=norm), init)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="never learns"):
        build_model(Recipe(arm="a", model="maskrcnn", config={"norm": "frozen_batch"}))


def small(**config: Any) -> Any:
    sizes = {"backbone": "resnet18", "fpn_channels": 32, "mask_channels": 32, "mask_layers": 1, "box_channels": 64}
    return build_model(Recipe(arm="a", model="maskrcnn", config=sizes | config))


def test_the_map_is_the_strongest_detection() -> None:
    model = small(score_threshold=0.0, detections_per_slice=3)
    image_BCXY = torch.rand(2, 1, 64, 48, generator=torch.Generator().manual_seed(0))
    probability_B1XY = model.probability(image_BCXY)
    with torch.no_grad():
        detected = model._detect(image_BCXY)
    for image, found in enumerate(detected):
        assert 0 < len(found["scores"]) <= 3
        strongest = (found["scores"][:, None, None] * found["masks"]).amax(dim=0)
        assert torch.allclose(strongest, probability_B1XY[image, 0])
        for x0, y0, x1, y1 in found["boxes"].tolist():
            assert 0 <= x0 < x1 <= 64
            assert 0 <= y0 < y1 <= 48


@pytest.mark.parametrize(("input_px", "size"), [(None, (48, 64)), (96, (96, 128))])
def test_a_slice_keeps_its_own_size_unless_told(input_px: int | None, size: tuple[int, int]) -> None:
    images, _ = small(input_px=input_px).eval().net.transform([torch.rand(3, 48, 64)])
    assert images.image_sizes == [size]


def test_boxes_stay_precise_under_bf16() -> None:
    """In bf16 the steps beyond 256 px are 2 px; torchvision alone would give anchors and boxes of such steps."""
    model = small(score_threshold=0.0).eval()
    seen: list[Tensor] = []
    model.net.rpn.anchor_generator.register_forward_hook(lambda _, __, output: seen.extend(output))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model.net([torch.rand(3, 32, 512)])[0]
    assert seen[0].dtype == found["boxes"].dtype == found["masks"].dtype == torch.float32
    far = found["boxes"][found["boxes"] > 256]
    assert len(far)
    assert (far % 2 != 0).any()


def test_one_training_step_of_the_default_network() -> None:
    """ResNet-50-FPN with torchvision's widths: the default for real data, too heavy here for more than a step."""
    model = build_model(Recipe(arm="a", model="maskrcnn"))
    label_BXY = torch.zeros(1, 64, 48, dtype=torch.uint8)
    label_BXY[0, 20:30, 10:18] = 1
    torch.autograd.backward(list(model(torch.rand(1, 1, 64, 48), label_BXY).values()))
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    assert norm.isfinite()
    assert norm > 0


def test_the_organ_is_a_class_of_its_own_that_holds_its_lesions() -> None:
    drawn = torch.zeros(12, 10, dtype=torch.uint8)
    drawn[2:8, 3:7], drawn[3:5, 4:6], drawn[10, 1] = 2, 1, 1  # a lesion in the organ, and one elsewhere
    targets = targets_from_labels(drawn, organ=True)
    assert targets["labels"].tolist() == [1, 1, 2, 2]
    areas = targets["masks"].flatten(1).sum(dim=1).tolist()
    assert areas == [4, 1, 24, 1]  # the lesion elsewhere is organ to itself
    assert targets_from_labels(drawn)["labels"].tolist() == [1, 1]
    assert targets_from_labels(torch.zeros(8, 8, dtype=torch.uint8), organ=True)["labels"].tolist() == []


def test_what_comes_out_is_the_lesion_and_never_the_organ() -> None:
    image_BCXY = torch.rand(1, 1, 64, 48, generator=torch.Generator().manual_seed(0))
    model: Any = build_model(
        Recipe(arm="a", model="maskrcnn", config={"backbone": "resnet18", "fpn_channels": 32, "organ": True})
    )
    with torch.no_grad():
        model.net.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([-9.0, -9.0, 9.0]))  # all is organ
    assert model.probability(image_BCXY).max() < 0.01
