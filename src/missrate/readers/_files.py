"""Files of a folder by case id, and unzipping within a bound."""

import gzip
import re
import zlib
from pathlib import Path

from missrate.core.errors import DataError

CHUNK = 2**24
FLATTEST = 1100
"""No deflated byte stands for more than 1032 bytes: who promises more has a broken or a hostile file."""


def files(folder: Path, *endings: str) -> list[Path]:
    """The visible files of a folder with one of the endings, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.endswith(endings) and p.name[0] != "." and p.is_file())


def stem(path: Path, *endings: str) -> str:
    """The name without the longest of the endings that fits."""
    return path.name.removesuffix(max((e for e in endings if path.name.endswith(e)), key=len, default=""))


def safe_id(text: str) -> str:
    """A name as an id: whatever is no letter, digit, ".", "_" or "-" becomes "_". Raises DataError for an empty one."""
    result = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-")
    if not result:
        raise DataError(f"A name must hold letters or digits to be an id. Got {text!r}.")
    return result


def by_id(folder: Path, *endings: str) -> dict[str, Path]:
    """The files of a folder by their stem, sorted. Raises DataError when two claim an id, or when there is none."""
    if not folder.is_dir():
        raise DataError(f"A source must be a folder of {' or '.join(endings)} files. Got {folder}.")
    result: dict[str, Path] = {}
    for path in files(folder, *endings):
        case_id = safe_id(stem(path, *endings))
        if case_id in result:
            raise DataError(f"Ids must be unique. Got {case_id!r} from {result[case_id].name} and {path.name}.")
        result[case_id] = path
    if not result:
        raise DataError(f"{folder} must hold {' or '.join(endings)} files. Got none; perhaps look deeper.")
    return dict(sorted(result.items()))


def file_of(location: str) -> Path:
    """The file of a location, without what follows a ``#`` (unless a file of the whole name exists)."""
    path = Path(location)
    return path if path.exists() or "#" not in location else Path(location.rpartition("#")[0])


def read(path: Path, most: int) -> bytes:
    """The bytes of a file, unzipped where its name ends in .gz, its checksum verified.

    Raises DataError when the file is absent, damaged or cut short, and when there are more than ``most`` bytes.
    """
    chunks: list[bytes] = []
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            while chunk := file.read(CHUNK):
                chunks.append(chunk)
                most -= len(chunk)
                if most < 0:
                    raise DataError(f"{path} must hold no more than it says. Got too many bytes; perhaps it is a bomb.")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} must be a whole file. Got: {error or type(error).__name__}.") from error
    return b"".join(chunks)
