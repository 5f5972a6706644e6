"""Archives for tests, from names and bytes; a name that ends in a slash is a folder."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

Files = Mapping[str, bytes]
FILES = {
    "Set/scans/a.bin": bytes(range(256)) * 3,
    "Set/scans/b.txt": b"hello " * 50,
    "Set/empty.txt": b"",
    "Set/64.txt": b"x" * 64,
    f"Set/{'long' * 35}.txt": b"long",
    "Set/Ünïcode 1.txt": b"abc",
}


class _Pipe(io.RawIOBase):
    """Cannot seek: zipfile then writes data descriptors."""

    def __init__(self, out: io.BytesIO) -> None:
        self.out = out

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self.out.write(data)  # type: ignore[arg-type]


def zipped(files: Files, compression: int = zipfile.ZIP_DEFLATED, *, streamed: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(_Pipe(out) if streamed else out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def zip64(files: Files) -> bytes:
    """Every size of a member in a Zip64 field, and a Zip64 directory."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    data = out.getvalue()
    end = data[-22:]
    count, size, offset = int.from_bytes(end[10:12], "little"), end[12:16], end[16:20]
    wide = [n.to_bytes(8, "little") for n in (44, count, count)]
    where = (len(data) - 22).to_bytes(8, "little")
    record = (
        b"PK\6\6" + wide[0] + b"\x2d\0\x2d\0" + b"\0" * 8 + wide[1] + wide[2] + size + b"\0" * 4 + offset + b"\0" * 4
    )
    locator = b"PK\6\7" + b"\0" * 4 + where + b"\1\0\0\0"
    return data[:-22] + record + locator + end[:8] + b"\xff" * 12 + b"\0\0"


def tarred(files: Files, mode: str = "w:", kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


KINDS: dict[str, Callable[[Files], bytes]] = {
    "deflated.zip": zipped,
    "stored.zip": lambda files: zipped(files, zipfile.ZIP_STORED),
    "streamed.ZIP": lambda files: zipped(files, streamed=True),
    "zip64.zip": zip64,
    "pax.tar": tarred,
    "gnu.tar": lambda files: tarred(files, kind=tarfile.GNU_FORMAT),
    "packed.tgz": lambda files: tarred(files, "w:gz", tarfile.GNU_FORMAT),
    "packed.tar.gz": lambda files: tarred(files, "w:gz"),
    "packed.tar.bz2": lambda files: tarred(files, "w:bz2"),
    "packed.tar.xz": lambda files: tarred(files, "w:xz"),
    "gz as.tar": lambda files: tarred(files, "w:gz"),  # what some browsers make of .tar.gz
    "plain as.tar.gz": tarred,
}
"""By the file's name."""
ZIP_AND_TAR = ("deflated.zip", "pax.tar")


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, links followed; None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if data is not None}
