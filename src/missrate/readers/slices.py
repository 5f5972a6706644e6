"""Axial slices as pictures (PNG, JPEG, TIFF) or arrays (.npy, .npz), with masks beside them.

File names give patient and slice number, or each patient has a folder. Slices of one patient become one scan where they
have one size and consecutive numbers; otherwise each slice is a case of its own, and they stay together by their
patient.
"""

import hashlib
import itertools
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, model_validator

from missrate.core.config import Frozen
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.foreign import prediction_of
from missrate.core.grid import Grid
from missrate.core.types import Entry, Map, Prediction, Scan
from missrate.readers import _files, _pictures, _slice_pairs
from missrate.readers._pictures import AXCODES, PICTURES
from missrate.readers._slice_pairs import PATTERN

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()

CHANNELS = {"red": 0, "green": 1, "blue": 2, "pre": 0, "flair": 1, "post": 2}
"""The last three are those of the LGG set: before contrast medium, FLAIR, and after it."""
MOST_VALUES = 32
"""A mask with more different values is no mask: most are JPEGs, which blur it."""
OWN_VALUES = ("mask", "label", "labels", "seg")
"""Names of arrays in a .npz that hold a label map as it is."""


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Npz(Frozen):
    """Which arrays of a .npz hold the image, and the masks: name to label value; of two the later one wins."""

    image: str = "image"
    labels: dict[str, Annotated[int, Field(ge=1, le=255)]] = Field(default_factory=lambda: {"organ": 1, "lesion": 2})


class Config(Frozen):
    """``hu_range``: HU of black and of white, for pictures that were windowed from CT; without it they are grey.

    ``pattern``: fits a whole name without its ending, with the groups ``patient`` and ``slice``. ``spacing_mm``: x, y,
    z; without it the grid knows pixels only. ``stack``: ``scan`` refuses gaps, ``slice`` never stacks.
    ``mask_threshold``: masks are 1 from this value upwards. ``channel``: which of the three numbers of a pixel is the
    image where colours are sequences: 0, 1, 2, or a name of ``CHANNELS``. ``role``: what a flat folder holds.
    """

    role: Literal["pairs", "labels"] = "pairs"
    images: str | None = None
    labels: str | None = None
    hu_range: tuple[FiniteFloat, FiniteFloat] | None = None
    pattern: str = PATTERN
    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    stack: Literal["auto", "scan", "slice"] = "auto"
    mask_threshold: float | None = None
    channel: Literal[0, 1, 2, "red", "green", "blue", "pre", "flair", "post"] | None = None
    npz: Npz = Npz()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.hu_range is not None and self.hu_range[0] >= self.hu_range[1]:
            raise ValueError("hu_range must be (black, white) with black < white")
        return self

    @property
    def channel_index(self) -> int | None:
        """``channel`` as a number."""
        return CHANNELS[self.channel] if isinstance(self.channel, str) else self.channel


@dataclass(frozen=True, slots=True)
class _Slice:
    """One slice: the files that hold image and mask (the same .npz for both)."""

    patient: str
    number: int
    name: str
    image: Path | None
    label: Path | None


def recognises(root: Path) -> bool:
    """Pictures, or arrays in pairs: flat, in folders of images and of masks, or in a folder for each patient."""
    if _files.files(root, *PICTURES) or _slice_pairs.paired(_files.files(root, ".npy")):
        return True
    archives = _files.files(root, ".npz")
    if archives:
        return "image" in _pictures.npz_names(archives[0])
    return _slice_pairs.recognises(root)


def find(root: Path, config: Config) -> list[Entry]:
    """Every case below ``root``, sorted by id; an image without a mask (or the reverse) has None in its place.

    Raises DataError when there is nothing, when two files claim one slice, or when the pattern does not fit a name.
    """
    cases, _ = _cases(root, config)
    return [_entry(case_id, slices, config) for case_id, slices in sorted(cases.items())]


def notes(root: Path, config: Config) -> list[str]:
    """How slices became cases, and of whom."""
    left_out = _slice_pairs.left_out(root)
    return [*_cases(root, config)[1], *([left_out] if left_out else [])]


def label_names(root: Path) -> dict[int, str]:
    """Of .npz with arrays called organ and lesion."""
    names = {name for path in _files.files(root, ".npz") for name in _pictures.npz_names(path)}
    return {value: name for name, value in Npz().labels.items() if name in names}


def load_image(location: str) -> Scan:
    """HU where ``hu_range`` says what black and white are, or of arrays with a sign; else grey. RAS+."""
    about = json.loads(location)
    config = Config(**about["config"])
    pages = [_image_pages(Path(name), config) for name in about["files"]]
    pages_NYX = _joined([page for page, _ in pages], about["files"])
    values_XYZ = _pictures.to_scan(pages_NYX)
    return Scan(values_XYZ, _grid(values_XYZ.shape, config), "hu" if all(hu for _, hu in pages) else "grey", AXCODES)


