"""DICOM: trees of CT series, with references as RTSTRUCT, as SEG, or as NIfTI files in a folder beside them.

Nothing of a patient leaves: cases are called by a hash of their series, patients by that of their first one, and
errors name a case and the number of a file in it. ``ids = "folder"`` says that the names of folders are pseudonyms.
"""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from missrate.core.config import Frozen
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.foreign import prediction_of
from missrate.core.grid import Grid, axcodes, to_ras
from missrate.core.types import Entry, Map, Prediction, Scan
from missrate.readers import _dicom_labels, _dicom_tree, _dicom_volume, _files, nifti
from missrate.readers._dicom_tree import Header

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()

REFERENCES = ("RTSTRUCT", "SEG")


class Config(Frozen):
    """``structures``: name of a region (RTSTRUCT) or segment (SEG) to label value.

    ``reference``: which of the two counts, where a series has both. ``labels``: instead a folder of NIfTI label maps
    below the root, each for the series whose patient id ends in the same number (label0007 for PANCREAS_0007), or else
    those of which a folder does; two maps that fit refuse the case. ``flip_labels``: such a map lies on the series'
    grid once it is turned to RAS+ and mirrored along these axes ("y" of NIH Pancreas-CT); its own position is not asked
    then.
    """

    ids: Literal["hashed", "folder"] = "hashed"
    structures: dict[str, Annotated[int, Field(ge=1, le=255)]] = Field(default_factory=dict)
    reference: Literal["RTSTRUCT", "SEG"] | None = None
    labels: str | None = None
    flip_labels: str = Field(default="", pattern="^x?y?z?$")


def recognises(root: Path) -> bool:
    """A tree in which one of the first files is DICOM, and no NIfTI file lies at the top."""
    return root.is_dir() and not _files.files(root, *nifti.ENDINGS) and _dicom_tree.recognised(root)


def find(root: Path, config: Config) -> list[Entry]:
    """Every CT series of at least three slices, sorted by id; a series without a reference has None in its place.

    Reads headers only. Raises DataError when there is none, InputError without the extra ``dicom``.
    """
    if not root.is_dir():
        raise DataError("A DICOM source must be a folder.")
    series, references = _sorted_out(root, config)
    if not series:
        raise DataError(f"A DICOM source must hold a CT series. Got none of {_dicom_volume.LEAST_SLICES} slices.")
    names = _names(root, series, config)
    patients = _patients(series, names, config)
    return sorted(
        (_entry(root, key, series, references, (names[key], patients[key], config)) for key in series),
        key=lambda entry: entry.case_id,
    )


def notes(root: Path, config: Config) -> list[str]:
    """What lies in the tree and is no case."""
    tree = _dicom_tree.headers(root)
    series, references = _sorted_out(root, config)
    left: dict[str, int] = defaultdict(int)
    within = 0
    for key, files in _dicom_tree.by_series(tree.found).items():
        if key in series:
            within += len(files) - len(series[key])
        elif files[0].modality not in REFERENCES:
            left["short CT or localiser" if files[0].modality == "CT" else files[0].modality] += 1
    said = [f"{count} series that are no scan: {kind}." for kind, count in sorted(left.items())]
    said += [f"{within} files under the series of a scan are localisers, or no CT."] if within else []
    said += [f"{tree.others} files in the tree are no DICOM."] if tree.others else []
    if tree.damaged:
        said.append(
            f"{tree.damaged} DICOM files or folders cannot be read; a scan beside them may lack its outer slices."
        )
    if config.ids == "hashed":
        said.append("Cases are called by hashes; if folder names are pseudonyms, say options.ids = 'folder'.")
    unused = [r for r in references if not any(_about(r, key, series) for key in series)]
    return [*said, *([f"{len(unused)} references belong to no series here."] if unused else [])]


def load_image(location: str) -> Scan:
    """HU in RAS+; int16 where they are whole numbers. Raises DataError."""
    about = json.loads(location)
    values_IJK, affine = _dicom_volume.load(_files_of(about), about["case"])
    turned, grid = _turned(values_IJK, affine, about["case"])
    return Scan(turned, grid, "hu", axcodes(affine))


