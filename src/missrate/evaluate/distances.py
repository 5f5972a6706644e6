"""Two masks to the distances between their surfaces: the last look at voxels that HD95 and NSD need.

Only voxels of the masks are touched, so a few lesions in a large scan cost what the lesions cost.
Shapes: XYZ voxels, N voxels of a mask or places of its surface.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from missrate.core.errors import DataError, GridError, InputError
from missrate.core.surfaces import Pair, Spread, SurfaceDistances
from missrate.evaluate._surfel_area import areas_mm2
from missrate.evaluate.plain import has_numba

NEIGHBOURS = 500
"""About so many voxels around a place are looked at first."""
DENSE = 2_000_000
"""From this many voxels on a mask is looked at as a whole array: a list of them would need more memory."""
BLOCK_MM = 8.0
"""Places that have no target so near are looked at together with those in a cube of this side."""


@dataclass(frozen=True, slots=True)
class _Surface:
    place_XN: NDArray[np.int64]  # (3, N) indices of voxels, or of the corners between them
    weight_N: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Frame:
    """A mask as the flat indices of its voxels in its bounding box with one empty voxel added on each side."""

    voxel_N: NDArray[np.int64]  # (N,) ascending
    shape: tuple[int, int, int]
    start_X: NDArray[np.int64]  # where the frame begins in the array; may be -1

    @staticmethod
    def of(mask_XYZ: NDArray[np.bool_]) -> "_Frame":
        index_XN = np.stack(np.unravel_index(np.flatnonzero(mask_XYZ), mask_XYZ.shape))
        if index_XN.size == 0:
            return _Frame(np.empty(0, np.int64), (1, 1, 1), np.zeros(3, np.int64))
        start_X = index_XN.min(axis=1) - 1
        x, y, z = (int(n) for n in index_XN.max(axis=1) - start_X + 2)
        voxel_N = np.array([y * z, z, 1]) @ (index_XN - start_X[:, None])
        return _Frame(voxel_N, (x, y, z), start_X)

    @property
    def strides(self) -> tuple[int, int, int]:
        """How far the next voxel along each axis lies in flat indices."""
        return self.shape[1] * self.shape[2], self.shape[2], 1

    def places(self, flat_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Flat indices of the frame as indices (3, N) of the array."""
        return np.asarray(np.stack(np.unravel_index(flat_N, self.shape)) + self.start_X[:, None], np.int64)


def measure(
    reference_XYZ: NDArray[np.bool_],
    prediction_XYZ: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    level: int,
    *,
    surfels: bool = False,
) -> SurfaceDistances:
    """Distances in mm in both directions between two masks on one grid, labelled as those at ``level``.

    The arrays may be crops: whatever lies beyond their edge counts as outside of both masks, so a mask that touches
    the edge has a border there. Distances are rounded to 1e-9 mm, which makes equal ones equal. With ``surfels`` also
    by area, which takes about three times as long. An empty mask has no surface; see ``Spread``. Raises GridError for
    two shapes, DataError for arrays that are not boolean, InputError for a spacing that is not three positive numbers.
    """
    _require(reference_XYZ, prediction_XYZ, spacing_mm)
    if not surfels and has_numba():
        if prediction_XYZ.all() and reference_XYZ.any():
            return SurfaceDistances(level, _to_full(reference_XYZ, spacing_mm))
        if reference_XYZ.all() and prediction_XYZ.any():
            return SurfaceDistances(level, _to_full(prediction_XYZ, spacing_mm)[::-1])
    if not surfels and max(np.count_nonzero(reference_XYZ), np.count_nonzero(prediction_XYZ)) > DENSE:
        return SurfaceDistances(level, _both([_dense(reference_XYZ), _dense(prediction_XYZ)], spacing_mm))
    frames = _Frame.of(reference_XYZ), _Frame.of(prediction_XYZ)
    borders = [_border(frame) for frame in frames]
    voxel = _both([_Surface(f.places(b), np.ones(b.size)) for f, b in zip(frames, borders, strict=True)], spacing_mm)
    if not surfels:
        return SurfaceDistances(level, voxel)
    area_C = areas_mm2(spacing_mm)
    surfaces = [_surfels(frame, border, area_C) for frame, border in zip(frames, borders, strict=True)]
    return SurfaceDistances(level, voxel, _both(surfaces, spacing_mm))


