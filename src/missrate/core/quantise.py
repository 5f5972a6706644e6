"""Probabilities as whole levels: floor onto the edges ``k / 60000``, written in the number type of the values.

60,000 was chosen so that 0, .5, 1 and every threshold with up to four decimals is an edge and all levels fit uint16.
For every threshold t that is an edge, ``levels(p) >= level_of(t)`` holds exactly where ``p >= t`` in the type of p, as
numpy and torch compare: the float32 nearest to .7 lies below .7, and is .7 for whoever wrote it.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError, InputError

TOP = 60_000
"""The highest level; there are TOP + 1 of them."""

Levels = NDArray[np.uint16]


def edges(kind: np.dtype[Any]) -> NDArray[np.float64]:
    """Return the least value of the type ``kind`` that belongs to each level, from 0 to 1; shape (TOP + 1,).

    It is ``k / TOP`` rounded to float16, float32 or float64 (all other types count as the last). It ascends; of
    float16, which is coarser than the levels, several levels begin at one value.
    """
    return _edges(kind.itemsize)


@cache
def _edges(itemsize: int) -> NDArray[np.float64]:
    rounded = (np.arange(TOP + 1) / TOP).astype({2: np.float16, 4: np.float32}.get(itemsize, np.float64))
    result = rounded.astype(np.float64)
    result.flags.writeable = False
    return result


def encode(probability: NDArray[np.floating]) -> Levels:
    """Return the highest level that each probability belongs to, see ``edges``; any shape.

    Raises DataError outside [0, 1] or for NaN.
    """
    if probability.size == 0:
        return np.zeros(probability.shape, np.uint16)
    low, high = float(probability.min()), float(probability.max())
    if not (low >= 0.0 and high <= 1.0):
        raise DataError(f"Probabilities must lie in [0, 1]. Got {low:g} to {high:g}; perhaps these are logits.")
    exact, begins = probability.astype(np.float64), edges(probability.dtype)
    if probability.dtype.itemsize < 4:  # an edge may lie many levels away from k / TOP
        return (np.searchsorted(begins, exact, side="right") - 1).astype(np.uint16)
    levels = np.floor(exact * TOP).astype(np.int64)
    # The product and the edges are rounded, in either direction, by far less than a level: settle it by comparing.
    levels += (levels < TOP) & (exact >= begins[np.minimum(levels + 1, TOP)])
    levels -= exact < begins[levels]
    return levels.astype(np.uint16)


def decode(levels: Levels) -> NDArray[np.float32]:
    """Return the lower edge of each level, as float32, which ``encode`` takes back to it; any shape."""
    return (levels.astype(np.float64) / TOP).astype(np.float32)


def level_of(threshold: float) -> int:
    """The lowest level whose edge is at least ``threshold``; exact when the threshold is an edge.

    Raises InputError outside (0, 1]: at 0 the whole scan would be one candidate.
    """
    if not 0.0 < threshold <= 1.0:
        raise InputError(f"A threshold must lie in (0, 1]. Got {threshold:g}.")
    nearest = round(threshold * TOP)
    if nearest > 0 and abs(nearest / TOP - threshold) <= 1e-12:
        return nearest
    return int(np.ceil(threshold * TOP))


def threshold_of(level: int) -> float:
    """The probability at which ``level`` begins."""
    return level / TOP
