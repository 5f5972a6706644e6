"""What stages will cost, before they run: rough CPU seconds on one processor of 2024, memory and disk.

Costs of an image and of a case were measured once (docs/costs.md says how). They order the work and stand in the table
of ``--dry-run``; the time left while a study runs comes from what its own tasks took (``pace``).
"""

from typing import Any

from missrate.core.recipe import Recipe
from missrate.study.stages import Estimate

PIXELS = 128 * 192
SECONDS_PER_IMAGE = {"unet2d": 0.06, "maskrcnn": 0.055}
BACKBONE = {"maskrcnn": "resnet50"}  # where none is named; others: ResNet-18
HEAVIER = {"resnet18": 1.0, "resnet34": 1.6, "resnet50": 4.0}
CASE_S, EVERYTHING_S = 0.1, 2.0
"""CPU seconds to measure a case of 256 x 256 x 60 voxels, and one of which everything is predicted."""
PREDICTION_SHARE = 0.33
"""Predicting an image costs about a third of training on it."""


def prepare(cases: int) -> Estimate:
    """Reading, checking and storing whole scans."""
    return Estimate(seconds=0.6 * cases, memory_mb=500, disk_mb=5.0 * cases)


def train(recipe: Recipe) -> Estimate:
    """Steps times batch times the cost of one image."""
    seconds = recipe.train.steps * recipe.train.batch * _per_image(recipe)
    return Estimate(seconds=10 + seconds, memory_mb=1500, disk_mb=100)


def predict(recipe: Recipe | None) -> Estimate:
    """Some hundred slices; null arms cost nearly nothing."""
    if recipe is None:
        return Estimate(seconds=3)
    return Estimate(seconds=5 + 500 * PREDICTION_SHARE * _per_image(recipe), memory_mb=1200, disk_mb=5)


def evaluate(cases: int, arm: str) -> Estimate:
    """Statistics of each case; a prediction that fills the scan has a surface and voxels everywhere."""
    return Estimate(seconds=1 + cases * (EVERYTHING_S if arm == "everything" else CASE_S))


def _per_image(recipe: Recipe) -> float:
    return per_image(recipe.model, recipe.config, recipe.train.patch_px or (128, 192))


def per_image(model: str, config: dict[str, Any], size: tuple[int, int]) -> float:
    """CPU seconds to train on one image of so many pixels each way."""
    backbone = config.get("backbone") or config.get("encoder") or BACKBONE.get(model)
    pixels = SECONDS_PER_IMAGE.get(model, 0.1) * HEAVIER.get(str(backbone), 1.0) * size[0] * size[1] / PIXELS
    return pixels + (_regions(config) if model == "maskrcnn" else 0)


def _regions(config: dict[str, Any]) -> float:
    """Boxes and masks of Mask R-CNN cost the same at every image size; a background that is an instance fills masks."""
    width = _number(config, "fpn_channels", 256) / 64
    masks = 3 if config.get("targets") == "whole_and_background" else 1
    return _number(config, "box_samples", 64) / 64 * (0.02 * width + 0.015 * width**2 * masks)


def _number(config: dict[str, Any], key: str, default: float) -> float:
    """What is no number is refused later, by the model's own Config."""
    value = config.get(key, default)
    return value if isinstance(value, int | float) else default
