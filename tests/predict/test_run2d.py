"""A model whose probability is a known function of the image, predicted through the view and back."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from missrate.core import checkpoint, store
from missrate.core.errors import DataError, StoreError
from missrate.core.grid import Grid
from missrate.core.quantise import TOP, decode, encode
from missrate.core.recipe import PredictConfig, Recipe, TrainConfig, read_recipe
from missrate.core.view import View
from missrate.core.viewed import ViewedCase, write_view
from missrate.predict import run2d

BRIGHT = '''
"""The probability is the middle channel itself, times a weight of 1; it notes the shapes that it got."""
import torch
from torch import nn
from missrate.core.config import Frozen

class Config(Frozen):
    fault: str = ""

class Bright(nn.Module):
    ndim = 2
    def __init__(self, config, channels):
        super().__init__()
        self.fault, self.channels, self.shapes = config.fault, channels, []
        self.weight = nn.Parameter(torch.tensor(0.0))
    def forward(self, image_BCXY, label_BXY):
        return {"none": self.weight * 0}
    def probability(self, image_BCXY):
        assert not self.training and image_BCXY.dtype == torch.float32
        self.shapes.append(tuple(image_BCXY.shape))
        result = image_BCXY[:, self.channels // 2 : self.channels // 2 + 1] * self.weight
        if self.fault == "right half only":
            result[:, :, : result.shape[2] // 2] = 0
        return {"logits": result * 9 - 4, "nan": result * torch.nan, "shape": result[:, 0]}.get(self.fault, result)
    def backbone(self):
        return self

def build(config, loss, *, channels):
    return Bright(config, channels)
'''
PLAIN = View(window_hu=(0.0, 1000.0))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    run2d._load.cache_clear()


def load(run: Path, recipe: Recipe | None = None) -> run2d.Loaded:
    """The models here are files of their own, which these tests trust."""
    return run2d.load_run(run, recipe, trust_code=True)


def bright(
    folder: Path,
    *,
    view: View = PLAIN,
    fault: str = "",
    weight: float = 1.0,
    patch_px: tuple[int, int] | None = None,
    **predict: object,
) -> Path:
    """A finished run of the model above."""
    run = folder / "run"
    store.write_text(run / "bright.py", BRIGHT)
    recipe = Recipe(
        arm="bright",
        model="bright.py",
        config={"fault": fault},
        view=view,
        train=TrainConfig(precision="float32", patch_px=patch_px),
        predict=PredictConfig.model_validate(predict),
    )
    store.write_text(run / "recipe.toml", recipe.pinned(run).to_toml())
    checkpoint.save(run / checkpoint.WEIGHTS, {"weight": torch.tensor(weight)})
    return run


def scan(shape: tuple[int, int, int] = (40, 50, 12)) -> tuple[NDArray[np.int16], Grid]:
    """Air, a body of 0 HU, and in it a box of 1000 HU; voxels of 1 x 1 x 3 mm."""
    image_XYZ = np.full(shape, -1000, np.int16)
    image_XYZ[6:34, 8:46] = 0
    image_XYZ[10:22, 12:24, shape[2] // 4 : shape[2] // 4 + 6] = 1000
    return image_XYZ, Grid.of(shape, np.diag([1.0, 1.0, 3.0, 1.0]))


def noise(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 1001, shape).astype(np.int16)


def test_without_crop_and_resampling_each_voxel_is_its_own(tmp_path: Path) -> None:
    image_XYZ = noise((9, 7, 5))
    levels_XYZ = run2d.predict_scan(load(bright(tmp_path)), image_XYZ, Grid((9, 7, 5), None))
    wanted_XYZ = encode(PLAIN.windowed(image_XYZ.astype(np.float32)))
    assert levels_XYZ.dtype == np.uint16 and np.array_equal(levels_XYZ, wanted_XYZ)


@pytest.mark.parametrize("crop", ["none", "body"])
@pytest.mark.parametrize(("spacing_mm", "slice_mm"), [(None, None), (2.0, None), (0.7, 5.0), (1.3, 1.0)])
def test_a_prediction_comes_back_to_its_place(
    tmp_path: Path, crop: str, spacing_mm: float | None, slice_mm: float | None
) -> None:
    view = View.model_validate(PLAIN.model_dump() | {"crop": crop, "spacing_mm": spacing_mm, "slice_mm": slice_mm})
    image_XYZ, grid = scan()
    levels_XYZ = run2d.predict_scan(load(bright(tmp_path, view=view)), image_XYZ, grid)
    found_XYZ, box_XYZ = decode(levels_XYZ) >= 0.5, image_XYZ == 1000
    dice = 2 * (found_XYZ & box_XYZ).sum() / (found_XYZ.sum() + box_XYZ.sum())
    assert levels_XYZ.shape == grid.shape and dice > 0.85
    centres = [np.argwhere(mask).mean(axis=0) for mask in (found_XYZ, box_XYZ)]
    assert centres[0] == pytest.approx(centres[1], abs=0.3)
    assert (levels_XYZ[:4] == 0).all()


def test_a_scan_of_one_slice(tmp_path: Path) -> None:
    view = PLAIN.model_copy(update={"context_slices": 5, "slice_mm": 10.0})
    image_XYZ, grid = noise((8, 8, 1)), Grid.of((8, 8, 1), np.diag([1.0, 1.0, 3.0, 1.0]))
    levels_XYZ = run2d.predict_scan(load(bright(tmp_path, view=view)), image_XYZ, grid)
    assert np.array_equal(levels_XYZ, encode(view.windowed(image_XYZ.astype(np.float32))))


@pytest.mark.parametrize("patch_px", [(4, 4), (6, 8), (20, 8), (21, 30)])
@pytest.mark.parametrize("flip_x", [False, True])
def test_a_slice_lies_in_air_up_to_the_size_of_training(
    tmp_path: Path, patch_px: tuple[int, int], flip_x: bool
) -> None:
    image_XYZ, view = noise((6, 5, 4)), PLAIN.model_copy(update={"context_slices": 3})
    loaded = load(bright(tmp_path, view=view, patch_px=patch_px, flip_x=flip_x, batch=3))
    probability_XYZ = run2d.predict_image(loaded, image_XYZ)
    assert probability_XYZ == pytest.approx(PLAIN.windowed(image_XYZ.astype(np.float32)))
    wanted_px = (max(6, patch_px[0]), max(5, patch_px[1]))
    shapes = loaded.model.shapes
    assert isinstance(shapes, list) and {shape[2:] for shape in shapes} == {wanted_px}


@pytest.mark.parametrize("batch", [5, 8, 50])
def test_chunks_of_slices_give_what_the_whole_scan_gives(tmp_path: Path, batch: int) -> None:
    view = PLAIN.model_copy(update={"context_slices": 3, "spacing_mm": 1.7, "crop": "body"})
    image_XYZ, grid = scan((40, 50, 2 * run2d.Z_CHUNK + 7))
    image_XYZ += noise(image_XYZ.shape) // 50
    loaded = load(bright(tmp_path, view=view, batch=batch))
    told: list[int] = []
    levels_XYZ = run2d.predict_scan(loaded, image_XYZ, grid, told.append)
    whole_XYZ = run2d.predict_image(loaded, view.apply_image(image_XYZ, grid))
    assert np.array_equal(levels_XYZ, encode(view.invert(whole_XYZ, view.box(image_XYZ), grid)))
    assert sum(told) == image_XYZ.shape[2] and max(told) <= batch


def test_a_picture_is_padded_after_it_was_made(tmp_path: Path) -> None:
    view = PLAIN.model_copy(update={"encoding": "picture"})
    image_XYZ = noise((6, 5, 4)) + np.int16(100)  # no air in it: a padding of air would change every colour
    small, padded = (
        run2d.predict_image(load(bright(tmp_path, view=view, patch_px=px)), image_XYZ) for px in ((1, 1), (20, 30))
    )
    assert np.array_equal(small, padded)
    assert np.array_equal(small[:, :, 2], view.slab(image_XYZ, 2)[1])


def test_memory_does_not_grow_with_the_slices(tmp_path: Path) -> None:
    loaded, beyond = load(bright(tmp_path, view=PLAIN.model_copy(update={"spacing_mm": 2.0}))), []
    for depth in (100, 400):
        image_XYZ, grid = scan((64, 64, depth))
        run2d.predict_scan(loaded, image_XYZ[:, :, :8], Grid.of((64, 64, 8), grid.matrix))  # what is made once
        tracemalloc.start()
        levels_XYZ = run2d.predict_scan(loaded, image_XYZ, grid)
        beyond.append(tracemalloc.get_traced_memory()[1] - levels_XYZ.nbytes)
        tracemalloc.stop()
    assert beyond[1] < 1.1 * beyond[0]


@pytest.mark.parametrize("flip_x", [False, True])
def test_the_batch_size_changes_nothing_and_bounds_the_memory(tmp_path: Path, flip_x: bool) -> None:
    image_XYZ = noise((6, 5, 11))
    results = []
    for batch in (1, 4, 11, 50):
        loaded = load(bright(tmp_path, batch=batch, flip_x=flip_x))
        results.append(run2d.predict_image(loaded, image_XYZ))
        assert isinstance(loaded.model.shapes, list)
        sizes = [shape[0] for shape in loaded.model.shapes]
        assert max(sizes) <= batch and sum(sizes) == 11 * (1 + flip_x)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_the_mean_of_both_directions_is_on_the_image_as_it_lies(tmp_path: Path) -> None:
    image_XYZ = noise((6, 4, 3))
    probability_XYZ = PLAIN.windowed(image_XYZ.astype(np.float32))
    once = run2d.predict_image(load(bright(tmp_path, fault="right half only")), image_XYZ)
    assert np.array_equal(once[3:], probability_XYZ[3:]) and not once[:3].any()
    both = run2d.predict_image(load(bright(tmp_path, fault="right half only", flip_x=True)), image_XYZ)
    assert both == pytest.approx(probability_XYZ / 2)


def test_the_mean_mirrors_within_the_slice_and_not_along_y(tmp_path: Path) -> None:
    image_XYZ = noise((6, 4, 3))
    twice = run2d.predict_image(load(bright(tmp_path, flip_x=True)), image_XYZ)
    assert twice == pytest.approx(PLAIN.windowed(image_XYZ.astype(np.float32)))


@pytest.mark.parametrize(
    ("fault", "sentence"), [("logits", "perhaps these are logits"), ("nan", "nan"), ("shape", "must give shape")]
)
def test_what_is_no_probability_is_refused(tmp_path: Path, fault: str, sentence: str) -> None:
    loaded = load(bright(tmp_path, fault=fault))
    with pytest.raises(DataError, match=sentence):
        run2d.predict_image(loaded, noise((4, 4, 2)))


def materialised(folder: Path, view: View) -> tuple[Path, NDArray[np.int16], Grid]:
    image_XYZ, grid = scan()
    box = view.box(image_XYZ)
    seen_XYZ = view.apply_image(image_XYZ, grid)
    case = ViewedCase.of(("a", "p"), seen_XYZ, np.zeros(seen_XYZ.shape, np.uint8), box, grid)
    write_view(folder / "views", case)
    return folder / "views", image_XYZ, grid


def test_a_case_of_a_view_is_predicted_as_its_scan(tmp_path: Path) -> None:
    view = PLAIN.model_copy(update={"crop": "body", "spacing_mm": 1.5, "slice_mm": 4.0})
    views, image_XYZ, grid = materialised(tmp_path, view)
    run, out = bright(tmp_path, view=view), tmp_path / "predictions" / "a.b2nd"
    run2d.predict_case(run, views, "a", out, recipe=read_recipe(run / "recipe.toml"))
    predicted = store.read_prediction(out)
    levels_XYZ = predicted.levels.full()
    assert predicted.levels.grid == grid and predicted.kind == "probability" and levels_XYZ.max() == TOP
    assert np.array_equal(levels_XYZ, run2d.predict_scan(load(run), image_XYZ, grid))


def test_a_prediction_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "a.b2nd"
    out.write_bytes(b"finished")
    run2d.predict_case(tmp_path / "no run", tmp_path / "no views", "a", out)
    assert out.read_bytes() == b"finished"


def test_another_recipe_applies_the_same_weights(tmp_path: Path) -> None:
    run = bright(tmp_path, weight=0.5)
    own = load(run)
    recipe = own.recipe.model_copy(update={"predict": PredictConfig(batch=2), "config": {"fault": "right half only"}})
    other = load(run, recipe)
    assert other.recipe.predict.batch == 2 and not run2d.predict_image(other, noise((4, 4, 3)))[:2].any()
    assert run2d.predict_image(other, np.full((2, 2, 3), 1000, np.int16)).max() == 0.5


def test_a_model_is_kept_until_its_weights_change(tmp_path: Path) -> None:
    run = bright(tmp_path)
    assert load(run) is load(run)
    before = load(run)
    bright(tmp_path, weight=0.25)
    after = load(run)
    assert after is not before and after.model.get_parameter("weight").item() == 0.25


def test_runs_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="must be a finished run"):
        load(tmp_path)
    run = bright(tmp_path)
    checkpoint.save(run / checkpoint.WEIGHTS, {"other": torch.zeros(2)})
    with pytest.raises(StoreError, match="must be weights that fit the recipe of arm 'bright'"):
        load(run)
    (run / checkpoint.WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(StoreError, match="must be safetensors"):
        load(run)
