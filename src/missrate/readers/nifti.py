"""NIfTI images and labels (.nii, .nii.gz), paired by id: one folder a case, or folders of images and of labels."""

import gzip
import io
import math
import re
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray
from pydantic import Field

from missrate.core.config import Frozen
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.foreign import prediction_of
from missrate.core.grid import Grid, axcodes, to_ras
from missrate.core.types import Entry, Map, Prediction, Scan
from missrate.readers import _dataset_json, _files

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()
"""What the numbers in a map mean differs from set to set, so a study must say it."""

IMAGES = ("imagesTr", "images", "image", "ct")
LABELS = ("labelsTr", "labels", "label", "masks", "segmentations")
ENDINGS = (".nii", ".nii.gz")
EVALSEG = "GroundTruth"
FLIPPED = "#flip="
LEFT_OVER = 2**20
"""Bytes that may follow the voxels."""
MOST_BEFORE = 2**24
"""Bytes that may stand before the voxels."""
LABEL_WORDS = re.compile(r"(mask|label|seg|segmentation|tumou?r|lesion|gt)s?$", re.IGNORECASE)


Pair = tuple[Path | None, Path | None]


class Config(Frozen):
    """``role``: what a flat folder holds. ``patient``: a pattern whose first group is the patient in the case id.

    ``flip_labels``: axes along which label maps are mirrored in RAS+ while their grid stays, such as "y".
    """

    role: Literal["pairs", "images", "labels"] = "pairs"
    images: str | None = None
    labels: str | None = None
    patient: str = Field(default="(.*)", min_length=1)
    flip_labels: str = Field(default="", pattern="^x?y?z?$")


def recognises(root: Path) -> bool:
    """NIfTI files in a known layout, or flat without the .npz of the same name that nnU-Net lays beside them.

    Not what a description makes a set of the Decathlon or of nnU-Net, and not scans beside references of evalseg.
    """
    references = root / EVALSEG
    if _dataset_json.kind(root) or (_files.files(references, ".pkl", ".pkl.gz") and not _nifti_files(references)):
        return False
    flat = {_stem(path) for path in _nifti_files(root)}
    if flat:
        return not flat & {_files.stem(path, ".npz") for path in _files.files(root, ".npz")}
    return root.is_dir() and any(_nifti_files(folder) for folder in root.iterdir() if folder.is_dir())


def find(root: Path, config: Config) -> list[Entry]:
    """Every case below ``root``, sorted by id; an image without a label (or the reverse) has None in its place.

    Layouts: ``images*/ID.nii.gz`` with ``labels*/ID.nii.gz`` (``_0000`` is stripped); ``ID/...image.nii.gz`` with
    ``ID/...mask.nii.gz`` (also label, seg, segmentation); a flat folder, which holds what ``role`` says
    (``labels`` of a folder that is not flat are those of the other layouts).
    Raises DataError when there is nothing, and when two files claim the same id.
    """
    if not root.is_dir():
        raise DataError(f"A NIfTI source must be a folder. Got {root}.")
    pairs: dict[str, Pair]
    if config.role == "pairs":
        pairs = _pairs(root, config)
    elif config.role == "images":
        pairs = {case_id: (path, None) for case_id, path in by_id(root).items()}
    else:
        flat: dict[str, Path | None] = {**by_id(root)} or {k: label for k, (_, label) in _pairs(root, config).items()}
        pairs = {case_id: (None, path) for case_id, path in flat.items() if path is not None}
    if not pairs:
        raise DataError(f"{root} must hold .nii or .nii.gz files in a known layout. Got none; perhaps look deeper.")
    flip = FLIPPED + config.flip_labels if config.flip_labels else ""
    return [entry(case, image, label, config.patient, flip) for case, (image, label) in sorted(pairs.items())]


def load_image(location: str) -> Scan:
    """The voxels in the file's own number type after its scale factors, in RAS+."""
    values, affine = _load(location)
    turned, grid = _turned(values, affine, location)
    return Scan(turned, grid, "hu", axcodes(affine))


