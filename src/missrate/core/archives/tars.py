"""The members of a .tar file, packed or not.

tarfile knows the header of a member, the way from one to the next is our own: the standard library reads long headers
as a whole, parses them in quadratic time, and takes a damaged header for the end.
"""

import gzip
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from missrate.core.archives.members import CHUNK, Counted, Measured, Member, Room, Stream, place_of
from missrate.core.errors import DataError

MOST_HEADER = 2**20
"""Bytes of a long name or of the attributes of a file, which are read as a whole."""
MOST_HEADERS = 10
MOST_XZ_MEMORY = 2**28
BLOCK = 512


def of_tar(file: IO[bytes], room: Room, label: str) -> Iterator[Member]:
    """Every member; see ``archives.members``."""
    begin = file.read(6)
    file.seek(0)
    kind = next((kind for magic, kind in PACKED.items() if begin.startswith(magic)), None)
    stream = Counted(kind(file) if kind else file, room, label)
    while (member := _next(stream, label)) is not None:
        info, name, size = member
        body = Measured(stream, 0 if info.isdir() else size, place_of(label, name))
        yield Member(name, info.isdir(), body.read)
        while body.read(CHUNK):
            pass
        _exactly(stream, -body.size % BLOCK, label)
    while rest := stream.read(CHUNK):
        if rest.count(0) != len(rest):
            raise DataError(f"{label} must end after its last file. Got more bytes; perhaps two archives were joined.")


def _next(stream: Stream, label: str) -> tuple[tarfile.TarInfo, str, int] | None:
    """The next file or folder, with what the headers before its own say of name and size; None at the end."""
    long_name: str | None = None
    attributes: dict[str, str] = {}
    for _ in range(MOST_HEADERS):
        block = _exactly(stream, BLOCK, label)
        if not any(block):
            return None
        info = _tar_header(block, label)
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = _further(stream, info.size, label).partition(b"\0")[0].decode("utf-8", "surrogateescape")
            long_name = text if info.type == tarfile.GNUTYPE_LONGNAME else long_name
        elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            attributes |= _attributes(_further(stream, info.size, label))
        elif info.type == tarfile.XGLTYPE:
            if _attributes(_further(stream, info.size, label)).keys() & {"path", "size"}:
                raise DataError(f"{label} must name each file by itself. Got one name or size for all of them.")
        else:
            name, size = attributes.get("path", long_name or info.name), int(attributes.get("size", info.size))
            _require_plain(info, size, attributes, place_of(label, name))
            return info, name, size
    raise DataError(f"{label} must have at most {MOST_HEADERS} headers before a file. Got more.")


def _require_plain(info: tarfile.TarInfo, size: int, attributes: dict[str, str], where: str) -> None:
    sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in attributes)
    if sparse or not (info.isreg() or info.isdir()) or size < 0:
        raise DataError(f"{where} must be a file or a folder. Got a link, a device, or a file with holes.")


def _tar_header(block: bytes, label: str) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise DataError(
            f"{label} must have a sound header before each file. Got other bytes; perhaps it is damaged, or no archive."
        ) from error


def _further(stream: Stream, size: int, label: str) -> bytes:
    if not 0 <= size <= MOST_HEADER:
        raise DataError(f"{label} must have headers of at most {MOST_HEADER} bytes. Got {size}.")
    data = _exactly(stream, size, label)
    _exactly(stream, -size % BLOCK, label)
    return data


def _attributes(data: bytes) -> dict[str, str]:
    """The records ``LENGTH KEY=VALUE`` of a pax header, each with a newline at its end."""
    result, at = {}, 0
    while at < len(data):
        space = data.index(b" ", at, at + 10)
        end = at + int(data[at:space])
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or data[end - 1 : end] != b"\n":
            raise ValueError("damaged attributes of a file")
        result[key.decode()] = value.decode("utf-8", "surrogateescape")
        at = end
    return result


def _exactly(stream: Stream, size: int, label: str) -> bytes:
    result = b""
    while len(result) < size:
        data = stream.read(size - len(result))
        if not data:
            raise DataError(
                f"{label} must be a whole archive. Got no end of it; perhaps it was cut short, or is no archive."
            )
        result += data
    return result


class _Unpacked:
    """What one packed stream after another stands for, in bounded memory."""

    def __init__(self, file: IO[bytes], begun: Callable[[], Any]) -> None:
        self.file, self.begun, self.inner = file, begun, begun()

    def read(self, size: int, /) -> bytes:
        while True:
            packed = b""
            if self.inner.eof:
                # Another stream may follow, and zeros before it.
                packed = self.inner.unused_data.lstrip(b"\0")
                while not packed:
                    if not (packed := self.file.read(CHUNK)):
                        return b""
                    packed = packed.lstrip(b"\0")
                self.inner = self.begun()
            elif self.inner.needs_input and not (packed := self.file.read(CHUNK)):
                raise EOFError("no end of what was packed")
            data: bytes = self.inner.decompress(packed, size)
            if data:
                return data


def _of_gz(file: IO[bytes]) -> Stream:
    return gzip.GzipFile(fileobj=file, mode="rb")


def _of_bz2(file: IO[bytes]) -> Stream:
    import bz2  # some builds of Python lack it, and lzma

    return _Unpacked(file, bz2.BZ2Decompressor)  # bz2.open takes a damaged second stream for the end


def _of_xz(file: IO[bytes]) -> Stream:
    import lzma

    # lzma.open allocates what the file asks for, up to 4 GiB.
    return _Unpacked(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_XZ_MEMORY))


PACKED: dict[bytes, Callable[[IO[bytes]], Stream]] = {b"\x1f\x8b": _of_gz, b"BZh": _of_bz2, b"\xfd7zXZ\0": _of_xz}
"""How what begins with these bytes is unpacked."""
