"""Pixels for a page: a grey picture as a PNG inside a data address, and a mask's outline as a vector path."""

import base64
import struct
import zlib
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Vertex = tuple[int, int]


def png(grey_YX: NDArray[np.uint8]) -> str:
    """``data:image/png;base64,...`` of an 8-bit grey picture; equal pixels give equal text (PNG, ISO 15948)."""
    rows, columns = grey_YX.shape
    # Filter 1: each pixel minus its left neighbour, modulo 256, compresses noise better.
    differences = np.diff(grey_YX.astype(np.int16), axis=1, prepend=0).astype(np.uint8)
    lines = np.concatenate([np.ones((rows, 1), np.uint8), differences], axis=1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def outline(mask_YX: Mask, spacing_YX: tuple[float, float]) -> str:
    """The edges between true and false pixels as closed SVG paths, in mm from the picture's upper left corner.

    It runs exactly along pixel borders: nothing is smoothed. An empty mask gives an empty path.
    """
    following = _edges(mask_YX)
    loops = []
    while following:
        start = min(following)
        loop, here = [start], _step(following, start)
        while here != start:
            loop.append(here)
            here = _step(following, here)
        loops.append(_path(loop, spacing_YX))
    return "".join(loops)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _edges(mask_YX: Mask) -> dict[Vertex, list[Vertex]]:
    """Pixel edges of the outline from vertex to vertex (y, x), the mask on their right hand."""
    padded = np.pad(mask_YX, 1)
    inside = padded[1:-1, 1:-1]
    # For each side: the neighbour there, and where the edge begins and ends on the pixel.
    sides = [
        (padded[:-2, 1:-1], (0, 0), (0, 1)),
        (padded[1:-1, 2:], (0, 1), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (1, 0)),
        (padded[1:-1, :-2], (1, 0), (0, 0)),
    ]
    following: dict[Vertex, list[Vertex]] = defaultdict(list)
    for neighbour, begin, end in sides:
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            following[y + begin[0], x + begin[1]].append((y + end[0], x + end[1]))
    return following


def _step(following: dict[Vertex, list[Vertex]], here: Vertex) -> Vertex:
    """Takes one edge away and gives its end."""
    there = following[here].pop()
    if not following[here]:
        del following[here]
    return there


def _path(loop: list[Vertex], spacing_YX: tuple[float, float]) -> str:
    """One closed path through the corners of a loop."""
    count = len(loop)
    corners = [
        (y, x)
        for i, (y, x) in enumerate(loop)
        if (loop[i - 1][0] == y) != (loop[(i + 1) % count][0] == y)  # the direction changes here
    ]
    points = [f"{x * spacing_YX[1]:.5g} {y * spacing_YX[0]:.5g}" for y, x in corners]
    return f"M{'L'.join(points)}Z"
