"""evalseg's pickles: a round trip, an oracle on real data, and everything hostile refused without a step of it run."""

import builtins
import contextlib
import csv
import gzip
import os
import pickle
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from missrate.core.crop import union
from missrate.core.errors import DataError, InputError
from missrate.core.quantise import TOP
from missrate.readers import _pickle, evalseg
from missrate.readers._detect import detect
from missrate.readers._files import file_of
from missrate.study import folder
from tests.readers import written
from tests.readers.test_nifti import save
from tests.readers.written import of_mask, pickled, segment, segment_array

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "evalseg"
PUBLISHED = {
    "CE": 0.8221,
    "DiceCE": 0.8249,
    "Focal": 0.8016,
    "DiceFocal": 0.8416,
    "Tversky": 0.8260,
    "WCE": 0.4744,
    "SS": 0.7799,
}
"""The mean Dice of SegLoss's table for these networks on the same 73 patients."""

BOX = (slice(1, 3), slice(0, 2), slice(2, 3))
ONES = np.ones((2, 2, 1), np.uint8)
SHAPE = (6, 6, 4)


def stored(folder: Path, data: object, name: str = "1.pkl") -> str:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else pickled(data))
    return str(path)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 3), st.integers(1, 3)), max_size=8),
    st.sampled_from(["u1", "i2", ">i4", "f8", "b1"]),
    st.sampled_from([3, 4]),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, voxels: list[tuple[int, int, int, int]], kind: str, protocol: int
) -> None:
    values = np.zeros((6, 5, 4), kind)
    for x, y, z, value in voxels:
        values[x, y, z] = value
    location = stored(tmp_path_factory.mktemp("a"), pickled(of_mask(values), protocol))
    crop = evalseg.load_reference(location)
    assert (crop.full() == values).all()
    assert crop.grid.spacing_mm == pytest.approx((0.8, 0.8, 2.5))
    assert np.issubdtype(crop.values_XYZ.dtype, np.integer) or kind == "b1"
    prediction = evalseg.load_prediction(location, (1, 3))
    assert prediction.kind == "mask"
    assert (prediction.levels.full() == np.isin(values, (1, 3)) * TOP).all()


def test_two_components_whose_boxes_overlap(tmp_path: Path) -> None:
    # # . .      The box of the diagonal covers that of the corner voxel: each must leave the other's voxels alone.
    # . . .  +
    # . . #
    diagonal = np.eye(3, dtype=np.uint8)[:, :, None]
    corner = np.zeros((3, 1, 1), np.uint8)
    corner[2] = 1
    parts = [
        segment(SHAPE, (slice(0, 3), slice(0, 3), slice(1, 2)), diagonal),
        segment(SHAPE, (slice(0, 3), slice(0, 1), slice(1, 2)), corner),
    ]
    expected = diagonal.copy()
    expected[2, 0] = 1
    for order in (parts, parts[::-1]):
        crop = evalseg.load_reference(stored(tmp_path, segment_array(SHAPE, order)))
        assert crop.start == (0, 0, 1)
        assert (crop.values_XYZ == expected).all()


def test_only_the_box_around_the_segments_is_made(tmp_path: Path) -> None:
    shape = (1024, 1024, 1024)
    assert evalseg.load_reference(stored(tmp_path, segment_array(shape, []))).values_XYZ.shape == (1, 1, 1)
    crop = evalseg.load_reference(stored(tmp_path, segment_array(shape, [segment(shape, BOX, ONES)])))
    assert crop.values_XYZ.shape == (2, 2, 1)
    assert crop.start == (1, 0, 2)
    assert crop.grid.shape == shape


