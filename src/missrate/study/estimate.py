"""What stages will cost, before they run: rough CPU seconds on one processor of 2024, memory and disk.

Per-image costs were measured once (docs/costs.md says how); they order the work and feed the time left, nothing else.
"""

from missrate.core.recipe import Recipe
from missrate.study.stages import Estimate

PIXELS = 128 * 192
SECONDS_PER_IMAGE = {"unet2d": 0.06, "maskrcnn": 0.08}
HEAVIER = {"resnet18": 1.0, "resnet34": 1.6, "resnet50": 4.0}
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


def _per_image(recipe: Recipe) -> float:
    backbone = str(recipe.config.get("backbone") or recipe.config.get("encoder") or "resnet18")
    width, height = recipe.train.patch_px or (128, 192)
    return SECONDS_PER_IMAGE.get(recipe.model, 0.1) * HEAVIER.get(backbone, 1.0) * width * height / PIXELS
