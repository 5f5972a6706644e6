"""Parts of the phantom reader: soft shapes on a millimetre grid, each computed in its own box only.

Legend: XYZ axes run right, anterior, superior (RAS+). A shape's ``inside_XYZ`` is the share of each voxel within it,
in [0, 1]: half a voxel inside is .5, so that thick slices blur what they should (partial volume).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Space:
    """The voxel centres in mm along each axis; 0 is the middle of the scan."""

    x_mm: Array
    y_mm: Array
    z_mm: Array
    spacing_mm: Point

    @staticmethod
    def centred(shape: tuple[int, int, int], spacing_mm: Point) -> "Space":
        """``shape`` voxels of ``spacing_mm``, symmetric about 0."""
        axes = [
            ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in zip(shape, spacing_mm, strict=True)
        ]
        return Space(axes[0], axes[1], axes[2], spacing_mm)

    @property
    def axes_mm(self) -> tuple[Array, Array, Array]:
        """The three axes in order."""
        return self.x_mm, self.y_mm, self.z_mm

    @property
    def shape(self) -> tuple[int, int, int]:
        """The number of voxels along each axis."""
        return self.x_mm.size, self.y_mm.size, self.z_mm.size

    def box(self, low_mm: Sequence[float], high_mm: Sequence[float]) -> Box:
        """The voxels from ``low_mm`` to ``high_mm`` and one more on each side; empty where that is outside the scan."""
        found = []
        for axis_mm, low, high, step in zip(self.axes_mm, low_mm, high_mm, self.spacing_mm, strict=True):
            start, stop = np.searchsorted(axis_mm, [low - step, high + step])
            found.append(slice(int(start), int(stop)))
        return found[0], found[1], found[2]

    def mesh(self, box: Box) -> tuple[Array, Array, Array]:
        """Coordinates of a box in mm, shaped (X, 1, 1), (1, Y, 1) and (1, 1, Z)."""
        x, y, z = (axis_mm[part] for axis_mm, part in zip(self.axes_mm, box, strict=True))
        return x[:, None, None], y[None, :, None], z[None, None, :]


@dataclass(frozen=True, slots=True)
class Region:
    """A shape: the share of each voxel of ``box`` that lies inside of it, float32 in [0, 1]."""

    box: Box
    inside_XYZ: Array

    def within(self, mask_XYZ: Array) -> "Region":
        """What of the shape lies in a mask of the whole scan, values in [0, 1]."""
        return Region(self.box, self.inside_XYZ * mask_XYZ[self.box])

    def minus(self, mask_XYZ: Array) -> "Region":
        """What of the shape lies outside a mask of the whole scan, values in [0, 1]."""
        return Region(self.box, self.inside_XYZ * (1.0 - mask_XYZ[self.box]))

    def spread(self, shape: tuple[int, int, int]) -> Array:
        """The shape as a mask of the whole scan."""
        whole_XYZ = np.zeros(shape, np.float32)
        whole_XYZ[self.box] = self.inside_XYZ
        return whole_XYZ


@dataclass(frozen=True, slots=True)
class Waves:
    """A smooth bump field, sum of products of sines: makes an outline irregular by ``amplitude`` times its radius."""

    amplitude: float
    per_mm_3K: NDArray[np.float64]
    phase_3K: NDArray[np.float64]

    @staticmethod
    def draw(rng: np.random.Generator, amplitude: float, length_mm: float) -> "Waves":
        """Two random waves of about ``length_mm``."""
        per_mm = 2 * np.pi / (length_mm * rng.uniform(0.7, 1.5, (3, 2)))
        return Waves(amplitude, per_mm, rng.uniform(0, 2 * np.pi, (3, 2)))

    def at(self, x_mm: Array, y_mm: Array, z_mm: Array) -> Array:
        """The field at an open mesh, about within +- ``amplitude``."""
        total: Array = np.zeros(1, np.float32)
        for k in range(self.per_mm_3K.shape[1]):
            x, y, z = (
                np.sin(np.float32(self.per_mm_3K[axis, k]) * c + np.float32(self.phase_3K[axis, k]))
                for axis, c in enumerate((x_mm, y_mm, z_mm))
            )
            total = total + (x * y * z).astype(np.float32)
        return total * np.float32(self.amplitude)


def soft(edge: NDArray[np.floating], width: NDArray[np.floating] | float) -> Array:
    """The share inside when ``edge`` is negative inside and changes by ``width`` across a voxel."""
    share: Array = np.clip(0.5 - edge / np.maximum(width, 1e-3), 0.0, 1.0).astype(np.float32)
    return share


def ellipsoid(
    space: Space, centre_mm: Point, radii_mm: Point, *, turn: float = 0.0, waves: Waves | None = None
) -> Region:
    """An ellipsoid, turned by ``turn`` radians in the axial plane, with an irregular outline where waves are given."""
    reach_mm = np.array(radii_mm, np.float64)
    if turn:
        reach_mm[:2] = max(radii_mm[:2])
    reach_mm *= 1.0 + (2.0 * waves.amplitude if waves else 0.0)
    box = space.box(np.subtract(centre_mm, reach_mm).tolist(), np.add(centre_mm, reach_mm).tolist())
    dx, dy, dz = (c - np.float32(m) for c, m in zip(space.mesh(box), centre_mm, strict=True))
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    a, b, c = (np.float32(r) for r in radii_mm)
    u, v, w = (cos * dx + sin * dy) / a, (cos * dy - sin * dx) / b, dz / c
    radius = np.sqrt(u * u + v * v + w * w)
    step_x, step_y, step_z = (np.float32(s) for s in space.spacing_mm)
    change = (
        np.abs(u * cos / a - v * sin / b) * step_x + np.abs(u * sin / a + v * cos / b) * step_y + np.abs(w / c) * step_z
    ) / np.maximum(radius, 1e-3)
    edge = radius - 1.0
    return Region(box, soft(edge if waves is None else edge + waves.at(dx, dy, dz), change))


def tube(space: Space, points_mm: Array, radii_mm: Array) -> Region:
    """A tube along a polyline (N, 3) with a radius at each point (N,), round at its ends."""
    reach_mm = float(radii_mm.max())
    box = space.box((points_mm - reach_mm).min(axis=0).tolist(), (points_mm + reach_mm).max(axis=0).tolist())
    inside_XYZ = np.zeros([part.stop - part.start for part in box], np.float32)
    for (start, radius), (end, radius_end) in pairwise(zip(points_mm, radii_mm, strict=True)):
        reach = float(max(radius, radius_end))
        part = space.box((np.minimum(start, end) - reach).tolist(), (np.maximum(start, end) + reach).tolist())
        local = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
        share = _capsule(space, part, (start, end), (float(radius), float(radius_end)))
        np.maximum(inside_XYZ[local], share, out=inside_XYZ[local])
    return Region(box, inside_XYZ)


def _capsule(space: Space, box: Box, ends_mm: tuple[Array, Array], radii_mm: tuple[float, float]) -> Array:
    start, end = ends_mm
    x, y, z = (c - m for c, m in zip(space.mesh(box), start, strict=True))
    along = end - start
    length2 = float(along @ along) + 1e-6
    t = np.clip((x * along[0] + y * along[1] + z * along[2]) / np.float32(length2), 0.0, 1.0)
    x, y, z = x - t * along[0], y - t * along[1], z - t * along[2]
    distance = np.sqrt(x * x + y * y + z * z)
    step_x, step_y, step_z = (np.float32(s) for s in space.spacing_mm)
    change = (np.abs(x) * step_x + np.abs(y) * step_y + np.abs(z) * step_z) / np.maximum(distance, 1e-3)
    return soft(distance - (np.float32(radii_mm[0]) + t * np.float32(radii_mm[1] - radii_mm[0])), change)


def blob(space: Space, centre_mm: Point, radii_mm: Point, *, turn: float, waves: Waves) -> Region:
    """An irregular ellipsoid whose shares are counted on a finer grid: exact where it is thinner than a voxel."""
    reach_mm = max(radii_mm) * (1.0 + 2.0 * waves.amplitude)
    box = space.box([c - reach_mm for c in centre_mm], [c + reach_mm for c in centre_mm])
    finer = [min(6, max(2, int(np.ceil(step)))) for step in space.spacing_mm]
    axes = []
    for axis_mm, part, step, parts, centre in zip(space.axes_mm, box, space.spacing_mm, finer, centre_mm, strict=True):
        within = ((np.arange(parts) + 0.5) / parts - 0.5) * step
        axes.append((axis_mm[part, None] + within - centre).astype(np.float32).ravel())
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    a, b, c = (np.float32(r) for r in radii_mm)
    radius = np.sqrt(((cos * x + sin * y) / a) ** 2 + ((cos * y - sin * x) / b) ** 2 + (z / c) ** 2)
    inside = (radius + waves.at(x, y, z) < 1.0).astype(np.float32)
    coarse = [n for part, parts in zip(box, finer, strict=True) for n in (part.stop - part.start, parts)]
    return Region(box, inside.reshape(coarse).mean(axis=(1, 3, 5), dtype=np.float32))
