"""Probabilities of nnU-Net: CASE.npz, one channel a label, on the grid of the NIfTI file CASE.nii.gz beside it.

Both generations are read: `probabilities` of version 2 and `softmax` of version 1, each (C, Z, Y, X). The pickle that
lies beside them is never opened. Version 1 may have kept only the part of the scan that it looked at, and where that
lies stands in the pickle alone: such a file is refused.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.config import Frozen
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.foreign import levels_of_probability
from missrate.core.grid import to_ras
from missrate.core.types import Entry, Map, Prediction, Scan
from missrate.readers import _arrays, _files, nifti

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()

KEYS = ("probabilities", "softmax")
ROUNDING = 5e-3
"""By how much a sum of half-precision probabilities may exceed 1."""


class Config(Frozen):
    """Nothing to set: a folder as nnU-Net writes it with its option to save probabilities."""


def recognises(root: Path) -> bool:
    """A .npz with a NIfTI file of the same name beside it."""
    return any(_beside(path) for path in _files.files(root, ".npz"))


def find(root: Path, config: Config) -> list[Entry]:  # noqa: ARG001
    """Every .npz of the folder, sorted; the case id is its name. Raises DataError when there is none."""
    return [Entry(case_id, case_id, None, str(path)) for case_id, path in _files.by_id(root, ".npz").items()]


def load_image(location: str) -> Scan:
    """Raises DataError: probabilities are no image."""
    raise DataError(f"Probabilities must serve as a prediction. Got {location} as an image.")


def load_map(location: str) -> Map:
    """Raises DataError: probabilities are no label map."""
    raise DataError(f"Probabilities must serve as a prediction. Got {location} as a label map.")


def load_prediction(location: str, labels: tuple[int, ...]) -> Prediction:
    """The levels of the probability of lesion, the sum over the channels ``labels``.

    Raises DataError for another shape than the NIfTI file's, for a label that has no channel, and for damage.
    """
    path = Path(location)
    scan = _beside(path)
    if scan is None:
        raise DataError(f"{path} must have its NIfTI file beside it. Got no {path.stem}.nii.gz.")
    shape, affine = nifti.geometry(str(scan))
    with _arrays.npz(path, KEYS) as (header, stream):
        _require_shape(header, shape, path)
        wanted = sorted(set(labels))
        if not wanted or wanted[0] < 1 or wanted[-1] >= header.shape[0]:
            raise DataError(f"{path} must have a channel for each of {wanted}. Got {header.shape[0]}, the first for 0.")
        total_ZYX: NDArray[Any] = np.zeros(header.shape[1:], np.float32)
        for channel in range(header.shape[0]):
            values_ZYX = _arrays.values_of(stream, header.shape[1:], header, name=str(path))
            if channel in wanted:
                total_ZYX += values_ZYX
    # Only what rounding explains is put right: a greater sum is refused below.
    np.minimum(total_ZYX, 1.0, out=total_ZYX, where=total_ZYX <= 1.0 + ROUNDING)
    turned_XYZ, grid = to_ras(total_ZYX.transpose(), affine)
    return Prediction(Crop.whole(levels_of_probability(turned_XYZ, name=str(path)), grid), "probability")


def geometry(location: str) -> tuple[tuple[int, ...], NDArray[np.float64]] | None:
    """Shape and affine of the NIfTI file beside it, before that is turned to RAS+; None without one."""
    scan = _beside(Path(location))
    return None if scan is None else nifti.geometry(str(scan))


def beside(location: str) -> list[Path]:
    """The NIfTI file, which says where the probabilities lie."""
    scan = _beside(Path(location))
    return [] if scan is None else [scan]


def _require_shape(header: _arrays.Header, shape: tuple[int, ...], path: Path) -> None:
    if len(header.shape) != 4 or header.dtype.kind != "f" or header.fortran:
        raise DataError(f"{path} must hold fractions on the axes CZYX, in C order. Got {header.dtype} {header.shape}.")
    if header.shape[1:] != shape[::-1]:
        cropped = math.prod(header.shape[1:]) < math.prod(shape)
        perhaps = "; perhaps it was cropped, and where, only a pickle knows: export it at full size" if cropped else ""
        raise DataError(f"{path} must have the shape {shape[::-1]} of its NIfTI file. Got {header.shape[1:]}{perhaps}.")


def _beside(path: Path) -> Path | None:
    """The NIfTI file of the same case."""
    named = (path.with_name(f"{path.stem}{ending}") for ending in (".nii.gz", ".nii"))
    return next((scan for scan in named if scan.is_file()), None)
