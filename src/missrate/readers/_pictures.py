"""One picture to numbers: PNG, JPEG, TIFF by Pillow, and plain arrays; and how a picture lies in a scan.

Shape letters: a picture is NYX, N pages of rows from anterior to posterior and columns from the patient's right to
left, as radiologists look at it. A scan is XYZ in RAS+.
"""

import math
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError
from missrate.readers import _arrays

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".PNG", ".JPG", ".JPEG", ".TIF", ".TIFF")
ARRAYS = (".npy", ".npz")
AXCODES = "LPS"
"""Columns run to the patient's left, rows to posterior, slice numbers to the head."""
MOST_PIXELS = 2**28
FORMATS = ("PNG", "JPEG", "TIFF")
DEPTHS = {"1": "?", "L": "u1", "P": "u1", "I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}
"""Pillow's modes with one number a pixel."""


def to_scan(pages_NYX: NDArray[Any]) -> NDArray[Any]:
    """Pages, the first nearest to the feet, as an array XYZ in RAS+; ``to_pages`` is the inverse."""
    return pages_NYX.transpose(2, 1, 0)[::-1, ::-1, :]


def to_pages(values_XYZ: NDArray[Any]) -> NDArray[Any]:
    """An array XYZ in RAS+ as pages NYX."""
    return values_XYZ[::-1, ::-1, :].transpose(2, 1, 0)


def read(path: Path, *, palette: bool = False, channel: int | None = None) -> NDArray[Any]:
    """The pages NYX of a picture or of a .npy. Colours whose channels are equal are grey.

    ``palette``: the numbers of a palette are what counts (masks). ``channel`` takes one of the three numbers of each
    pixel, where colours are sequences. EXIF's orientation is not applied: pixels count as they are stored. Raises
    DataError for damage, other colours, transparency, animations, and more than 2**28 pixels; with a ``channel`` also
    for what has none.
    """
    if channel is not None and path.suffix in ARRAYS:
        raise DataError(f"{path} must be a picture in colours, as `channel` was given. Got an array.")
    if path.suffix == ".npy":
        with _arrays.npy(path) as (header, stream):
            return _pages(header, stream, path)
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; bombs are refused by size below
            with Image.open(path, formats=FORMATS) as picture:
                return _decoded(picture, path, palette=palette, channel=channel)
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise DataError(f"{path} must be a whole picture. Got: {type(error).__name__}.") from error


def _decoded(picture: Any, path: Path, *, palette: bool, channel: int | None) -> NDArray[Any]:
    frames = int(getattr(picture, "n_frames", 1))
    if frames * math.prod(picture.size) > MOST_PIXELS:
        raise DataError(f"{path} must have at most {MOST_PIXELS} pixels. Got {frames} x {picture.size}.")
    if frames > 1 and picture.format != "TIFF":
        raise DataError(f"{path} must be one picture. Got an animation of {frames}.")
    pages: list[NDArray[Any]] = []
    for frame in range(frames):
        picture.seek(frame)
        if pages and (picture.size[1], picture.size[0]) != pages[0].shape:  # before it is decoded: it may be a bomb
            raise DataError(f"The pages of {path} must have one size. Got several.")
        picture.load()
        pages.append(_grey(picture, path, palette=palette, channel=channel))
    return np.stack(pages)


def _grey(picture: Any, path: Path, *, palette: bool, channel: int | None) -> NDArray[Any]:
    mode = picture.mode
    if channel is not None and mode not in ("RGB", "RGBA"):
        raise DataError(f"{path} must be a picture in colours, as `channel` was given. Got the mode {mode}.")
    if mode in DEPTHS and (mode != "P" or palette):
        values = np.asarray(picture)
        return values.astype(np.uint8) if values.dtype == np.bool_ else values
    if mode == "P":
        picture, mode = picture.convert("RGB"), "RGB"
    if mode not in ("RGB", "RGBA", "LA"):
        raise DataError(f"{path} must be a grey picture. Got the mode {mode}.")
    channels_YXC = np.asarray(picture)
    if mode in ("RGBA", "LA"):
        if (channels_YXC[..., -1] != 255).any():
            raise DataError(f"{path} must be opaque. Got transparent pixels.")
        channels_YXC = channels_YXC[..., :-1]
    if channel is not None:
        return np.ascontiguousarray(channels_YXC[..., channel])
    if (channels_YXC != channels_YXC[..., :1]).any():
        raise DataError(
            f"{path} must be grey. Got colours; perhaps "
            + (
                ""
                if palette
                else "its three channels are sequences: choose one by `channel` (--option channel=flair). Or "
            )
            + "a colour map was applied when it was written, and then its numbers are lost: export it again."
        )
    return np.ascontiguousarray(channels_YXC[..., 0])


def npz_names(path: Path) -> list[str]:
    """The names of the arrays in a .npz; none of a file that is no such archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def read_npz(path: Path, name: str) -> NDArray[Any]:
    """The pages NYX of one array of a .npz. Raises DataError."""
    with _arrays.npz(path, (name,)) as (header, stream):
        return _pages(header, stream, path)


def _pages(header: _arrays.Header, stream: IO[bytes], path: Path) -> NDArray[Any]:
    """Refused by shape, before a number is read: a .npz unzips to a thousand times its size."""
    if len(header.shape) not in (2, 3) or math.prod(header.shape) > MOST_PIXELS:
        raise DataError(f"{path} must be a picture, or pages of one, of at most {MOST_PIXELS}. Got {header.shape}.")
    values = _arrays.values_of(stream, header.shape, header, name=str(path))
    return values if values.ndim == 3 else values[None]


def size(path: Path, name: str = "image") -> tuple[int, ...]:
    """Rows and columns as the file's header says, without keeping pixels; of a .npz those of the array ``name``.

    Raises DataError.
    """
    if path.suffix in ARRAYS:
        with _arrays.npz(path, (name,)) if path.suffix == ".npz" else _arrays.npy(path) as (header, stream):
            while path.suffix == ".npz" and stream.read(2**20):
                pass  # to the end, where its checksum is
            return header.shape[-2:]
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as picture:
                return int(picture.size[1]), int(picture.size[0])
    except Exception as error:  # as in read
        raise DataError(f"{path} must be a whole picture. Got: {type(error).__name__}.") from error
