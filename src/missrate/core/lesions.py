"""Mask to lesions and candidates: the only place that labels components. 26-connected."""

import cc3d
import numpy as np
from numpy.typing import NDArray

from missrate.core.case import Lesions
from missrate.core.grid import Grid


def components(mask_XYZ: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Labels 1..n of the 26-connected components (0 outside) and n; an empty mask gives n = 0.

    They are numbered by their first voxel along x, then y, then z, however the array lies in memory.
    """
    # cc3d 4.1 sizes its table one too small for isolated voxels that fill an odd box ("maximum length exception").
    padded_XYZ = np.pad(mask_XYZ, (0, 1))
    labels_XYZ, count = cc3d.connected_components(padded_XYZ, connectivity=26, return_N=True)
    labels_XYZ = np.ascontiguousarray(labels_XYZ[:-1, :-1, :-1]).astype(np.int32, copy=False)
    if count <= 1:
        return labels_XYZ, int(count)
    flat = np.flatnonzero(labels_XYZ)
    lead = np.empty(count + 1, np.int64)
    lead[labels_XYZ.ravel()[flat[::-1]]] = flat[::-1]  # of equal places the last assignment stays: the first voxel
    number = np.zeros(count + 1, np.int32)
    number[1 + np.argsort(lead[1:])] = np.arange(1, count + 1)
    labels_XYZ.ravel()[flat] = number[labels_XYZ.ravel()[flat]]
    return labels_XYZ, int(count)


def diameter_mm(volume_ml: NDArray[np.float64]) -> NDArray[np.float64]:
    """The diameter of the sphere of equal volume: (6 V / pi) ** (1/3), V in cubic millimetres."""
    return np.asarray(np.cbrt(6.0 * volume_ml * 1000.0 / np.pi))


def measure(labels_XYZ: NDArray[np.int32], count: int, grid: Grid) -> Lesions:
    """Sizes and a place to look at for each component of ``components``; nan for mm where there are pixels only."""
    flat = np.flatnonzero(labels_XYZ)
    lesion = labels_XYZ.ravel()[flat].astype(np.int64) - 1
    return describe(flat, lesion, count, shape=labels_XYZ.shape, start=(0, 0, 0), grid=grid)


def describe(
    flat: NDArray[np.int64],
    lesion: NDArray[np.int64],
    count: int,
    *,
    shape: tuple[int, ...],
    start: tuple[int, int, int],
    grid: Grid,
) -> Lesions:
    """``measure`` from the flat indices of lesion voxels in a box (``shape``, at ``start``) and the lesion of each."""
    voxels = np.bincount(lesion, minlength=count).astype(np.int64)
    volume_ml = np.asarray(voxels * (np.nan if grid.voxel_ml is None else grid.voxel_ml), np.float64)
    # 16 bits are sorted by counting, much faster than 64.
    order = np.argsort(lesion.astype(np.uint16) if count < 2**16 else lesion, kind="stable")
    ends = np.cumsum(voxels)
    own = [flat[order[end - n : end]] for end, n in zip(ends, voxels, strict=True)]
    centres = [_centre(places, shape) for places in own]
    centre_XYZ = (np.array(centres, np.int32).reshape(count, 3) + np.array(start, np.int32)).astype(np.int32)
    return Lesions(voxels, volume_ml, diameter_mm(volume_ml), centre_XYZ)


def _centre(flat: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The voxel nearest to the mean of the largest axial slice."""
    z = flat % shape[2]
    largest = flat[z == np.bincount(z).argmax()]
    where_VX = np.stack(np.unravel_index(largest, shape), axis=1)
    centre: NDArray[np.int64] = where_VX[np.abs(where_VX - where_VX.mean(axis=0)).sum(axis=1).argmin()]
    return centre
