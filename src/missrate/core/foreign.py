"""Predictions that other software made: a mask or a probability map to levels."""

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError
from missrate.core.quantise import TOP, encode


def levels_of(
    values_XYZ: NDArray[np.generic], lesion_labels: tuple[int, ...], *, name: str
) -> tuple[NDArray[np.uint16], bool]:
    """Levels, and True when the prediction was a mask (whole numbers): voxels of ``lesion_labels`` get the top level.

    Values in [0, 1] with a fraction among them are probabilities. Raises DataError for NaN and for fractions elsewhere.
    """
    values = np.asarray(values_XYZ)
    if np.issubdtype(values.dtype, np.integer) or values.dtype == bool:
        return np.where(np.isin(values, lesion_labels), TOP, 0).astype(np.uint16), True
    floats = values.astype(np.float64)
    if not np.isfinite(floats).all():
        raise DataError(f"A prediction must be finite. Got NaN or infinite voxels in {name}.")
    if (floats == np.rint(floats)).all():
        return np.where(np.isin(floats, lesion_labels), TOP, 0).astype(np.uint16), True
    try:
        return encode(floats), False
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
