"""The only file that knows what an axis means: RAS+ arrays XYZ, affine, spacing, resampling and its inverse."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray
from scipy.sparse import csr_array

from missrate.core.errors import GridError

Affine = tuple[tuple[float, ...], ...]
FARTHEST_MM = 1e9
"""No scan lies there; and the arithmetic of greater numbers overflows."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the voxels of an XYZ array lie; ``affine`` maps voxel indices to RAS+ mm, None means pixels only."""

    shape: tuple[int, int, int]
    affine: Affine | None

    @staticmethod
    def of(shape: tuple[int, ...], affine: NDArray[np.floating] | None) -> "Grid":
        """A grid from an array's shape and a 4 x 4 affine. Raises GridError when it is not 3D or not invertible."""
        if len(shape) != 3 or min(shape) < 1:
            raise GridError(f"A scan must have three axes of at least one voxel. Got shape {tuple(shape)}.")
        size_x, size_y, size_z = (int(n) for n in shape)
        if affine is None:
            return Grid((size_x, size_y, size_z), None)
        if not (np.abs(affine) < FARTHEST_MM).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            got = np.asarray(affine).round(4).tolist()
            raise GridError(f"An affine must be finite and invertible, and within {FARTHEST_MM:g} mm. Got {got}.")
        rows = tuple(tuple(float(v) for v in row) for row in np.asarray(affine, np.float64))
        return Grid((size_x, size_y, size_z), rows)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The 4 x 4 affine; the identity (1 "pixel" a step) where there are no millimetres."""
        return np.eye(4) if self.affine is None else np.array(self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """The voxel size in the order of the array's axes; None means pixels only."""
        if self.affine is None:
            return None
        x, y, z = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float | None:
        """The volume of one voxel in millilitres; None means pixels only."""
        return None if self.affine is None else float(abs(np.linalg.det(self.matrix[:3, :3])) / 1000.0)


def to_ras(values_XYZ: NDArray[np.generic], affine: NDArray[np.floating]) -> tuple[NDArray[np.generic], Grid]:
    """The array with its axes turned and flipped, never resampled, so that they run right, anterior, superior.

    Raises GridError for a direction that is not orthogonal (a sheared or tilted scan), beyond 1e-3.
    """
    grid = Grid.of(values_XYZ.shape, affine)
    directions = grid.matrix[:3, :3] / np.linalg.norm(grid.matrix[:3, :3], axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        raise GridError(
            f"A scan's axes must be orthogonal. Got directions {directions.round(4).tolist()}; "
            "perhaps the gantry was tilted: resample the scan to an upright grid first."
        )
    turn = ornt_transform(io_orientation(affine), axcodes2ornt("RAS"))
    turned = apply_orientation(values_XYZ, turn)
    return turned, Grid.of(turned.shape, affine @ inv_ornt_aff(turn, values_XYZ.shape))


def from_ras(
    values_XYZ: NDArray[np.generic], grid: Grid, axcodes: str
) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """The inverse of ``to_ras``: array and affine with the axis codes (such as "LPS") of the file it came from."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axcodes))
    turned = apply_orientation(values_XYZ, turn)
    return turned, grid.matrix @ inv_ornt_aff(turn, values_XYZ.shape)


def as_ras(values: NDArray[np.generic], axcodes: str) -> NDArray[np.generic]:
    """An array without an affine of its own, whose axes run as ``axcodes`` say, turned and flipped to RAS+."""
    return np.asarray(apply_orientation(values, ornt_transform(axcodes2ornt(axcodes), axcodes2ornt("RAS"))))


def oriented(axcodes: str, spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """An affine whose axes run as ``axcodes`` say, with these voxel sizes, at no place in particular."""
    affine = np.eye(4)
    for axis, (world, sign) in enumerate(axcodes2ornt(axcodes)):
        affine[:3, axis] = 0.0
        affine[int(world), axis] = sign * spacing_mm[axis]
    return affine


def index_as_ras(index_CX: NDArray[np.floating], axcodes: str, shape_XYZ: tuple[int, int, int]) -> NDArray[np.float64]:
    """Voxel indices (C, 3) of an array whose axes run as ``axcodes`` say, as indices of the RAS+ array."""
    back = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axcodes))
    homogeneous_C4 = np.concatenate([index_CX, np.ones((len(index_CX), 1))], axis=1)
    return np.asarray((homogeneous_C4 @ inv_ornt_aff(back, shape_XYZ).T)[:, :3], np.float64)


def axcodes(affine: NDArray[np.floating]) -> str:
    """The direction of each axis as letters, such as "LPS"."""
    return "".join(nib.aff2axcodes(affine))


def require_same(a: Grid, b: Grid, *, names: tuple[str, str]) -> None:
    """Raises GridError unless shapes agree and corner voxels lie within .1 of the smallest spacing of one another."""
    if a.shape != b.shape:
        raise GridError(f"{names[0]} and {names[1]} must have the same shape. Got {a.shape} and {b.shape}.")
    if a.affine is None or b.affine is None:
        return
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in a.shape], indexing="ij")).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(8)])
    apart_mm = float(np.linalg.norm(((a.matrix - b.matrix) @ homogeneous)[:3], axis=0).max())
    assert a.spacing_mm is not None
    if apart_mm > 0.1 * min(a.spacing_mm):
        raise GridError(
            f"{names[0]} and {names[1]} must lie on the same grid. Got corners {apart_mm:.3g} mm apart: "
            f"affines {a.matrix.round(4).tolist()} and {b.matrix.round(4).tolist()}."
        )


def resampling_matrix(size_in: int, size_out: int) -> NDArray[np.float32]:
    """Weights (size_out, size_in) that resample one axis, both sizes spanning the same extent; rows sum to 1.

    A shrinking axis takes the mean over each new voxel (every old voxel counts, none falls between two samples), a
    growing one interpolates linearly between voxel centres.
    """
    if size_in == size_out:
        return np.eye(size_in, dtype=np.float32)
    step = size_in / size_out
    if step > 1.0:
        begins = np.arange(size_out)[:, None] * step
        cells = np.arange(size_in)[None, :]
        weights = np.clip(np.minimum(begins + step, cells + 1) - np.maximum(begins, cells), 0.0, None)
    else:
        centres = np.clip((np.arange(size_out) + 0.5) * step - 0.5, 0.0, size_in - 1.0)
        weights = np.maximum(0.0, 1.0 - np.abs(np.arange(size_in)[None, :] - centres[:, None]))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def resample(values_XYZ: NDArray[np.floating], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """The same extent on another number of voxels, axis by axis. Labels go through it as masks in float."""
    result = values_XYZ.astype(np.float32, copy=False)
    for axis, size_out in enumerate(shape):
        if result.shape[axis] != size_out:
            # Sparse: a few old voxels make a new one. And, unlike BLAS, the same bits whatever the number of threads.
            weights = csr_array(resampling_matrix(result.shape[axis], size_out))
            front = np.moveaxis(result, axis, 0)
            mixed = weights @ np.ascontiguousarray(front).reshape(front.shape[0], -1)
            result = np.moveaxis(mixed.reshape(size_out, *front.shape[1:]), 0, axis)
    return np.ascontiguousarray(result)
