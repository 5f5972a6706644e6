"""NIfTI images and labels (.nii, .nii.gz), paired by id: one folder a case, or folders of images and of labels."""

import re
import zlib
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray
from pydantic import Field

from missrate.core.config import Frozen
from missrate.core.errors import DataError
from missrate.core.grid import Grid, axcodes, to_ras
from missrate.core.types import Entry, Map, Scan

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()
"""What the numbers in a map mean differs from set to set, so a study must say it."""

IMAGES = ("imagesTr", "images", "image", "ct")
LABELS = ("labelsTr", "labels", "label", "masks", "segmentations")
LABEL_WORDS = re.compile(r"(mask|label|seg|segmentation|tumou?r|lesion|gt)s?$", re.IGNORECASE)


Pair = tuple[Path | None, Path | None]


class Config(Frozen):
    """``role``: what a flat folder holds. ``patient``: a pattern whose first group is the patient in the case id."""

    role: Literal["pairs", "images", "labels"] = "pairs"
    images: str | None = None
    labels: str | None = None
    patient: str = Field(default="(.*)", min_length=1)


def find(root: Path, config: Config) -> list[Entry]:
    """Every case below ``root``, sorted by id; an image without a label (or the reverse) has None in its place.

    Layouts: ``images*/ID.nii.gz`` with ``labels*/ID.nii.gz`` (``_0000`` is stripped); ``ID/...image.nii.gz`` with
    ``ID/...mask.nii.gz`` (also label, seg, segmentation); a flat folder, which holds what ``role`` says.
    Raises DataError when there is nothing, and when two files claim the same id.
    """
    if not root.is_dir():
        raise DataError(f"A NIfTI source must be a folder. Got {root}.")
    pairs: dict[str, Pair]
    if config.role == "pairs":
        pairs = _pairs(root, config)
    elif config.role == "images":
        pairs = {case_id: (path, None) for case_id, path in _by_id(root).items()}
    else:
        pairs = {case_id: (None, path) for case_id, path in _by_id(root).items()}
    if not pairs:
        raise DataError(f"{root} must hold .nii or .nii.gz files in a known layout. Got none; perhaps look deeper.")
    return [_entry(case_id, image, label, config.patient) for case_id, (image, label) in sorted(pairs.items())]


def load_image(location: str) -> Scan:
    """The voxels in the file's own number type after its scale factors, in RAS+."""
    values, affine = _load(location)
    turned, grid = _turned(values, affine, location)
    return Scan(turned, grid, "hu", axcodes(affine))


def load_map(location: str) -> Map:
    """The label map as integers in RAS+. Raises DataError when a value is not a whole number."""
    values, affine = _load(location)
    if not np.issubdtype(values.dtype, np.integer):
        if not np.isfinite(values).all() or (values != np.rint(values)).any():
            raise DataError(f"A label map must hold whole numbers. Got fractions or NaN in {location}.")
        values = values.astype(np.int32)
    turned, grid = _turned(values, affine, location)
    return Map(turned, grid)


def _pairs(root: Path, config: Config) -> dict[str, Pair]:
    images = _subfolder(root, config.images, IMAGES)
    labels = _subfolder(root, config.labels, LABELS)
    if images is not None or labels is not None:
        left = _by_id(images) if images else {}
        right = _by_id(labels) if labels else {}
        return {case_id: (left.get(case_id), right.get(case_id)) for case_id in left.keys() | right.keys()}
    return {folder.name: _in_case_folder(folder) for folder in root.iterdir() if _nifti_files(folder)}


def _in_case_folder(folder: Path) -> Pair:
    """Image and label of one case folder, told apart by the last word of their names."""
    files = _nifti_files(folder)
    labels = [path for path in files if LABEL_WORDS.search(_stem(path))]
    images = [path for path in files if path not in labels]
    if len(labels) > 1 or len(images) > 1:
        names = ", ".join(path.name for path in files)
        raise DataError(f"{folder} must hold one image and one label. Got {names}; perhaps name `images` and `labels`.")
    return (images[0] if images else None), (labels[0] if labels else None)


def _subfolder(root: Path, named: str | None, known: tuple[str, ...]) -> Path | None:
    if named is not None:
        if not (root / named).is_dir():
            raise DataError(f"{root / named} must be a folder. Got none of that name.")
        return root / named
    return next((root / name for name in known if (root / name).is_dir()), None)


def _by_id(folder: Path) -> dict[str, Path]:
    """Files of one folder by case id: the name without its ending and without nnU-Net's channel ``_0000``."""
    result: dict[str, Path] = {}
    for path in _nifti_files(folder):
        case_id = _stem(path).removesuffix("_0000")
        if case_id in result:
            raise DataError(f"Ids must be unique. Got {case_id!r} from {result[case_id].name} and {path.name}.")
        result[case_id] = path
    return result


def _nifti_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.endswith((".nii", ".nii.gz")) and not p.name.startswith("."))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _entry(case_id: str, image: Path | None, label: Path | None, patient: str) -> Entry:
    match = re.match(patient, case_id)
    if match is None or not match.groups():
        raise DataError(f"`patient` must be a pattern with a group that fits each case. Got {patient!r}: {case_id!r}.")
    return Entry(case_id, match.group(1), str(image) if image else None, str(label) if label else None)


def _load(location: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    try:
        image = nib.load(location)
        values = np.asanyarray(image.dataobj)
        affine = np.asarray(image.affine, np.float64)
    except (OSError, EOFError, ImageFileError, HeaderDataError, ValueError, zlib.error) as error:
        raise DataError(f"{location} must be a whole NIfTI file. Got: {error or type(error).__name__}.") from error
    # A trailing axis of one is common in exports and loses nothing.
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise DataError(f"{location} must have three axes. Got shape {values.shape}.")
    return values, affine


def _turned(values: NDArray[Any], affine: NDArray[np.float64], location: str) -> tuple[NDArray[Any], Grid]:
    try:
        return to_ras(values, affine)
    except DataError as error:
        raise type(error)(f"{location}: {error}") from error
