"""Files of a folder by case id, and unzipping within a bound."""

import json
import re
from pathlib import Path

from missrate.core.errors import DataError

FLATTEST = 1100
"""No deflated byte stands for more than 1032 bytes: who promises more has a broken or a hostile file."""
WINDOW = 2**16
"""Packed bytes that are looked at for each further member of a gzip file: what follows a member is copied."""


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


def compiled(pattern: str, option: str) -> re.Pattern[str]:
    """A regular expression that a person wrote. Raises DataError, which names the option, for one that is none."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DataError(f"`{option}` must be a regular expression. Got {pattern!r}: {error}.") from error


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


def files_of(location: str) -> list[Path]:
    """The files of a location: one, or those that a location in JSON lists; none where it names no file."""
    if location.startswith("{"):
        return [Path(name) for name in json.loads(location).get("files", [])]
    return [file_of(location)]


def file_of(location: str) -> Path:
    """The file of a location, without what follows a ``#``, or several (unless a file of the whole name exists)."""
    while "#" in location and not Path(location).exists():
        location = location.rpartition("#")[0]
    return Path(location)


def read(path: Path, most: int) -> bytes:
    """The bytes of a file, unzipped where its name ends in .gz, its checksum verified.

    Raises DataError when the file is absent, damaged or cut short, and when there are more than ``most`` bytes.
    """
    packed = path.name.endswith(".gz")
    try:
        # What cannot be packed is stored, and hardly longer for it: longer files are mostly something else.
        held = most + most // 16 + WINDOW if packed else most
        data = path.read_bytes() if path.stat().st_size <= held else None
    except OSError as error:
        raise DataError(f"{path} must be a whole file. Got: {error.strerror or error}.") from error
    if data is not None and packed:
        data = _inflated(data, path, most)
    if data is None:
        raise DataError(f"{path} must hold no more than it says. Got too many bytes; perhaps it is a bomb.")
    return data


def _inflated(data: bytes, path: Path, most: int) -> bytes | None:
    """All members of a gzip file, one after the other; None for more than ``most`` bytes. Raises DataError."""
    from isal import isal_zlib  # twice as fast as the standard library, and verifies the checksum just as well

    parts: list[bytes] = []
    member, at, window = None, 0, len(data)  # nearly always there is one member: then at once, which is fastest
    while at < len(data):
        piece = data[at : at + window]
        at, window = at + len(piece), WINDOW
        if member is None or member.eof:
            piece = piece if member is None else piece.lstrip(b"\0")  # padding is allowed between members
            if not piece:
                continue
            member = isal_zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(piece, most + 1))
        except Exception as error:  # isal's own kind, which its type hints do not know
            raise DataError(f"{path} must be a whole file. Got: {error}.") from error
        most -= len(parts[-1])
        if most < 0:
            return None
        at -= len(member.unused_data)
    if member is not None and not member.eof:
        raise DataError(f"{path} must be a whole file. Got one that ends early; perhaps it was cut short.")
    return parts[0] if len(parts) == 1 else b"".join(parts)
