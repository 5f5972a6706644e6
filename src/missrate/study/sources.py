"""A source as the user names it: where it lies, which reader knows it, its cases, and what its labels mean."""

import logging
import re
from pathlib import Path
from typing import Any

from pydantic import Field

from missrate.core import catalog, own
from missrate.core.config import Frozen, parse
from missrate.core.errors import ConfigError
from missrate.core.types import NAMED_LABELS, Entry, LabelMeaning
from missrate.prepare.patients import with_patients
from missrate.readers._bring import bring
from missrate.readers._detect import locate
from missrate.readers._files import file_of
from missrate.study import label_names
from missrate.study.progress import bytes_told


class SourceConfig(Frozen):
    """Where scans come from. ``path`` is relative to the study file; ``options`` is the Config of the reader.

    Without ``reader`` the one that recognises the folder. ``labels`` says what the map's numbers mean, or names a data
    set whose numbers are known. ``exclude`` names cases that are left out.
    """

    reader: str = ""
    path: str | None = None
    labels: LabelMeaning | str | None = None
    patients: Path | None = None
    exclude: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)


logger = logging.getLogger(__name__)
LARDER = "missrate-data"
"""Where downloads and unpacked archives of a study are kept, beside its file."""


def anchored(source: SourceConfig, folder: Path, *, data: Path, offline: bool = False) -> SourceConfig:
    """The source with its paths below ``folder`` and its reader named, or pinned where it is an own file.

    What has to be downloaded or unpacked first is put into ``data``. Raises InputError when no reader is recognised.
    """
    known: dict[str, Any] = {"reader": own.pinned(source.reader, folder)}
    if source.reader:
        catalog.require_known("readers", source.reader)
    if source.patients is not None:
        known["patients"] = folder / source.patients
    if source.path is None:
        if not source.reader:
            raise ConfigError("A source must have a path or a reader. Got neither.")
        return source.model_copy(update=known)
    place, known["reader"] = opened(placed(source.path, folder), known["reader"], data=data, offline=offline)
    known["path"] = str(place)
    return source.model_copy(update=known)


def opened(named: str | Path, reader: str, *, data: Path, offline: bool = False) -> tuple[Path, str]:
    """Where the cases of what was named lie on this disk, fetched and unpacked, and the reader that knows them."""
    root = bring(named, data, offline=offline, progress=bytes_told())
    if reader and root == named:  # a folder of which the user says the reader is taken at its word
        return root, reader
    place, found = locate(root, reader)
    if place != root:
        logger.warning("The cases of %s were found in %s.", named, place.relative_to(root))
    return place, found


def placed(source: str, folder: Path) -> str | Path:
    """A path below ``folder``; addresses and tasks of the Decathlon as they are."""
    return source if source.startswith("msd:") or "://" in source else folder / source


def safe_name(source: str) -> str:
    """A short name for what the user named: the last part of a path or address, without endings."""
    last = re.split(r"[/:\\]", source.partition("#")[0].rstrip("/\\"))[-1]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", last.partition(".")[0]).strip("-")
    return "data" if name in ("", "phantom") else name  # a draft pretrains on a source called phantom


def find(source: SourceConfig, *, images: bool = True) -> list[Entry]:
    """Every case but the excluded ones, with the patients of the table. Raises DataError and ConfigError."""
    reader, options = reader_of(source, images=images)
    entries: list[Entry] = reader.find(source.path and Path(source.path), options)
    unknown = sorted(set(source.exclude) - {entry.case_id for entry in entries})
    if unknown:
        raise ConfigError(f"`exclude` must name cases of the source. Got {', '.join(unknown[:5])}.")
    return with_patients([entry for entry in entries if entry.case_id not in source.exclude], source.patients)


def notes(source: SourceConfig, *, images: bool = True) -> tuple[str, ...]:
    """What lies in the source and is no case, as its reader says."""
    reader, options = reader_of(source, images=images)
    return tuple(reader.notes(source.path and Path(source.path), options)) if hasattr(reader, "notes") else ()


def reader_of(source: SourceConfig, *, images: bool = True) -> tuple[Any, Any]:
    """The member of the shelf, and its checked options."""
    reader = catalog.load("readers", source.reader)
    given = dict(source.options)
    if not images and "role" in reader.Config.model_fields:  # where nothing is trained, a flat folder holds labels
        given.setdefault("role", "labels")
    return reader, parse(reader.Config, given, where=f"options of reader {own.stem(source.reader)}")


def meaning_by_names(source: SourceConfig) -> tuple[LabelMeaning, str] | None:
    """Return what the source's own file says that its numbers mean, and a sentence that says so; None for nothing.

    Errors as in ``label_names.meaning_of``, and of the reader for a file that cannot be read.
    """
    reader = catalog.load("readers", source.reader)
    if not hasattr(reader, "label_names"):
        return None
    return label_names.meaning_of(reader.label_names(Path(source.path or "")))


def said_of(source: SourceConfig) -> str:
    """Return the sentence that says what was taken from the source's own names; empty where they were not asked."""
    reader = catalog.load("readers", source.reader)
    by_names = None if source.labels is not None or reader.LESION else meaning_by_names(source)
    return "" if by_names is None else by_names[1]


def meaning_of(source: SourceConfig) -> LabelMeaning:
    """Return what the study says, or else what the reader or the source's own file knows of its numbers.

    Raises ConfigError when none of them names a lesion, or not without doubt.
    """
    if isinstance(source.labels, str):
        if source.labels not in NAMED_LABELS:
            raise ConfigError(f"labels must name one of {', '.join(NAMED_LABELS)}. Got {source.labels!r}.")
        return NAMED_LABELS[source.labels]
    reader = catalog.load("readers", source.reader)
    meaning = source.labels or LabelMeaning(lesion=reader.LESION, organ=reader.ORGAN)
    by_names = meaning_by_names(source) if source.labels is None and not reader.LESION else None
    if by_names is not None:
        return by_names[0]
    if not meaning.lesion:
        names = reader.label_names(Path(source.path or "")) if hasattr(reader, "label_names") else {}
        known = ", ".join(f"{value} {name}" for value, name in sorted(names.items()) if value)
        got = f"none; the source's own names are {known}" if known else "none"
        raise ConfigError(f"labels.lesion must name the values that are lesions, such as [1]. Got {got}.")
    return meaning


def fingerprint_of(location: str | None) -> object:
    """A location, and for a file its size and time of change, so that a file changed in place is noticed."""
    if location is None or location.startswith("{"):  # those in JSON say themselves how their files are
        return location
    path = file_of(location)
    if not path.is_file():
        return location
    status = path.stat()
    return [location, status.st_size, status.st_mtime_ns]
