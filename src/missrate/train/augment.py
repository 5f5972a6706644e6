"""Random variations of a training patch: where it is cut, whether it is mirrored, how its HU are off.

Shape letters: X right, Y anterior, Z slices. A patch is cut along X and Y (its slice and the neighbours come whole), or
along X, Y and Z. All randomness comes from the generator.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.patch import AIR_HU, cut
from missrate.core.types import BACKGROUND


@dataclass(frozen=True, slots=True)
class Augmentation:
    """``patch_px`` (X, Y) or (X, Y, Z) comes out. HU become ``hu * s + d`` with s in 1 ± scale, d in ± shift_hu."""

    patch_px: tuple[int, ...]
    flip_x: bool = False
    scale: float = 0.0
    shift_hu: float = 0.0


@dataclass(frozen=True, slots=True)
class Variation:
    """What was drawn for one patch; ``start`` is negative where the patch is larger than the scan."""

    start: tuple[int, ...]
    patch_px: tuple[int, ...]
    mirrored: bool
    scale: float
    shift_hu: float


def draw(
    shape: tuple[int, ...], how: Augmentation, rng: np.random.Generator, lesion_VX: NDArray[np.integer] | None
) -> Variation:
    """A variation for a scan (or slice) of ``shape``; with ``lesion_VX`` one of these voxels stays inside, anywhere.

    The draws from ``rng`` are the same whatever the settings, so that a setting does not change the other draws.
    """
    start = corner(shape, how.patch_px, rng, lesion_VX)
    mirrored = bool(rng.random() < 0.5) and how.flip_x
    scale, shift_hu = 1.0 + how.scale * rng.uniform(-1.0, 1.0), how.shift_hu * rng.uniform(-1.0, 1.0)
    return Variation(start, how.patch_px, mirrored, scale, shift_hu)


def corner(
    shape: tuple[int, ...],
    patch_px: tuple[int, ...],
    rng: np.random.Generator,
    lesion_VX: NDArray[np.integer] | None,
) -> tuple[int, ...]:
    """Where the patch begins, every position alike; negative where the patch is larger than ``shape``.

    With lesion voxels (V, axes) every position that holds one of them, itself drawn at random: the lesion lies anywhere
    in the patch, not in its middle.
    """
    u_voxel, *u_start = rng.random(1 + len(patch_px))
    voxel = None
    if lesion_VX is not None and len(lesion_VX):
        voxel = lesion_VX[int(u_voxel * len(lesion_VX))]
    starts = []
    for axis, (size, patch) in enumerate(zip(shape, patch_px, strict=True)):
        low, high = min(0, size - patch), max(0, size - patch)
        if voxel is not None:
            low, high = max(low, int(voxel[axis]) - patch + 1), min(high, int(voxel[axis]))
        starts.append(low + int(u_start[axis] * (high - low + 1)))
    return tuple(starts)


def label_of(label: NDArray[np.uint8], how: Variation) -> NDArray[np.uint8]:
    """The label of the patch, in C order (turned here and not while a batch is filled: a third of the time)."""
    part = np.ascontiguousarray(cut(label, how.start, how.patch_px, fill=BACKGROUND))
    return part[::-1] if how.mirrored else part


def hu_of(image: NDArray[np.int16], how: Variation) -> NDArray[np.float32]:
    """The patch's HU, varied and rounded; further axes come whole, and first: (Z, X, Y) of a slice and its neighbours.

    A new array in C order: turned while it becomes float, which takes a third of the time of turning it later.
    """
    part = cut(image, how.start, how.patch_px, fill=AIR_HU)
    flat = len(how.patch_px)
    hu: NDArray[Any] = part.transpose(*range(flat, part.ndim), *range(flat)).astype(np.float32, order="C")
    if how.scale != 1.0:
        hu *= np.float32(how.scale)
    if how.shift_hu != 0.0:
        hu += np.float32(how.shift_hu)
    if how.scale != 1.0 or how.shift_hu != 0.0:
        np.rint(hu, out=hu)
    return np.flip(hu, part.ndim - flat) if how.mirrored else hu