def load_map(location: str) -> Map:
    """The label map on the grid of its series, in RAS+. Raises DataError."""
    about = json.loads(location)
    shape, affine = _dicom_volume.geometry(_files_of(about), about["case"])
    if about["kind"] == "NIfTI":
        return _nifti_map(about, shape, affine)
    label_IJK = _label(about, shape, affine)
    return Map(*_turned(label_IJK, affine, about["case"]))


def load_reference(location: str) -> Crop:
    """The whole label map."""
    label = load_map(location)
    return Crop.whole(label.labels_XYZ, label.grid)


def load_prediction(location: str, labels: tuple[int, ...]) -> Prediction:
    """The levels of a mask that some software wrote as RTSTRUCT or SEG beside its series."""
    label = load_map(location)
    return prediction_of(label.labels_XYZ, label.grid, labels, name=json.loads(location)["case"])


def geometry(location: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine of the series' own axes (columns, rows, slices), before they are turned to RAS+."""
    about = json.loads(location)
    return _dicom_volume.geometry(_files_of(about), about["case"])


def _sorted_out(root: Path, config: Config) -> tuple[dict[str, list[Header]], list[Header]]:
    """The CT series that can be scans, each file by its number in the series, and the references."""
    found = _dicom_tree.headers(root).found
    series = {}
    for key, files in _dicom_tree.by_series(found).items():
        slices = [header for header in files if header.modality == "CT" and not header.localiser]
        if sum(header.frames for header in slices) >= _dicom_volume.LEAST_SLICES:
            series[key] = slices
    wanted = REFERENCES if config.reference is None else (config.reference,)
    return series, [header for header in found if header.modality in wanted]


def _about(reference: Header, key: str, series: dict[str, list[Header]]) -> bool:
    """Whether a reference names a series, or names no scan here and shares the series' frame of reference."""
    if any(named in series for named in reference.refers_to):
        return key in reference.refers_to
    frame = series[key][0].frame
    return bool(frame) and frame in reference.refers_to


def _entry(
    root: Path, key: str, series: dict[str, list[Header]], references: list[Header], named: tuple[str, str, Config]
) -> Entry:
    (case_id, patient_id, config), files = named, series[key]
    place = {
        "root": str(root),
        "case": case_id,
        "series": key,
        "folders": sorted({header.folder for header in files}),
        "state": _state([header.path for header in files]),
    }
    label: dict[str, Any] | None = None
    if config.labels is not None:
        label = _nifti_label(root, files, config)
    else:
        own = _dicom_tree.once(r for r in references if _about(r, key, series))
        if own:
            label = {
                "kind": own[0].modality,
                "references": [[r.folder, r.instance] for r in own],
                "state_of_label": _state([r.path for r in own]),
            }
    image = json.dumps(place)
    if label is None:
        return Entry(case_id, patient_id, image, None)
    settings = {"structures": config.structures, "flip": config.flip_labels}
    return Entry(case_id, patient_id, image, json.dumps(place | label | settings))


def _names(root: Path, series: dict[str, list[Header]], config: Config) -> dict[str, str]:
    """Case ids: hashes, or the parts of the folders' paths that tell them apart."""
    if config.ids == "hashed":
        return {key: f"scan-{key}" for key in series}
    parts = {key: list(files[0].path.parent.relative_to(root).parts) for key, files in series.items()}
    depth = max(map(len, parts.values()))
    same = {
        i
        for i in range(depth)
        if len({path[i] if i < len(path) else None for path in parts.values()}) == 1 and len(series) > 1
    }
    names = {
        key: _files.safe_id("_".join(p for i, p in enumerate(path) if i not in same) or root.name)
        for key, path in parts.items()
    }
    often = [name for name in names.values() if list(names.values()).count(name) > 1]
    return {key: f"{name}-{key[:6]}" if name in often else name for key, name in names.items()}


def _patients(series: dict[str, list[Header]], names: dict[str, str], config: Config) -> dict[str, str]:
    """Patient ids: the same for all series of one person, and no function of the patient's own id."""
    people: dict[str, list[str]] = defaultdict(list)
    for key, files in series.items():
        people[files[0].patient].append(key)
    first = {key: min(keys) for keys in people.values() for key in keys}
    if config.ids == "hashed":
        return {key: f"patient-{first[key]}" for key in series}
    return {key: min(names[other] for other in keys) for keys in people.values() for key in keys}


def _nifti_label(root: Path, files: list[Header], config: Config) -> dict[str, Any] | None:
    """The NIfTI map with the number of this series' patient, or else of one of its folders."""
    folder = root / str(config.labels)
    if not folder.is_dir():
        raise DataError(f"`labels` must be a folder below the source. Got {config.labels!r}.")
    maps = _maps(folder)
    numbers = [_dicom_tree.number_of(path.name.partition(".")[0]) for path in maps]
    own: set[int | None] = {files[0].number}
    if files[0].number is None or files[0].number not in numbers:
        own = set(map(_dicom_tree.number_of, files[0].path.parent.relative_to(root).parts))
    found = [index for index, number in enumerate(numbers) if number is not None and number in own]
    if not found:
        return None
    return {"kind": "NIfTI", "maps": found, "folder": config.labels, "state_of_label": _state([maps[i] for i in found])}


def _maps(folder: Path) -> list[Path]:
    try:
        return _files.files(folder, *nifti.ENDINGS)
    except OSError:  # it would quote the name of a file
        raise DataError("`labels` must be a folder that can be read. Got one that cannot.") from None


def _state(paths: list[Path]) -> str:
    """Sizes and times of change, so that a file changed in place is noticed."""
    return hashlib.sha256(repr([_changed(path) for path in paths]).encode()).hexdigest()[:12]


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:  # it would quote the path; loading says what is wrong
        return None
    return about.st_size, about.st_mtime_ns


def _files_of(about: dict[str, Any]) -> list[Header]:
    found = _dicom_tree.headers(Path(about["root"]), tuple(about["folders"])).found
    files = [h for h in found if h.series == about["series"] and h.modality == "CT" and not h.localiser]
    if not files:
        raise DataError(f"{about['case']} must be where it was found. Got none of its files there.")
    return files


def _label(about: dict[str, Any], shape: tuple[int, int, int], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    name, references = about["case"], about["references"]
    if len(references) > 1:
        raise DataError(
            f"{name} must have one reference. Got {len(references)}; perhaps say options.reference, or take the "
            "others away."
        )
    ((folder, instance),) = references
    found = _dicom_tree.headers(Path(about["root"]), (folder,)).found
    path = next((header.path for header in found if header.instance == instance), None)
    if path is None:
        raise DataError(f"The reference of {name} must be where it was found. Got none there.")
    decode = _dicom_labels.contours if about["kind"] == "RTSTRUCT" else _dicom_labels.segments
    return decode(path, about["structures"], shape, affine, name=name)


def _nifti_map(about: dict[str, Any], shape: tuple[int, int, int], affine: NDArray[np.float64]) -> Map:
    """A NIfTI map, and where it is to be mirrored, on the series' grid whatever its own says."""
    name, maps = about["case"], _maps(Path(about["root"]) / about["folder"])
    if len(about["maps"]) != 1 or about["maps"][0] >= len(maps):
        raise DataError(f"{name} must have one label map with its number. Got {len(about['maps'])}.")
    try:
        label = nifti.load_map(str(maps[about["maps"][0]]))
    except DataError:
        raise DataError(f"The label map of {name} must be a whole NIfTI file of whole numbers. Got another.") from None
    if not about["flip"]:
        return label
    _, grid = _turned(np.broadcast_to(np.uint8(0), shape), affine, name)
    if label.labels_XYZ.shape != grid.shape:
        raise DataError(f"{name} and its label map must have one shape. Got {grid.shape}, {label.labels_XYZ.shape}.")
    return Map(np.flip(label.labels_XYZ, tuple("xyz".index(axis) for axis in about["flip"])), grid)


def _turned(values: NDArray[Any], affine: NDArray[np.float64], name: str) -> tuple[NDArray[Any], Grid]:
    try:
        return to_ras(values, affine)
    except DataError as error:
        raise type(error)(f"{name}: {error}") from None
