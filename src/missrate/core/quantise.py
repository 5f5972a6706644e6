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

NEAR = 2e-3
"""No edge in float32 lies farther from its level's own, in levels: half of the last bit of 1, times TOP."""
BEYOND = 1e-6
"""How far a probability may lie outside of [0, 1]: sums and means in float32 end up to a few 1e-7 beyond 1."""
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

    What lies outside of [0, 1] by rounding (``BEYOND``) counts as its end. Raises DataError farther out and for NaN.
    """
    if probability.size == 0:
        return np.zeros(probability.shape, np.uint16)
    low, high = float(probability.min()), float(probability.max())
    if not (low >= -BEYOND and high <= 1.0 + BEYOND):
        raise DataError(f"Probabilities must lie in [0, 1]. Got {low:g} to {high:g}; perhaps these are logits.")
    if low < 0.0 or high > 1.0:
        probability = probability.clip(0.0, 1.0)
    if probability.dtype.itemsize < 4:  # an edge may lie many levels away from k / TOP
        return np.asarray(_levels_of_halves()[probability.astype(np.float16).view(np.uint16)])
    exact = probability.astype(np.float64)
    scaled = np.asarray(exact * TOP)
    levels = scaled.astype(np.uint16)
    # The product and the edges are rounded by less than .002 levels, in either direction: what lies so near to an edge
    # is compared with the edges themselves.
    near = (np.abs(scaled - np.rint(scaled)) < NEAR) & (exact > 0.0)
    levels[near] = _search(exact[near], probability.dtype)
    return levels


def _search(exact: NDArray[np.float64], kind: np.dtype[Any]) -> Levels:
    return (np.searchsorted(edges(kind), exact, side="right") - 1).astype(np.uint16)


@cache
def _levels_of_halves() -> Levels:
    """The level of every float16, by its bits; those outside of [0, 1] get any."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    inside = (halves >= 0.0) & (halves <= 1.0)
    return _search(np.where(inside, halves, 0.0).astype(np.float64), halves.dtype)


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