def _require(
    reference_XYZ: NDArray[np.bool_], prediction_XYZ: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> None:
    if reference_XYZ.ndim != 3 or reference_XYZ.shape != prediction_XYZ.shape:
        raise GridError(
            f"Two masks must have one shape of three axes. Got {reference_XYZ.shape} and {prediction_XYZ.shape}."
        )
    if reference_XYZ.dtype != np.bool_ or prediction_XYZ.dtype != np.bool_:
        raise DataError(f"Two masks must be boolean. Got {reference_XYZ.dtype} and {prediction_XYZ.dtype}.")
    if len(spacing_mm) != 3 or not all(0.0 < side < np.inf for side in spacing_mm):
        raise InputError(f"`spacing_mm` must be three positive numbers. Got {spacing_mm}.")


def _dense(mask_XYZ: NDArray[np.bool_]) -> _Surface:
    """The border voxels of a mask that fills much of its box, without a list of all its voxels."""
    enclosed_XYZ = mask_XYZ.copy()
    for axis in range(3):
        enclosed, mask = np.moveaxis(enclosed_XYZ, axis, 0), np.moveaxis(mask_XYZ, axis, 0)
        enclosed[1:] &= mask[:-1]
        enclosed[:-1] &= mask[1:]
        enclosed[[0, -1]] = False
    border_N = np.flatnonzero(mask_XYZ & ~enclosed_XYZ)
    return _Surface(np.stack(np.unravel_index(border_N, mask_XYZ.shape)), np.ones(border_N.size))


def _border(frame: _Frame) -> NDArray[np.int64]:
    """Flat indices of the voxels with one of their six neighbours outside of the mask."""
    inside = np.zeros(frame.shape, bool).ravel()
    inside[frame.voxel_N] = True
    enclosed_N = np.ones(frame.voxel_N.size, bool)
    for step in frame.strides:
        enclosed_N &= inside[frame.voxel_N - step] & inside[frame.voxel_N + step]
    return frame.voxel_N[~enclosed_N]


def _surfels(frame: _Frame, border_N: NDArray[np.int64], area_C: NDArray[np.float64]) -> _Surface:
    """The corners between voxels of which some are in the mask and some not; corner i lies before voxel i."""
    steps = [int(np.dot(corner, frame.strides)) for corner in product((0, 1), repeat=3)]
    code = np.zeros(frame.shape, np.uint8).ravel()
    # A voxel is the first corner of the cube behind it and the last corner of the one before it.
    for k, step in enumerate(reversed(steps)):
        code[frame.voxel_N + step] |= np.uint8(1 << k)
    # Where a cube is mixed, two neighbours differ along an edge, and the one in the mask is a border voxel.
    corner_N = np.unique(np.concatenate([border_N + step for step in steps]))
    corner_N = corner_N[code[corner_N] != 255]
    return _Surface(frame.places(corner_N), area_C[code[corner_N]])


def _both(surfaces: list[_Surface], spacing_mm: tuple[float, float, float]) -> Pair:
    reference, prediction = surfaces
    return _directed(reference, prediction, spacing_mm), _directed(prediction, reference, spacing_mm)


def _directed(source: _Surface, target: _Surface, spacing_mm: tuple[float, float, float]) -> Spread:
    if target.weight_N.size == 0:
        return Spread(np.empty(0), np.empty(0), without=float(source.weight_N.sum()))
    if has_numba() and source.weight_N.size > 0:
        nearest_N = _near(source, target, spacing_mm)
        far_N = np.isinf(nearest_N)
        nearest_N[far_N] = _far(source.place_XN[:, far_N], target.place_XN, spacing_mm)
    else:
        tree = KDTree(target.place_XN.T * np.array(spacing_mm), balanced_tree=False)
        nearest_N = np.asarray(tree.query(source.place_XN.T * np.array(spacing_mm))[0], np.float64)
    return _spread(nearest_N, source.weight_N)


def _spread(nearest_N: NDArray[np.float64], weight_N: NDArray[np.float64]) -> Spread:
    distance_mm, inverse = np.unique(nearest_N.round(9), return_inverse=True)
    return Spread(distance_mm, np.asarray(np.bincount(inverse, weight_N), np.float64))


def _to_full(mask_XYZ: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Pair:
    """From a mask that is not empty to one that fills the whole array, and back.

    The border of what fills a box is its six faces, and what is nearest on a face lies straight ahead. Seen from a face
    the mask is a relief, a depth for each column, and the distances are the lower envelope of paraboloids over it.
    """
    frame = _Frame.of(mask_XYZ) if np.count_nonzero(mask_XYZ) <= DENSE else None
    place_XN = _dense(mask_XYZ).place_XN if frame is None else frame.places(_border(frame))
    last_X1, spacing_X1 = np.array([[n - 1] for n in mask_XYZ.shape]), np.array(spacing_mm)[:, None]
    ahead_N = (np.minimum(place_XN, last_X1 - place_XN) * spacing_X1).min(axis=0)
    faces = [
        _from_face(place_XN, mask_XYZ.shape, spacing_mm, axis, side)
        for axis in range(3)
        for side in sorted({0, mask_XYZ.shape[axis] - 1})
    ]
    back_N = np.concatenate(faces)
    return _spread(ahead_N, np.ones(ahead_N.size)), _spread(back_N, np.ones(back_N.size))


def _from_face(
    place_XN: NDArray[np.int64], shape: tuple[int, ...], spacing_mm: tuple[float, float, float], axis: int, side: int
) -> NDArray[np.float64]:
    """The distance in mm of each voxel of one face to the nearest place; edges belong to the face of the first axis."""
    from missrate.evaluate import kernels

    u, v = (other for other in range(3) if other != axis)
    depth_UV = np.full((shape[u], shape[v]), np.inf)
    np.minimum.at(depth_UV, (place_XN[u], place_XN[v]), np.abs(place_XN[axis] - side) * spacing_mm[axis])
    squared_UV = kernels.nearest_along(depth_UV**2, spacing_mm[v])
    squared_UV = kernels.nearest_along(np.ascontiguousarray(squared_UV.T), spacing_mm[u]).T
    own = tuple(slice(1, -1) if other < axis else slice(None) for other in (u, v))
    return np.asarray(np.sqrt(squared_UV[own]).ravel(), np.float64)


def _far(
    source_XN: NDArray[np.int64], target_XT: NDArray[np.int64], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """The distance in mm of each place to the nearest target, (N,): block by block, since neighbours look far alike."""
    from missrate.evaluate import kernels

    if source_XN.size == 0:
        return np.empty(0)
    spacing_X1 = np.array(spacing_mm)[:, None]
    source_mm, target_mm = source_XN * spacing_X1, target_XT * spacing_X1
    block_XN = (source_mm // BLOCK_MM).astype(np.int64)
    block_XN -= block_XN.min(axis=1, keepdims=True)
    block_N = np.ravel_multi_index(tuple(block_XN), tuple(block_XN.max(axis=1) + 1))
    order = np.argsort(block_N, kind="stable")
    starts = np.append(np.flatnonzero(np.diff(block_N[order], prepend=-1)), order.size)
    nearest_N: NDArray[np.float64] = np.empty(order.size)
    nearest_N[order] = np.sqrt(kernels.far(np.ascontiguousarray(source_mm.T[order]), starts, *target_mm))
    return nearest_N


def _near(source: _Surface, target: _Surface, spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """The distance in mm of each place to the target where that is small, infinite elsewhere, (N,).

    Most places have the other surface within a few voxels: looking there, nearest first, is cheaper than any tree.
    """
    from missrate.evaluate import kernels

    offset_KX, distance_K = _neighbourhood(spacing_mm)
    reach_X = np.abs(offset_KX).max(axis=0)
    # A target farther away than that from all places cannot be hit.
    low_X, high_X = source.place_XN.min(axis=1) - reach_X, source.place_XN.max(axis=1) + reach_X
    x, y, z = (int(n) for n in high_X - low_X + 1)
    strides_X, filled = np.array([y * z, z, 1]), np.zeros(x * y * z, np.uint8)
    within_XT = target.place_XN - low_X[:, None]
    inside_T = ((within_XT >= 0) & (within_XT < np.array([[x], [y], [z]]))).all(axis=0)
    filled[strides_X @ within_XT[:, inside_T]] = 1
    hit_N = kernels.first_hit(strides_X @ (source.place_XN - low_X[:, None]), filled, offset_KX @ strides_X)
    return np.where(hit_N < 0, np.inf, distance_K[hit_N])


@lru_cache(maxsize=64)
def _neighbourhood(spacing_mm: tuple[float, float, float]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every step (K, 3) up to some distance, nearest first, and the distances in mm."""
    radius_mm = np.cbrt(NEIGHBOURS * np.prod(spacing_mm) * 3.0 / (4.0 * np.pi))
    reach = [int(radius_mm / side) for side in spacing_mm]
    offset_KX = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    distance_K = np.linalg.norm(offset_KX * np.array(spacing_mm), axis=1)
    order = np.argsort(distance_K, kind="stable")
    order = order[distance_K[order] <= radius_mm]
    return offset_KX[order], distance_K[order]