def load_map(location: str) -> Map:
    """The label map as integers in RAS+. Raises DataError when a value is not a whole number."""
    path, _, flip = location.partition(FLIPPED)
    values, affine = _load(path)
    if not np.issubdtype(values.dtype, np.integer):
        if not (np.abs(values) < 2**31).all() or (values != np.rint(values)).any():
            raise DataError(f"A label map must hold whole numbers. Got fractions or NaN in {location}.")
        values = values.astype(np.int32)
    turned, grid = _turned(values, affine, path)
    return Map(np.flip(turned, tuple("xyz".index(axis) for axis in flip)) if flip else turned, grid)


def load_reference(location: str) -> Crop:
    """The whole label map. Raises DataError when a value is not a whole number."""
    label = load_map(location)
    return Crop.whole(label.labels_XYZ, label.grid)


def load_prediction(location: str, labels: tuple[int, ...]) -> Prediction:
    """The levels of a mask, or of probabilities, in the smallest box that holds whatever is not 0.

    Floats that are all whole numbers are a mask. Raises DataError for NaN and for fractions outside of [0, 1].
    """
    values, grid = _turned(*_load(location, exact=True), location)
    return prediction_of(values, grid, labels, name=location)


def geometry(location: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine of the file's own axes, before they are turned to RAS+; no voxel is read."""
    header, affine = _opened(Path(location.partition(FLIPPED)[0]))
    return _three(header.get_data_shape(), location), affine


def _pairs(root: Path, config: Config) -> dict[str, Pair]:
    images = _subfolder(root, config.images, IMAGES)
    labels = _subfolder(root, config.labels, LABELS)
    if images is not None or labels is not None:
        left = by_id(images) if images else {}
        right = by_id(labels) if labels else {}
        return {case_id: (left.get(case_id), right.get(case_id)) for case_id in left.keys() | right.keys()}
    found: dict[str, Pair] = {}
    for folder in sorted(path for path in root.iterdir() if _nifti_files(path)):
        case_id = _files.safe_id(folder.name)
        if case_id in found:
            raise DataError(f"Ids must be unique. Got {case_id!r} twice in {root}.")
        found[case_id] = _in_case_folder(folder)
    return found


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


def by_id(folder: Path) -> dict[str, Path]:
    """Files of one folder by case id: the name without its ending and without nnU-Net's channel ``_0000``."""
    result: dict[str, Path] = {}
    for path in _nifti_files(folder):
        case_id = _files.safe_id(_stem(path).removesuffix("_0000"))
        if case_id in result:
            raise DataError(f"Ids must be unique. Got {case_id!r} from {result[case_id].name} and {path.name}.")
        result[case_id] = path
    return result


def _nifti_files(folder: Path) -> list[Path]:
    return _files.files(folder, *ENDINGS)


def _stem(path: Path) -> str:
    return _files.stem(path, *ENDINGS)


def entry(case_id: str, image: Path | None, label: Path | None, patient: str, flip: str = "") -> Entry:
    """A case whose patient is the first group of a pattern that fits its id. Raises DataError where it does not."""
    match = _files.compiled(patient, "patient").match(case_id)
    if match is None or not match.groups():
        raise DataError(f"`patient` must be a pattern with a group that fits each case. Got {patient!r}: {case_id!r}.")
    return Entry(case_id, match.group(1), str(image) if image else None, f"{label}{flip}" if label else None)


def _load(location: str, *, exact: bool = False) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The voxels after their scale factors and the affine; ``exact``: see ``_scaled``."""
    path = Path(location)
    header, affine = _opened(path)
    shape = _three(header.get_data_shape(), location)
    try:
        # Whole: nibabel stops at the last voxel, before the checksum, and a damaged file would pass as a sound one.
        data = _files.read(path, _bytes_needed(header) + LEFT_OVER)
        with np.errstate(all="ignore"):  # scale factors may overflow; whoever needs finite values checks them
            values = _voxels(header, data, exact=exact)
    except DataError as error:
        raise DataError(f"{location} must be a whole NIfTI file. Got: {error}") from error
    except Exception as error:  # nibabel raises a dozen kinds for damaged files
        raise _damaged(location, error) from error
    # In the byte order of this machine: compiled code knows no other.
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.reshape(shape, order="A"), affine


def _voxels(header: Any, data: bytes, *, exact: bool) -> NDArray[Any]:
    """The voxels after their scale factors; not copied where there are none."""
    scaled = header.get_slope_inter() not in ((None, None), (1.0, 0.0))
    if scaled and not exact:
        return np.asanyarray(ArrayProxy(io.BytesIO(data), header))
    shape = header.get_data_shape()
    voxels = np.frombuffer(data, header.get_data_dtype(), math.prod(shape), header.get_data_offset())
    return _scaled(voxels.reshape(shape, order="F"), header) if scaled else voxels.reshape(shape, order="F")


def _scaled(voxels: NDArray[Any], header: Any) -> NDArray[Any]:
    """Whole numbers times their scale factor, as numbers of its type: divided by n where the factor is 1 / n.

    As a float32, 1e-4 makes .7 of 7,000 too little, and 1 / 255 makes more than 1 of 255, which is no probability.
    """
    slope, inter = (header[key][()].astype(header[key].dtype.newbyteorder("=")) for key in ("scl_slope", "scl_inter"))
    parts = round(1.0 / float(slope))
    exact = 1 < parts < 2**22 and slope.dtype.type(1.0 / parts) == slope
    result = np.empty(voxels.shape, slope.dtype, order="F")
    for plane, target in zip(voxels.T, result.T, strict=True):  # no copy of the whole in float64
        target[...] = (plane / parts if exact else plane * float(slope)) + float(inter)
    return result


def _opened(path: Path) -> tuple[Any, NDArray[np.float64]]:
    """nibabel's header, with a promise of plain numbers and of no more than the file can hold, and the affine."""
    try:
        with np.errstate(all="ignore"):
            header = _header_of(path)
            affine = np.asarray(header.get_best_affine(), np.float64)
        needed, kind, offset = _bytes_needed(header), header.get_data_dtype(), header.get_data_offset()
        held = path.stat().st_size * (_files.FLATTEST if path.name.endswith(".gz") else 1)
    except Exception as error:  # nibabel raises a dozen kinds for damaged files
        raise _damaged(str(path), error) from error
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise DataError(f"{path} must hold plain numbers. Got {kind}; perhaps colours or complex numbers.")
    if not header.single_vox_offset <= offset <= MOST_BEFORE:
        raise DataError(f"{path} must be one file, the voxels soon after the header. Got voxels at byte {offset}.")
    if not 0 < needed <= held:
        raise DataError(f"{path} must be a whole NIfTI file. Got fewer bytes than its header says.")
    return header, affine


def _header_of(path: Path) -> Any:
    """The header alone, unlike ``nib.load``: what follows it before the voxels can promise to be of any size."""
    with path.open("rb") as file:
        begin = io.BytesIO(file.read(_files.WINDOW))  # gzip looks through padding of any length, byte by byte
    stream = gzip.GzipFile(fileobj=begin) if path.name.endswith(".gz") else begin
    head = stream.read(4)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if head in (kind.sizeof_hdr.to_bytes(4, "little"), kind.sizeof_hdr.to_bytes(4, "big")):
            return kind(head + stream.read(kind.sizeof_hdr - 4))
    raise ValueError("no header of NIfTI")


def _bytes_needed(header: Any) -> int:
    voxels = math.prod(int(n) for n in header.get_data_shape())
    return int(header.get_data_offset()) + voxels * int(header.get_data_dtype().itemsize)


def _damaged(location: str, error: Exception) -> DataError:
    return DataError(f"{location} must be a whole NIfTI file. Got: {error or type(error).__name__}.")


def _three(shape: tuple[int, ...], location: str) -> tuple[int, ...]:
    """The shape without trailing axes of one, which are common in exports and lose nothing."""
    kept = shape
    while len(kept) > 3 and kept[-1] == 1:
        kept = kept[:-1]
    if len(kept) != 3 or min(kept) < 1:
        raise DataError(f"{location} must have three axes. Got shape {shape}.")
    return kept


def _turned(values: NDArray[Any], affine: NDArray[np.float64], location: str) -> tuple[NDArray[Any], Grid]:
    try:
        return to_ras(values, affine)
    except DataError as error:
        raise type(error)(f"{location}: {error}") from error
