"""Archives that are damaged or hostile: one sentence, nothing written elsewhere, nothing left, little memory."""

import io
import lzma
import random
import re
import shutil
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from missrate.core import archives, store
from missrate.core.archives import tars, unpacked, zips
from missrate.core.archives.members import Room
from missrate.core.errors import DataError, StoreError
from tests.core.archives.packed import FILES, KINDS, ZIP_AND_TAR, files_of, tarred, tree, zip64, zipped

Attempt = Callable[[str, bytes], dict[str, bytes] | str]
Refused = Callable[[str, bytes], str]
UNPACKED = ("pax.tar", "gnu.tar", "plain as.tar.gz")
SMALL = {name: data for name, data in FILES.items() if len(data) < 400}


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """What comes out of an archive, or the sentence that refuses it; nothing else may have changed on the disk."""
    outside, below = tmp_path / "outside", tmp_path / "outside" / "below"

    def run(name: str, data: bytes) -> dict[str, bytes] | str:
        shutil.rmtree(outside, ignore_errors=True)
        below.mkdir(parents=True)
        (outside / "there.txt").write_bytes(b"there")
        archive, into = below / name, below / "into"
        archive.write_bytes(data)
        result: dict[str, bytes] | str
        try:
            result = files_of(unpacked(archive, into))
        except DataError as error:
            result = str(error)
        if isinstance(result, str):
            assert result.startswith(str(archive)) and re.fullmatch(r"[^\n\x00-\x1f]+\.", result)
            assert [path.name for path in into.iterdir() if path.name != ".lock"] == []
        beside = {"there.txt": b"there", "below": None, f"below/{name}": data, "below/into": None}
        assert {key: value for key, value in tree(outside).items() if not key.startswith("below/into/")} == beside
        assert [path.name for path in tmp_path.iterdir()] == ["outside"]
        return result

    return run


@pytest.fixture
def refused(attempt: Attempt) -> Refused:
    def run(name: str, data: bytes) -> str:
        result = attempt(name, data)
        assert isinstance(result, str), f"accepted: {sorted(result)}"
        return result

    return run


