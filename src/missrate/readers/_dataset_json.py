"""``dataset.json``, by which the Decathlon and nnU-Net describe a data set: read with distrust, and told apart."""

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from missrate.core.errors import DataError

NAME = "dataset.json"
MOST_BYTES = 2**24
VALUE = re.compile("[0-9]{1,9}")
Kind = Literal["msd", "nnunet"]


def read(root: Path) -> dict[str, Any]:
    """The description. Raises DataError when it is absent, too large or no JSON object."""
    path = root / NAME
    try:
        size = path.stat().st_size
        value = json.loads(path.read_bytes()) if size <= MOST_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} must be JSON. Got: {type(error).__name__}.") from error
    if size > MOST_BYTES:
        raise DataError(f"{path} must be a description of a data set. Got more than {MOST_BYTES} bytes.")
    if not isinstance(value, dict):
        raise DataError(f"{path} must be an object. Got {type(value).__name__}.")
    return value


def kind(root: Path) -> Kind | None:
    """Whose description lies there: nnU-Net names channels or its files end in a channel; else the Decathlon's."""
    if not (root / NAME).is_file() or not (root / "imagesTr").is_dir():
        return None
    try:
        value = read(root)
    except DataError:
        return None
    if "channel_names" in value or "file_ending" in value:
        return "nnunet"
    if not isinstance(value.get("labels"), dict):
        return None
    channels = any(path.name.endswith(("_0000.nii.gz", "_0000.nii")) for path in (root / "imagesTr").iterdir())
    return "nnunet" if channels else "msd"


def label_names(value: dict[str, Any]) -> dict[int, str]:
    """Value to name, whichever of the two is the key; regions of nnU-Net (several values) are left out."""
    labels = value.get("labels")
    if not isinstance(labels, dict):
        return {}
    pairs = [(name, number) if isinstance(number, int) else (number, name) for name, number in labels.items()]
    return {
        int(number): str(name)
        for name, number in pairs
        if isinstance(name, str) and VALUE.fullmatch(str(number)) and int(number) < 256
    }


def inside(root: Path, name: object) -> Path:
    """A file that the description names. Raises DataError for one that lies elsewhere."""
    path = PurePosixPath(str(name))
    if (
        not isinstance(name, str)
        or not path.name
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or "\0" in name
    ):
        raise DataError(f"{root / NAME} must name files below its folder. Got {name!r}.")
    return root / path
