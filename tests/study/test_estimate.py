"""What a step is said to cost follows what was measured (docs/costs.md): within a factor of two."""

import pytest

from missrate.study.estimate import per_image

SMALL = {"backbone": "resnet18", "fpn_channels": 64, "box_channels": 256, "mask_channels": 64}


@pytest.mark.parametrize(
    ("config", "side", "measured"),
    [
        (SMALL, 64, 0.36 / 8),
        ({**SMALL, "box_samples": 32}, 64, 0.28 / 8),
        (SMALL, 96, 0.446 / 8),
        ({**SMALL, "targets": "whole_and_background"}, 128, 0.10),
        ({}, 96, 3.5 / 8),  # nothing said is ResNet-50 as in torchvision
    ],
)
def test_maskrcnn_costs_what_it_did(config: dict[str, object], side: int, measured: float) -> None:
    assert measured / 2 < per_image("maskrcnn", config, (side, side)) < measured * 2


def test_a_config_that_will_be_refused_is_no_error_here() -> None:
    assert per_image("maskrcnn", {"fpn_channels": "many"}, (64, 64)) == per_image("maskrcnn", {}, (64, 64))
