"""The Medical Segmentation Decathlon: ``imagesTr``, ``labelsTr``, ``imagesTs``, described by ``dataset.json``."""

from pathlib import Path

from missrate.core.config import Frozen
from missrate.core.errors import DataError
from missrate.core.types import Entry
from missrate.readers import _dataset_json, _files, nifti

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()

load_image = nifti.load_image
load_map = nifti.load_map
load_reference = nifti.load_reference
geometry = nifti.geometry


class Config(Frozen):
    """Nothing to set."""


def recognises(root: Path) -> bool:
    """``dataset.json`` of the Decathlon beside ``imagesTr``."""
    return _dataset_json.kind(root) == "msd"


def find(root: Path, config: Config) -> list[Entry]:  # noqa: ARG001
    """Every training case, sorted: those of the description and those on the disk.

    What the description names and the disk lacks has None in its place. Raises DataError for a description that
    cannot be used, and when there is no case.
    """
    images, labels = nifti.by_id(root / "imagesTr"), nifti.by_id(root / "labelsTr")
    listed = {_id_of(root, item) for item in _training(root)}
    cases = sorted(images.keys() | labels.keys() | listed)
    if not cases:
        raise DataError(f"{root} must hold training cases. Got none in imagesTr, labelsTr and dataset.json.")
    return [Entry(case, case, _text(images.get(case)), _text(labels.get(case))) for case in cases]


def notes(root: Path, config: Config) -> list[str]:  # noqa: ARG001
    """Test scans, whose labels the Decathlon keeps to itself, and where description and disk differ."""
    hidden = len(nifti.by_id(root / "imagesTs"))
    said = [f"{hidden} scans of imagesTs have no labels and are no cases here."] if hidden else []
    listed = {_id_of(root, item) for item in _training(root)}
    extra = sorted(nifti.by_id(root / "imagesTr").keys() - listed) if listed else []
    if extra:
        said.append(f"{len(extra)} cases are not in dataset.json, but on the disk: {', '.join(extra[:5])}.")
    return said


def label_names(root: Path) -> dict[int, str]:
    """As the description says."""
    return _dataset_json.label_names(_dataset_json.read(root))


def _training(root: Path) -> list[object]:
    items = _dataset_json.read(root).get("training", [])
    if not isinstance(items, list):
        raise DataError(f"`training` of {root / _dataset_json.NAME} must be a list. Got {type(items).__name__}.")
    return items


def _id_of(root: Path, item: object) -> str:
    """The case of an item: a name, or image and label."""
    name = item.get("image") if isinstance(item, dict) else item
    return _files.safe_id(_files.stem(_dataset_json.inside(root, name), *nifti.ENDINGS))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