def test_find_and_recognises(tmp_path: Path) -> None:
    for case in ("10", "9"):
        written.evalseg(tmp_path, case, np.ones((2, 2, 2), np.uint8))
    assert [entry.case_id for entry in evalseg.find(tmp_path, evalseg.Config())] == ["10", "9"]
    assert evalseg.recognises(tmp_path)
    (tmp_path / "9.nii.gz").touch()
    assert not evalseg.recognises(tmp_path)
    (tmp_path / "9.pkl").touch()
    with pytest.raises(DataError, match="unique"):
        evalseg.find(tmp_path, evalseg.Config())


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: segment_array((6, 6), []), "shape"),
        (lambda: segment_array((6, 6, 0), []), "shape"),
        (lambda: segment_array((6, 6, 4.0), []), "shape"),
        (lambda: segment_array((6, 6, True), []), "shape"),
        (lambda: segment_array((2**10, 2**10, 2**10 + 1), []), "at most"),
        (lambda: segment_array((2**62, 2**62, 2**62), []), "at most"),
        (lambda: segment_array(SHAPE, [], voxelsize=np.array([1.0, np.nan, 1.0])), "voxelsize"),
        (lambda: segment_array(SHAPE, [], voxelsize=(1.0, 1.0)), "voxelsize"),
        (lambda: segment_array(SHAPE, [], fill_value=1), "fill_value"),
        (lambda: segment_array(SHAPE, None), "segments"),
        (lambda: segment_array(SHAPE, [3]), "SingleSegments"),
        (lambda: segment_array(SHAPE, [segment_array(SHAPE, [])]), "SingleSegments"),
        (lambda: segment(SHAPE, BOX, ONES), "SegmentArray"),
        (lambda: {"shape": SHAPE}, "SegmentArray"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, BOX[:2], ONES)]), "roi"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, (*BOX[:2], slice(2, 5)), ONES)]), "roi"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, (*BOX[:2], slice(-2, -1)), ONES)]), "roi"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, (*BOX[:2], slice(2, 3, 2)), ONES)]), "roi"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, (*BOX[:2], slice(None)), ONES)]), "roi"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, (*BOX[:2], 2), ONES)]), "roi"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, BOX, ONES[:1])]), "fill its box"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, BOX, [1])]), "array"),
        (lambda: segment_array(SHAPE, [segment((6, 6, 5), BOX, ONES)]), "whole scan"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, BOX, ONES, fill_value=1)]), "fill_value"),
        (lambda: segment_array(SHAPE, [segment(SHAPE, BOX, ONES * 0.5)]), "whole numbers"),
        (
            lambda: segment_array(SHAPE, [segment(SHAPE, BOX, ONES), segment(SHAPE, BOX, ONES * np.uint16(1))]),
            "one number type",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, made: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=rf"1\.pkl.*{sentence}"):
        evalseg.load_reference(stored(tmp_path, made()))


