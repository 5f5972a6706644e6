"""numpy's .npy and .npz, read strictly: numbers only, never a pickle, never more bytes than the file can hold."""

import ast
import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError
from missrate.readers._files import FLATTEST

MAGIC = re.compile(rb"\x93NUMPY[\x01\x02]\x00")
NUMBER_TYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
MOST_HEADER = 10_000


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the numbers of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def nbytes(self) -> int:
        """The bytes that must follow."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_of(stream: IO[bytes], *, name: str) -> Header:
    """The header at the stream's place. Raises DataError for objects, fields, and for what is no array."""
    magic = stream.read(8)
    if not MAGIC.fullmatch(magic):
        raise DataError(f"{name} must be a numpy array. Got other bytes at its beginning.")
    size = int.from_bytes(stream.read(2 if magic[6] == 1 else 4), "little")
    if size > MOST_HEADER:
        raise DataError(f"{name} must have a header of at most {MOST_HEADER} bytes. Got {size}.")
    try:
        value = ast.literal_eval(stream.read(size).decode("latin1"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise DataError(f"{name} must be a numpy array. Got a damaged header.") from error
    match value:
        case {"descr": str(kind), "fortran_order": bool(fortran), "shape": tuple(shape)} if len(value) == 3:
            if NUMBER_TYPE.fullmatch(kind) and len(shape) <= 4 and all(type(n) is int and n > 0 for n in shape):
                return Header(shape, np.dtype(kind), fortran)
    raise DataError(f"{name} must hold plain numbers on up to four axes, none of them empty. Got another header.")


def values_of(stream: IO[bytes], shape: tuple[int, ...], header: Header, *, name: str) -> NDArray[Any]:
    """The next numbers as an array of ``shape``, read-only. Raises DataError when there are too few."""
    count = math.prod(shape) * header.dtype.itemsize
    data = stream.read(count)
    if len(data) != count:
        raise DataError(f"{name} must be a whole file. Got {len(data)} of {count} bytes; perhaps it was cut short.")
    return np.frombuffer(data, header.dtype).reshape(shape, order="F" if header.fortran else "C")


@contextmanager
def npy(path: Path) -> Iterator[tuple[Header, IO[bytes]]]:
    """Header and stream of a .npy file that is exactly as long as its header says."""
    try:
        with path.open("rb") as file:
            header = header_of(file, name=str(path))
            _require_bytes(header, path.stat().st_size - file.tell(), path)
            yield header, file
    except OSError as error:
        raise DataError(f"{path} must be a readable file. Got: {error.strerror or error}.") from error


@contextmanager
def npz(path: Path, keys: tuple[str, ...] | None) -> Iterator[tuple[Header, IO[bytes]]]:
    """Header and stream of the first of ``keys`` that a .npz file has; without keys, of its only array.

    Raises DataError for damage (the checksum is verified if all was read), and for more bytes than could be zipped.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = _member(archive, keys, path)
            if member.file_size > FLATTEST * member.compress_size + 1000:
                raise DataError(f"{path} must unzip to what it can hold. Got {member.file_size} bytes; a bomb perhaps.")
            with archive.open(member) as stream:
                header = header_of(stream, name=str(path))
                _require_bytes(header, member.file_size - stream.tell(), path)
                yield header, stream
                if stream.read(1):
                    raise DataError(f"{path} must end where its array ends. Got more bytes.")
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib raise a dozen kinds for damaged archives
        raise DataError(f"{path} must be a whole .npz file. Got: {error or type(error).__name__}.") from error


def _member(archive: zipfile.ZipFile, keys: tuple[str, ...] | None, path: Path) -> zipfile.ZipInfo:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    held = ", ".join(list(members)[:5]) or "none"
    if keys is None and len(members) != 1:
        raise DataError(f"{path} must hold one array. Got {held}.")
    found = next((members[key] for key in (members if keys is None else keys) if key in members), None)
    if found is None:
        raise DataError(f"{path} must hold an array named {' or '.join(keys or ())}. Got {held}.")
    if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{path} must be stored or deflated. Got compression {found.compress_type}.")
    return found


def _require_bytes(header: Header, held: int, path: Path) -> None:
    if header.nbytes != held:
        raise DataError(
            f"{path} must hold the {header.nbytes} bytes of its shape {header.shape}. "
            f"Got {held}; perhaps it was cut short."
        )
