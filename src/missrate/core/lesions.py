"""Mask to lesions and candidates: the only place that labels components. 26-connected."""

import cc3d
import numpy as np
from numpy.typing import NDArray

from missrate.core.grid import Grid
from missrate.core.types import Lesions


def components(mask_XYZ: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Labels 1..n of the 26-connected components (0 outside) and n; an empty mask gives n = 0."""
    # cc3d 4.1 sizes its table one too small for isolated voxels that fill an odd box ("maximum length exception").
    padded_XYZ = np.pad(mask_XYZ, (0, 1))
    labels_XYZ, count = cc3d.connected_components(padded_XYZ, connectivity=26, return_N=True)
    return labels_XYZ[:-1, :-1, :-1].astype(np.int32, copy=False), int(count)


def diameter_mm(volume_ml: NDArray[np.float64]) -> NDArray[np.float64]:
    """The diameter of the sphere of equal volume: (6 V / pi) ** (1/3), V in cubic millimetres."""
    return np.asarray(np.cbrt(6.0 * volume_ml * 1000.0 / np.pi))


def measure(labels_XYZ: NDArray[np.int32], count: int, grid: Grid) -> Lesions:
    """Sizes and a place to look at for each component of ``components``; nan for mm where there are pixels only."""
    voxels = np.bincount(labels_XYZ.ravel(), minlength=count + 1)[1:].astype(np.int64)
    volume_ml = np.asarray(voxels * (np.nan if grid.voxel_ml is None else grid.voxel_ml), np.float64)
    centre_XYZ = np.array([_centre(labels_XYZ == k) for k in range(1, count + 1)], np.int32).reshape(count, 3)
    return Lesions(voxels, volume_ml, diameter_mm(volume_ml), centre_XYZ)


def _centre(mask_XYZ: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The voxel of the mask nearest to the mean of its largest axial slice."""
    z = int(mask_XYZ.sum(axis=(0, 1)).argmax())
    where = np.argwhere(mask_XYZ[:, :, z])
    x, y = where[np.abs(where - where.mean(axis=0)).sum(axis=1).argmin()]
    return int(x), int(y), z
