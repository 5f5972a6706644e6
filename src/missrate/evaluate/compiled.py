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
from missrate.evaluate import basin_kernels, kernels, plain, tree_kernels

Ints = NDArray[np.int64]
Places = NDArray[np.signedinteger[Any]]

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

    def _collect(self, floor: int) -> tuple[Places, Levels, Places, Levels]:
        """The voxels from ``floor`` upwards and those of the reference, each with levels; in 32 bits where they do."""
        active = int(self.inside.at_least(floor) + self.outside.at_least(floor))
        voxels, level, inside, inside_level = kernels.collect(
            self._values.ravel(),
            self._reference.ravel(),
            floor,
            active,
            self.inside.total,
            *self._blocks,
            self._edges,
        )
        number = np.int32 if self._values.size <= np.iinfo(np.int32).max else np.int64
        return voxels.astype(number), level, inside.astype(number), inside_level

    @cached_property
    def _lesions(self) -> tuple[Places, NDArray[np.int32], Levels]:
        """Reference voxels in memory order, the lesion of each from 0, and the peak of each lesion."""
        _, _, voxels, level = self._collect(TOP + 1)
        lesion, peak = basin_kernels.label(voxels, level, np.array(self._sizes), self._strides)
        return voxels, lesion, peak

    def _along_xyz(self, voxels: Places) -> Ints:
        """Flat indices in the order x, then y, then z."""
        if not self.x_fastest:
            return voxels.astype(np.int64)
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
        return flat[order], lesion[order].astype(np.int64)

    def tree(self, lowest: int, highest: int = TOP) -> Tree:
        """The candidates from ``lowest`` to ``highest``; with both the same, those of that one level."""
        active = int(self.inside.at_least(lowest) + self.outside.at_least(lowest))
        if active == 0:
            return _empty(lowest, highest)
        top = min(int(max(self.slice_peak)), highest)
        if active > DENSE and active == self.inside.at_least(top) + self.outside.at_least(top):
            return self._dense(top, lowest, highest)
        rows, sums, hit_row, hit_lesion = self._rows(lowest, highest)
        reference, (lesion_voxels, lesion_of, _) = self._reference.ravel(), self._lesions
        middles = tree_kernels.middles(sums, reference, lesion_voxels, lesion_of, np.array(self._sizes), self._strides)
        place, below = tree_kernels.places(rows)
        level, first, voxels, basin = tree_kernels.placed(rows, place, below)
        hit_row = place[hit_row]
        del rows, sums, place, below  # what a noisy scan leaves here is as large as the scan
        until, peak, point = tree_kernels.arrange(level, first, voxels, basin, *middles)
        lesions = max(self.lesion_peak.size, 1)
        pair, shared = np.unique(hit_row.astype(np.int64) * lesions + hit_lesion, return_counts=True)
        return Tree(
            lowest=lowest,
            highest=highest,
            level=level,
            until=until,
            first=first,
            voxels=voxels,
            peak=peak,
            point=point,
            overlap_row=(pair // lesions).astype(np.int32),
            overlap_lesion=(pair % lesions).astype(np.int32),
            overlap_voxels=shared.astype(np.int64),
        )

    def _rows(self, lowest: int, highest: int) -> tuple[NDArray[Any], ...]:
        """The rows of the tree as they come about, the plateaus of basins, and row and lesion of what is in lesions."""
        voxels, level, _, _ = self._collect(lowest)
        np.minimum(level, np.uint16(highest), out=level)
        _, size1, size2 = self._sizes
        basin, peak, bridge, end = basin_kernels.ascend(voxels, level, size1, size2)
        bridges = basin_kernels.settle(basin, bridge, end)
        sums = basin_kernels.plateaus(voxels, level, basin, peak, size1, size2)
        hits, of = tree_kernels.common(voxels, self._lesions[0])
        del voxels
        bridges_begin = tree_kernels.levels_begin(level[bridge[:bridges]])
        pairs = tree_kernels.bridges_by_level(level, basin, bridge[:bridges], end[:bridges], bridges_begin)
        del bridge, end
        begin = tree_kernels.levels_begin(level)
        turn, hit_turn = tree_kernels.voxels_by_level(level, basin, hits, begin)
        del level, basin
        rows = tree_kernels.grow(turn, begin, pairs, bridges_begin, sums)
        return rows, sums, turn[hit_turn], self._lesions[1][of]

    def _dense(self, level: int, lowest: int, highest: int) -> Tree:
        """The tree of one level that fills much of the box, without a list of its voxels."""
        flat, lesion = self.lesion_voxels()
        if self.inside.at_least(level) + self.outside.at_least(level) == self._values.size:
            voxels, middle = np.array([self._values.size]), np.array([self.shape]) // 2
            shared = np.bincount(lesion, minlength=self.lesion_peak.size)[None]
        else:
            voxels, middle, shared = self._labelled(level, flat, lesion)
        count = voxels.size
        place = np.ravel_multi_index(tuple(middle.T), self.shape)
        at = np.minimum(np.searchsorted(flat, place), max(flat.size - 1, 0))
        point = np.where(flat[at] == place, lesion[at], -1) if flat.size else np.full(count, -1)
        row, of = np.nonzero(shared)
        return Tree(
            lowest=lowest,
            highest=highest,
            level=np.full(count, level, np.uint16),
            until=np.zeros(count, np.uint16),
            first=np.arange(count, dtype=np.int32),
            voxels=voxels,
            peak=np.full(count, level, np.uint16),
            point=point.astype(np.int32),
            overlap_row=row.astype(np.int32),
            overlap_lesion=of.astype(np.int32),
            overlap_voxels=shared[row, of],
        )

    def _labelled(self, level: int, flat: Ints, lesion: Ints) -> tuple[Ints, Ints, Ints]:
        """The candidates of one level: voxels (C,), the middle (C, 3), and voxels shared with each lesion (C, L)."""
        lesions_XYZ = np.zeros(self.shape, np.int32)
        lesions_XYZ.ravel()[flat] = lesion + 1
        labels_XYZ, count = components(self._mask(level))
        voxels, sums, shared = kernels.count_labels(labels_XYZ, lesions_XYZ, count, self.lesion_peak.size)
        return voxels, (2 * sums + voxels[:, None]) // (2 * voxels[:, None]), shared  # the nearest; a half goes up

    def _mask(self, level: int) -> NDArray[np.bool_]:
        values: NDArray[Any] = self._values
        mask = values >= (level if self._edges is None else self._edges[level])
        return np.ascontiguousarray(self._as_xyz(mask))

    def _as_xyz(self, values: NDArray[Any]) -> NDArray[Any]:
        return values.T if self.x_fastest else values

    def masks(self, level: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Reference and prediction at ``level`` in the smallest box that holds both."""
        if self.inside.at_least(level) + self.outside.at_least(level) > DENSE:
            mask_XYZ, reference_XYZ = self._mask(level), self._as_xyz(self._reference).view(np.bool_)
            around = bounding_box(mask_XYZ | reference_XYZ)
            return reference_XYZ[around], mask_XYZ[around]
        predicted, _, reference, _ = self._collect(level)
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
