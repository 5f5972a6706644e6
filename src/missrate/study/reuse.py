"""Which cases of a folder need not be measured again: those of which nothing has changed that their statistics hold."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from missrate import __version__
from missrate.core import own, store
from missrate.core.documents import Document, Id
from missrate.core.errors import StoreError
from missrate.evaluate import files
from missrate.readers._detect import Source
from missrate.readers._files import files_of

logger = logging.getLogger(__name__)


def key(
    sources: tuple[Source, Source], locations: tuple[str | None, str | None], options: dict[str, Any]
) -> str | None:
    """A hash of all that the statistics of one case depend on; None where that cannot be told.

    That is: the bytes of every file of reference and prediction, their locations, the readers, the options, and the
    versions of the program and of the statistics file. A reader of somebody's own may read whatever it likes, so that
    what it read is never taken as it was. A file that cannot be read is named when the case is measured.
    """
    if own.identities([source.name for source in sources]):
        return None
    try:
        hashes = [
            [store.hash_file(path) for path in _read_with(source, location)]
            for source, location in zip(sources, locations, strict=True)
        ]
    except OSError:
        return None
    parts = {
        "program": [__version__, files.SCHEMA],
        "readers": [source.name for source in sources],
        "locations": locations,
        "files": hashes,
        "options": options,
    }
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read_with(source: Source, location: str | None) -> list[Path]:
    """Every file that the reader opens for a location."""
    if location is None:
        return []
    beside: list[Path] = source.reader.beside(location) if hasattr(source.reader, "beside") else []
    return [*files_of(location), *beside]


class AboutForm(Document):
    """What is noted beside the statistics of a case."""

    case_id: Id
    key: str | None
    statistics: str
    warning: str | None
    numbers: list[int] | None
    reference_numbers: list[int]
    reference: str
    predictions: str


def keep(folder: Path, keys: dict[str, str | None], schema: str) -> set[str]:
    """The cases of which ``folder`` holds whole statistics that were measured under their key; all others are removed.

    ``schema`` is that of the JSON file beside the statistics.
    """
    kept = {case_id for case_id, wanted in keys.items() if _is_measured(folder, case_id, wanted, schema)}
    for old in (path for ending in ("npz", "json") for path in folder.glob(f"*.{ending}")):
        if old.stem not in kept:
            old.unlink()
    if kept:
        logger.warning("%d of %d cases have not changed: they are not measured again.", len(kept), len(keys))
    return kept


def _is_measured(folder: Path, case_id: str, wanted: str | None, schema: str) -> bool:
    try:
        about = store.read_json(folder / f"{case_id}.json", schema, AboutForm)
        statistics = store.hash_file(folder / f"{case_id}.npz")
    except (StoreError, OSError):
        return False
    return wanted is not None and [about[k] for k in ("case_id", "key", "statistics")] == [case_id, wanted, statistics]
