"""Masks and probability or detection maps without geometry: CASE.npy, or CASE.npz with one array.

Such a file knows neither millimetres nor directions: its grid is "pixels only", and its voxels fit the reference's as
they lie in the reference's file, before that is turned to RAS+.
"""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from missrate.core.config import Frozen
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.foreign import prediction_of
from missrate.core.grid import Grid
from missrate.core.types import Entry, Map, Prediction, Scan
from missrate.readers import _arrays, _files, slices

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()

ENDINGS = (".npy", ".npz")
MOST_VOXELS = 2**30
XYZ = "#xyz"


class Config(Frozen):
    """``order``: the axes of the arrays; SimpleITK, and so PI-CAI's detection maps, write ZYX, nibabel writes XYZ."""

    order: Literal["zyx", "xyz"] = "zyx"


def recognises(root: Path) -> bool:
    """Any .npy, or any .npz without the NIfTI file that nnU-Net lays beside its own; no slices with their masks."""
    if slices.recognises(root):
        return False
    archives = {_files.stem(path, ".npz") for path in _files.files(root, ".npz")}
    scans = {_files.stem(path, ".nii", ".nii.gz") for path in _files.files(root, ".nii", ".nii.gz")}
    return bool(_files.files(root, ".npy") or archives - scans)


def find(root: Path, config: Config) -> list[Entry]:
    """Every file of the folder, sorted; the case id is its name. Raises DataError when there is none."""
    order = XYZ if config.order == "xyz" else ""
    return [Entry(case, case, None, f"{path}{order}") for case, path in _files.by_id(root, *ENDINGS).items()]


def load_image(location: str) -> Scan:
    """Raises DataError: an array without geometry is no scan."""
    raise DataError(f"A plain array must serve as a label or a prediction. Got {location} as an image.")


def load_map(location: str) -> Map:
    """The label map, pixels only, not turned. Raises DataError when a value is not a whole number."""
    crop = load_reference(location)
    return Map(crop.values_XYZ, crop.grid)


def load_reference(location: str) -> Crop:
    """The whole label map, pixels only, not turned. Raises DataError when a value is not a whole number."""
    values = _values(location)
    if values.dtype.kind == "f":
        if not (np.abs(values) < 2**31).all() or (values != np.rint(values)).any():
            raise DataError(f"A label map must hold whole numbers. Got fractions or NaN in {location}.")
        values = values.astype(np.int32)
    return Crop.whole(values, Grid.of(values.shape, None))


def load_prediction(location: str, labels: tuple[int, ...]) -> Prediction:
    """The levels in the smallest box that holds whatever is not 0; pixels only, not turned."""
    values = _values(location)
    return prediction_of(values, Grid.of(values.shape, None), labels, name=location)


def _values(location: str) -> NDArray[Any]:
    """The array as XYZ."""
    path = _files.file_of(location)
    with _arrays.npz(path, None) if path.suffix == ".npz" else _arrays.npy(path) as (header, stream):
        if len(header.shape) != 3 or math.prod(header.shape) > MOST_VOXELS:
            raise DataError(f"{path} must have three axes and at most {MOST_VOXELS} voxels. Got {header.shape}.")
        values = _arrays.values_of(stream, header.shape, header, name=str(path))
    return values if location.endswith(XYZ) else values.transpose()
