"""The null arms: what one gets without a model. An arm that does not beat the location prior has learned nothing.

The frame is the scan's whole field of view in relative coordinates: each axis of the RAS+ array is divided into equal
parts, 48 x 48 x 24 of them. A position in it means "so far from the edge of the image", not a place in the body, so
the prior is strong where scans are cut around the lesion or the organ, and weak where they are not.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import InputError, UnknownNameError
from missrate.core.grid import Grid, resample
from missrate.core.quantise import TOP, encode
from missrate.core.types import LESION

NULL_ARMS = ("nothing", "everything", "location_prior")
FRAME = (48, 48, 24)
"""Boxes along X, Y and Z: finer than most lesions, coarse enough for tens of training scans."""


def fit_prior(labels: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """The mean lesion mask of the training scans in the frame, shape FRAME, in [0, 1].

    ``labels`` are label_XYZ on native grids of any shape (1 is lesion, anything else is not), read one at a time.
    Scans count equally, healthy ones too. Raises InputError without any.
    """
    total, count = np.zeros(FRAME, np.float64), 0
    for label_XYZ in labels:
        total += resample((label_XYZ == LESION).astype(np.float32), FRAME)
        count += 1
    if count == 0:
        raise InputError("A location prior must be fitted to at least one training scan. Got none.")
    return np.clip(total / count, 0.0, 1.0).astype(np.float32)


def predict_null(name: str, grid: Grid, prior: NDArray[np.float32] | None) -> NDArray[np.uint16]:
    """Levels on the grid: 0 everywhere, the top level everywhere, or the prior stretched over the field of view.

    Raises UnknownNameError for another name, InputError for a location prior without ``prior``.
    """
    if name == "nothing":
        return np.zeros(grid.shape, np.uint16)
    if name == "everything":
        return np.full(grid.shape, TOP, np.uint16)
    if name != "location_prior":
        raise UnknownNameError(f"A null arm must be one of {', '.join(NULL_ARMS)}. Got {name!r}.")
    if prior is None:
        raise InputError("location_prior must get the prior of fit_prior. Got none.")
    return encode(np.clip(resample(prior, grid.shape), 0.0, 1.0))
