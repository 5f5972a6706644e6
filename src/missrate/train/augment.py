"""Random variations of one training slice: where it is cut, whether it is mirrored, how its HU are off.

Shape letters: X right, Y anterior, Z the slice and its neighbours (context). All randomness comes from the generator.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from missrate.core.patch import AIR_HU, cut
from missrate.core.types import BACKGROUND, LESION

INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """``patch_px`` (X, Y) is the size that comes out. HU become ``hu * s + d`` with s in 1 ± scale, d in ± shift_hu."""

    patch_px: tuple[int, int]
    flip_x: bool = False
    scale: float = 0.0
    shift_hu: float = 0.0


def augment(
    image_XYZ: NDArray[np.int16],
    label_XY: NDArray[np.uint8],
    how: Augmentation,
    rng: np.random.Generator,
    *,
    keep_lesion: bool,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A slice with its neighbours, and its label, cut to (X, Y) = ``patch_px`` and varied; the label follows.

    With ``keep_lesion`` and a lesion in the label at least one of its pixels stays inside, anywhere in the patch.
    The draws from ``rng`` are the same whatever the settings, so that a setting does not change the other draws.
    """
    start = corner(label_XY, how.patch_px, rng, keep_lesion=keep_lesion)
    mirrored = rng.random() < 0.5
    scale, shift_hu = 1.0 + how.scale * rng.uniform(-1.0, 1.0), how.shift_hu * rng.uniform(-1.0, 1.0)
    image_XYZ = cut(image_XYZ, start, how.patch_px, fill=AIR_HU)
    label_XY = cut(label_XY, start, how.patch_px, fill=BACKGROUND)
    if how.flip_x and mirrored:
        image_XYZ, label_XY = image_XYZ[::-1], label_XY[::-1]
    return vary_hu(image_XYZ, scale, shift_hu), label_XY


def corner(
    label_XY: NDArray[np.uint8], patch_px: tuple[int, int], rng: np.random.Generator, *, keep_lesion: bool
) -> tuple[int, int]:
    """Where the patch begins in the slice, every position alike; negative where the patch is larger than the slice.

    With ``keep_lesion`` every position that holds one lesion pixel, itself drawn at random: the lesion lies anywhere
    in the patch, not in its middle.
    """
    u_pixel, *u_start = rng.random(3)
    lesion_px = np.argwhere(label_XY == LESION) if keep_lesion else np.empty((0, 2), np.int64)
    pixel = lesion_px[int(u_pixel * len(lesion_px))] if len(lesion_px) else None
    starts = []
    for axis, (size, patch) in enumerate(zip(label_XY.shape, patch_px, strict=True)):
        low, high = min(0, size - patch), max(0, size - patch)
        if pixel is not None:
            low, high = max(low, int(pixel[axis]) - patch + 1), min(high, int(pixel[axis]))
        starts.append(low + int(u_start[axis] * (high - low + 1)))
    return starts[0], starts[1]


def vary_hu(image: NDArray[np.int16], scale: float, shift_hu: float) -> NDArray[np.int16]:
    """``hu * scale + shift_hu``, rounded, clipped to int16; any shape."""
    varied: NDArray[np.float32] = np.rint(image * np.float32(scale) + np.float32(shift_hu))
    return np.clip(varied, INT16.min, INT16.max, out=varied).astype(np.int16)
