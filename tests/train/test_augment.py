"""What is cut, mirrored and shifted stays what it was: the HU of a drawn case tell where each pixel came from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from missrate.core.patch import AIR_HU
from missrate.core.types import BACKGROUND, LESION
from missrate.train.augment import Augmentation, augment, corner, vary_hu
from tests.train import drawn

SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))
SEEDS = st.integers(0, 2**32)


@given(patch_px=SIZES, seed=SEEDS, flip_x=st.booleans(), keep_lesion=st.booleans())
def test_the_label_follows_the_image(patch_px: tuple[int, int], seed: int, flip_x: bool, keep_lesion: bool) -> None:
    case = drawn.case("a")
    image_XYZ, label_XY = augment(
        case.image_XYZ[:, :, 2:5],
        case.label_XYZ[:, :, 2],
        Augmentation(patch_px, flip_x=flip_x),
        np.random.default_rng(seed),
        keep_lesion=keep_lesion,
    )
    assert image_XYZ.shape == (*patch_px, 3) and label_XY.shape == patch_px
    inside = image_XYZ[:, :, 0] != AIR_HU
    x, y = np.divmod(image_XYZ[:, :, 0][inside] - 2, 100)
    assert (label_XY[inside] == case.label_XYZ[x, y, 2]).all()
    assert (label_XY[~inside] == BACKGROUND).all()
    assert (np.diff(image_XYZ[inside], axis=1) == 1).all()
    assert inside.sum() == min(patch_px[0], 16) * min(patch_px[1], 20)
    assert not keep_lesion or (label_XY == LESION).any()


@pytest.mark.parametrize("patch_px", [(5, 5), (16, 20), (30, 8), (1, 1)])
def test_every_allowed_position_comes(patch_px: tuple[int, int]) -> None:
    label_XY = np.zeros((16, 20), np.uint8)
    rng = np.random.default_rng(0)
    seen = {corner(label_XY, patch_px, rng, keep_lesion=False) for _ in range(4000)}
    spans = [range(min(0, n - p), max(0, n - p) + 1) for n, p in zip(label_XY.shape, patch_px, strict=True)]
    assert seen == {(x, y) for x in spans[0] for y in spans[1]}


def test_a_lesion_lies_anywhere_in_the_patch() -> None:
    label_XY = np.zeros((40, 40), np.uint8)
    label_XY[20, 20] = LESION
    rng = np.random.default_rng(0)
    offsets = {tuple(20 - np.array(corner(label_XY, (6, 6), rng, keep_lesion=True))) for _ in range(1000)}
    assert offsets == {(x, y) for x in range(6) for y in range(6)}


def test_hu_are_scaled_shifted_rounded_and_clipped() -> None:
    image = np.array([-1000, 0, 101, 32767], np.int16)
    assert vary_hu(image, 1.1, 20.4).tolist() == [-1080, 20, 132, 32767]
    assert vary_hu(image, 1.0, 0.0).tolist() == image.tolist()


def test_hu_variation_stays_in_its_bounds_and_is_used() -> None:
    image_XYZ, label_XY = np.full((1, 1, 1), 100, np.int16), np.zeros((1, 1), np.uint8)
    how = Augmentation((1, 1), scale=0.1, shift_hu=20)
    rng = np.random.default_rng(0)
    values = [int(augment(image_XYZ, label_XY, how, rng, keep_lesion=False)[0].item()) for _ in range(500)]
    assert 70 <= min(values) < 80 and 120 < max(values) <= 130


def test_a_setting_does_not_change_the_other_draws() -> None:
    case = drawn.case("a")
    patches = []
    for how in (Augmentation((5, 5)), Augmentation((5, 5), flip_x=True)):
        rng = np.random.default_rng(3)
        image_XYZ, _ = augment(case.image_XYZ[:, :, :1], case.label_XYZ[:, :, 0], how, rng, keep_lesion=False)
        patches.append((sorted(image_XYZ.ravel().tolist()), rng.random()))
    assert patches[0] == patches[1]
