"""NIfTI files that lie: refused in one sentence, or the voxels and the affine that nibabel reads; in bounded memory."""

import gzip
import logging
import random
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from isal import isal_zlib

from missrate.core.errors import DataError
from missrate.core.types import Scan
from missrate.readers import _files, nifti
from tests.fuzz.attempt import in_time
from tests.readers.test_nifti import AFFINE

VALUES = np.random.default_rng(0).integers(0, 3, (5, 4, 3))
TURNED = np.array([[0, 0, -2.5, 9], [0.8, 0, 0, -7], [0, -0.9, 0, 3], [0, 0, 0, 1]])
"""Axes in another order, two of them reversed."""
HEADERS = {"1": nib.Nifti1Header, "2": nib.Nifti2Header}
SOUND = ("1<i2", "1>f4", "2<u1", "2>i2")
LOADERS = (nifti.load_map, nifti.load_reference, lambda path: nifti.load_prediction(path, (1,)), nifti.geometry)
ABSURD = (np.nan, np.inf, -np.inf, 0, -1, 1, 1e-38, 1e38, 1e300, 7, 352, 32767, -32768, 2**31 - 1, -(2**31), 2**62)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """nibabel logs what it mends in a header."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


def of_kind(kind: str, affine: np.ndarray = TURNED) -> bytes:
    """A sound file: version of NIfTI, byte order, number type."""
    header = HEADERS[kind[0]](endianness=kind[1])
    header.set_data_dtype(np.dtype(kind[1:]))
    image = {"1": nib.Nifti1Image, "2": nib.Nifti2Image}[kind[0]](VALUES.astype(kind[1:]), affine, header)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    data: bytes = image.to_bytes()
    return data


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine in RAS+ by nibabel alone, of a file without anything between its header and its voxels."""
    data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    size = HEADERS["1" if struct.unpack("<i", data[:4])[0] in (348, 1543569408) else "2"].sizeof_hdr
    data[size : size + 4] = bytes(4)
    kind = nib.Nifti1Image if size == 348 else nib.Nifti2Image
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        image = kind.from_bytes(bytes(data))
        values = np.asanyarray(image.dataobj)
    values = values.reshape(values.shape[:3])
    turn = nib.orientations.io_orientation(image.affine)
    affine = image.affine @ nib.orientations.inv_ornt_aff(turn, values.shape)
    return np.asarray(nib.orientations.apply_orientation(values, turn)), affine


def loaded(loader: Callable[[str], object], path: Path) -> object:
    """What a loader gives, or the DataError by which it refuses."""
    try:
        return loader(str(path))
    except DataError as error:
        return error


def is_read(path: Path, data: bytes) -> bool:
    """Whether a file is read as an image, and then as nibabel reads it; no loader does anything but read or refuse."""
    path.write_bytes(data)
    with in_time(10):
        results = [loaded(loader, path) for loader in (nifti.load_image, *LOADERS)]
    for said in (str(result) for result in results if isinstance(result, DataError)):
        assert path.name in said and said.endswith(".") and "\n" not in said
    scan = results[0]
    if not isinstance(scan, Scan):
        return False
    values, affine = by_nibabel(path)
    np.testing.assert_array_equal(scan.values_XYZ, values)
    np.testing.assert_allclose(scan.grid.matrix, affine, rtol=1e-12)
    assert scan.values_XYZ.dtype == values.dtype.newbyteorder("=") and scan.values_XYZ.dtype.isnative
    return True


def header_and_rest(kind: str) -> tuple[np.ndarray, bytes]:
    data, header = of_kind(kind), HEADERS[kind[0]](endianness=kind[1])
    return np.frombuffer(data[: header.sizeof_hdr], header.structarr.dtype), data[header.sizeof_hdr :]


def absurd_headers(kind: str) -> Iterator[tuple[str, bytes]]:
    """Each number of the header, in turn, with each absurd value that its type can hold."""
    header, rest = header_and_rest(kind)
    for name in header.dtype.names or ():
        cell = header[name]
        if cell.dtype.kind == "S":
            continue
        for place in np.ndindex(cell.shape[1:]):
            for value in ABSURD:
                if cell.dtype.kind in "iu" and not (
                    isinstance(value, int) and np.iinfo(cell.dtype).min <= value <= np.iinfo(cell.dtype).max
                ):
                    continue
                changed = header.copy()
                with np.errstate(over="ignore"):
                    changed[name][(0, *place)] = value
                yield f"{name}{place} = {value}", changed.tobytes() + rest


