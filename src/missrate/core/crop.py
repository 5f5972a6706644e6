"""The part of a scan in which something is: most masks and predictions fill a hundredth of their grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import GridError
from missrate.core.grid import Grid

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Crop:
    """The box of an XYZ array outside of which it is 0, where that box begins, and the whole grid (RAS+)."""

    values_XYZ: NDArray[Any]
    start: tuple[int, int, int]
    grid: Grid

    def __post_init__(self) -> None:
        ends = np.add(self.start, self.values_XYZ.shape) if self.values_XYZ.ndim == 3 else np.zeros(3)
        if self.values_XYZ.ndim != 3 or min(self.start) < 0 or (ends > self.grid.shape).any():
            raise GridError(
                f"A crop must lie within its grid {self.grid.shape}. Got shape {self.values_XYZ.shape} at {self.start}."
            )

    @staticmethod
    def whole(values_XYZ: NDArray[Any], grid: Grid) -> "Crop":
        """An array on all of its grid. Raises GridError when the shapes differ."""
        if values_XYZ.shape != grid.shape:
            raise GridError(f"An array must have the shape of its grid {grid.shape}. Got {values_XYZ.shape}.")
        return Crop(values_XYZ, (0, 0, 0), grid)

    @property
    def box(self) -> Box:
        """Where the values lie in the whole array."""
        x, y, z = (slice(a, a + n) for a, n in zip(self.start, self.values_XYZ.shape, strict=True))
        return x, y, z

    def trimmed(self) -> "Crop":
        """The same in the smallest box that holds every value other than 0; no such value leaves one voxel."""
        box = bounding_box(self.values_XYZ != 0)
        x, y, z = (a + s.start for a, s in zip(self.start, box, strict=True))
        return Crop(self.values_XYZ[box], (x, y, z), self.grid)

    def within(self, box: Box) -> NDArray[Any]:
        """The values in a box of the whole array that holds this crop; not copied where the two are the same."""
        if box == self.box:
            return self.values_XYZ
        result = np.zeros(tuple(s.stop - s.start for s in box), self.values_XYZ.dtype)
        result[tuple(slice(m.start - b.start, m.stop - b.start) for m, b in zip(self.box, box, strict=True))] = (
            self.values_XYZ
        )
        return result

    def full(self) -> NDArray[Any]:
        """The values on the whole grid."""
        x, y, z = (slice(0, n) for n in self.grid.shape)
        return self.within((x, y, z))


def bounding_box(mask_XYZ: NDArray[np.bool_]) -> Box:
    """The smallest box that holds all true voxels; an empty mask gives the first voxel, so that no axis is empty."""
    along_z = mask_XYZ.any(axis=(0, 1))
    if not along_z.any():
        return slice(0, 1), slice(0, 1), slice(0, 1)
    spans = [np.flatnonzero(mask_XYZ.any(axis=other)) for other in ((1, 2), (0, 2))] + [np.flatnonzero(along_z)]
    x, y, z = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return x, y, z


def union(a: Box, b: Box) -> Box:
    """The smallest box that holds both."""
    x, y, z = (slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return x, y, z
