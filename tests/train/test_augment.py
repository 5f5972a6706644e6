"""What is cut, mirrored and shifted stays what it was: the HU of a drawn case tell where each pixel came from."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from missrate.core.patch import AIR_HU
from missrate.core.types import BACKGROUND, LESION
from missrate.core.view import View
from missrate.train.augment import Augmentation, Variation, corner, draw, hu_of, label_of
from tests.train import drawn

SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))
SEEDS = st.integers(0, 2**32)


@given(patch_px=SIZES, seed=SEEDS, flip_x=st.booleans(), keep_lesion=st.booleans())
def test_the_label_follows_the_image(patch_px: tuple[int, int], seed: int, flip_x: bool, keep_lesion: bool) -> None:
    case = drawn.case("a")
    how = Augmentation(patch_px, flip_x=flip_x)
    drawn_ = draw((16, 20), how, np.random.default_rng(seed), case.lesion_in(2) if keep_lesion else None)
    image_ZXY, label_XY = hu_of(case.image_XYZ[:, :, 2:5], drawn_), label_of(case.label_XYZ[:, :, 2], drawn_)
    image_XYZ = image_ZXY.transpose(1, 2, 0)
    assert image_XYZ.shape == (*patch_px, 3) and label_XY.shape == patch_px
    inside = image_XYZ[:, :, 0] != AIR_HU
    x, y = np.divmod(image_XYZ[:, :, 0][inside].astype(int) - 2, 100)
    assert (label_XY[inside] == case.label_XYZ[x, y, 2]).all()
    assert (label_XY[~inside] == BACKGROUND).all()
    assert (np.diff(image_XYZ[inside], axis=1) == 1).all()
    assert inside.sum() == min(patch_px[0], 16) * min(patch_px[1], 20)
    assert not keep_lesion or (label_XY == LESION).any()


@pytest.mark.parametrize("patch_px", [(5, 5), (16, 20), (30, 8), (1, 1)])
def test_every_allowed_position_comes(patch_px: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    seen = {corner((16, 20), patch_px, rng, None) for _ in range(4000)}
    spans = [range(min(0, n - p), max(0, n - p) + 1) for n, p in zip((16, 20), patch_px, strict=True)]
    assert seen == {(x, y) for x in spans[0] for y in spans[1]}


def test_a_lesion_lies_anywhere_in_the_patch() -> None:
    rng, voxel = np.random.default_rng(0), np.array([[20, 20]], np.int16)
    offsets = {tuple(20 - start for start in corner((40, 40), (6, 6), rng, voxel)) for _ in range(1000)}
    assert offsets == {(x, y) for x in range(6) for y in range(6)}


def test_a_lesion_lies_anywhere_in_a_patch_of_three_dimensions() -> None:
    rng, voxel = np.random.default_rng(0), np.array([[20, 1, 9]], np.int16)
    starts = {corner((40, 8, 12), (3, 8, 4), rng, voxel) for _ in range(1000)}
    assert starts == {(x, 0, z) for x in (18, 19, 20) for z in (6, 7, 8)}


def varied(image: np.ndarray, scale: float, shift_hu: float) -> np.ndarray:
    return hu_of(image, Variation((0,) * image.ndim, image.shape, False, scale, shift_hu))


def test_hu_are_scaled_shifted_and_rounded() -> None:
    image = np.array([-1000, 0, 101], np.int16)
    assert varied(image, 1.1, 20.4).tolist() == [-1080, 20, 132]
    assert varied(image, 1.0, 0.0).tolist() == image.tolist()


def plain_patch(image_XYZ: np.ndarray, label_XYZ: np.ndarray, how: Variation) -> tuple[np.ndarray, np.ndarray]:
    """Voxel by voxel in one order: where from, HU varied and rounded, window of -100 to 200."""
    image, label = np.zeros(how.patch_px, np.float32), np.full(how.patch_px, BACKGROUND, np.uint8)
    for place in np.ndindex(*how.patch_px):
        unmirrored = (how.patch_px[0] - 1 - place[0] if how.mirrored else place[0], *place[1:])
        source = tuple(first + step for first, step in zip(how.start, unmirrored, strict=True))
        inside = all(0 <= at < size for at, size in zip(source, image_XYZ.shape, strict=True))
        hu = np.float32(image_XYZ[source] if inside else AIR_HU)
        varied_hu = np.rint(hu * np.float32(how.scale) + np.float32(how.shift_hu))
        image[place] = min(max((varied_hu + np.float32(100)) / np.float32(300), np.float32(0)), np.float32(1))
        label[place] = label_XYZ[source] if inside else BACKGROUND
    return image, label


@given(data=st.data(), order=st.sampled_from(["C", "F"]), mirrored=st.booleans(), seed=SEEDS)
def test_each_voxel_is_what_plain_loops_give(
    data: st.DataObject, order: Literal["C", "F"], mirrored: bool, seed: int
) -> None:
    sizes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
    shape, patch_px = data.draw(sizes), data.draw(sizes)
    rng = np.random.default_rng(seed)
    image_XYZ = np.asarray(rng.integers(-400, 400, shape), np.int16, order=order)
    label_XYZ = np.asarray(rng.integers(0, 3, shape), np.uint8, order=order)
    scale, shift_hu = data.draw(st.sampled_from([(1.0, 0.0), (1.0, 7.3), (0.93, 0.0), (1.08, -12.6)]))
    drawn_ = draw(shape, Augmentation(patch_px), rng, None)
    how = Variation(drawn_.start, patch_px, mirrored, scale, shift_hu)
    wanted_image, wanted_label = plain_patch(image_XYZ, label_XYZ, how)
    assert np.array_equal(View().windowed(hu_of(image_XYZ, how)), wanted_image)
    assert np.array_equal(label_of(label_XYZ, how), wanted_label)


def test_hu_variation_stays_in_its_bounds_and_is_used() -> None:
    image_XYZ, how = np.full((1, 1, 1), 100, np.int16), Augmentation((1, 1), scale=0.1, shift_hu=20)
    rng = np.random.default_rng(0)
    values = [int(hu_of(image_XYZ, draw((1, 1), how, rng, None)).item()) for _ in range(500)]
    assert 70 <= min(values) < 80 and 120 < max(values) <= 130


def test_a_setting_does_not_change_the_other_draws() -> None:
    case = drawn.case("a")
    patches = []
    for how in (Augmentation((5, 5)), Augmentation((5, 5), flip_x=True)):
        rng = np.random.default_rng(3)
        image_XYZ = hu_of(case.image_XYZ[:, :, :1], draw((16, 20), how, rng, None))
        patches.append((sorted(image_XYZ.ravel().tolist()), rng.random()))
    assert patches[0] == patches[1]


def turned(angle_deg: float, factor: float, *, mirrored: bool = False) -> Variation:
    """Of a patch of 9 x 9 around the middle of a slice of 31 x 31."""
    return Variation((11, 11), (9, 9), mirrored, 1.0, 0.0, angle_deg, factor, (4.0, 4.0))


def slope(shape: tuple[int, int] = (31, 31)) -> tuple[np.ndarray, np.ndarray]:
    """A plane of HU, which interpolation does not change, and labels in squares of 5."""
    x, y = np.indices(shape)
    return (30 * x + 7 * y - 400).astype(np.int16), ((x // 5 + y // 5) % 3).astype(np.uint8)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_exact(quarters: int) -> None:
    image, label = slope()
    how = turned(90.0 * quarters, 1.0)
    square = slice(11, 20)
    assert (hu_of(image[:, :, None], how)[0] == np.rot90(image[square, square], -quarters)).all()
    assert (label_of(label, how) == np.rot90(label[square, square], -quarters)).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_pixel_shows_what_lies_at_its_angle_and_distance(mirrored: bool) -> None:
    image, _ = slope()
    how = turned(30.0, 1.25, mirrored=mirrored)
    seen = hu_of(image[:, :, None], how)[0][:: -1 if mirrored else 1]
    for x, y in np.ndindex(9, 9):
        # Two pixels right of the middle lies what was 2 / 1.25 = 1.6 away, turned by 30 degrees.
        turned_ = ((x - 4) + 1j * (y - 4)) / 1.25 * np.exp(1j * np.pi / 6)
        wanted = 30 * (15 + turned_.real) + 7 * (15 + turned_.imag) - 400
        assert abs(seen[x, y] - wanted) <= 0.5 + 1e-6


@given(
    seed=SEEDS,
    rotate_deg=st.floats(1, 180),
    zoom=st.floats(0, 1),
    patch=st.tuples(st.integers(3, 25), st.integers(3, 25)),
)
def test_the_lesions_voxel_stays_and_air_surrounds_the_scan(
    seed: int, rotate_deg: float, zoom: float, patch: tuple[int, int]
) -> None:
    case = drawn.case("a")
    how = Augmentation(patch, flip_x=True, rotate_deg=rotate_deg, zoom=zoom)
    variation = draw((16, 20), how, np.random.default_rng(seed), case.lesion_in(2))
    label, hu = label_of(case.label_XYZ[:, :, 2], variation), hu_of(case.image_XYZ[:, :, 2:3], variation)
    assert label.shape == patch and hu.shape == (1, *patch)
    x, y = (int(at) for at in variation.pivot)
    assert label[patch[0] - 1 - x if variation.mirrored else x, y] == LESION
    assert hu.min() >= AIR_HU and hu.max() <= case.image_XYZ.max()
    assert 1 / (1 + zoom) - 1e-9 <= variation.factor <= 1 + zoom + 1e-9
    assert abs(variation.angle_deg) <= rotate_deg


def test_slices_of_a_volume_are_turned_alike() -> None:
    image, label = slope()
    volume, labels = (np.repeat(each[:, :, None], 4, axis=2) for each in (image, label))
    flat = turned(40.0, 0.9)
    deep = Variation((11, 11, -1), (9, 9, 3), False, 1.0, 0.0, 40.0, 0.9, (4.0, 4.0))
    assert (hu_of(volume, deep)[:, :, 0] == AIR_HU).all()  # before the first slice
    for z in (1, 2):
        assert (hu_of(volume, deep)[:, :, z] == hu_of(image[:, :, None], flat)[0]).all()
        assert (label_of(labels, deep)[:, :, z] == label_of(label, flat)).all()
