"""Random variations of a training patch: where it is cut, whether it is mirrored or turned, how its HU are off.

Shape letters: X right, Y anterior, Z slices. A patch is cut along X and Y (its slice and the neighbours come whole), or
along X, Y and Z. All randomness comes from the generator.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from missrate.core.patch import AIR_HU, cut
from missrate.core.types import BACKGROUND


@dataclass(frozen=True, slots=True)
class Augmentation:
    """``patch_px`` (X, Y) or (X, Y, Z) comes out. HU become ``hu * s + d`` with s in 1 ± scale, d in ± shift_hu.

    Axial slices are turned by an angle in ± rotate_deg, and enlarged by a factor between 1 / (1 + zoom) and 1 + zoom.
    """

    patch_px: tuple[int, ...]
    flip_x: bool = False
    scale: float = 0.0
    shift_hu: float = 0.0
    rotate_deg: float = 0.0
    zoom: float = 0.0


@dataclass(frozen=True, slots=True)
class Variation:
    """What was drawn for one patch; ``start`` is negative where the patch is larger than the scan.

    Before it is mirrored it is turned by ``angle_deg`` and enlarged by ``factor`` around ``pivot``, a place in it.
    """

    start: tuple[int, ...]
    patch_px: tuple[int, ...]
    mirrored: bool
    scale: float
    shift_hu: float
    angle_deg: float = 0.0
    factor: float = 1.0
    pivot: tuple[float, float] = (0.0, 0.0)

    @property
    def turned(self) -> bool:
        """Whether pixels lie elsewhere than in the scan."""
        return self.angle_deg != 0.0 or self.factor != 1.0


def draw(
    shape: tuple[int, ...], how: Augmentation, rng: np.random.Generator, lesion_VX: NDArray[np.integer] | None
) -> Variation:
    """A variation for a scan (or slice) of ``shape``; with ``lesion_VX`` one of these voxels stays inside, anywhere.

    It is turned around that voxel, so that it stays where it is, and otherwise around the middle. The draws from
    ``rng`` are the same whatever the settings, so that a setting does not change the other draws.
    """
    start, voxel = _placed(shape, how.patch_px, rng, lesion_VX)
    mirrored = bool(rng.random() < 0.5) and how.flip_x
    scale, shift_hu = 1.0 + how.scale * rng.uniform(-1.0, 1.0), how.shift_hu * rng.uniform(-1.0, 1.0)
    angle_deg, factor = how.rotate_deg * rng.uniform(-1.0, 1.0), (1.0 + how.zoom) ** rng.uniform(-1.0, 1.0)
    if voxel is None:
        x, y = ((n - 1) / 2.0 for n in how.patch_px[:2])
    else:
        x, y = (float(at - first) for at, first in zip(voxel[:2], start, strict=False))
    return Variation(start, how.patch_px, mirrored, scale, shift_hu, angle_deg, factor, (x, y))


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
    return _placed(shape, patch_px, rng, lesion_VX)[0]


def _placed(
    shape: tuple[int, ...],
    patch_px: tuple[int, ...],
    rng: np.random.Generator,
    lesion_VX: NDArray[np.integer] | None,
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Where the patch begins, and the lesion's voxel that it holds."""
    u_voxel, *u_start = rng.random(1 + len(patch_px))
    voxel = None
    if lesion_VX is not None and len(lesion_VX):
        voxel = tuple(int(at) for at in lesion_VX[int(u_voxel * len(lesion_VX))])
    starts = []
    for axis, (size, patch) in enumerate(zip(shape, patch_px, strict=True)):
        low, high = min(0, size - patch), max(0, size - patch)
        if voxel is not None:
            low, high = max(low, voxel[axis] - patch + 1), min(high, voxel[axis])
        starts.append(low + int(u_start[axis] * (high - low + 1)))
    return tuple(starts), voxel


def label_of(label: NDArray[np.uint8], how: Variation) -> NDArray[np.uint8]:
    """The label of the patch, in C order (turned here and not while a batch is filled: a third of the time)."""
    if how.turned:
        part = _turned(label, how, order=0, fill=BACKGROUND)
    else:
        part = np.ascontiguousarray(cut(label, how.start, how.patch_px, fill=BACKGROUND))
    return part[::-1] if how.mirrored else part


def hu_of(image: NDArray[np.int16], how: Variation) -> NDArray[np.float32]:
    """The patch's HU, varied and rounded; further axes come whole, and first: (Z, X, Y) of a slice and its neighbours.

    A new array in C order: turned while it becomes float, which takes a third of the time of turning it later.
    """
    part = _turned(image, how, order=1, fill=AIR_HU) if how.turned else cut(image, how.start, how.patch_px, fill=AIR_HU)
    flat = len(how.patch_px)
    hu: NDArray[Any] = part.transpose(*range(flat, part.ndim), *range(flat)).astype(np.float32, order="C")
    if how.scale != 1.0:
        hu *= np.float32(how.scale)
    if how.shift_hu != 0.0:
        hu += np.float32(how.shift_hu)
    if how.scale != 1.0 or how.shift_hu != 0.0:
        np.rint(hu, out=hu)
    return np.flip(hu, part.ndim - flat) if how.mirrored else hu


def _turned(values: NDArray[Any], how: Variation, *, order: Literal[0, 1], fill: int) -> NDArray[Any]:
    """The patch, every axial slice of it turned and enlarged; ``order`` 0 takes the nearest pixel, 1 interpolates.

    A pixel o of the patch shows the place M (o - pivot) + pivot, M a rotation divided by the factor. So first the box
    of all such places is cut, and what lies outside of the scan is filled there.
    """
    angle = np.deg2rad(how.angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / how.factor
    pivot = np.array(how.pivot)
    ends = np.array(list(product(*((0, n - 1) for n in how.patch_px[:2]))))
    places = (ends - pivot) @ turn.T + pivot
    low, high = np.floor(places.min(axis=0)).astype(int) - 1, np.ceil(places.max(axis=0)).astype(int) + 2
    start = (*(low + how.start[:2]).tolist(), *how.start[2:])
    box = cut(values, start, (*(high - low).tolist(), *how.patch_px[2:]), fill=fill)
    result = np.empty((*how.patch_px[:2], *box.shape[2:]), values.dtype)
    offset = pivot - turn @ pivot - low
    for rest in np.ndindex(*box.shape[2:]):
        every = (slice(None), slice(None), *rest)
        affine_transform(box[every], turn, offset, result.shape[:2], result[every], order=order, cval=fill)
    return result
