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
    alone = {name: held[0] if isinstance(held, list) and len(held) == 1 else held for name, held in labels.items()}
    pairs = [(name, number) if isinstance(number, int) else (number, name) for name, number in alone.items()]
    return {
        int(number): str(name)
        for name, number in pairs
        if isinstance(name, str) and VALUE.fullmatch(str(number)) and int(number) < 256
    }


def describing(predictions: Path) -> dict[str, Any] | None:
    """Return the description of the labels that predictions below a folder were made with; None without one.

    nnU-Net copies it beside what it predicts; what it predicted while it trained lies below the trained model, which
    has ``plans.json`` beside it; and an export of ours has ``export.json``. No other description above counts: it may
    be of the scans, and speak of other labels than the predictions. Raises DataError for one that cannot be read.
    """
    place = where_described(predictions)
    return None if place is None else read(place)


def where_described(predictions: Path) -> Path | None:
    """Return the folder whose ``dataset.json`` speaks of predictions below a folder, see ``describing``."""
    if not predictions.is_dir():
        return None
    folder = predictions.resolve()
    for place in (folder, *folder.parents[:2]):
        known = place == folder or any((place / beside).is_file() for beside in ("plans.json", "export.json"))
        if known and (place / NAME).is_file():
            return place
    return None


def classes(value: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return what models predict beside the background, in the order of the description: name to values.

    A label has one value, a region of nnU-Net several; what is called ignore is predicted by nobody.
    """
    labels = value.get("labels")
    if not isinstance(labels, dict):
        return {}
    found: dict[str, tuple[int, ...]] = {}
    for key, held in labels.items():
        name, numbers = (held, key) if isinstance(held, str) else (key, held)
        values = tuple(numbers) if isinstance(numbers, list) else (numbers,)
        if all(VALUE.fullmatch(str(number)) and 0 <= int(number) < 256 for number in values):
            found[str(name)] = tuple(int(number) for number in values)
    return {name: values for name, values in found.items() if any(values) and name != "ignore"}


def channels(value: dict[str, Any]) -> list[tuple[int, ...]]:
    """Return which values each channel of a model's probabilities stands for; empty where nothing says it.

    With regions, a channel for each class and none for the background; else one for each label, the background first.
    """
    held = list(classes(value).values())
    if any(len(values) > 1 for values in held):
        return held
    return [(0,), *sorted(held)] if held else []


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