class Reduced:
    """Pickles as a call of whatever it is given."""

    def __init__(self, *value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return self.value


class Other(np.ndarray):
    """An array of another class."""


def inside(value: object) -> Any:
    """A sound file but for one attribute that nobody would read; itself it needs no array, so any protocol will do."""
    return segment_array(SHAPE, [], roi=None, voxelsize=(1.0, 1.0, 1.0), other=value)


@pytest.fixture
def trap(tmp_path: Path) -> Any:
    """The path of a file that appears if anything is run."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "os.system": lambda trap: Reduced(os.system, (f"touch {trap}",)),
    "subprocess.Popen": lambda trap: Reduced(subprocess.Popen, (["touch", str(trap)],)),
    "builtins.eval": lambda trap: Reduced(builtins.eval, (f"open({str(trap)!r}, 'w')",)),
    "builtins.exec": lambda trap: Reduced(builtins.exec, (f"open({str(trap)!r}, 'w')",)),
    "builtins.getattr": lambda trap: Reduced(getattr, (np.dtype("u1"), "type")),
    "builtins.open": lambda trap: Reduced(open, (str(trap), "w")),
    "numpy.load": lambda trap: Reduced(np.load, (str(trap.with_name("inner.npy")), None, True)),
    "numpy.frombuffer": lambda trap: Reduced(np.frombuffer, (b"1",)),
    "pickle.loads": lambda trap: Reduced(pickle.loads, (pickle.dumps(Reduced(os.system, (f"touch {trap}",))),)),
    "object dtype": lambda trap: np.array([Reduced(os.system, (f"touch {trap}",))], object),
    "dtype of fields": lambda trap: np.zeros(2, [("a", "O"), ("b", "i4")]),
    "dtype of text": lambda trap: np.array(["a"]),
    "dtype of times": lambda trap: np.array([1], "M8[s]"),
    "no axis": lambda trap: np.array(1.0),
    "an empty array": lambda trap: np.zeros((0, 3)),
    "four axes": lambda trap: np.zeros((1, 1, 1, 1)),
    "a set": lambda trap: {1, 2},
    "an array subclass": lambda trap: np.ones(2).view(Other),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_hostile_object_is_refused_and_nothing_runs(tmp_path: Path, name: str, protocol: int, trap: Path) -> None:
    if name == "numpy.load":
        np.save(tmp_path / "inner.npy", np.array([Reduced(os.system, (f"touch {trap}",))], object))
    data = pickled(inside(HOSTILE[name](trap)), protocol)
    with pytest.raises(DataError, match="plain pickle of evalseg"):
        evalseg.load_reference(stored(tmp_path, data))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_surrounds_the_hostile_object_is_sound(tmp_path: Path, protocol: int) -> None:
    evalseg.load_reference(stored(tmp_path, pickled(inside("harmless"), protocol)))


def test_the_trap_works(tmp_path: Path) -> None:
    # The same bytes under the ordinary machine do run: the tests above could fail.
    path = tmp_path / "ran"
    pickle.loads(pickle.dumps(Reduced(os.system, (f"touch {path}",))))
    assert path.exists()


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


ARRAY = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
TYPE = named("numpy", "dtype") + text("u1") + b"\x89\x88\x87R"
SCALAR = named("numpy.core.multiarray", "scalar")
SEGMENT = named("evalseg.io.segment_array", "SegmentArray")
HUGE = b"J" + struct.pack("<i", 2**31 - 1)


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\x80\x04.",
        b"N",
        b"N.N.",
        b"\x80\x04Pthe persistent id\n.",
        b"\x80\x04" + text("x") + b"Q.",
        b"\x82\x01.",
        b"\x83\x01\x00.",
        b"\x84\x01\x00\x00\x00.",
        b"cos\nsystem\n.",
        b"cbuiltins\nslice.__class__\n.",
        named("builtins", "slice.indices") + b".",
        named("numpy", "dtype.newbyteorder") + b".",
        b"K\x01K\x02\x93.",
        b"(S'x'\nios\nsystem\n.",
        b"(cos\nsystem\nS'x'\no.",
        SEGMENT + b")}\x92.",
        SEGMENT + b")R.",
        SEGMENT + b"K\x01\x85\x81.",
        named("builtins", "slice") + b")\x81.",
        named("builtins", "slice") + b"K\x01\x85R.",
        named("builtins", "slice") + text("a") + b"NN\x87R.",
        SEGMENT + b"}b.",
        SEGMENT + b")\x81" + b"Nb.",
        SEGMENT + b")\x81" + b"N}\x86b.",
        SEGMENT + b")\x81" + b"}b}b.",
        SEGMENT + b")\x81" + text("shape") + b"Ns.",
        named("numpy", "dtype") + text("O") + b"\x89\x88\x87R.",
        named("numpy", "dtype") + text("O8") + b"\x89\x88\x87R.",
        named("numpy", "dtype") + text("V8") + b"\x89\x88\x87R.",
        named("numpy", "dtype") + text("u1,u1") + b"\x89\x88\x87R.",
        named("numpy", "dtype") + b"}\x89\x88\x87R.",
        TYPE + b"(K\x03" + text("<") + text("x") + b"NNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
        TYPE + b"(K\x03" + text("O") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
        ARRAY + b"(K\x01" + HUGE + HUGE + HUGE + b"\x87" + TYPE + b"\x89C\x01atb.",
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + TYPE + b"\x89C\x01atb.",
        ARRAY + b"(K\x01K\x02\x85" + TYPE + b"\x89C\x01atb.",
        ARRAY + b"(K\x01K\x01\x85" + TYPE + b"\x89]Natb.",
        ARRAY + b"(K\x01K\x01\x85" + TYPE + b"\x89tb.",
        named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + HUGE + b"\x85C\x01b\x87R.",
        named("numpy.core.multiarray", "_reconstruct") + SEGMENT + b"K\x00\x85C\x01b\x87R.",
        SCALAR + TYPE + b"C\x02ab\x86R.",
        SCALAR + TYPE + b"N\x86R.",
        b"]K\x01Ks.",
        b"}K\x01K\x01s.",
        b"}" + b"))\x86" + b"K\x01s.",
        b")Na.",
        b"}(" + text("a") + b"u.",
        b"h\x00.",
        b"j\xff\xff\xff\xff.",
        b"\x94.",
        b"t.",
        b"R.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x8c\x02\xff\xff.",
        b"X\xff\xff\xff\x7f.",
    ],
)
def test_a_hostile_opcode_is_refused(tmp_path: Path, code: bytes) -> None:
    with pytest.raises(DataError, match=r"1\.pkl"):
        evalseg.load_reference(stored(tmp_path, code))


def test_the_hostile_arrays_differ_from_sound_ones_by_their_one_fault() -> None:
    sound = ARRAY + b"(K\x01K\x01\x85" + TYPE + b"\x89C\x01atb."
    value = _pickle.loads(sound, name="")
    assert isinstance(value, _pickle.Array)
    assert value.values is not None
    assert value.values.tolist() == [ord("a")]
    assert _pickle.loads(SCALAR + TYPE + b"C\x01a\x86R.", name="") == ord("a")
    assert isinstance(_pickle.loads(SEGMENT + b")\x81}b.", name=""), _pickle.Thing)


def test_steps_and_memo_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pickle, "MOST_STEPS", 1000)
    with pytest.raises(DataError, match="more than 1000 steps"):
        _pickle.loads(b"N" * 1001 + b".", name="")
    # The highest index of the memo costs one entry, not 2^32 of them.
    assert _pickle.loads(b"Nr\xff\xff\xff\xff.", name="") is None


def test_tuples_within_tuples_are_neither_hashed_nor_shown() -> None:
    # 2^200 leaves if anything walks them: as a value they stand there, as a key they are refused.
    deep = b")" + b"".join(b"\x94h" + bytes([n]) + b"\x86" for n in range(200))
    assert type(_pickle.loads(deep + b".", name="")) is tuple
    with pytest.raises(DataError, match="a name in a dict"):
        _pickle.loads(b"}" + deep + b"Ns.", name="")
    with pytest.raises(DataError, match="no name"):
        _pickle.loads(b"N" + deep + b"R.", name="")


def test_a_set_with_images_beside_it(tmp_path: Path) -> None:
    """evalseg holds its axes as the scan's file does: here left and posterior, so RAS+ turns both."""
    values = np.zeros((6, 5, 4), np.uint8)
    values[1, 0, 2] = 1
    written.evalseg(tmp_path / "GroundTruth", "007", values)
    written.evalseg(tmp_path / "GroundTruth", "008", values)
    affine = np.diag([-0.8, -0.8, 2.5, 1.0])
    save(tmp_path / "images" / "007.nii.gz", np.zeros((6, 5, 4), np.int16), affine)
    assert evalseg.recognises(tmp_path)
    first, second = evalseg.find(tmp_path, evalseg.Config())
    assert (second.image, first.case_id) == (None, "007")
    label, scan = evalseg.load_reference(str(first.label)), evalseg.load_image(str(first.image))
    assert label.grid == scan.grid
    assert (label.full() == values[::-1, ::-1]).all()
    save(tmp_path / "scans" / "007.nii.gz", np.zeros((6, 5, 4), np.int16), np.diag([-0.8, -0.8, 2.0, 1.0]))
    (other, _) = evalseg.find(tmp_path, evalseg.Config(images="scans"))
    with pytest.raises(DataError, match=r"must have one voxel size.*perhaps say what is right in `voxel_mm`"):
        evalseg.load_reference(str(other.label))
    stated = evalseg.find(tmp_path, evalseg.Config(images="scans", voxel_mm={"007": (0.8, 0.8, 2.0)}))[0]
    assert evalseg.load_reference(str(stated.label)).grid.spacing_mm == pytest.approx((0.8, 0.8, 2.0))
    save(tmp_path / "scans" / "007.nii.gz", np.zeros((5, 6, 4), np.int16), affine)
    with pytest.raises(DataError, match="must have one shape"):
        evalseg.load_reference(str(other.label))
    with pytest.raises(DataError, match="`images` must be a folder"):
        evalseg.find(tmp_path, evalseg.Config(images="nowhere"))


@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (1, -1)])
def test_a_perfect_prediction_of_a_set_with_images_is_perfect(tmp_path: Path, signs: tuple[int, int]) -> None:
    """Turned by its scan or not, whether evalseg predicts or a NIfTI file; the lesion lies in no mirror's middle."""
    values, affine = np.zeros((9, 8, 7), np.uint8), np.diag([0.8 * signs[0], 0.8 * signs[1], 2.5, 1.0])
    values[1:3, 1:4, 2:4] = 1
    written.evalseg(tmp_path / "GroundTruth", "007", values)
    written.evalseg(tmp_path / "Predictions" / "net", "007", values)
    save(tmp_path / "images" / "007.nii.gz", values.astype(np.int16), affine)
    save(tmp_path / "nifti" / "007.nii.gz", values, affine)
    assert detect(tmp_path) == "evalseg", "the scans beside it do not make it a set of NIfTI files"
    for predictions in ("Predictions/net", "nifti"):
        out = tmp_path / "out" / predictions
        folder.evaluate(folder.Request(tmp_path, tmp_path / predictions, out), workers=1)
        (row,) = csv.DictReader((out / "cases.csv").read_text().splitlines())
        assert (row["found_0.5"], row["voxels_true_positive_0.5"], row["voxels_false_positive_0.5"]) == ("1", "12", "0")