@pytest.mark.parametrize("kind", SOUND)
def test_absurd_numbers_in_the_header(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    assert is_read(path, of_kind(kind))
    read = {name: is_read(path, data) for name, data in absurd_headers(kind)}
    refused = {name for name, was_read in read.items() if not was_read}
    assert len(read) > 400 and 0.1 < len(refused) / len(read) < 0.6
    for sure in ("dim(1,) = -1", "dim(0,) = 0", "vox_offset() = 0", "vox_offset() = 32767", "srow_x(3,) = nan"):
        assert sure in refused
    assert "cal_max() = nan" not in refused
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii"]


@pytest.mark.parametrize("kind", SOUND)
def test_flipped_bits_in_the_header(kind: str, tmp_path: Path) -> None:
    data, draw = of_kind(kind), random.Random(kind)
    read = 0
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            broken[draw.randrange(HEADERS[kind[0]].sizeof_hdr + 4)] ^= 1 << draw.randrange(8)
        read += is_read(tmp_path / "a.nii", bytes(broken))
    assert 15 < read < 147


@pytest.mark.parametrize("kind", ["1<i2", "1>f4"])
def test_affines(kind: str, tmp_path: Path) -> None:
    """All codes of the two ways to give one, with absurd numbers in all places at once."""
    header, rest = header_and_rest(kind)
    rows, quaternion = ["srow_x", "srow_y", "srow_z"], ["quatern_b", "quatern_c", "quatern_d"]
    for value in (0.0, np.nan, np.inf, 1e-38, 1e38, 1e8, -1.0):
        for codes in ((1, 0), (0, 1), (0, 0), (1, 1), (-1, 4)):
            for names in (rows, quaternion, ["pixdim"]):
                changed = header.copy()
                changed["sform_code"], changed["qform_code"] = codes
                for name in names:
                    changed[name] = value
                read = is_read(tmp_path / "a.nii", changed.tobytes() + rest)
                assert not (read and names is rows and codes[0] > 0), "no rows of one number are invertible"


@pytest.mark.parametrize("slope", [0.0, -1.0, 2.5, np.nan, np.inf, 1e38, 1e-38])
@pytest.mark.parametrize("offset", [0.0, -1024.0, np.nan, np.inf, 3e38])
@pytest.mark.parametrize("kind", ["1<i2", "1>f4"])
def test_scale_factors(kind: str, slope: float, offset: float, tmp_path: Path) -> None:
    header, rest = header_and_rest(kind)
    changed = header.copy()
    changed["scl_slope"], changed["scl_inter"] = slope, offset
    read = is_read(tmp_path / "a.nii", changed.tobytes() + rest)
    # A slope of 0 or none means that there is no scale; else an offset that is no number cannot be used.
    assert read == (not np.isfinite(slope) or slope == 0 or bool(np.isfinite(offset)))


@pytest.mark.parametrize(
    ("code", "bits"),
    [(0, 0), (1, 1), (32, 64), (128, 24), (255, 8), (1536, 128), (1792, 128), (2048, 256), (2304, 32), (9999, 8)],
)
def test_numbers_that_are_no_intensities(code: int, bits: int, tmp_path: Path) -> None:
    """Bits, complex numbers, colours, numbers of 16 bytes: nothing here could measure them."""
    header, rest = header_and_rest("1<u1")
    changed = header.copy()
    changed["datatype"], changed["bitpix"] = code, bits
    for fill in (b"\0", b"\1", b"\xff"):
        assert not is_read(tmp_path / "a.nii", changed.tobytes() + rest[:4] + fill * VALUES.size * 32)


@pytest.mark.parametrize("code", [256, 2, 4, 8, 512, 768, 1024, 1280, 16, 64])
@pytest.mark.parametrize("order", "<>")
def test_every_plain_number_type(code: int, order: str, tmp_path: Path) -> None:
    dtype = np.dtype(nib.nifti1.data_type_codes.dtype[code])
    assert is_read(tmp_path / "a.nii", of_kind(f"1{order}{dtype.str[1:]}"))
    assert is_read(tmp_path / "a.nii.gz", gzip.compress(of_kind(f"2{order}{dtype.str[1:]}"), 1))


@pytest.mark.parametrize("size", [0, -1, 7, 8, 16, 24, 32, 1000, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_what_stands_between_header_and_voxels(size: int, ending: str, tmp_path: Path) -> None:
    """Whatever it says of its own size: the voxels lie where the header says."""
    header, rest = header_and_rest("1<i2")
    changed = header.copy()
    for code in (0, 2, 4, 6, 32, -1):
        for body in (b"", b"x" * 8, b"x" * 24):
            extension = struct.pack("<ii", size, code) + body
            changed["vox_offset"] = 352 + len(extension)
            data = changed.tobytes() + b"\1\0\0\0" + extension + rest[4:]
            assert is_read(tmp_path / f"a.{ending}", gzip.compress(data, 1) if ending == "nii.gz" else data)


@pytest.mark.parametrize("kind", SOUND)
def test_two_files_and_wrong_magic(kind: str, tmp_path: Path) -> None:
    image = {"1": nib.Nifti1Pair, "2": nib.Nifti2Pair}[kind[0]](VALUES.astype(kind[1:]), TURNED)
    image.to_filename(tmp_path / "pair.hdr")
    for name in ("pair.hdr", "pair.img"):
        data = (tmp_path / name).read_bytes()
        assert not is_read(tmp_path / name, data)
        assert not is_read(tmp_path / "a.nii", data)
        assert not is_read(tmp_path / "a.nii.gz", gzip.compress(data))
    # Joined by hand they are one file whose header still says two.
    header = (tmp_path / "pair.hdr").read_bytes()
    assert not is_read(tmp_path / "a.nii", header + bytes(4) + (tmp_path / "pair.img").read_bytes())
    sound = of_kind(kind)
    at = sound.index(b"n+1" if kind[0] == "1" else b"n+2")
    for magic in (b"\0\0\0\0", b"n+3\0", b"ni1\0", b"n+1 ", b"N+1\0", b"n+2\0" if kind[0] == "1" else b"n+1\0"):
        is_read(tmp_path / "a.nii", sound[:at] + magic + sound[at + 4 :])
    assert not is_read(tmp_path / "a.nii", sound[:at] + b"\0\0\0\0" + sound[at + 4 :])


@pytest.mark.parametrize("kind", SOUND)
def test_gzip(kind: str, tmp_path: Path) -> None:
    data, path = of_kind(kind), tmp_path / "a.nii.gz"
    packed = gzip.compress(data)
    assert is_read(path, gzip.compress(data[:100]) + gzip.compress(b"") + gzip.compress(data[100:]))
    assert is_read(path, packed + bytes(512)), "zeros behind it, as tapes leave them"
    for tail in (b"x", b"\x1f\x8b", packed[:30], packed[:-1]):
        assert not is_read(path, packed + tail)
    assert not is_read(path, data) and not is_read(tmp_path / "a.nii", packed)
    draw = random.Random(kind)
    for _ in range(60):
        broken = bytearray(packed)
        broken[draw.randrange(len(packed))] ^= 1 << draw.randrange(8)
        if is_read(path, bytes(broken)):
            assert gzip.decompress(bytes(broken)) == data


def noisy() -> bytes:
    """A sound file that cannot be packed, longer than what is looked at for a member at a time."""
    values = np.random.default_rng(1).integers(-(2**15), 2**15, (64, 64, 40), np.int16)
    data: bytes = nib.Nifti1Image(values, TURNED).to_bytes()
    return data


@pytest.mark.parametrize("padding", [0, 1, *range(_files.WINDOW - 12, _files.WINDOW + 2), 3 * _files.WINDOW])
def test_members_and_padding_across_windows(padding: int, tmp_path: Path) -> None:
    """Head, voxels and checksum of a member may each lie on both sides of where a window ends."""
    data, path = noisy(), tmp_path / "a.nii.gz"
    parts = [gzip.compress(part, 1) for part in (data[:400], data[400:200_000], data[200_000:])]
    whole = bytes(padding).join(parts)
    assert is_read(path, whole)
    last = len(parts[2])
    for lost in (1, 4, 8, 9, last - _files.WINDOW, last - 11, last - 1):
        assert not is_read(path, whole[:-lost])
    broken = bytearray(whole)
    broken[-last // 2] ^= 1
    assert not is_read(path, bytes(broken))


def test_a_checksum_at_the_end_of_a_window(tmp_path: Path) -> None:
    data = noisy()
    head = gzip.compress(data[:400])
    sizes = []
    for size in range(_files.WINDOW - 40, _files.WINDOW - 10):
        middle = gzip.compress(data[400 : 400 + size], 0)
        sizes.append(len(middle))
        assert is_read(tmp_path / "a.nii.gz", head + middle + gzip.compress(data[400 + size :], 1))
    assert min(sizes) < _files.WINDOW < max(sizes) - 8, "no checksum was cut in two"


def test_many_members_are_each_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hands on all that follows, at each member, takes a time that grows with the square of the file."""
    given: list[int] = []
    begun = isal_zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self.inner = begun(wbits=wbits)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            given.append(len(data))
            result: bytes = self.inner.decompress(data, most)
            return result

    data, path = noisy(), tmp_path / "a.nii.gz"
    packed = b"".join(gzip.compress(data[at : at + 500], 1) for at in range(0, len(data), 500))
    path.write_bytes(packed + 2000 * gzip.compress(b""))
    monkeypatch.setattr(isal_zlib, "decompressobj", Counting)
    scan = nifti.load_image(str(path))
    np.testing.assert_array_equal(scan.values_XYZ, by_nibabel(path)[0])
    assert len(given) > 2600 and max(given[1:]) <= _files.WINDOW


@pytest.mark.parametrize("data", [b"", bytes(20), bytes(2**20)])
def test_nothing_but_padding(data: bytes, tmp_path: Path) -> None:
    assert not is_read(tmp_path / "a.nii.gz", data)


def test_a_long_file_of_a_small_case_is_not_taken_into_memory(tmp_path: Path) -> None:
    """Its own bytes are no case: behind a sound file lie 256 MiB of padding, which take no room on the disk."""
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(of_kind("1<i2")))
    with path.open("rb+") as file:
        file.truncate(2**28)
    for loader in (nifti.load_image, nifti.load_map, LOADERS[2]):
        tracemalloc.start()
        with in_time(10), pytest.raises(DataError, match="no more than it says"):
            loader(str(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**21
    with in_time(10):
        assert nifti.geometry(str(path))[0] == VALUES.shape


@pytest.mark.parametrize("kind", ["1<i2", "1<u1", "1<f4", "1<i2 scaled"])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_memory_is_twice_the_case_at_most(kind: str, ending: str, tmp_path: Path) -> None:
    """The case: its voxels as they lie in the file, and as they are after the scale factors."""
    dtype = np.dtype(kind[1:4])
    values = np.resize(np.arange(199, dtype=dtype), (512, 512, 48))
    image = nib.Nifti1Image(values, AFFINE)
    if "scaled" in kind:
        image.header.set_slope_inter(2.0, -5.0)
    data = image.to_bytes()
    path = tmp_path / f"a.{ending}"
    path.write_bytes(gzip.compress(data, 1) if ending == "nii.gz" else data)
    case = values.nbytes + (values.size * 8 if "scaled" in kind else values.nbytes)
    del values, image, data
    for loader in (nifti.load_image, *LOADERS):
        tracemalloc.start()
        loader(str(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 2 * case + 2**16  # objects that are no voxels


def bombs(folder: Path) -> list[Path]:
    """Small files that stand for, or promise, some 4 GiB."""
    header, rest = header_and_rest("1<i2")
    zeros = zlib.compressobj(9, zlib.DEFLATED, 31)
    member = zeros.compress(bytes(2**26)) + zeros.flush()
    parts = {"behind": gzip.compress(of_kind("1<i2")) + 64 * member}
    for name, size in (("extension", 2**31 - 1), ("negative", -1)):
        head = gzip.compress(header.tobytes() + b"\1\0\0\0" + struct.pack("<ii", size, 2))
        parts[name] = head + 64 * member
        changed = header.copy()
        changed["vox_offset"] = 2**31
        parts[f"{name} far"] = (
            gzip.compress(changed.tobytes() + b"\1\0\0\0" + struct.pack("<ii", size, 2)) + 64 * member
        )
    changed = header.copy()
    changed["dim"] = [3, 32767, 32767, 32767, 1, 1, 1, 1]
    parts["promise"] = gzip.compress(changed.tobytes() + rest)
    changed["dim"] = [3, 1024, 1024, 1024, 1, 1, 1, 1]
    parts["near promise"] = gzip.compress(changed.tobytes() + rest) + random.Random(0).randbytes(2 * 2**20)
    for name, data in parts.items():
        (folder / f"{name}.nii.gz").write_bytes(data)
    (folder / "promise.nii").write_bytes(changed.tobytes() + rest)
    return sorted(folder.iterdir())


CONFINED = """
import resource, sys
from missrate.core.errors import DataError
from missrate.readers import _files, nifti
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
for path in sys.argv[1:]:
    for loader in (nifti.load_image, nifti.load_map, lambda p: nifti.load_prediction(p, (1,)), nifti.geometry):
        try:
            loader(path)
            print("read", path)
        except DataError as error:
            print("refused", error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs a system that says how much memory is in use")
def test_bombs_in_a_process_with_little_memory(tmp_path: Path) -> None:
    """A quarter of a GiB beyond what the imports take: none of these is read into memory, and none takes long."""
    paths = bombs(tmp_path)
    assert all(path.stat().st_size < 2**23 for path in paths)
    command = [sys.executable, "-c", CONFINED, *map(str, paths)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == 4 * len(paths)
    assert not [line for line in lines if "memory" in line.lower() or "allocate" in line]
    read = {Path(line.removeprefix("read ")).name for line in lines if line.startswith("read ")}
    # Their headers are sound, and so is what their geometry says.
    assert read <= {"behind.nii.gz", "extension.nii.gz", "negative.nii.gz", "near promise.nii.gz"}
