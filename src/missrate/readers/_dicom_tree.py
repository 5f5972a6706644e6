"""Which DICOM files a tree holds, by series: headers only, and nothing of a patient leaves this file but pseudonyms.

Names, ids, dates, UIDs and paths below the root are patient data: they serve to group files and are never part of a
result, a message or a log.
"""

import hashlib
import logging
import os
import re
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from missrate.core.errors import DataError, InputError

MAGIC_AT, MAGIC = 128, b"DICM"
MOST_FILES = 2_000_000
LOOKED_AT, DEEPEST = 48, 6
"""To recognise a tree a few files are looked at, not deep down."""
LEAST_INFLATED, FLATTEST = 2**26, 64
"""A data set deflated as a whole must be inflated even for its header: so many bytes, or bytes for each of the file."""
DEFLATED = "1.2.840.10008.1.2.1.99"
ENDINGS = ("", ".dcm", ".ima", ".dicom")
TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames",
    "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """One file: which series it belongs to, and what it refers to. Every text here is a hash, except ``modality``."""

    path: Path
    folder: int  # the number of its folder in ``folders``
    modality: str
    series: str
    patient: str
    number: int | None  # in which the patient's id ends: pairs files here, and goes no further
    frame: str
    instance: str
    localiser: bool
    frames: int
    refers_to: tuple[str, ...]  # series, then frames of reference


@dataclass(frozen=True, slots=True)
class Tree:
    """What lies in a tree (or in some of its folders)."""

    found: tuple[Header, ...]
    others: int = 0
    """Files that are no DICOM."""
    damaged: int = 0
    """DICOM files whose header is not whole, and folders that cannot be read."""


def looks_like_dicom(path: Path) -> bool:
    """Whether the file says so itself."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            return False
        with path.open("rb") as file:
            file.seek(MAGIC_AT)
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def recognised(root: Path) -> bool:
    """Whether one of the first files in a tree is DICOM; needs no library, and looks at a few files only."""
    seen = 0
    for place, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n[0] != ".") if len(Path(place).relative_to(root).parts) < DEEPEST else []
        for name in sorted(files):
            if name[0] != "." and (Path(name).suffix.lower() in ENDINGS or "." in name[:-5]):
                if looks_like_dicom(Path(place) / name):
                    return True
                seen += 1
                if seen == LOOKED_AT:
                    return False
    return False


@lru_cache(maxsize=8)
def folders(root: Path) -> tuple[Path, ...]:
    """Every folder of the tree, in an order that depends on nothing else: a location names one by its number."""
    found = [Path(place) for place, _, _ in os.walk(root)]
    return tuple(sorted(found))


@lru_cache(maxsize=4)
def headers(root: Path, only: tuple[int, ...] | None = None) -> Tree:
    """The headers of all DICOM files (of some folders). Raises InputError, DataError."""
    library()
    places = folders(root)
    found: list[Header] = []
    others = damaged = 0
    for number in range(len(places)) if only is None else only:
        if number >= len(places):
            raise DataError("The folders of a DICOM tree must stay as they are. Got fewer than before.")
        paths = _listed(places[number])
        damaged += paths is None
        for path in paths or []:
            header = _header(path, number) if looks_like_dicom(path) else None
            if header:
                found.append(header)
            elif looks_like_dicom(path) or not os.access(path, os.R_OK):
                damaged += 1
            else:
                others += 1
            if len(found) + others + damaged > MOST_FILES:
                raise DataError(f"A DICOM tree must have at most {MOST_FILES} files. Got more.")
    return Tree(tuple(found), others, damaged)


def _listed(folder: Path) -> list[Path] | None:
    """The visible files of a folder, sorted; None where it cannot be read, since an OSError would quote its name."""
    try:
        with os.scandir(folder) as found:
            names = sorted(one.name for one in found if not one.is_dir(follow_symlinks=False))
    except OSError:
        return None
    return [folder / name for name in names if name[0] != "." and name.upper() != "DICOMDIR"]


def once(files: Iterable[Header]) -> list[Header]:
    """Without copies: files of one instance whose bytes are the same. Others of one instance stay, and are seen."""
    groups: dict[str, list[Header]] = defaultdict(list)
    for header in files:
        groups[header.instance].append(header)
    return [h for group in groups.values() for h in (group if len(group) == 1 else _distinct(group))]


def _distinct(group: list[Header]) -> list[Header]:
    try:
        return list({hashlib.sha256(header.path.read_bytes()).digest(): header for header in reversed(group)}.values())
    except OSError:
        return group