@pytest.mark.parametrize("signs", [(1, 1), (-1, -1)])
def test_a_bare_reference_refuses_predictions_that_were_turned(tmp_path: Path, signs: tuple[int, int]) -> None:
    """Nobody knows how its own axes run: compared in silence, a perfect mask would have found nothing."""
    values, affine = np.zeros((9, 8, 7), np.uint8), np.diag([0.8 * signs[0], 0.8 * signs[1], 2.5, 1.0])
    values[1:3, 1:4, 2:4] = 1
    written.evalseg(tmp_path / "r", "007", values)
    save(tmp_path / "p" / "007.nii.gz", values, affine)
    request = folder.Request(tmp_path / "r", tmp_path / "p", tmp_path / "out")
    if signs == (1, 1):
        folder.evaluate(request, workers=1)
        (row,) = csv.DictReader((tmp_path / "out" / "cases.csv").read_text().splitlines())
        assert row["found_0.5"] == "1"
        return
    with contextlib.suppress(InputError):
        assert "has lost its directions. Got axes LPS" in folder.evaluate(request, workers=1)["failed"][0]["reason"]
    reason = (tmp_path / "out" / "statistics" / "007.failed.json").read_text()
    assert "has lost its directions. Got axes LPS" in reason


def test_a_stated_size_and_a_scan_hide_no_file(tmp_path: Path) -> None:
    """What notices that a file was changed in place must find it."""
    path = written.evalseg(tmp_path / "GroundTruth", "007", ONES)
    save(tmp_path / "images" / "007.nii.gz", np.zeros((2, 2, 1), np.int16), np.diag([0.8, 0.8, 2.5, 1.0]))
    for config in (evalseg.Config(), evalseg.Config(voxel_mm={"007": (0.8, 0.8, 2.5)})):
        (entry,) = evalseg.find(tmp_path, config)
        assert file_of(str(entry.label)) == path


