"""Part of the distances: how much surface lies within a cube whose corners are eight neighbouring voxel centres.

A corner is in the mask or not, so there are 256 cubes. Corner k lies at (k >> 2, k >> 1 & 1, k & 1) of XYZ and sets bit
k of the code. The surface crosses an edge in its middle where one end is in the mask and the other is not.
Shapes: T triangles of all codes together.
"""

from functools import cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

Edge = tuple[int, int]
_CORNERS = np.array(list(product((0, 1), repeat=3)))
_AROUND = ((0, 0), (0, 1), (1, 1), (1, 0))
_FACES = [
    [int(np.insert(pair, axis, side) @ (4, 2, 1)) for pair in _AROUND] for axis, side in product(range(3), (0, 1))
]


def areas_mm2(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """The area of the surface in each of the 256 cubes; shape (256,), 0 where all corners are alike."""
    code_T, triangle_TPX = _triangles()
    corner_TPX = triangle_TPX * np.array(spacing_mm)
    return np.asarray(np.bincount(code_T, _area(corner_TPX), minlength=256), np.float64)


@cache
def _triangles() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Codes (T,) and corners (T, 3, 3) of the triangles, for cubes of side 1."""
    found = [(code, triangles) for code in range(256) for triangles in map(_filled, _polygons(code))]
    codes = np.concatenate([np.full(len(triangles), code) for code, triangles in found])
    return codes, np.concatenate([triangles for _, triangles in found])


def _polygons(code: int) -> list[list[Edge]]:
    """The closed lines in which the surface meets the faces of the cube, as crossed edges in turn."""
    inside = [bool(code >> k & 1) for k in range(8)]
    beside: dict[Edge, list[Edge]] = {}
    for face in _FACES:
        for a, b in _lines(face, inside):
            beside.setdefault(a, []).append(b)
            beside.setdefault(b, []).append(a)
    polygons = []
    while beside:
        polygon = [min(beside)]
        while ahead := [edge for edge in beside.pop(polygon[-1]) if edge in beside]:
            polygon.append(ahead[0])
        polygons.append(polygon)
    return polygons


def _lines(face: list[int], inside: list[bool]) -> list[tuple[Edge, Edge]]:
    """Which crossed edges of a face a line joins. Two opposite corners are cut off one by one, of the rarer kind."""
    edges = [(min(a, b), max(a, b)) for a, b in pairwise([*face, face[0]])]
    crossed = [edge for edge in edges if inside[edge[0]] != inside[edge[1]]]
    if len(crossed) < 4:
        return [(crossed[0], crossed[1])] if crossed else []
    rarer = sum(inside) <= 4
    return [(edges[k - 1], edges[k]) for k in range(4) if inside[face[k]] == rarer]


def _filled(polygon: list[Edge]) -> NDArray[np.float64]:
    """The polygon as a fan of triangles (n - 2, 3, 3); of its n fans the one of the greatest area.

    A bent polygon has no area of its own. In all 254 cubes this choice has the area that surface-distance's has.
    """
    middle = np.array([(_CORNERS[a] + _CORNERS[b]) / 2.0 for a, b in polygon])
    turned = [np.roll(middle, -k, axis=0) for k in range(len(polygon))]
    fans = [np.stack([np.broadcast_to(p[0], p[2:].shape), p[1:-1], p[2:]], axis=1) for p in turned]
    return max(fans, key=lambda fan: float(_area(fan).sum()))


def _area(triangle_TPX: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = triangle_TPX[:, 1] - triangle_TPX[:, 0], triangle_TPX[:, 2] - triangle_TPX[:, 0]
    return np.asarray(np.linalg.norm(np.cross(first, second), axis=1) / 2.0)