def load_map(location: str) -> Map:
    """The label map as uint8 in RAS+. Raises DataError for what is no mask."""
    about = json.loads(location)
    config = Config(**about["config"])
    pages_NYX = _joined([_mask_pages(Path(name), config) for name in about["files"]], about["files"])
    values_XYZ = _pictures.to_scan(pages_NYX)
    return Map(values_XYZ, _grid(values_XYZ.shape, config))


def load_reference(location: str) -> Crop:
    """The whole label map."""
    label = load_map(location)
    return Crop.whole(label.labels_XYZ, label.grid)


def load_prediction(location: str, labels: tuple[int, ...]) -> Prediction:
    """The levels of a mask; always a mask, since a grey picture of probabilities has lost what it was scaled by."""
    label = load_map(location)
    return prediction_of(label.labels_XYZ, label.grid, labels, name=json.loads(location)["files"][0])


def _image_pages(path: Path, config: Config) -> tuple[NDArray[Any], bool]:
    """Pages, and whether they are HU."""
    archive = path.suffix == ".npz"
    pages_NYX = (
        _pictures.read_npz(path, config.npz.image) if archive else _pictures.read(path, channel=config.channel_index)
    )
    if pages_NYX.dtype.kind not in "iuf":
        raise DataError(f"{path} must hold real numbers. Got {pages_NYX.dtype}.")
    if pages_NYX.dtype.kind != "u":  # numbers with a sign are no brightness
        if config.hu_range is not None:
            raise DataError(
                f"`hu_range` must come with whole numbers without a sign. Got {pages_NYX.dtype} in {path}; such arrays "
                "count as HU without it."
            )
        return pages_NYX, True
    if config.hu_range is None:
        return pages_NYX, False
    low, high = config.hu_range
    # In float64, so that 16 bits that were written without loss come back without loss.
    return (pages_NYX / float(np.iinfo(pages_NYX.dtype).max) * (high - low) + low).astype(np.float32), True


def _mask_pages(path: Path, config: Config) -> NDArray[np.uint8]:
    if path.suffix == ".npz":
        return _npz_mask(path, config)
    pages_NYX = _pictures.read(path, palette=True)
    if config.mask_threshold is not None:
        return (pages_NYX >= config.mask_threshold).astype(np.uint8)
    return _labels(pages_NYX, path)


def _npz_mask(path: Path, config: Config) -> NDArray[np.uint8]:
    names = _pictures.npz_names(path)
    own = [name for name in OWN_VALUES if name in names and name not in config.npz.labels]
    known = [name for name in config.npz.labels if name in names]
    if not (own or known):
        wanted = ", ".join([*config.npz.labels, *OWN_VALUES])
        raise DataError(f"{path} must hold a mask named {wanted}. Got {', '.join(names[:8]) or 'no arrays'}.")
    result: NDArray[np.uint8] | None = None
    for name in [*own[:1], *known]:
        values = _labels(_pictures.read_npz(path, name), path)
        if name in known:
            values = (values != 0).astype(np.uint8) * np.uint8(config.npz.labels[name])
        if result is not None and result.shape != values.shape:
            raise DataError(f"The arrays of {path} must have one shape. Got {result.shape} and {values.shape}.")
        result = values if result is None else np.where(values != 0, values, result)
    assert result is not None
    return result