def test_a_bomb_and_a_cut_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evalseg, "MOST_BYTES", 10_000)
    with pytest.raises(DataError, match="too many bytes"):
        evalseg.load_reference(stored(tmp_path, gzip.compress(bytes(10_001)), "b.pkl.gz"))
    with pytest.raises(DataError, match="too many bytes"):
        evalseg.load_reference(stored(tmp_path, bytes(10_001), "b.pkl"))
    data = Path(written.evalseg(tmp_path, "1", np.ones((3, 3, 3), np.uint8))).read_bytes()
    wrong_sum = data[:-8] + struct.pack("<I", zlib.crc32(b"other")) + data[-4:]
    for broken in (data[:-1], data[:-9], data[: len(data) // 2], data[:5], b"", wrong_sum):
        with pytest.raises(DataError, match=r"1\.pkl\.gz must be"):
            evalseg.load_reference(stored(tmp_path, broken, "1.pkl.gz"))
    with pytest.raises(DataError, match="whole file"):
        evalseg.load_reference(str(tmp_path / "absent.pkl"))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real masks are not on this machine")
def test_the_published_dice_of_73_patients() -> None:
    task = REAL / "Task002_Pancreas"
    references = {path.name: evalseg.load_reference(str(path)) for path in (task / "GroundTruth").iterdir()}
    assert len(references) == 73
    for crop in references.values():
        # In plane both sizes are equal, and they are the first two of shape and voxel size: the order is XYZ.
        spacing = crop.grid.spacing_mm
        assert crop.grid.shape[:2] == (512, 512)
        assert spacing is not None
        assert spacing[0] == pytest.approx(spacing[1])
    for network, published in PUBLISHED.items():
        dice = []
        for name, reference in references.items():
            predicted = evalseg.load_prediction(str(task / "Predictions" / network / name), (1,)).levels
            around = union(reference.box, predicted.box)
            a, b = reference.within(around) > 0, predicted.within(around) > 0
            dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert np.mean(dice) == pytest.approx(published, abs=5.1e-5), network


@pytest.mark.skipif(not REAL.is_dir(), reason="the real masks are not on this machine")
def test_a_healthy_patient_is_an_empty_crop() -> None:
    crop = evalseg.load_reference(str(REAL / "Task001_LiverTumor" / "GroundTruth" / "114.pkl.gz"))
    assert not crop.values_XYZ.any()
    assert crop.values_XYZ.shape == (1, 1, 1)
