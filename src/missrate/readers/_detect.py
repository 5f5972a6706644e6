"""Which reader a folder is for: the only one that recognises it."""

from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from missrate.core import catalog
from missrate.core.errors import InputError
from missrate.core.types import Entry

DEEPEST, MOST_FOLDERS = 5, 200
"""How far below a source its cases are looked for."""


class Source(NamedTuple):
    """A folder (or file) of references or of predictions, and the reader that knows its format."""

    root: Path
    name: str
    reader: ModuleType

    def entries(self) -> list[Entry]:
        """All cases under the reader's defaults; the location of what was labelled or predicted is ``label``."""
        # A reader of images as well must be told that here a flat folder holds labels.
        role = {"role": "labels"} if "role" in self.reader.Config.model_fields else {}
        entries: list[Entry] = self.reader.find(self.root, self.reader.Config(**role))
        return entries

    @property
    def absent_is_empty(self) -> bool:
        """Whether a case of which the source has nothing was predicted, and nothing was found in it."""
        return bool(getattr(self.reader, "ABSENT_IS_EMPTY", False))


def source_of(root: Path, name: str | None) -> Source:
    """The source with the reader ``name``, or with the one that recognises it.

    Raises InputError as ``detect`` does, and UnknownNameError for a reader that does not exist.
    """
    name = detect(root) if name is None else name
    return Source(root, name, catalog.load("readers", name))


def detect(root: Path) -> str:
    """The name of the reader that recognises ``root``, by file names alone.

    Raises InputError, which says what was seen, when there is nothing, when no reader does, or when several do.
    """
    if not root.exists():
        raise InputError(f"A source must be a folder or a file. Got {root}, which is not there.")
    seen = _seen(root)
    if not seen:
        raise InputError(f"{root} must hold references or predictions. Got an empty folder.")
    known = readers_of(root)
    if len(known) == 1:
        return known[0]
    if known:
        raise InputError(
            f"{root} must be of one format. Got {seen}, which {' and '.join(known)} know: name the reader."
        )
    raise InputError(f"{root} must be of a format that a reader knows. Got {seen}{_deeper(root)}.")


def locate(root: Path, name: str = "") -> tuple[Path, str]:
    """Where the cases are, and the reader that knows them: at ``root``, else in the only folder below that one knows.

    Archives often hold a readme beside the folder that is meant. With ``name`` only that reader is asked, and where it
    recognises nothing ``root`` is what was meant. Raises InputError as ``detect``, and for several folders.
    """
    level = [root]
    for _ in range(DEEPEST):
        known = [folder for folder in level if (_recognises(name, folder) if name else readers_of(folder))]
        if len(known) > 1:
            names = ", ".join(str(folder.relative_to(root)) for folder in known[:5])
            raise InputError(f"{root} must hold one set of cases. Got {len(known)}: {names}; perhaps name one of them.")
        if known:
            return known[0], name or detect(known[0])
        below = (path for folder in level if folder.is_dir() for path in folder.iterdir() if _is_folder(path))
        level = sorted(below)[:MOST_FOLDERS]
    return root, name or detect(root)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.name[0] not in "._"


def readers_of(root: Path) -> list[str]:
    """The names of all readers that recognise ``root``, sorted."""
    return [name for name in catalog.names("readers") if _recognises(name, root)]


def _deeper(root: Path) -> str:
    """What to try, where there is something deeper: a folder that a reader knows, or any."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".") if root.is_dir() else []
    known = next((path for path in folders if readers_of(path)), None)
    return f"; perhaps {known} is meant" if known else "; perhaps look deeper" if folders else ""


def _recognises(name: str, root: Path) -> bool:
    reader = catalog.load("readers", name)
    return hasattr(reader, "recognises") and bool(reader.recognises(root))


def _seen(root: Path) -> str:
    """What lies there, in words: the most frequent endings, and how many folders."""
    if root.is_file():
        return f"a file {root.name}"
    visible = [path for path in root.iterdir() if path.name[0] != "."]
    endings = Counter("".join(path.suffixes[-2:]) or "no ending" for path in visible if path.is_file())
    folders = sum(path.is_dir() for path in visible)
    words = [f"{count} x {ending}" for ending, count in endings.most_common(5)]
    return ", ".join([*words, *([f"{folders} folders"] if folders else [])])
