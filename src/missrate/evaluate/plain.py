"""The one pass over voxels in plain numpy and scipy, relabelling at every level: the oracle of ``compiled.py``.

It is also what runs where numba is not installed: the same results, much slower on maps with many levels.
"""

import importlib.util
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from missrate.core.case import Histogram, Tree
from missrate.core.crop import bounding_box
from missrate.core.errors import DataError
from missrate.core.lesions import components
from missrate.core.quantise import TOP, Levels, encode

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]


@cache
def has_numba() -> bool:
    """Whether the compiled pass can run."""
    return importlib.util.find_spec("numba") is not None


class Voxels:
    """A reference mask and the prediction on it, in one box; XYZ, Z slices, L lesions. All indices are the box's."""

    def __init__(self, reference_XYZ: Mask, values_XYZ: NDArray[np.generic]) -> None:
        """``values_XYZ`` are levels (uint16) or probabilities. Raises DataError for a value that is neither."""
        self.levels_XYZ = levels_of(values_XYZ)
        self.reference_XYZ = reference_XYZ
        self.lesions_XYZ, self.lesions = components(reference_XYZ)
        inside_XYZ = np.where(reference_XYZ, self.levels_XYZ, np.uint16(0))
        self.inside = _histogram(self.levels_XYZ[reference_XYZ])
        self.outside = _histogram(self.levels_XYZ[~reference_XYZ])
        self.slice_voxels: NDArray[np.int64] = reference_XYZ.sum(axis=(0, 1)).astype(np.int64)
        self.slice_inside: Levels = inside_XYZ.max(axis=(0, 1))
        self.slice_peak: Levels = self.levels_XYZ.max(axis=(0, 1))
        self.lesion_peak = _peaks(self.lesions_XYZ, self.levels_XYZ, self.lesions)

    def lesion_voxels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The flat index (x, then y, then z) of every reference voxel, ascending, and its lesion from 0."""
        flat = np.flatnonzero(self.lesions_XYZ)
        return flat, self.lesions_XYZ.ravel()[flat].astype(np.int64) - 1

    def tree(self, lowest: int, highest: int = TOP) -> Tree:
        """The candidates from ``lowest`` to ``highest``; with both the same, those of that one level."""
        levels_XYZ = np.minimum(self.levels_XYZ, np.uint16(highest))
        return grow(levels_XYZ, self.lesions_XYZ, self.lesions, lowest=lowest, highest=highest)

    def masks(self, level: int) -> tuple[Mask, Mask]:
        """Reference and prediction at ``level`` in the smallest box that holds both."""
        mask_XYZ = self.levels_XYZ >= level
        box = bounding_box(mask_XYZ | self.reference_XYZ)
        return self.reference_XYZ[box], mask_XYZ[box]


def levels_of(values_XYZ: NDArray[np.generic]) -> Levels:
    """Levels as they are, probabilities encoded. Raises DataError above TOP and for probabilities outside 0..1."""
    if values_XYZ.dtype != np.uint16:
        return encode(cast("NDArray[np.floating[Any]]", values_XYZ))
    if values_XYZ.size and int(values_XYZ.max()) > TOP:
        raise DataError(f"Levels must be at most {TOP}. Got {int(values_XYZ.max())}.")
    return values_XYZ.astype(np.uint16, copy=False)


def grow(levels_XYZ: Levels, lesions_XYZ: Labels, lesions: int, *, lowest: int, highest: int) -> Tree:
    """The component tree by labelling at every level that occurs, highest first."""
    rows = _Rows(lesions_XYZ, lesions)
    row_of_XYZ = np.full(levels_XYZ.shape, -1, np.int64)
    for level in np.unique(levels_XYZ[levels_XYZ >= lowest])[::-1]:
        labels_XYZ, _ = components(levels_XYZ >= level)
        for label in np.unique(labels_XYZ[levels_XYZ == level]):
            rows.add(int(level), labels_XYZ == label, levels_XYZ == level, row_of_XYZ)
    return rows.tree(lowest, highest)


class _Rows:
    """Rows as they come about: children first."""

    def __init__(self, lesions_XYZ: Labels, lesions: int) -> None:
        self.lesions_XYZ, self.lesions = lesions_XYZ, lesions
        self.level: list[int] = []
        self.voxels: list[int] = []
        self.children: list[list[int]] = []
        self.best: list[tuple[int, int, int]] = []  # peak, voxels of the candidate, place before its own peers
        self.point: list[int] = []
        self.joined: list[NDArray[np.int64]] = []

    def add(self, level: int, mask_XYZ: Mask, at_level_XYZ: Mask, row_of_XYZ: NDArray[np.int64]) -> None:
        """One candidate that has voxels of exactly ``level``."""
        own_XYZ = mask_XYZ & at_level_XYZ
        children = [int(row) for row in np.unique(row_of_XYZ[mask_XYZ]) if row >= 0]
        joined = np.bincount(self.lesions_XYZ[own_XYZ], minlength=self.lesions + 1)[1:]
        if children:
            best = max(children, key=lambda row: self.best[row])
            rank, point = (self.best[best][0], int(mask_XYZ.sum()), self.best[best][2]), self.point[best]
        else:
            middle = tuple(int(np.floor(axis.mean() + 0.5)) for axis in np.nonzero(own_XYZ))
            rank = (level, int(mask_XYZ.sum()), -int(np.ravel_multi_index(middle, mask_XYZ.shape)))
            point = int(self.lesions_XYZ[middle]) - 1
        row_of_XYZ[mask_XYZ] = len(self.level)
        self.level.append(level)
        self.voxels.append(rank[1])
        self.children.append(children)
        self.best.append(rank)
        self.point.append(point)
        self.joined.append(joined)

    def tree(self, lowest: int, highest: int) -> Tree:
        """The rows with descendants just before each."""
        order: list[int] = []
        first: dict[int, int] = {}
        until = dict.fromkeys(range(len(self.level)), 0)
        for row, children in enumerate(self.children):
            until |= dict.fromkeys(children, self.level[row])
        waiting = [(row, False) for row in reversed(range(len(self.level))) if until[row] == 0]
        while waiting:
            row, grown = waiting.pop()
            if grown:
                order.append(row)
                continue
            first[row] = len(order)
            waiting.append((row, True))
            waiting.extend((child, False) for child in reversed(self.children[row]))
        joined = np.array([self.joined[row] for row in order], np.int64).reshape(len(order), self.lesions)
        overlap_row, overlap_lesion = np.nonzero(joined)
        return Tree(
            lowest=lowest,
            highest=highest,
            level=np.array([self.level[row] for row in order], np.uint16),
            until=np.array([until[row] for row in order], np.uint16),
            first=np.array([first[row] for row in order], np.int32),
            voxels=np.array([self.voxels[row] for row in order], np.int64),
            peak=np.array([self.best[row][0] for row in order], np.uint16),
            point=np.array([self.point[row] for row in order], np.int32),
            overlap_row=overlap_row.astype(np.int32),
            overlap_lesion=overlap_lesion.astype(np.int32),
            overlap_voxels=joined[overlap_row, overlap_lesion],
        )


def _histogram(levels: Levels) -> Histogram:
    occurring, counts = np.unique(levels, return_counts=True)
    return Histogram(occurring.astype(np.uint16), counts.astype(np.int64))


def _peaks(labels_XYZ: Labels, levels_XYZ: Levels, count: int) -> Levels:
    """The highest level within each of the labels 1..count; shape (count,)."""
    peaks = np.zeros(count + 1, np.uint16)
    labelled_XYZ = labels_XYZ > 0
    np.maximum.at(peaks, labels_XYZ[labelled_XYZ], levels_XYZ[labelled_XYZ])
    return peaks[1:]
