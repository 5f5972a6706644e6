"""Which pictures are images and which are their masks: in one folder, in two, as .npz, or in a folder a patient."""

import re
from collections import Counter
from pathlib import Path

from missrate.core.errors import DataError, some
from missrate.readers import _files
from missrate.readers._pictures import ARRAYS, PICTURES

IMAGES = ("imagesTr", "images", "image", "imgs", "img", "ct", "slices")
LABELS = ("labelsTr", "labels", "label", "masks", "mask", "segmentations", "annotations")
WORD = re.compile(r"(?:^|[_.-]+)(?P<word>img|image|ct|scan|mask|label|seg|segmentation|gt)s?(?=$|[_.-])", re.IGNORECASE)
IMAGE_WORDS = ("img", "image", "ct", "scan")
PATTERN = r"(?P<patient>.*?)[_.-]*(?:z|slice|slc|img|im|s)?[_.-]*(?P<slice>\d+)"
PARTS = re.compile(r"(.*[_.-])?(train|test|val|valid|fold|part|split|set|cv)[a-z]*[_.-]*\d*", re.IGNORECASE)
"""Folders of many patients, never of one."""
Named = dict[str, Path]


def recognises(root: Path) -> bool:
    """Return whether ``root`` holds images and masks, in folders of their own or in a folder for each patient."""
    images, labels = subfolder(root, IMAGES), subfolder(root, LABELS)
    if images is not None and labels is not None:
        return bool(_files.files(images, *PICTURES, ".npy"))
    return images is None and labels is None and bool(patient_folders(root))


def pairs(root: Path, images: str | None, labels: str | None, *, only_labels: bool) -> tuple[Named, Named]:
    """Return images and masks by name; where each patient has a folder, that stands before the name with a stroke.

    ``images`` and ``labels`` name the two folders; ``only_labels``: a flat folder holds masks. Raises DataError.
    """
    patients = [] if images or labels or subfolder(root, (*IMAGES, *LABELS)) else patient_folders(root)
    if not patients:
        return _in_folder(root, images, labels, only_labels=only_labels)
    if loose := _files.files(root, *PICTURES, *ARRAYS):
        raise DataError(f"{root} must hold pictures or folders of patients. Got both, such as {loose[0].name}.")
    found: tuple[Named, Named] = ({}, {})
    for folder in patients:
        own_images, own_labels = _told_apart(_files.files(folder, *PICTURES, ".npy"))
        for target, own in zip(found, ([] if only_labels else own_images, own_labels), strict=True):
            target |= {f"{folder.name}/{name}": path for name, path in _once(own).items()}
    return found


def patient_folders(root: Path) -> list[Path]:
    """Return the folders with pictures, each of one patient; none where one holds several, or is a part of a split.

    A folder of several patients taken for one would put patients whom nobody knows on both sides of a split.
    """
    held = {folder: files for folder in _folders(root) if (files := _files.files(folder, *PICTURES))}
    if not any(paired(files) for files in held.values()):
        return []
    for folder, files in held.items():
        if len(_prefixes(files)) > 1 or PARTS.fullmatch(folder.name):
            return []
    return list(held)


def patients_of(root: Path) -> dict[str, str]:
    """Return the patient of each folder: its name, but where several and not all of them hold the same one's slices.

    ``visit1/P7_1.png`` and ``visit2/P7_1.png`` are of one patient. A word that stands before the numbers in every
    folder, such as ``frame_1.png``, names nobody.
    """
    folders = patient_folders(root)
    own = {folder.name: next(iter(_prefixes(_files.files(folder, *PICTURES))), "") for folder in folders}
    often = Counter(own.values())
    return {name: prefix if prefix and 1 < often[prefix] < len(own) else name for name, prefix in own.items()}


def _prefixes(files: list[Path]) -> set[str]:
    """What stands before the slice numbers."""
    return {found["patient"] for path in files if (found := re.fullmatch(PATTERN, _bare(path)))}


def left_out(root: Path) -> str:
    """Return what is to be said of folders beside and below those of patients, which are not read; "" without any."""
    patients = patient_folders(root)
    if not patients:
        return ""
    others = [path for path in sorted(root.iterdir()) if path.is_dir() and path not in patients]
    others += [path for folder in patients for path in sorted(folder.iterdir()) if path.is_dir()]
    names = [str(path.relative_to(root)) for path in others]
    return f"Folders that are no patients' or lie too deep, left out: {some(names)}." if names else ""


def subfolder(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first of the folders that is there."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def paired(paths: list[Path]) -> bool:
    """Return whether some image has a mask among these files."""
    images, labels = _told_apart(paths)
    return bool(_once(images).keys() & _once(labels).keys()) if images and labels else False


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [path for path in sorted(root.iterdir()) if path.is_dir() and path.name[0] not in "._"]


def _in_folder(root: Path, images: str | None, labels: str | None, *, only_labels: bool) -> tuple[Named, Named]:
    """Images and masks by name: in two folders, as .npz that hold both, or in one folder told apart by a word."""
    image_folder = subfolder(root, (images,) if images else IMAGES)
    label_folder = subfolder(root, (labels,) if labels else LABELS)
    for named, found in ((images, image_folder), (labels, label_folder)):
        if named and found is None:
            raise DataError(f"{root / named} must be a folder. Got none of that name.")
    if image_folder or label_folder:
        return _by_name(image_folder), _by_name(label_folder)
    archives = {path.stem: path for path in _files.files(root, ".npz")}
    if archives:
        return ({} if only_labels else archives), archives
    flat = _files.files(root, *PICTURES, ".npy")
    if only_labels and not paired(flat):
        return {}, _once(flat)
    own_images, own_labels = _told_apart(flat)
    return ({} if only_labels else _once(own_images)), _once(own_labels)


def _by_name(folder: Path | None) -> Named:
    return _once(_files.files(folder, *PICTURES, *ARRAYS)) if folder else {}


def _told_apart(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    images: list[Path] = []
    labels: list[Path] = []
    for path in paths:
        words = {found["word"].lower() for found in WORD.finditer(path.stem)}
        (images if words <= {*IMAGE_WORDS} else labels).append(path)
    return images, labels


def _once(paths: list[Path]) -> Named:
    """Files by what is left of their names without a word such as img or mask. Raises DataError when two are alike."""
    result: Named = {}
    for path in paths:
        name = _bare(path)
        if name in result:
            raise DataError(f"Ids must be unique. Got {name!r} from {result[name].name} and {path.name}.")
        result[name] = path
    return result


def _bare(path: Path) -> str:
    """What is left of a name without a word such as img or mask."""
    return WORD.sub("", path.stem).strip("_.-") or path.stem