def library() -> Any:
    """pydicom, silent: its warnings and logs quote values, and values are patient data. Raises InputError."""
    try:
        import pydicom
    except ImportError:
        raise InputError("DICOM must have its libraries. Got none; perhaps pip install 'missrate[dicom]'.") from None
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def read(path: Path, what: str, **how: Any) -> Any:
    """A data set. Raises DataError that says ``what``, never the path or a value."""
    pydicom = library()
    with quiet():
        try:
            _bounded(path, pydicom)
            return pydicom.dcmread(path, **how)
        except Exception as error:  # pydicom raises whatever a damaged file leads to
            raise DataError(f"{what} must be a whole DICOM file. Got: {type(error).__name__}.") from None


def _bounded(path: Path, pydicom: Any) -> None:
    """Inflates a deflated data set piece by piece before pydicom does so at once. Raises ValueError for a bomb."""
    with path.open("rb") as file:
        head = file.read(144)  # preamble, magic, and the element that says how long the first part is
        length = int.from_bytes(head[140:144], "little") if head[132:138] == b"\x02\0\0\0UL" else None
        if length is None or length > 2**20:  # rare: let the library find the syntax
            if pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID == DEFLATED:
                raise ValueError("deflated, after a first part of unknown length")
            return
        if DEFLATED.encode() not in file.read(length):
            return
        most = max(LEAST_INFLATED, FLATTEST * os.fstat(file.fileno()).st_size)
        inflating, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while piece := inflating.unconsumed_tail or file.read(2**16):
            size += len(inflating.decompress(piece, 2**20))
            if size > most:
                raise ValueError("more bytes than any slice has")


class quiet(warnings.catch_warnings):  # noqa: N801 - used like a function
    """While it is open nothing warns."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


def hidden(*texts: object) -> str:
    """Ten hexadecimal digits that stand for long texts such as a UID, and do not tell them."""
    return hashlib.sha256("\n".join(map(str, texts)).encode()).hexdigest()[:10]


def _header(path: Path, folder: int) -> Header | None:
    try:
        data = read(path, "A file", stop_before_pixels=True, specific_tags=list(TAGS))
        with quiet():
            return _described(data, path, folder)
    except Exception:  # a file whose header cannot be read belongs to no series
        return None


def _described(data: Any, path: Path, folder: int) -> Header:
    study = str(getattr(data, "StudyInstanceUID", "") or "")
    frame = str(getattr(data, "FrameOfReferenceUID", "") or "")
    series = str(getattr(data, "SeriesInstanceUID", "") or "") or f"{study} {frame} {folder}"
    kind = [str(word).upper() for word in getattr(data, "ImageType", None) or []]
    modality = str(getattr(data, "Modality", "") or "")
    if not modality or (modality == "CT" and "SeriesInstanceUID" not in data and "ImagePositionPatient" not in data):
        raise DataError("A header must be whole. Got one that ends early.")
    return Header(
        path=path,
        folder=folder,
        modality=_modality(modality),
        series=hidden(series),
        patient=hidden(getattr(data, "PatientID", "") or study or series),
        number=number_of(str(getattr(data, "PatientID", "") or "")),
        frame=hidden(frame) if frame else "",
        instance=hidden(getattr(data, "SOPInstanceUID", "") or path),
        localiser="LOCALIZER" in kind,
        frames=int(getattr(data, "NumberOfFrames", None) or 1),
        refers_to=tuple(dict.fromkeys(hidden(uid) for uid in _references(data))),
    )


def number_of(text: str) -> int | None:
    """The number in which a name ends; None where there is none, or one of more than nine digits."""
    found = re.search(r"(?<!\d)(\d{1,9})$", text)
    return int(found[1]) if found else None


def _modality(text: str) -> str:
    return (
        text if text in ("CT", "MR", "PT", "RTSTRUCT", "SEG", "SR", "RTDOSE", "RTPLAN", "PR", "KO", "REG") else "other"
    )


def _references(data: Any) -> Iterable[str]:
    """UIDs of series, then of frames of reference, that a SEG or an RTSTRUCT is about."""
    for item in getattr(data, "ReferencedSeriesSequence", None) or []:
        yield str(item.SeriesInstanceUID)
    frames = list(getattr(data, "ReferencedFrameOfReferenceSequence", None) or [])
    for item in frames:
        for study in getattr(item, "RTReferencedStudySequence", None) or []:
            for series in getattr(study, "RTReferencedSeriesSequence", None) or []:
                yield str(series.SeriesInstanceUID)
    for item in frames:
        yield str(getattr(item, "FrameOfReferenceUID", ""))
    yield str(getattr(data, "FrameOfReferenceUID", "") or "")


def by_series(found: Iterable[Header]) -> dict[str, list[Header]]:
    """Headers by their series."""
    result: dict[str, list[Header]] = defaultdict(list)
    for header in found:
        result[header.series].append(header)
    return dict(result)