@pytest.mark.parametrize("name", KINDS)
def test_cut_short_at_any_byte(name: str, attempt: Attempt) -> None:
    data = KINDS[name](SMALL)
    # Behind the members a .tar file has blocks of zeros: without some of them nothing is lacking.
    end = (len(data.rstrip(b"\0")) + 511) // 512 * 512 + 512 if name in UNPACKED else len(data)
    for keep in sorted({*range(0, len(data), 1 + len(data) // 100), *range(len(data) - 30, len(data)), end - 1}):
        result = attempt(name, data[:keep])
        assert isinstance(result, str) if keep < end else result == SMALL


@pytest.mark.parametrize("name", KINDS)
def test_flipped_bits(name: str, attempt: Attempt) -> None:
    data, draw = KINDS[name](SMALL), random.Random(name)
    accepted = 0
    for _ in range(60):
        broken = bytearray(data)
        broken[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        result = attempt(name, bytes(broken))
        accepted += not isinstance(result, str)
        # What is not packed has a checksum in .zip files only.
        if not isinstance(result, str) and name not in UNPACKED:
            assert result == SMALL
    assert accepted < 40


@pytest.mark.parametrize("name", ZIP_AND_TAR)
@pytest.mark.parametrize(
    "bad",
    [
        "/abs.txt",
        "../up.txt",
        "a/../../up.txt",
        "a/..",
        "C:/x.txt",
        "a/c:x",
        "a\\..\\b.txt",
        "\\\\host\\x",
        "a\nb",
        "\x7f",
        "n" * 256,
        "/".join("f" * 60),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_names_that_lead_elsewhere(name: str, bad: str, folder: bool, refused: Refused) -> None:
    said = refused(name, KINDS[name]({"ok.txt": b"1", bad + "/" * folder: b""}))
    assert "leads elsewhere" in said or "printable name" in said or "at most 255 letters" in said


def test_names_that_are_no_text(refused: Refused) -> None:
    latin = tarred({"m-ller.txt": b"1"}, kind=tarfile.GNU_FORMAT).replace(b"m-ller", b"m\xfcller")
    header = bytearray(latin[:512])
    header[148:156] = b" " * 8
    assert "printable" in refused("a.tar", latin[:148] + b"%06o\0 " % sum(header) + latin[156:])
    assert "zero byte" in refused("a.zip", zipped({"a-b.txt": b"1"}).replace(b"a-b.txt", b"a\0b.txt"))
    assert "without a name" in refused("a.tar", tarred({"./.": b"1"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar(kind: bytes, refused: Refused) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("below")
        info.type, info.linkname = kind, "../.."
        archive.addfile(info)
        inside = tarfile.TarInfo("below/there.txt")
        archive.addfile(inside)
    assert "'below' must be a file or a folder" in refused("a.tar", out.getvalue())


def test_files_with_holes_in_tar(refused: Refused) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("sparse")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**50)}
        archive.addfile(info)
    assert "with holes" in refused("a.tar", out.getvalue())


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR])
def test_links_and_devices_in_zip(kind: int, refused: Refused) -> None:
    info = zipfile.ZipInfo("below")
    info.external_attr = kind << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "../..")
    assert "'below' must be a file or a folder" in refused("a.zip", out.getvalue())


@pytest.mark.parametrize("name", ZIP_AND_TAR)
@pytest.mark.parametrize(
    "names",
    [("a", "A"), ("a/b", "A/c"), ("x", "x/y"), ("x/y", "x"), ("\u00e4", "a\u0308"), ("s/\u00df", "s/ss"), ("a", "./a")],
)
def test_names_that_collide(name: str, names: tuple[str, str], refused: Refused) -> None:
    assert "each name once" in refused(name, KINDS[name](dict.fromkeys(names, b"1")))


def test_the_same_name_twice(refused: Refused) -> None:
    """Also members that share their bytes, of which bombs are made."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", "2")
    assert "each name once" in refused("a.zip", out.getvalue())
    one = zipped({"a": b"1" * 1000})
    at, entry = one.index(b"PK\1\2"), one[one.index(b"PK\1\2") : -22]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, 3 * len(entry), at, 0)
    assert "each name once" in refused("a.zip", one[:at] + 3 * entry + end)


def test_encrypted_and_unknown_compression(refused: Refused) -> None:
    plain = bytearray(zipped({"a": b"1"}, zipfile.ZIP_STORED))
    plain[6] |= 1
    plain[plain.index(b"PK\1\2") + 8] |= 1
    assert "'a' must not be encrypted" in refused("a.zip", bytes(plain))
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "'a' must be stored or deflated" in refused("a.zip", zipped({"a": b"1"}, kind))


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"<html>moved</html>" * 100, b"\x1f\x8b\x08", bytes(100), b"PK\3\4" + bytes(600)]
)
@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.tar.xz"])
def test_other_bytes_under_the_name_of_an_archive(name: str, data: bytes, refused: Refused) -> None:
    refused(name, data)


@pytest.mark.parametrize("name", KINDS)
def test_bytes_before_and_behind(name: str, refused: Refused, tmp_path: Path) -> None:
    data = KINDS[name]({"a": b"1"})
    for joined in (data + KINDS[name]({"b": b"2"}), data + b"x" * 600, b"x" * 512 + data):
        refused(name, joined)


def test_a_directory_that_lists_less_than_it_says(refused: Refused) -> None:
    for pack in (zipped, zip64):
        data = bytearray(pack({"a": b"1", "b": b"2"}))
        at = len(data) - 22 - (76 if pack is zip64 else 0)
        counts = slice(at + 24, at + 40) if pack is zip64 else slice(at + 8, at + 12)
        sizes = slice(at + 40, at + 48) if pack is zip64 else slice(at + 12, at + 16)
        first = bytearray(data)
        # Half the directory, and an offset that makes its second half look like all of it.
        half = int.from_bytes(data[sizes], "little") // 2
        begin = data.index(b"PK\1\2")
        first[sizes] = half.to_bytes(sizes.stop - sizes.start, "little")
        first[sizes.stop : sizes.stop + sizes.stop - sizes.start] = (begin + half).to_bytes(
            sizes.stop - sizes.start, "little"
        )
        assert "the 2 files that its directory says. Got 1" in refused("a.zip", bytes(first))
        data[counts.start] = 7
        data[counts.start + (counts.stop - counts.start) // 2] = 7
        assert "the 7 files that its directory says. Got 2" in refused("a.zip", bytes(data))


def test_a_member_shorter_than_it_is(refused: Refused) -> None:
    """Of 64 bytes the directory says that there are none: nothing may be dropped in silence."""
    for size in (0, 32):
        data = bytearray(zipped({"a": b"x" * 64}))
        at = data.index(b"PK\1\2") + 24
        data[at : at + 4] = size.to_bytes(4, "little")
        refused("a.zip", bytes(data))


def test_too_deep_and_hostile_inside(refused: Refused) -> None:
    data = zipped({"x.txt": b"1"})
    for _ in range(archives.DEEPEST):
        data = zipped({"again.zip": data, "x.txt": b"1"})
    assert "at most 3 other archives" in refused("a.zip", data)
    assert "a.zip: in/b.tgz: '../x' must lie below" in refused(
        "a.zip", zipped({"in/b.tgz": tarred({"../x": b""}, "w:gz")})
    )
    assert "b.zip must be a whole archive" in refused("a.tar", tarred({"b.zip": zipped({"a": b"1"})[:-1]}))


@pytest.fixture
def small_room(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(archives, "LEAST_ROOM", 2**22)
    return 2**22


def bomb(name: str, size: int) -> bytes:
    return KINDS[name]({"zeros": bytes(size)})


def peak_of(archive: Path) -> int:
    """The most memory that Python held while an archive was refused."""
    tracemalloc.start()
    with pytest.raises(DataError):
        unpacked(archive, archive.parent / "into")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("name", ["deflated.zip", "packed.tgz", "packed.tar.bz2", "packed.tar.xz"])
def test_bombs(name: str, refused: Refused, small_room: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counts: list[int] = []
    take = Room.take

    def counted(room: Room, count: int) -> None:
        counts.append(count)
        take(room, count)

    monkeypatch.setattr(Room, "take", counted)
    data = bomb(name, 2**26)
    assert "must not unpack to so much" in refused(name, data)
    assert sum(counts) < max(small_room, archives.MOST_RATIO * len(data)) + 2 * 2**20
    # Never a member in memory; .xz asks for the 8 MiB of its dictionary.
    assert peak_of(tmp_path / "outside" / "below" / name) < 2**24


def test_a_bomb_in_many_small_parts_in_rubbish_and_behind_the_end(refused: Refused, small_room: int) -> None:
    inner = bomb("deflated.zip", 2**20)
    assert "a.zip must not unpack" in refused(
        "a.zip", zipped({f"{n}.zip": inner for n in range(5)}, zipfile.ZIP_STORED)
    )
    rubbish = {"__MACOSX/x": bytes(2**25)}
    assert "must not unpack" in refused("a.tgz", tarred(rubbish, "w:gz"))
    packed = zlib.compressobj(wbits=31)
    data = packed.compress(tarred({"a": b"1"}) + bytes(2**25)) + packed.flush()
    assert "must not unpack" in refused("a.tgz", data)


def test_what_is_large_but_no_bomb(tmp_path: Path, small_room: int) -> None:
    noise = random.Random(0).randbytes(2**17)
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({"noise": noise, "zeros": bytes(2**23)}))
    assert len(files_of(unpacked(archive, tmp_path / "into"))["zeros"]) == 2**23 > small_room


def test_a_directory_that_promises_too_much(refused: Refused) -> None:
    data = bytearray(zipped({"a": bytes(5000)}))
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = (2**31).to_bytes(4, "little")
    assert "'a' must not promise more than it can hold. Got 2147483648 bytes" in refused("a.zip", bytes(data))


def test_too_many_members(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 20)
    files = {f"{n}": b"" for n in range(30)}
    assert "not hold so many files" in refused("a.tar", tarred(files))
    assert "not hold so many files" in refused("a.zip", zipped(files))
    assert "not hold so many files" in refused("a.tar", tarred({"/".join("f" * 40) + "/": b""}))
    part = zipped({f"{n}": b"" for n in range(9)})
    assert "not hold so many files" in refused("a.zip", zipped({"1.zip": part, "2.zip": part, "3.zip": part}))
    monkeypatch.setattr(zips, "MOST_MEMBERS", 20)
    assert "at most 20 files. Got 30" in refused("a.zip", zipped(files))


def long_header(size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_headers_that_are_bombs(kind: bytes, refused: Refused, tmp_path: Path) -> None:
    for size in (2**33, -1):
        data = zlib.compressobj(wbits=31)
        packed = data.compress(long_header(size, kind) + bytes(2**25)) + data.flush()
        assert "must have headers of at most" in refused("a.tgz", packed)
        assert peak_of(tmp_path / "outside" / "below" / "a.tgz") < 2**22
    assert "at most 10 headers" in refused("a.tar", long_header(0, kind) * 5000 + tarred({"a": b"1"}))


def test_a_file_of_less_than_no_bytes(refused: Refused, tmp_path: Path) -> None:
    data = zlib.compressobj(wbits=31)
    packed = data.compress(long_header(-5, tarfile.REGTYPE) + bytes(2**25)) + data.flush()
    assert "'x' must be a file or a folder" in refused("a.tgz", packed)
    assert peak_of(tmp_path / "outside" / "below" / "a.tgz") < 2**22


def test_attributes_that_lie(refused: Refused) -> None:
    # Digits without end, for which the standard library takes a quadratic time.
    assert "whole archive" in refused("a.tar", long_header(2**20, tarfile.XHDTYPE) + b"1" * 2**20 + tarred({"a": b"1"}))
    for key, value in (("size", "-5"), ("size", "x"), ("size", "9" * 5000), ("path", "../x"), ("path", "")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("a")
            info.pax_headers = {key: value}
            archive.addfile(info)
        refused("a.tar", out.getvalue())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "b"}) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    assert "one name or size for all" in refused("a.tar", out.getvalue())


def test_an_xz_file_that_wants_four_gibibytes_of_memory(refused: Refused) -> None:
    data = bytearray(lzma.compress(tarred({"a": b"1"})))
    end = 12 + 4 * (data[12] + 1)  # of the header of the first block, its checksum included
    at = data.index(b"\x21\x01", 12) + 2
    data[at] = 40
    data[end - 4 : end] = zlib.crc32(data[12 : end - 4]).to_bytes(4, "little")
    assert "Memory usage limit" in refused("a.tar.xz", bytes(data))


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped(FILES))
    monkeypatch.setattr(store, "LEFT_FREE", 2**60)
    with pytest.raises(StoreError, match="GiB free"):
        unpacked(archive, tmp_path / "into")
    assert [path.name for path in (tmp_path / "into").iterdir() if path.name != ".lock"] == []
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        unpacked(archive, tmp_path / "file")


def test_the_last_member_may_be_the_end_of_several_packed_streams(tmp_path: Path) -> None:
    """As pxz, pbzip2 and pigz write: each stream packed by itself, with zeros between those of .xz."""
    data = tarred(FILES)
    parts = [data[:700], data[700:5000], data[5000:]]
    archive = tmp_path / "a.tar.xz"
    archive.write_bytes(bytes(8).join(lzma.compress(part) for part in parts) + bytes(4))
    assert files_of(unpacked(archive, tmp_path / "into")) == FILES
    assert tars.MOST_XZ_MEMORY > 2**26, "xz -9 takes 64 MiB"
