"""Cuts a box out of an array, with air around it: one for training and for prediction."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

AIR_HU = -1000
"""Fills what a patch has and the scan has not; the view's window makes it the air around a patient."""
Voxel = TypeVar("Voxel", bound=np.generic)


def cut(values: NDArray[Voxel], start: tuple[int, ...], patch_px: tuple[int, ...], *, fill: int) -> NDArray[Voxel]:
    """The first axes from ``start`` on, ``patch_px`` long; what lies outside of the array is ``fill``.

    ``start`` may be negative; further axes come whole. A view where nothing is filled in, else a new array in the
    memory order of ``values``.
    """
    inside = all(
        first >= 0 and first + patch <= size for first, patch, size in zip(start, patch_px, values.shape, strict=False)
    )
    if inside:
        return values[tuple(slice(first, first + patch) for first, patch in zip(start, patch_px, strict=True))]
    shape = (*patch_px, *values.shape[len(patch_px) :])
    result = np.full(shape, fill, values.dtype, order="F" if values.flags.f_contiguous else "C")
    source, target = [], []
    for first, patch, size in zip(start, patch_px, values.shape, strict=False):
        low = max(first, 0)
        high = max(low, min(first + patch, size))
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    result[tuple(target)] = values[tuple(source)]
    return result
