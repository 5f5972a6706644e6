"""Probabilities as whole levels: floor onto the edges ``k / 60000``.

60,000 was chosen so that 0, .5, 1 and every threshold with up to four decimals is an edge and all levels fit uint16.
For every threshold t that is an edge, ``levels(p) >= level_of(t)`` holds exactly where ``p >= t``.
"""

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError, InputError

TOP = 60_000
"""The highest level; there are TOP + 1 of them."""

Levels = NDArray[np.uint16]


def edges() -> NDArray[np.float64]:
    """The probability at which each level begins, ascending from 0 to 1; shape (TOP + 1,)."""
    return np.arange(TOP + 1) / TOP


def encode(probability: NDArray[np.floating]) -> Levels:
    """The level of each probability, by floor; any shape. Raises DataError outside [0, 1] or for NaN."""
    if probability.size == 0:
        return np.zeros(probability.shape, np.uint16)
    low, high = float(probability.min()), float(probability.max())
    if not (low >= 0.0 and high <= 1.0):
        raise DataError(f"Probabilities must lie in [0, 1]. Got {low:g} to {high:g}; perhaps these are logits.")
    exact = probability.astype(np.float64)
    levels = np.floor(exact * TOP).astype(np.int64)
    # The product may round across an edge in either direction: settle it by comparing with the edges themselves.
    levels += (levels < TOP) & (exact >= (levels + 1) / TOP)
    levels -= exact < levels / TOP
    return levels.astype(np.uint16)


def decode(levels: Levels) -> NDArray[np.float32]:
    """The lower edge of each level, as float32; any shape."""
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
