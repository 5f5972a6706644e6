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
        whole_numbers = self.values_XYZ.dtype.kind in "biu"
        box = bounding_box(self.values_XYZ if whole_numbers else self.values_XYZ != 0)
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


def bounding_box(values_XYZ: NDArray[np.bool_] | NDArray[np.integer]) -> Box:
    """The smallest box that holds all that is true, or not 0; nothing gives the first voxel: no axis is empty."""
    outer = int(np.argmax(np.abs(values_XYZ.strides)))
    backwards = [stride < 0 for stride in values_XYZ.strides]
    straight = values_XYZ[tuple(slice(None, None, -1 if back else 1) for back in backwards)]  # backwards is slow
    planes = np.moveaxis(straight, outer, 0)
    # Plane upon plane first: that is one quick pass, and the rest looks at what lies within its shadow only.
    shadow: NDArray[np.bool_] = np.bitwise_or.reduce(planes, axis=0) != 0
    if not shadow.any():
        return slice(0, 1), slice(0, 1), slice(0, 1)
    spans = [_span(np.asarray(shadow.any(axis=axis))) for axis in (1, 0)]
    spans.insert(outer, _span(np.asarray(planes[:, spans[0], spans[1]].any(axis=(1, 2)))))
    x, y, z = (
        slice(size - span.stop, size - span.start) if back else span
        for span, size, back in zip(spans, values_XYZ.shape, backwards, strict=True)
    )
    return x, y, z


def _span(line: NDArray[np.bool_]) -> slice:
    """From the first to the last that is true."""
    return slice(int(line.argmax()), len(line) - int(line[::-1].argmax()))


def union(a: Box, b: Box) -> Box:
    """The smallest box that holds both."""
    x, y, z = (slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return x, y, z
