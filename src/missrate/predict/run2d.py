"""Applies a trained 2D model to scans: slices through the view and back onto the scan's own grid.

Shape letters: B batch, C channels (context slices), X right, Y anterior, Z superior.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from missrate.core import checkpoint, store
from missrate.core.crop import Crop
from missrate.core.errors import ConfigError, DataError, StoreError
from missrate.core.grid import Grid
from missrate.core.guard import understood
from missrate.core.patch import AIR_HU, cut
from missrate.core.precision import uses_bf16
from missrate.core.quantise import encode
from missrate.core.recipe import Recipe, read_recipe, require_no_code
from missrate.core.types import Prediction
from missrate.core.view import Box, View
from missrate.core.viewed import read_view
from missrate.models._build import build_model

Z_CHUNK = 32
"""Slices that are on their way at once, about: a whole scan in floating point would be many times its levels."""
ROUNDING = 1e-5
Progress = Callable[[int], None]
Look = Callable[[int, int], NDArray[np.int16]]
"""The view of a scan's slices from the first to before the last."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A finished model in evaluation mode on its device, and the recipe by which it is applied.

    ``patch_px`` (X, Y) is the size of the slices that it was trained on.
    """

    model: nn.Module
    recipe: Recipe
    device: torch.device
    patch_px: tuple[int, int]


def load_run(run: Path, recipe: Recipe | None = None, *, trust_code: bool = False) -> Loaded:
    """The model of a finished run; the two loaded last are kept as long as their weights do not change on disk.

    ``recipe`` replaces the run's own, with other predict settings or another way to combine instances; it comes from
    whoever asks, so that the code which it names is theirs. Code that only the run's own recipe names is executed
    with ``trust_code`` alone. Own files of either are those beside the weights, which must have the hash that the
    recipe says. Raises StoreError for weights that are absent, damaged or of another model, ConfigError for a recipe,
    and InputError for code that nobody trusts.
    """
    weights = run / checkpoint.WEIGHTS
    if not checkpoint.finished(run):
        raise StoreError(f"{run} must be a finished run. Got no {checkpoint.WEIGHTS}; perhaps it is still training.")
    own = read_recipe(run / "recipe.toml")
    if recipe is None:
        require_no_code(own, run / "recipe.toml", trust_code=trust_code)
    patch_px = own.train.patch_px or (1, 1)
    return _load(weights.resolve(), weights.stat().st_mtime_ns, (recipe or own).placed(run).model_dump_json(), patch_px)


@lru_cache(maxsize=2)
def _load(weights: Path, _changed_ns: int, recipe_json: str, patch_px: tuple[int, int]) -> Loaded:
    recipe = Recipe.model_validate_json(recipe_json)
    with understood(weights.with_name("recipe.toml"), "the recipe of a model", kind=ConfigError):
        model = build_model(recipe)
    state = checkpoint.load(weights)
    with understood(weights, f"weights that fit the recipe of arm {recipe.arm!r}"):
        model.load_state_dict(state)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Loaded(model.to(device).eval(), recipe, device, patch_px)


def predict_image(
    loaded: Loaded, image_XYZ: NDArray[np.int16], wanted: range | None = None, progress: Progress | None = None
) -> NDArray[np.float32]:
    """The probability of lesion in [0, 1] for each voxel of an image in the view (HU), or of the ``wanted`` slices.

    Slices go through in batches of ``predict.batch``, those smaller than in training in the middle of air; with
    ``predict.flip_x`` the mean of both directions. Raises DataError when the model gives something else than
    probabilities of the slice's size.
    """
    size_x, size_y, depth = image_XYZ.shape
    wanted = range(depth) if wanted is None else wanted
    probability_XYZ = np.empty((size_x, size_y, len(wanted)), np.float32)
    canvas_px = max(size_x, loaded.patch_px[0]), max(size_y, loaded.patch_px[1])
    x, y = (canvas_px[0] - size_x) // 2, (canvas_px[1] - size_y) // 2
    reach = loaded.recipe.view.context_slices // 2
    for first in range(wanted.start, wanted.stop, loaded.recipe.predict.batch):
        last, lowest = min(first + loaded.recipe.predict.batch, wanted.stop), max(first - reach, 0)
        near_XYZ = image_XYZ[:, :, lowest : last + reach]
        slabs = _slabs(loaded.recipe.view, near_XYZ, range(first - lowest, last - lowest), (-x, -y), canvas_px)
        probability_BXY = _both_ways(loaded, torch.from_numpy(np.stack(slabs)).to(loaded.device)).cpu().numpy()
        seen_BXY = probability_BXY[:, x : x + size_x, y : y + size_y]
        probability_XYZ[:, :, first - wanted.start : last - wanted.start] = np.moveaxis(seen_BXY, 0, 2)
        if progress is not None:
            progress(last - first)
    return probability_XYZ


def _slabs(
    view: View, image_XYZ: NDArray[np.int16], wanted: range, start: tuple[int, int], canvas_px: tuple[int, int]
) -> list[NDArray[np.float32]]:
    """CXY of each wanted slice in the middle of air; a picture is made of the slice before, as in training."""
    if view.encoding == "window":
        padded_XYZ = cut(image_XYZ, start, canvas_px, fill=AIR_HU)
        return [view.slab(padded_XYZ, z) for z in wanted]
    pictures = (view.slab(image_XYZ, z).transpose(1, 2, 0) for z in wanted)
    return [cut(picture, start, canvas_px, fill=0).transpose(2, 0, 1) for picture in pictures]


def _both_ways(loaded: Loaded, image_BCXY: Tensor) -> Tensor:
    """BXY; with ``flip_x`` the mean over the images as they are and mirrored."""
    probability_BXY = _probability(loaded, image_BCXY)
    if not loaded.recipe.predict.flip_x:
        return probability_BXY
    return (probability_BXY + _probability(loaded, image_BCXY.flip(2)).flip(1)) / 2


def _probability(loaded: Loaded, image_BCXY: Tensor) -> Tensor:
    """BXY, float32, checked."""
    model: Any = loaded.model
    bf16 = uses_bf16(loaded.recipe.train.precision, loaded.device.type)
    with torch.inference_mode(), torch.autocast(loaded.device.type, torch.bfloat16, enabled=bf16):
        probability_B1XY: Tensor = model.probability(image_BCXY)
    wanted = (image_BCXY.shape[0], 1, *image_BCXY.shape[2:])
    if tuple(probability_B1XY.shape) != wanted:
        raise DataError(f"Model {loaded.recipe.model!r} must give shape {wanted}. Got {tuple(probability_B1XY.shape)}.")
    probability_BXY = probability_B1XY[:, 0].float()
    low, high = float(probability_BXY.min()), float(probability_BXY.max())
    if not (low >= -ROUNDING and high <= 1.0 + ROUNDING):
        raise DataError(
            f"Model {loaded.recipe.model!r} must give probabilities in [0, 1]. Got {low:g} to {high:g}; "
            "perhaps these are logits."
        )
    return probability_BXY.clamp(0.0, 1.0)


def predict_scan(
    loaded: Loaded, image_XYZ: NDArray[np.int16], grid: Grid, progress: Progress | None = None
) -> NDArray[np.uint16]:
    """Levels (see ``quantise``) on the scan's own grid, from its HU: through the view, the model, and back.

    0 where the view does not look. Where the view keeps the scan's slices some tens of them are on their way at once:
    beyond the image and the levels, memory does not grow with the number of slices. ``progress`` is told how many
    slices of the view were done. Raises DataError as ``predict_image`` does.
    """
    view = loaded.recipe.view
    box = view.box(image_XYZ)
    if view.slice_mm is not None:
        return _levels(view.invert(predict_image(loaded, view.look(image_XYZ, box, grid), None, progress), box, grid))

    def look(first: int, last: int) -> NDArray[np.int16]:
        return view.look(image_XYZ[:, :, first:last], (box[0], box[1], slice(0, last - first)), grid)

    return _by_chunks(loaded, look, box, grid, progress)


def _by_chunks(
    loaded: Loaded, look: Look, box: Box, grid: Grid, progress: Progress | None = None
) -> NDArray[np.uint16]:
    """Levels on the scan's grid, chunk by chunk of its slices; ``look`` gives some of them as the view sees them."""
    view, depth = loaded.recipe.view, grid.shape[2]
    # Whole batches: a chunk changes neither which slices go through together nor, so, a bit of the result.
    step = loaded.recipe.predict.batch * -(-Z_CHUNK // loaded.recipe.predict.batch)
    reach = view.context_slices // 2
    levels_XYZ = np.empty(grid.shape, np.uint16)
    for first in range(0, depth, step):
        last, lowest = min(first + step, depth), max(first - reach, 0)
        wanted = range(first - lowest, last - lowest)
        probability_XYZ = predict_image(loaded, look(lowest, min(last + reach, depth)), wanted, progress)
        levels_XYZ[:, :, first:last] = encode(view.invert(probability_XYZ, box, grid))
    return levels_XYZ


def predict_case(run: Path, views_folder: Path, case_id: str, out: Path, *, recipe: Recipe | None = None) -> None:
    """Writes the prediction of one materialised case onto its own grid, unless ``out`` exists.

    ``views_folder`` must hold the view of the recipe. Raises StoreError and DataError; then nothing was written.
    """
    if out.exists():
        return
    loaded = load_run(run, recipe)
    case = read_view(views_folder, case_id)
    if loaded.recipe.view.slice_mm is None:
        levels_XYZ = _by_chunks(loaded, lambda a, b: case.image_XYZ[:, :, a:b], case.box, case.grid)
    else:
        probability_XYZ = predict_image(loaded, case.image_XYZ)
        levels_XYZ = _levels(loaded.recipe.view.invert(probability_XYZ, case.box, case.grid))
    store.write_prediction(out, Prediction(Crop.whole(levels_XYZ, case.grid), "probability"))


def _levels(probability_XYZ: NDArray[np.float32]) -> NDArray[np.uint16]:
    """float64, as ``encode`` needs, of a few slices at a time."""
    levels_XYZ = np.empty(probability_XYZ.shape, np.uint16)
    for first in range(0, probability_XYZ.shape[2], Z_CHUNK):
        chunk = np.s_[:, :, first : first + Z_CHUNK]
        levels_XYZ[chunk] = encode(probability_XYZ[chunk])
    return levels_XYZ
