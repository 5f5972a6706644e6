"""Shows that a recipe can learn: two patients, trained and predicted, to a Dice of .9 or more."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from missrate.core.errors import InputError
from missrate.core.recipe import Recipe
from missrate.core.types import IGNORED, LESION
from missrate.core.viewed import ViewedCase
from missrate.predict.run2d import load_run, predict_image
from missrate.train.loop import train

THRESHOLD = 0.5


def overfit(
    recipe: Recipe,
    cases: list[ViewedCase],
    *,
    arm_weights: Path | None = None,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """The Dice, pooled over all voxels of ``cases`` in the view, of a model that was trained on these very cases.

    Two patients are meant. Ignored voxels do not count. Raises InputError when no case has a lesion, and whatever
    training raises; leaves nothing on disk.
    """
    if not any(case.lesion_slices.size for case in cases):
        raise InputError("Overfitting must get cases with a lesion. Got none.")
    shared, reference_voxels, predicted_voxels = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="missrate-overfit-") as folder:
        run = Path(folder)
        train(run, recipe, cases, [], provenance={}, arm_weights=arm_weights, offline=offline, progress=progress)
        loaded = load_run(run, recipe)
        for case in cases:
            reference_XYZ = case.label_XYZ == LESION
            predicted_XYZ = (predict_image(loaded, case.image_XYZ) >= THRESHOLD) & (case.label_XYZ != IGNORED)
            shared += int(np.count_nonzero(reference_XYZ & predicted_XYZ))
            reference_voxels += int(np.count_nonzero(reference_XYZ))
            predicted_voxels += int(np.count_nonzero(predicted_XYZ))
    return 2 * shared / (reference_voxels + predicted_voxels)
