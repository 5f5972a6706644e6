"""A slice as the original experiment exported it: kept so that its cost can be measured."""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

JPEG_QUALITY = 75
"""The default of the library that wrote the original's pictures."""


def as_picture(hu_CXY: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each slice scaled by its own least and greatest HU to 8 bits, coloured by viridis, through JPEG, as red, green,
    blue: (3 C, X, Y) in [0, 1]. A slice of one value is the darkest colour.

    A metal clip or a bright bone in the slice takes the contrast of everything else; JPEG takes more.
    """
    return np.concatenate([_one(hu_XY) for hu_XY in hu_CXY])


def _one(hu_XY: NDArray[np.float32]) -> NDArray[np.float32]:
    from PIL import Image

    low, high = float(hu_XY.min()), float(hu_XY.max())
    grey_XY = np.rint((hu_XY - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(_viridis()[grey_XY]).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    seen_XYC = np.asarray(Image.open(buffer), np.float32) / np.float32(255.0)
    return np.ascontiguousarray(seen_XYC.transpose(2, 0, 1))


@lru_cache(maxsize=1)
def _viridis() -> NDArray[np.uint8]:
    """(256, 3)."""
    import matplotlib as mpl

    table: NDArray[np.float64] = mpl.colormaps["viridis"](np.arange(256))
    return np.rint(table[:, :3] * 255).astype(np.uint8)
