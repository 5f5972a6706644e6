"""nnU-Net's raw layout: ``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``, described by ``dataset.json``."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from missrate.core.config import Frozen
from missrate.core.errors import DataError
from missrate.core.types import Entry
from missrate.readers import _dataset_json, _files, nifti

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()

CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")

load_image = nifti.load_image
load_map = nifti.load_map
load_reference = nifti.load_reference
geometry = nifti.geometry


class Config(Frozen):
    """``channel``: which one is the CT, where there are several. ``patient``: as of the reader nifti."""

    channel: int | None = Field(default=None, ge=0)
    patient: str = Field(default="(.*)", min_length=1)


def recognises(root: Path) -> bool:
    """``dataset.json`` of nnU-Net beside ``imagesTr``."""
    return _dataset_json.kind(root) == "nnunet"


def find(root: Path, config: Config) -> list[Entry]:
    """Every training case, sorted by id.

    Raises DataError for another ending than NIfTI's, for several channels of which none was chosen, and for none.
    """
    value = _dataset_json.read(root)
    _require_nifti(value, root)
    channels = _channels(root / "imagesTr")
    chosen = next(iter(channels), 0) if config.channel is None else config.channel
    given = "none" if config.channel is None else config.channel
    if channels and (chosen not in channels or (config.channel is None and len(channels) > 1)):
        raise DataError(f"`channel` must say which one is the CT. Got {given} of {_named(channels, value)}.")
    images, labels = channels.get(chosen, {}), nifti.by_id(root / "labelsTr")
    if not (images or labels):
        raise DataError(f"{root} must hold training cases. Got none in imagesTr (channel {chosen}) and labelsTr.")
    cases = sorted(images.keys() | labels.keys())
    return [nifti.entry(case, images.get(case), labels.get(case), config.patient) for case in cases]


def notes(root: Path, config: Config) -> list[str]:  # noqa: ARG001
    """Test scans, labels that are regions, and a description that counts other cases than there are."""
    value, said = _dataset_json.read(root), []
    hidden = {case for cases in _channels(root / "imagesTs").values() for case in cases}
    if hidden:
        said.append(f"{len(hidden)} scans of imagesTs are no cases here.")
    regions = [name for name, number in _labels(value).items() if isinstance(number, list)]
    if regions:
        said.append(f"Labels that are regions of several values must be given by value: {', '.join(regions)}.")
    there = len(nifti.by_id(root / "labelsTr"))
    if value.get("numTraining", there) != there:
        said.append(f"dataset.json speaks of {value['numTraining']} training cases, there are {there} labels.")
    return said


def label_names(root: Path) -> dict[int, str]:
    """As the description says."""
    return _dataset_json.label_names(_dataset_json.read(root))


def _labels(value: dict[str, Any]) -> dict[str, Any]:
    labels = value.get("labels")
    return labels if isinstance(labels, dict) else {}


def _named(channels: Iterable[int], value: dict[str, Any]) -> str:
    """Channels by number, and by name where the description gives one."""
    names = value.get("channel_names", value.get("modality"))
    known = names if isinstance(names, dict) else {}
    return ", ".join(f"{n} ({known[str(n)]})" if str(n) in known else str(n) for n in sorted(channels))


def _require_nifti(value: dict[str, Any], root: Path) -> None:
    ending = value.get("file_ending", ".nii.gz")
    if ending not in nifti.ENDINGS:
        raise DataError(f"`file_ending` of {root / _dataset_json.NAME} must be NIfTI's. Got {ending!r}.")


def _channels(folder: Path) -> dict[int, dict[str, Path]]:
    """Files by channel and case. Raises DataError for a name without channel."""
    result: dict[int, dict[str, Path]] = defaultdict(dict)
    for path in _files.files(folder, *nifti.ENDINGS):
        found = CHANNEL.fullmatch(_files.stem(path, *nifti.ENDINGS))
        if found is None:
            raise DataError(f"Images must end in their channel, such as _0000. Got {path.name} in {folder}.")
        case = _files.safe_id(found["case"])
        if case in result[int(found["channel"])]:
            raise DataError(f"Ids must be unique. Got {case!r} twice in {folder}.")
        result[int(found["channel"])][case] = path
    return dict(result)
