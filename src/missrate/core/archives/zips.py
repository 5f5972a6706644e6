"""The members of a .zip file. Its directory is believed in nothing that can be counted."""

import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import IO

from missrate.core.archives.members import (
    BY_HAND,
    FLATTEST,
    MOST_MEMBERS,
    Counted,
    Measured,
    Member,
    Room,
    place_of,
    whole,
)
from missrate.core.errors import DataError

MOST_DIRECTORY = 2**27
"""Bytes of the directory, which is read as a whole."""


def of_zip(file: IO[bytes], room: Room, label: str) -> Iterator[Member]:
    """Every member; see ``archives.members``."""
    count = _require_directory(file, label)
    with zipfile.ZipFile(file) as archive:
        held = archive.infolist()
        # Writers that do not know Zip64 keep the last 16 bits of the count.
        if len(held) % 2**16 != count % 2**16:
            raise DataError(f"{label} must hold the {count} files that its directory says. Got {len(held)}.")
        for info in held:
            where = place_of(label, info.orig_filename)
            _require_plain(info, where)
            if info.is_dir():
                yield Member(info.filename, True, lambda _: b"")
                continue
            with whole(where), archive.open(info) as stream:
                read = Measured(Counted(stream, room, where), info.file_size, where).read
                yield Member(info.filename, False, read)
                stream.read(1)  # compares the checksum, also where the directory says that there is nothing


def _require_directory(file: IO[bytes], label: str) -> int:
    """The number of files that the directory of a .zip file says, which must be the end of the file, and all of it."""
    size = file.seek(0, 2)
    begin = max(0, size - 22 - 0xFFFF)
    file.seek(begin)
    tail = file.read()
    # As zipfile does: the last record, if it has no comment; else the last that looks like one.
    at = len(tail) - 22 if tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\0\0" else tail.rfind(b"PK\x05\x06")
    if not 0 <= at <= len(tail) - 22:
        raise DataError(f"{label} must be a whole archive. Got no directory at its end; perhaps it was cut short.")
    count, directory, offset, comment = struct.unpack_from("<10xH2LH", tail, at)
    end = begin + at
    if tail[max(0, at - 20) : at][:4] == b"PK\x06\x07":  # Zip64
        end -= 76
        file.seek(max(0, end))
        count, directory, offset = struct.unpack("<32x3Q", file.read(56))
    if offset + directory != end or at + 22 + comment != len(tail):
        raise DataError(f"{label} must be one archive from its first byte to its last. Got other bytes beside it.")
    if count > MOST_MEMBERS or directory > MOST_DIRECTORY:
        raise DataError(f"{label} must hold at most {MOST_MEMBERS} files. Got {count}, or very long names.")
    return int(count)


def _require_plain(info: zipfile.ZipInfo, where: str) -> None:
    """A file or a folder, stored or deflated, that does not promise more than deflated bytes can hold."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        raise DataError(f"{where} must be a file or a folder. Got a link or a device.")
    if "\0" in info.orig_filename:
        raise DataError(f"{where} must have a printable name. Got a zero byte in it.")
    if info.flag_bits & 0x2041:  # encrypted, strongly, or with hidden headers
        raise DataError(f"{where} must not be encrypted. Got a file that needs a password; {BY_HAND}.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{where} must be stored or deflated. Got compression {info.compress_type}; {BY_HAND}.")
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    most = info.compress_size * FLATTEST + 1000 if deflated else info.compress_size
    if info.file_size > (0 if info.is_dir() else most):
        raise DataError(f"{where} must not promise more than it can hold. Got {info.file_size} bytes; perhaps a bomb.")
