"""What .zip and .tar files have in common: members as streams, bounds of what comes out of them, and safe names.

Nothing that a header says is believed.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from missrate.core import store
from missrate.core.errors import DataError, MissrateError

ENDING = re.compile(r"\.(zip|tar|tgz|tbz2|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
CHUNK = 2**20
MOST_MEMBERS = 10**6
FLATTEST = 1100
"""No deflated byte stands for more than 1032 bytes."""
BY_HAND = "unpack it yourself and name the folder"


class Stream(Protocol):
    """What can be read from, at most so many bytes at a time; none at the end."""

    def read(self, size: int, /) -> bytes: ...


class Member(NamedTuple):
    """A file or a folder of an archive, with its name as it stands there; ``read`` gives the next bytes of a file."""

    name: str
    is_folder: bool
    read: Callable[[int], bytes]


@dataclass
class Room:
    """How much may still come out of an archive, with all archives inside it.

    ``label`` is what a person named, ``folder`` lies on the disk that takes them.
    """

    label: str
    folder: Path
    bytes_left: int
    names_left: int

    def take(self, count: int) -> None:
        """Raises DataError when there were too many bytes, and StoreError when the disk would be full."""
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise DataError(f"{self.label} must not unpack to so much. Got a bomb perhaps; if not, {BY_HAND}.")
        store.require_free(self.folder, count)

    def take_names(self, count: int) -> None:
        """Raises DataError when there were too many files and folders."""
        self.names_left -= count
        if self.names_left < 0:
            raise DataError(f"{self.label} must not hold so many files. Got a bomb perhaps; if not, {BY_HAND}.")


def is_named_archive(name: str) -> bool:
    """Whether a file name is an archive's; ``.nii.gz``, ``.pkl.gz`` and ``.npz`` are not."""
    return ENDING.search(name) is not None and not name.startswith("._")


def place_of(label: str, name: str) -> str:
    """A member for messages."""
    return f"{label}: {name[:80]!r}"


@contextmanager
def whole(label: str) -> Iterator[None]:
    """Whatever goes wrong in the standard library becomes one sentence."""
    try:
        yield
    except MissrateError:
        raise
    except Exception as error:  # zipfile, tarfile and the decompressors raise two dozen kinds
        said = str(error).removesuffix(".") or type(error).__name__
        raise DataError(f"{label} must be a whole archive. Got: {said}; perhaps fetch it anew.") from error


class Counted:
    """A stream whose every byte takes room."""

    def __init__(self, stream: Stream, room: Room, label: str) -> None:
        self.stream, self.room, self.label = stream, room, label

    def read(self, size: int, /) -> bytes:
        with whole(self.label):
            data = self.stream.read(size)
        self.room.take(len(data))
        return data


class Measured:
    """The next ``size`` bytes of a stream: raises DataError when there are fewer."""

    def __init__(self, stream: Stream, size: int, label: str) -> None:
        self.stream, self.size, self.left, self.label = stream, size, size, label

    def read(self, size: int, /) -> bytes:
        if not self.left:
            return b""
        data = self.stream.read(min(size, self.left))
        if not data:
            raise DataError(f"{self.label} must be as long as it says. Got {self.left} bytes less.")
        self.left -= len(data)
        return data


def safe_parts(name: str, label: str) -> tuple[str, ...]:
    """The folders and the file that a member's name stands for. Raises DataError for one that leads elsewhere."""
    where = place_of(label, name)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or any(re.match("[A-Za-z]:", part) for part in parts) or "\\" in name:
        raise DataError(f"{where} must lie below the archive's own folder. Got a name that leads elsewhere.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise DataError(f"{where} must have a printable name. Got one that is not.")
    if len(name.encode()) > 1000 or len(parts) > 50 or any(len(part.encode()) > 255 for part in parts):
        raise DataError(f"{label} must have names of at most 255 letters and 50 folders. Got {name[:50]!r}...")
    return parts


def is_rubbish(parts: tuple[str, ...]) -> bool:
    """Whether the finder of a Mac left this in an archive."""
    return "__MACOSX" in parts or any(part.startswith("._") or part == ".DS_Store" for part in parts)


def folded(*parts: str) -> bytes:
    """A fingerprint that is the same for names that some disks hold to be the same: by case, by accents.

    A million names of a thousand letters are too many to keep.
    """
    return fingerprint(unicodedata.normalize("NFC", "/".join(parts)).casefold())


def fingerprint(name: str) -> bytes:
    """Sixteen bytes for a name."""
    return hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=16).digest()
