"""Cuts an axial rectangle out of an array, with air around it: one for training and for prediction."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

AIR_HU = -1000
"""Fills what a patch has and the slice has not; the view's window makes it the air around a patient."""
Voxel = TypeVar("Voxel", bound=np.generic)


def cut(values: NDArray[Voxel], start: tuple[int, int], patch_px: tuple[int, int], *, fill: int) -> NDArray[Voxel]:
    """The first two axes from ``start`` on, ``patch_px`` long; what lies outside of the array is ``fill``. A copy.

    ``start`` may be negative; further axes come whole.
    """
    result = np.full((*patch_px, *values.shape[2:]), fill, values.dtype)
    source, target = [], []
    for first, patch, size in zip(start, patch_px, values.shape, strict=False):
        low = max(first, 0)
        high = max(low, min(first + patch, size))
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    result[tuple(target)] = values[tuple(source)]
    return result
