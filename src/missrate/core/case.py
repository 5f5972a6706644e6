"""What one pass over a reference mask and a prediction leaves behind: all that metrics ever need of a case.

Levels are those of ``quantise``; a mask at level t is ``level >= t``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import InputError
from missrate.core.quantise import TOP, threshold_of
from missrate.core.surfaces import SurfaceDistances

MANY = 4096
Kind = Literal["mask", "probability", "points"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many voxels lie at each level that occurs: levels ascending, each once, counts above 0."""

    levels: NDArray[np.uint16]  # (H,)
    counts: NDArray[np.int64]  # (H,)

    @staticmethod
    def of(dense: NDArray[np.int64]) -> "Histogram":
        """From counts of all levels, (TOP + 1,)."""
        occurring = np.flatnonzero(dense)
        return Histogram(occurring.astype(np.uint16), dense[occurring])

    @property
    def total(self) -> int:
        """All voxels."""
        return int(self.counts.sum())

    def at_least(self, levels: NDArray[np.integer] | list[int] | int) -> NDArray[np.int64]:
        """How many voxels lie at or above each level, of the same shape; levels may be TOP + 1."""
        if np.size(levels) > MANY:  # a table of all levels is quicker than so many searches
            table = np.zeros(TOP + 2, np.int64)
            table[self.levels] = self.counts
            return np.asarray(np.cumsum(table[::-1])[::-1][levels], np.int64)
        above = np.concatenate([np.cumsum(self.counts[::-1])[::-1], [0]])
        return np.asarray(above[np.searchsorted(self.levels, levels)], np.int64)


@dataclass(frozen=True, slots=True)
class Lesions:
    """The components of a reference mask; all arrays of length L, ordered by first voxel (x, then y, then z)."""

    voxels: NDArray[np.int64]
    volume_ml: NDArray[np.float64]  # nan where the grid knows no millimetres
    diameter_mm: NDArray[np.float64]  # of the sphere of equal volume; nan likewise
    centre_XYZ: NDArray[np.int32]  # (L, 3): a voxel of the lesion in its largest axial slice