def _labels(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """A mask's values as they are, 0..255."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    present = np.unique(values)
    if present.size > MOST_VALUES:
        raise DataError(
            f"A mask must hold a few values. Got {present.size} in {path}; perhaps JPEG has blurred it: say "
            "`mask_threshold = 128`."
        )
    if not (
        np.isfinite(present).all() and (present == np.rint(present)).all() and 0 <= present[0] <= present[-1] < 256
    ):
        raise DataError(f"A mask must hold whole numbers from 0 to 255. Got others in {path}.")
    return values.astype(np.uint8)


def _joined(pages: list[NDArray[Any]], files: list[str]) -> NDArray[Any]:
    sizes = {page.shape[1:] for page in pages}
    if len(sizes) > 1:
        raise DataError(f"The slices of a scan must have one size. Got {sorted(sizes)} from {files[0]} on.")
    return np.concatenate(pages)


def _grid(shape: tuple[int, ...], config: Config) -> Grid:
    return Grid.of(shape, None if config.spacing_mm is None else np.diag([*config.spacing_mm, 1.0]))


def _cases(root: Path, config: Config) -> tuple[dict[str, list[_Slice]], list[str]]:
    """Slices by case id, and what is to be said about it."""
    slices = _slices(root, config)
    patients: dict[str, list[_Slice]] = defaultdict(list)
    for one in slices:
        patients[one.patient].append(one)
    cases: dict[str, list[_Slice]] = {}
    stacked = 0
    for patient, own in patients.items():
        own.sort(key=lambda one: one.number)
        if patient and len(own) > 1 and config.stack != "slice" and _is_stack(own, config):
            made, stacked = {patient: own}, stacked + 1
        else:
            made = _alone(own)
        twice = sorted(cases.keys() & made.keys())
        if twice:
            raise DataError(f"Ids must be unique. Got {twice[0]!r} for two cases of {root}; perhaps say `stack`.")
        cases |= made
    said = [f"{len(slices)} slices: {stacked} patients as scans, {len(cases) - stacked} slices as cases of their own."]
    if "" in patients:
        said.append("File names do not say whose slice it is, so each counts as a patient of its own: give `patients`.")
    return cases, said


def _alone(slices: list[_Slice]) -> dict[str, list[_Slice]]:
    """Each slice as a case of its own. Raises DataError when two names become one id."""
    result: dict[str, list[_Slice]] = {}
    for one in slices:
        if one.name in result:
            raise DataError(f"Ids must be unique. Got {one.name!r} from two names.")
        result[one.name] = [one]
    return result


def _is_stack(slices: list[_Slice], config: Config) -> bool:
    """Whether the numbers leave no gap and the files are alike. Raises DataError when ``stack`` demands it."""
    numbers = [one.number for one in slices]
    gaps = [b for a, b in itertools.pairwise(numbers) if b != a + 1]
    if gaps and config.stack == "scan":
        raise DataError(f"The slices of {slices[0].patient} must be consecutive. Got {gaps[0]} after a gap.")
    whole = len({one.image is None for one in slices}) == len({one.label is None for one in slices}) == 1
    return not gaps and whole and (config.stack == "scan" or len({_size(one, config) for one in slices}) == 1)


def _size(one: _Slice, config: Config) -> object:
    """The size of a slice as its header says; unreadable files have none and are refused when they are loaded."""
    path = one.image or one.label
    assert path is not None
    try:
        return _pictures.size(path, config.npz.image)
    except DataError:
        return None


def _slices(root: Path, config: Config) -> list[_Slice]:
    if not root.is_dir():
        raise DataError(f"A source of slices must be a folder. Got {root}.")
    images, labels = _slice_pairs.pairs(root, config.images, config.labels, only_labels=config.role == "labels")
    compiled = _files.compiled(config.pattern, "pattern")
    if not {"patient", "slice"} <= compiled.groupindex.keys():
        raise DataError(f"`pattern` must have the groups patient and slice. Got {config.pattern!r}.")
    result = []
    of_folder = _slice_pairs.patients_of(root) if any("/" in name for name in images.keys() | labels.keys()) else {}
    for name in sorted(images.keys() | labels.keys()):
        folder, _, own = name.rpartition("/")
        found = compiled.fullmatch(own)
        if found is None or not re.fullmatch("[0-9]+", found["slice"] or ""):
            raise DataError(f"`pattern` must fit every name, `slice` a whole number in it. Got {name!r}.")
        whose = of_folder.get(folder, folder) or found["patient"] or ""
        patient = _files.safe_id(whose) if whose.strip("_.-") else ""
        case_id = _files.safe_id(own if own.startswith(folder) else f"{folder}_{own}")
        result.append(_Slice(patient, int(found["slice"]), case_id, images.get(name), labels.get(name)))
    if not result:
        raise DataError(f"{root} must hold pictures or arrays of slices. Got none; perhaps look deeper.")
    return result


def _entry(case_id: str, slices: list[_Slice], config: Config) -> Entry:
    images, labels = ([getattr(one, kind) for one in slices] for kind in ("image", "label"))
    patient = slices[0].patient or case_id
    return Entry(case_id, patient, _location(images, config), _location(labels, config))


def _location(paths: list[Path | None], config: Config) -> str | None:
    """What loading needs; with sizes and times of change, so that a file changed in place is noticed."""
    files = [path for path in paths if path is not None]
    if not files:
        return None
    states = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    state = hashlib.sha256(repr(states).encode()).hexdigest()[:12]
    # Not sorted: of two masks the later one wins.
    needed = config.model_dump(mode="json", include={"hu_range", "spacing_mm", "mask_threshold", "channel", "npz"})
    return json.dumps({"files": [str(path) for path in files], "config": needed, "state": state})
