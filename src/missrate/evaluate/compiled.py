"""The one pass over voxels by the compiled kernels; the same results as ``plain.py``, which is its oracle."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.case import Histogram, Tree
from missrate.core.crop import bounding_box
from missrate.core.errors import DataError
from missrate.core.lesions import components
from missrate.core.quantise import TOP, Levels, edges
from missrate.evaluate import kernels, plain

Ints = NDArray[np.int64]

DENSE = 4_000_000
"""From this many voxels on, one level alone is labelled as a whole array: the sparse tree would need more memory."""


class Voxels:
    """As ``plain.Voxels``. Arrays are read where they lie; x fastest and z fastest both need no copy."""

    def __init__(self, reference_XYZ: NDArray[np.bool_], values_XYZ: NDArray[np.generic]) -> None:
        """``values_XYZ`` are levels (uint16) or probabilities. Raises DataError for a value that is neither."""
        self.shape = reference_XYZ.shape
        if values_XYZ.dtype.kind == "f" and values_XYZ.itemsize < 4:
            values_XYZ = plain.levels_of(values_XYZ)  # its edges lie many levels away from k / TOP
        elif values_XYZ.dtype not in (np.uint16, np.float32, np.float64):  # other sizes or another order of bytes
            values_XYZ = values_XYZ.astype(np.float32 if values_XYZ.itemsize <= 4 else np.float64)
        self.x_fastest = not values_XYZ.flags.c_contiguous and values_XYZ.flags.f_contiguous
        self._values, self._reference = self._ordered(values_XYZ), self._ordered(reference_XYZ).view(np.uint8)
        self._edges = None if values_XYZ.dtype == np.uint16 else edges(values_XYZ.dtype)
        size_z, run_z = (self.shape[2], self.shape[0] * self.shape[1]) if self.x_fastest else (self.shape[2], 1)
        flat = self._values.ravel()
        bits = flat.view(f"u{flat.dtype.itemsize}")
        counted = kernels.count(flat, bits, bits.dtype.type(0), self._reference.ravel(), size_z, run_z, self._edges)
        if not counted[-1]:
            plain.levels_of(values_XYZ)  # raises with the reason
            raise DataError("A prediction must hold probabilities in [0, 1]. Got others.")
        self.inside, self.outside = Histogram.of(counted[0]), Histogram.of(counted[1])
        self.slice_voxels, self.slice_inside, self.slice_peak = counted[2:5]
        self._blocks = counted[5:7]
        self._kept: tuple[int, Ints, Levels] = (TOP + 1, np.empty(0, np.int64), np.empty(0, np.uint16))

    def _ordered(self, values_XYZ: NDArray[np.generic]) -> NDArray[np.generic]:
        """C-contiguous in the order of memory: XYZ, or ZYX where x is fastest."""
        return np.ascontiguousarray(values_XYZ.T if self.x_fastest else values_XYZ)

    @cached_property
    def _sizes(self) -> tuple[int, int, int]:
        a, b, c = self.shape[::-1] if self.x_fastest else self.shape
        return a, b, c

    @cached_property
    def _strides(self) -> Ints:
        """How far a step along each axis in memory order leads in the order x, then y, then z."""
        of_XYZ = [self.shape[1] * self.shape[2], self.shape[2], 1]
        return np.array(of_XYZ[::-1] if self.x_fastest else of_XYZ, np.int64)

    def _collect(self, floor: int) -> tuple[Ints, Levels, Ints, Levels]:
        active = int(self.inside.at_least(floor) + self.outside.at_least(floor))
        flat = self._values.ravel()
        return kernels.collect(  # type: ignore[no-any-return]
            flat, self._reference.ravel(), floor, active, self.inside.total, *self._blocks, self._edges
        )

    @cached_property
    def _lesions(self) -> tuple[Ints, Ints, Levels]:
        """Reference voxels in memory order, the lesion of each from 0, and the peak of each lesion."""
        _, _, voxels, level = self._collect(TOP + 1)
        if voxels.size == 0:
            return voxels, np.empty(0, np.int64), np.empty(0, np.uint16)
        box, place = self._place(voxels)
        lesion, peak = kernels.label(voxels, level, np.array(self._sizes, np.int64), self._strides, box, place)
        return voxels, lesion, peak

    def _place(self, voxels: Ints) -> tuple[Ints, NDArray[np.int32]]:
        """The box of some voxels, and an empty cell for each of its voxels and of a border around it."""
        box = kernels.bounds(voxels, self._sizes[1], self._sizes[2])
        return box, np.zeros(int(np.prod(box[:, 1] - box[:, 0] + 3)), np.int32)

    def _along_xyz(self, voxels: Ints) -> Ints:
        """Flat indices in the order x, then y, then z."""
        if not self.x_fastest:
            return voxels
        z, y, x = np.unravel_index(voxels, self._sizes)
        return np.asarray(np.ravel_multi_index((x, y, z), self.shape), np.int64)

    @property
    def lesion_peak(self) -> Levels:
        """The highest level within each lesion, (L,)."""
        return self._lesions[2]

    def lesion_voxels(self) -> tuple[Ints, Ints]:
        """The flat index (x, then y, then z) of every reference voxel, ascending, and its lesion from 0."""
        voxels, lesion, _ = self._lesions
        flat = self._along_xyz(voxels)
        order = np.argsort(flat)
        return flat[order], lesion[order]

    def tree(self, lowest: int, highest: int = TOP) -> Tree:
        """The candidates from ``lowest`` to ``highest``; with both the same, those of that one level."""
        active = int(self.inside.at_least(lowest) + self.outside.at_least(lowest))
        if active == 0:
            return _empty(lowest, highest)
        top = min(int(max(self.slice_peak)), highest)
        if active > DENSE and active == self.inside.at_least(top) + self.outside.at_least(top):
            return self._dense(top, lowest, highest)
        voxels, level, _, _ = self._collect(lowest)
        if highest == TOP:
            self._kept = lowest, voxels, level
        level = np.minimum(level, np.uint16(highest))
        lesion_voxels, lesion_of, _ = self._lesions
        box, place = self._place(voxels)
        order = np.argsort(TOP - level, kind="stable")
        sizes = np.array(self._sizes, np.int64)
        number, peaks = kernels.label(voxels, level, sizes, self._strides, box, place)
        order = kernels.by_component(order, number, peaks.size)
        rows = kernels.grow(voxels, level, order, number, self._sizes[1], self._sizes[2], box, place)
        row_level, *parts, row_of = rows
        at, first, until, total, peak, point = kernels.arrange(
            row_level, *parts, lesion_voxels, lesion_of, sizes, self._strides
        )
        lesions = max(self.lesion_peak.size, 1)
        keys = kernels.shared(voxels, row_of, at, lesion_voxels, lesion_of, lesions)
        pair, shared = np.unique(keys, return_counts=True)
        back = np.empty_like(at)
        back[at] = np.arange(at.size)
        return Tree(
            lowest=lowest,
            highest=highest,
            level=row_level[back],
            until=until[back],
            first=first[back].astype(np.int32),
            voxels=total[back],
            peak=peak[back],
            point=point[back],
            overlap_row=(pair // lesions).astype(np.int32),
            overlap_lesion=(pair % lesions).astype(np.int32),
            overlap_voxels=shared.astype(np.int64),
        )

    def _dense(self, level: int, lowest: int, highest: int) -> Tree:
        """The tree of one level that fills much of the box, without a list of its voxels."""
        lesions_XYZ = np.zeros(self.shape, np.int32)
        flat, lesion = self.lesion_voxels()
        lesions_XYZ.ravel()[flat] = lesion + 1
        labels_XYZ, count = components(self._mask(level))
        voxels, sums, shared = kernels.count_labels(labels_XYZ, lesions_XYZ, count, self.lesion_peak.size)
        middle = (2 * sums + voxels[:, None]) // (2 * voxels[:, None])  # the nearest voxel; a half goes up
        row, of = np.nonzero(shared)
        return Tree(
            lowest=lowest,
            highest=highest,
            level=np.full(count, level, np.uint16),
            until=np.zeros(count, np.uint16),
            first=np.arange(count, dtype=np.int32),
            voxels=voxels,
            peak=np.full(count, level, np.uint16),
            point=(lesions_XYZ[tuple(middle.T)] - 1).astype(np.int32),
            overlap_row=row.astype(np.int32),
            overlap_lesion=of.astype(np.int32),
            overlap_voxels=shared[row, of],
        )

    def _mask(self, level: int) -> NDArray[np.bool_]:
        values: NDArray[Any] = self._values
        mask = values >= (level if self._edges is None else self._edges[level])
        return np.ascontiguousarray(self._as_xyz(mask))

    def _as_xyz(self, values: NDArray[Any]) -> NDArray[Any]:
        return values.T if self.x_fastest else values

    def masks(self, level: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Reference and prediction at ``level`` in the smallest box that holds both."""
        floor, voxels, levels = self._kept
        if self.inside.at_least(level) + self.outside.at_least(level) > DENSE:
            mask_XYZ, reference_XYZ = self._mask(level), self._as_xyz(self._reference).view(np.bool_)
            around = bounding_box(mask_XYZ | reference_XYZ)
            return reference_XYZ[around], mask_XYZ[around]
        if level < floor:
            voxels, levels, _, _ = self._collect(level)
        predicted, reference = voxels[levels >= level], self._lesions[0]
        if predicted.size + reference.size == 0:
            return np.zeros((1, 1, 1), bool), np.zeros((1, 1, 1), bool)
        box = kernels.bounds(np.concatenate([predicted, reference]), self._sizes[1], self._sizes[2])
        result = []
        for which in (reference, predicted):
            mask = np.zeros(tuple(box[:, 1] - box[:, 0] + 1), bool)
            mask[tuple(a - low for a, low in zip(np.unravel_index(which, self._sizes), box[:, 0], strict=True))] = True
            result.append(mask.T if self.x_fastest else mask)
        return result[0], result[1]


def _empty(lowest: int, highest: int) -> Tree:
    """No candidate at any level."""
    none = np.empty(0, np.int32)
    small, large = none.astype(np.uint16), none.astype(np.int64)
    return Tree(lowest, highest, small, small, none, large, small, none, none, none, large)