@dataclass(frozen=True, slots=True)
class Tree:
    """The candidates at every threshold from ``lowest`` to ``highest``: the component tree of the levels.

    Row m is one candidate as it stands at every level t with ``until[m] < t <= level[m]``; at ``until[m]`` it grows
    or merges into another row (0: it stays until ``lowest``). Rows ``first[m]`` to ``m`` are row m and all from which
    it grew. Overlap row q says that ``overlap_voxels[q]`` voxels of a lesion joined at row ``overlap_row[q]``; a
    candidate shares the sum over its rows. ``point`` is the lesion (-1: none) at the middle of the highest plateau.
    """

    lowest: int
    highest: int
    level: NDArray[np.uint16]  # (M,)
    until: NDArray[np.uint16]  # (M,)
    first: NDArray[np.int32]  # (M,)
    voxels: NDArray[np.int64]  # (M,) all of the candidate's
    peak: NDArray[np.uint16]  # (M,) highest level within
    point: NDArray[np.int32]  # (M,)
    overlap_row: NDArray[np.int32]  # (Q,) ascending
    overlap_lesion: NDArray[np.int32]  # (Q,)
    overlap_voxels: NDArray[np.int64]  # (Q,)

    def standing(self, level: int) -> NDArray[np.intp]:
        """The rows that are candidates at ``level``, ascending."""
        return np.flatnonzero((self.level >= level) & (self.until < level))

    def overlapping(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether each of these rows shares a voxel with any lesion."""
        start, stop = self._span(rows)
        return np.asarray(stop > start)

    def shared(self, rows: NDArray[np.intp], lesion: int) -> NDArray[np.int64]:
        """How many voxels each of these rows shares with one lesion."""
        return next(shared for shared in self.shared_with(rows, [lesion]))

    def shared_with(self, rows: NDArray[np.intp], lesions: Iterable[int]) -> Iterator[NDArray[np.int64]]:
        """``shared`` with one lesion after the other."""
        start, stop = self._span(rows)
        for lesion in lesions:
            joined = np.concatenate([[0], np.cumsum(np.where(self.overlap_lesion == lesion, self.overlap_voxels, 0))])
            yield np.asarray(joined[stop] - joined[start], np.int64)

    def pairs(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int64]]:
        """Every pair (index into ``rows``, lesion, shared voxels) that shares any; the rows stand at one level."""
        start, stop = self._span(rows)
        index = np.repeat(np.arange(rows.size), stop - start)
        taken = (np.arange(index.size) - np.repeat(np.cumsum(stop - start) - (stop - start), stop - start)) + np.repeat(
            start, stop - start
        )
        lesions = max(int(self.overlap_lesion.max(initial=0)) + 1, 1)
        key, inverse = np.unique(index * lesions + self.overlap_lesion[taken], return_inverse=True)
        voxels = np.bincount(inverse, self.overlap_voxels[taken], key.size).astype(np.int64)
        return key // lesions, (key % lesions).astype(np.int32), voxels

    def _span(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where the overlap rows of each of these rows begin and end."""
        if rows.size > MANY:  # as in ``Histogram.at_least``
            before = np.zeros(self.level.size + 1, np.intp)
            np.cumsum(np.bincount(self.overlap_row, minlength=self.level.size), out=before[1:])
            return before[self.first[rows]], before[rows + 1]
        return (
            np.searchsorted(self.overlap_row, self.first[rows]),
            np.searchsorted(self.overlap_row, rows, side="right"),
        )


@dataclass(frozen=True, slots=True)
class CaseStatistics:
    """One case, one prediction. ``slice_*`` are axial, Z of them; L lesions.

    ``kind`` is "mask" when the prediction had no scores (AUROC, AP and FROC are undefined) and "points" when it had
    no voxels (voxel, slice and distance metrics are undefined). ``trees`` holds the candidates from the floor
    upwards, and those at declared thresholds below a raised floor, each on its own. ``distances`` are those of the
    declared thresholds, empty where the grid knows no millimetres.
    """

    case_id: str
    patient_id: str
    fold: int | None
    voxel_ml: float | None
    diagonal_mm: float | None  # of the whole scan: the distance that may stand for a missed lesion
    kind: Kind
    inside: Histogram  # voxels of the reference
    outside: Histogram  # all others
    slice_voxels: NDArray[np.int64]  # (Z,) reference voxels
    slice_peak_inside: NDArray[np.uint16]  # (Z,) highest level within the reference
    slice_peak: NDArray[np.uint16]  # (Z,) highest level anywhere
    lesions: Lesions
    lesion_peak: NDArray[np.uint16]  # (L,) highest level within the lesion
    trees: tuple[Tree, ...]  # the first is the one from the floor to TOP
    distances: tuple[SurfaceDistances, ...]

    @property
    def healthy(self) -> bool:
        """No lesion in the reference: sensitivity undefined, false positives count."""
        return self.lesion_peak.size == 0

    @property
    def scored(self) -> bool:
        """The prediction had scores, so curves over thresholds exist."""
        return self.kind != "mask"

    @property
    def floor(self) -> int:
        """The lowest level from which on candidates are known at every threshold."""
        return self.trees[0].lowest

    def knows(self, level: int) -> bool:
        """Whether the candidates at ``level`` are known."""
        return any(tree.lowest <= level <= tree.highest for tree in self.trees)

    def tree_at(self, level: int) -> Tree:
        """The tree that knows the candidates at ``level``. Raises InputError below the floor, and above TOP."""
        for tree in self.trees:
            if tree.lowest <= level <= tree.highest:
                return tree
        raise InputError(
            f"A threshold must lie between the floor of case {self.case_id}, {threshold_of(self.floor):g}, and 1. Got "
            f"{threshold_of(level):g}"
            + ("; perhaps declare it before the scans are measured." if level <= TOP else ".")
        )
