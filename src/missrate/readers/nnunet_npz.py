"""Probabilities of nnU-Net: CASE.npz, one channel a class, on the grid of the NIfTI file CASE.nii.gz beside it.

Channels are labels, the first one the background, and exclude each other; or regions, which overlap, without a
background. Which it is stands in the ``dataset.json`` that nnU-Net lays beside its predictions; without one only
channels that sum to 1 are read, as labels from 0 on.

Both generations are read: `probabilities` of version 2 and `softmax` of version 1, each (C, Z, Y, X). The pickle that
lies beside them is never opened. Version 1 may have kept only the part of the scan that it looked at, and where that
lies stands in the pickle alone: such a file is refused.
"""

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.config import Frozen
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.foreign import levels_of_probability
from missrate.core.grid import to_ras
from missrate.core.types import Entry, Map, Prediction, Scan
from missrate.readers import _arrays, _dataset_json, _files, nifti

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()

KEYS = ("probabilities", "softmax")
ROUNDING = 5e-3
"""By how much a sum of half-precision probabilities may exceed 1."""
EVERY = set(range(1, 256))
APART = 0.02
"""By how much the sum of channels that exclude each other may differ from 1, resampled and in half precision."""


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
    """The levels of the probability of lesion: the sum over the channels ``labels``, or the region that they make up.

    Raises DataError for another shape than the NIfTI file's, for labels that no channels stand for, for channels that
    are neither described nor exclude each other, and for damage.
    """
    path = Path(location)
    scan = _beside(path)
    if scan is None:
        raise DataError(f"{path} must have its NIfTI file beside it. Got no {path.stem}.nii.gz.")
    shape, affine = nifti.geometry(str(scan))
    with _arrays.npz(path, KEYS) as (header, stream):
        _require_shape(header, shape, path)
        described = _dataset_json.channels(_dataset_json.describing(path.parent) or {})
        held = described or [(number,) for number in range(header.shape[0])]
        wanted = _wanted(held, labels, header.shape[0], path)
        total_ZYX, everything_ZYX = _summed(stream, header, wanted, path)
    if not described:
        _require_exclusive(everything_ZYX, header.shape[0], path)
    # Only what rounding explains is put right: a greater sum is refused below.
    np.minimum(total_ZYX, 1.0, out=total_ZYX, where=total_ZYX <= 1.0 + ROUNDING)
    turned_XYZ, grid = to_ras(total_ZYX.transpose(), affine)
    return Prediction(Crop.whole(levels_of_probability(turned_XYZ, name=str(path)), grid), "probability")


def _wanted(held: list[tuple[int, ...]], labels: tuple[int, ...], count: int, path: Path) -> list[int]:
    """The channels whose sum is the probability of the labels. Raises DataError where there are none."""
    if len(held) != count:
        raise DataError(
            f"{path} must have a channel for each of the {len(held)} classes of its dataset.json. Got {count}; perhaps "
            "that file belongs to another model."
        )
    every = {number for values in held for number in values} - {0}
    # All labels that there may be stand for whatever is predicted, where nobody could name one.
    lesion = every if set(labels) == EVERY else set(labels)
    region = [channel for channel, values in enumerate(held) if set(values) == lesion]
    if region and 0 not in lesion:
        return region[:1]
    if all(len(values) == 1 for values in held) and lesion and lesion <= every:
        return [channel for channel, values in enumerate(held) if values[0] in lesion]
    known = ", ".join("+".join(map(str, values)) for values in held)
    raise DataError(f"{path} must have a channel for each of {sorted(set(labels))}. Got {count}, for {known}.")


def _summed(
    stream: IO[bytes], header: _arrays.Header, wanted: list[int], path: Path
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The sum of the wanted channels, of one alone in its own type, and the sum of all, (Z, Y, X)."""
    kind = header.dtype.newbyteorder("=") if len(wanted) == 1 else np.dtype(np.float32)
    total_ZYX: NDArray[Any] = np.zeros(header.shape[1:], kind)
    everything_ZYX = np.zeros(header.shape[1:], np.float32)
    for channel in range(header.shape[0]):
        values_ZYX = _arrays.values_of(stream, header.shape[1:], header, name=str(path))
        everything_ZYX += values_ZYX
        if channel in wanted:
            total_ZYX += values_ZYX
    return total_ZYX, everything_ZYX


def _require_exclusive(everything_ZYX: NDArray[np.float32], count: int, path: Path) -> None:
    """Raises DataError for channels that do not sum to 1: regions, whose order nothing tells, or a part of them."""
    off_ZYX = np.abs(everything_ZYX - 1.0) > APART
    if count < 2 or off_ZYX.any():
        worst = float(everything_ZYX[off_ZYX].max()) if off_ZYX.any() else 1.0
        raise DataError(
            f"{path} must have channels that sum to 1, or a dataset.json beside it that names them. Got {count} that "
            f"sum to {worst:.3g}; perhaps they are regions: copy the dataset.json of the model there."
        )


def geometry(location: str) -> tuple[tuple[int, ...], NDArray[np.float64]] | None:
    """Shape and affine of the NIfTI file beside it, before that is turned to RAS+; None without one."""
    scan = _beside(Path(location))
    return None if scan is None else nifti.geometry(str(scan))


def beside(location: str) -> list[Path]:
    """The NIfTI file, which says where the probabilities lie, and the description of the channels."""
    path = Path(location)
    scan, described = _beside(path), _dataset_json.where_described(path.parent)
    named = [] if described is None else [described / _dataset_json.NAME]
    return named if scan is None else [scan, *named]


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
