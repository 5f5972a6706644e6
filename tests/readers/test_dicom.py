"""DICOM trees to scans and label maps; what is broken is refused, and nothing of a patient leaves."""

import gzip
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import uid as syntaxes

from missrate.core.errors import DataError, InputError
from missrate.core.types import Entry
from missrate.readers import _dicom_labels, _dicom_tree, dicom
from tests.readers import dicom_written as written

DATA = Path("../shared/data")
SHAPE = (9, 7, 6)


@pytest.fixture(autouse=True)
def _forget() -> None:
    _dicom_tree.headers.cache_clear()
    _dicom_tree.folders.cache_clear()


def hu(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def only(root: Path, **options: Any) -> Entry:
    (entry,) = dicom.find(root, dicom.Config(**options))
    return entry


def reason(root: Path, load: Callable[[str], object] = dicom.load_image, **options: Any) -> str:
    """Why the only case is refused."""
    entry = only(root, **options)
    with pytest.raises(DataError) as caught:
        load(str(entry.image if load is dicom.load_image else entry.label))
    return str(caught.value)


def test_a_series_is_put_in_order_by_place_and_turned_to_ras(tmp_path: Path) -> None:
    values = hu()
    written.series(tmp_path, values)
    assert dicom.recognises(tmp_path)
    scan = dicom.load_image(str(only(tmp_path).image))
    # Columns run left and rows run posterior: RAS+ turns both.
    assert (scan.values_XYZ == values[::-1, ::-1]).all()
    assert scan.values_XYZ.dtype == np.int16
    assert (scan.intensity, scan.source_axcodes) == ("hu", "LPS")
    assert scan.grid.spacing_mm == pytest.approx((0.8, 0.8, 2.5))
    # The last column lies at -40 + 8 * .8 mm left, which is 33.6 mm right; rows likewise.
    assert scan.grid.matrix[:3, 3] == pytest.approx([40 - 8 * 0.8, 90 - 6 * 0.8, 100.0])


def test_slope_and_intercept_of_each_slice_count(tmp_path: Path) -> None:
    values = (hu() // 2 * 2).astype(np.int16)
    written.series(tmp_path, values, slope=2.0, intercepts=[-1000.0 - 10 * k for k in range(SHAPE[2])])
    assert (dicom.load_image(str(only(tmp_path).image)).values_XYZ == values[::-1, ::-1]).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_orthogonal_axes_in_any_order(tmp_path: Path, order: tuple[int, int, int]) -> None:
    values, affine = hu(), written.AFFINE.copy()
    affine[:3, :3] = written.AFFINE[:3, :3][np.argsort(order)] * [1, -1, 1]
    written.series(tmp_path, values, affine=affine)
    scan = dicom.load_image(str(only(tmp_path).image))
    ras = np.diag([-1.0, -1, 1, 1]) @ affine
    for index in ((0, 0, 0), (8, 6, 5), (3, 2, 4)):
        place = np.linalg.inv(scan.grid.matrix) @ ras @ [*index, 1]
        assert scan.values_XYZ[tuple(np.rint(place[:3]).astype(int))] == values[index]


def test_series_of_one_folder_are_told_apart_and_localisers_are_no_case(tmp_path: Path) -> None:
    written.series(tmp_path / "x", hu(1), name="a")
    for path in written.series(tmp_path / "y", hu(2), name="b", PatientID="another"):
        shutil.move(path, tmp_path / "x" / f"b{path.name}")
    written.series(
        tmp_path / "x" / "scout", hu(3)[:, :, :2], name="scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    (tmp_path / "x" / "notes.txt").write_text("no DICOM")
    entries = dicom.find(tmp_path, dicom.Config())
    assert len({entry.case_id for entry in entries}) == len({entry.patient_id for entry in entries}) == 2
    found = sorted(int(dicom.load_image(str(entry.image)).values_XYZ.sum()) for entry in entries)
    assert found == sorted(int(hu(n).sum(dtype=int)) for n in (1, 2))
    said = " ".join(dicom.notes(tmp_path, dicom.Config()))
    assert "1 series that are no scan: short CT or localiser" in said
    assert "1 files in the tree are no DICOM" in said


def test_scans_of_one_person_have_one_patient_whose_id_is_no_hash_of_theirs(tmp_path: Path) -> None:
    for name in "ab":
        written.series(tmp_path / name, hu(ord(name)), name=name)
    first, second = dicom.find(tmp_path, dicom.Config())
    assert first.patient_id == second.patient_id == f"patient-{min(first.case_id, second.case_id)[5:]}"
    assert _dicom_tree.hidden(written.SECRET_NUMBER) not in first.patient_id
    by_folder = dicom.find(tmp_path, dicom.Config(ids="folder"))
    assert [(e.case_id, e.patient_id) for e in by_folder] == [("a", "a"), ("b", "a")]


def test_a_missing_slice_is_refused_not_made_up(tmp_path: Path) -> None:
    written.series(tmp_path, hu(), skip=[2])
    assert "Got 2.5 to 5 mm, mostly 2.5; perhaps a slice is missing" in reason(tmp_path)


def test_two_slices_at_one_place_are_refused_but_a_copy_of_a_file_is_not(tmp_path: Path) -> None:
    first = written.series(tmp_path / "a", hu())[0]
    shutil.copy(first, tmp_path / "a" / "copy")
    assert (dicom.load_image(str(only(tmp_path).image)).values_XYZ == hu()[::-1, ::-1]).all()
    _dicom_tree.headers.cache_clear()
    data = pydicom.dcmread(first)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = written.uid_of("another")
    data.save_as(tmp_path / "a" / "copy")
    assert "Got two at one; perhaps two reconstructions" in reason(tmp_path)


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    affine = written.AFFINE.copy()
    affine[1, 2] = 0.5
    written.series(tmp_path, hu(), affine=affine)
    assert "perhaps the gantry was tilted" in reason(tmp_path)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"Rows": 6}, "must have one size"),
    "orientation": ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "must be parallel"),
    "spacing": ({"PixelSpacing": [0.9, 0.9]}, "one pixel spacing"),
    "place": ({"ImagePositionPatient": None}, "say where it lies"),
    "colour": ({"PhotometricInterpretation": "RGB"}, "must be grey"),
    "inverse": ({"PhotometricInterpretation": "MONOCHROME1"}, "must be grey"),
    "pixels": ({"PixelData": b"\0\0"}, "pixels that can be decoded"),
    "slope": ({"RescaleSlope": "nan"}, "size and scale"),
}


@pytest.mark.parametrize(("change", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_slice_unlike_the_others_refuses_its_case_alone(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    bad = written.series(tmp_path / "bad", hu(), name="bad")[3]
    written.series(tmp_path / "good", hu(5), name="good")
    data = pydicom.dcmread(bad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key, value in change.items():
            setattr(data, key, value)
        data.save_as(bad)
    outcomes = []
    for entry in dicom.find(tmp_path, dicom.Config(ids="folder")):
        try:
            dicom.load_image(str(entry.image))
        except DataError as error:
            outcomes.append((entry.case_id, str(error)))
    assert [case for case, _ in outcomes] == ["bad"]
    assert words in outcomes[0][1]


@pytest.mark.parametrize(
    "syntax",
    [syntaxes.RLELossless, syntaxes.JPEG2000Lossless, syntaxes.JPEGLSLossless, syntaxes.DeflatedExplicitVRLittleEndian],
)
def test_compressed_pixels(tmp_path: Path, syntax: syntaxes.UID) -> None:
    values = hu()
    for path in written.series(tmp_path, values):
        data = pydicom.dcmread(path)
        if syntax == syntaxes.DeflatedExplicitVRLittleEndian:
            data.file_meta.TransferSyntaxUID = syntax
        elif syntax == syntaxes.JPEG2000Lossless:
            _by_gdcm(path, "JPEG2000Lossless")
            continue
        else:
            data.compress(syntax)
        data.save_as(path)
    assert (dicom.load_image(str(only(tmp_path).image)).values_XYZ == values[::-1, ::-1]).all()


def test_jpeg_lossless_the_syntax_of_many_archives(tmp_path: Path) -> None:
    values = hu()
    for path in written.series(tmp_path, values):
        _by_gdcm(path, "JPEGLosslessProcess14_1")
    assert (dicom.load_image(str(only(tmp_path).image)).values_XYZ == values[::-1, ::-1]).all()


def _by_gdcm(path: Path, syntax: str) -> None:
    gdcm = pytest.importorskip("gdcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetFileName(str(path))
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def test_contours_fill_by_the_even_odd_rule(tmp_path: Path) -> None:
    """Around 1..5, and within it around 2..3: 25 voxels with a hole of 4 in slice 2; one voxel in slice 4."""
    written.series(tmp_path / "image", hu())
    contours = [written.square(0.6, 5.4, 2), written.square(1.6, 3.4, 2), written.square(2.6, 3.4, 4)]
    written.rtstruct(tmp_path / "mask" / "rt", {"GTV": contours})
    label = dicom.load_map(str(only(tmp_path).label)).labels_XYZ
    expected = np.zeros(SHAPE, np.uint8)
    expected[1:6, 1:6, 2] = 1
    expected[2:4, 2:4, 2] = 0
    expected[3, 3, 4] = 1
    assert (label == expected[::-1, ::-1]).all()


@given(st.lists(st.tuples(st.integers(-4, 24), st.integers(-4, 24)), min_size=3, max_size=8))
def test_a_polygon_holds_the_points_that_an_independent_count_says(corners: list[tuple[int, int]]) -> None:
    """Corners at quarters, so that no lattice point is one; counted along the other axis than the code does."""
    points = np.array(corners) / 2 + 0.25
    grid_i, grid_j = np.mgrid[:11, :9]
    count = np.zeros(grid_i.shape, int)
    for (i, j), (a, b) in zip(points, np.roll(points, -1, axis=0), strict=True):  # crossings of a ray along +j
        between = (grid_i < i) != (grid_i < a)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = j + (grid_i - i) * (b - j) / (a - i)
        count += between & (at > grid_j)
    wrong = _dicom_labels.inside(points, (11, 9)) != (count % 2 == 1)
    # Points exactly on an edge may belong to either side.
    assert not (wrong & ~_on_an_edge(points, grid_i, grid_j)).any()


def _on_an_edge(points: NDArray[np.float64], i: NDArray[Any], j: NDArray[Any]) -> NDArray[np.bool_]:
    on = np.zeros(i.shape, bool)
    for (a, b), (c, d) in zip(points, np.roll(points, -1, axis=0), strict=True):
        on |= np.abs((c - a) * (j - b) - (d - b) * (i - a)) < 1e-9
    return on


def test_several_regions_must_be_named_and_an_outline_of_the_patient_is_none(tmp_path: Path) -> None:
    written.series(tmp_path / "image", hu())
    path, one, two = tmp_path / "rt", [written.square(0.6, 3.4, 1)], [written.square(2.6, 5.4, 1)]
    written.rtstruct(path, {"Tumour": one, "Body": two}, kinds={"Body": "EXTERNAL"})
    assert (dicom.load_map(str(only(tmp_path).label)).labels_XYZ == 1).sum() == 9
    written.rtstruct(path, {"Tumour": one, "Organ": two})
    assert "Got regions Organ, Tumour" in reason(tmp_path, dicom.load_map)
    label = dicom.load_map(str(only(tmp_path, structures={"Organ": 1, "Tumour": 2}).label)).labels_XYZ
    assert np.bincount(label.ravel())[1:].tolist() == [9 - 1, 9]
    assert "Got 'Tumor' of" in reason(tmp_path, dicom.load_map, structures={"Tumor": 1})


@pytest.mark.parametrize(
    ("contour", "shape", "words"),
    [
        (written.square(0.6, 3.4, 1.5), "CLOSED_PLANAR", "one between or beyond"),
        (written.square(0.6, 3.4, 9), "CLOSED_PLANAR", "one between or beyond"),
        (written.square(0.6, 3.4, 1), "OPEN_PLANAR", "closed and plane"),
    ],
)
def test_contours_that_are_none_are_refused(tmp_path: Path, contour: Any, shape: str, words: str) -> None:
    written.series(tmp_path / "image", hu())
    written.rtstruct(tmp_path / "rt", {"GTV": [contour]}, shape=shape)
    assert words in reason(tmp_path, dicom.load_map)


def test_a_case_without_reference_and_one_with_two(tmp_path: Path) -> None:
    slices = written.series(tmp_path / "image", hu())
    assert only(tmp_path).label is None
    written.rtstruct(tmp_path / "rt", {"GTV": [written.square(0.6, 3.4, 1)]})
    label = np.zeros(SHAPE[::-1], np.uint8)
    label[1, 1:3, 1:4] = 1
    written.seg(tmp_path / "seg", slices, label)
    _dicom_tree.headers.cache_clear()
    _dicom_tree.folders.cache_clear()
    assert "Got 2; perhaps say options.reference" in reason(tmp_path, dicom.load_map)
    assert (dicom.load_map(str(only(tmp_path, reference="SEG").label)).labels_XYZ == 1).sum() == 6
    assert (dicom.load_map(str(only(tmp_path, reference="RTSTRUCT").label)).labels_XYZ == 1).sum() == 9


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_segmentation_without_its_empty_frames(tmp_path: Path, kind: str) -> None:
    slices = written.series(tmp_path / "image", hu())
    label = np.zeros(SHAPE[::-1], np.uint8)
    label[1, 2:4, 1:3] = 1
    label[4, 0:2, 5:8] = 2
    written.seg(tmp_path / "seg", slices, label, kind=kind)
    found = dicom.load_map(str(only(tmp_path).label)).labels_XYZ
    assert (found == label.transpose(2, 1, 0)[::-1, ::-1]).all()
    named = dicom.load_map(str(only(tmp_path, structures={"part2": 7}).label)).labels_XYZ
    assert (named == np.where(found == 2, 7, 0)).all()


def test_labels_as_nifti_that_must_be_mirrored(tmp_path: Path) -> None:
    """As of NIH Pancreas-CT: the file's own place is not that of the scan, and its rows run the other way."""
    values = hu()
    label = (np.random.default_rng(3).random(SHAPE) < 0.3).astype(np.uint8)
    for number in (1, 2):
        folder = tmp_path / f"PANCREAS_000{number}" / "x"
        written.series(folder, values + np.int16(number), name=f"s{number}", PatientID=f"P{number}")
    (tmp_path / "labels").mkdir()
    nib.Nifti1Image(label, np.eye(4)).to_filename(tmp_path / "labels" / "label0001.nii.gz")
    first, second = dicom.find(tmp_path, dicom.Config(ids="folder", labels="labels", flip_labels="y"))
    assert (first.case_id, second.label) == ("PANCREAS_0001", None)
    found = dicom.load_map(str(first.label))
    assert (found.labels_XYZ == label[:, ::-1]).all()
    assert found.grid == dicom.load_image(str(first.image)).grid
    plain = dicom.find(tmp_path, dicom.Config(ids="folder", labels="labels"))[0]
    assert dicom.load_map(str(plain.label)).grid != found.grid, "without the option its own place counts"


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    """Truncated at every 97th byte, and bits flipped in the header: never another exception, never other voxels."""
    values = hu()
    paths = written.series(tmp_path / "s", values)
    good = paths[2].read_bytes()
    rng = np.random.default_rng(0)
    variants = [good[:n] for n in range(0, len(good) - 1, 97)]
    for _ in range(150):
        flipped = bytearray(good)
        place = int(rng.integers(0, len(good) - 2 * SHAPE[0] * SHAPE[1]))
        flipped[place] ^= 1 << int(rng.integers(8))
        variants.append(bytes(flipped))
    accepted = 0
    for data in variants:
        paths[2].write_bytes(data)
        _dicom_tree.headers.cache_clear()
        try:
            scan = dicom.load_image(str(dicom.find(tmp_path, dicom.Config())[0].image))
        except DataError:
            continue
        accepted += 1
        assert scan.values_XYZ.shape == SHAPE
    assert 0 < accepted < len(variants)


def test_no_patient_data_in_ids_locations_notes_errors_and_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Folders and files are called like the patient as well."""
    caplog.set_level(logging.DEBUG)
    root = tmp_path / "root"
    folder = root / f"{written.SECRET}_Erika_{written.SECRET_DATE}"
    paths = written.series(folder, hu(), ending=".dcm", PatientAge=f"{written.SECRET}")
    for path in paths:
        path.rename(path.with_name(f"{written.SECRET}{path.name}"))
    written.rtstruct(folder / f"{written.SECRET}.rt.dcm", {"GTV": [written.square(0.6, 3.4, 1)]})
    texts = [repr(dicom.notes(root, dicom.Config()))]
    entry = only(root)
    texts += [entry.case_id, entry.patient_id, str(entry.image), str(entry.label)]
    dicom.load_image(str(entry.image))
    dicom.load_map(str(entry.label))
    files = sorted(folder.iterdir())
    for victim in files[:3] + files[-2:]:
        whole = victim.read_bytes()
        for damaged in (whole[:-20], whole[: len(whole) // 2], whole.replace(b"MONOCHROME2", b"MONOCHROME1")):
            victim.write_bytes(damaged)
            for location, load in ((entry.image, dicom.load_image), (entry.label, dicom.load_map)):
                _dicom_tree.headers.cache_clear()
                try:
                    load(str(location))
                except DataError as error:
                    texts += [str(error), repr(error), repr(error.__cause__)]
        victim.write_bytes(whole)
    assert len(texts) > 12, "some of this must have failed"
    for text in [*texts, caplog.text]:
        assert not [secret for secret in written.PLANTED if secret in text], text


def test_without_the_library_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    written.series(tmp_path, hu())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"pip install 'missrate\[dicom\]'"):
        dicom.find(tmp_path, dicom.Config())


@pytest.mark.skipif(not DATA.is_dir(), reason="the real scans are not on this machine")
@pytest.mark.parametrize("case", ["STS_008", "STS_019"])
def test_real_series_and_contours_agree_with_their_nifti(case: str) -> None:
    from missrate.core.grid import require_same
    from missrate.readers import nifti

    entry = next(e for e in dicom.find(DATA / "sts-ct/dicom", dicom.Config(ids="folder")) if e.case_id == case)
    scan, label = dicom.load_image(str(entry.image)), dicom.load_map(str(entry.label))
    folder = DATA / "sts-ct/nifti" / case
    image, mask = nifti.load_image(str(folder / "CT_image.nii.gz")), nifti.load_map(str(folder / "CT_mask.nii.gz"))
    require_same(scan.grid, image.grid, names=("DICOM", "NIfTI"))
    assert (scan.values_XYZ == image.values_XYZ).all()
    assert (label.labels_XYZ == mask.labels_XYZ).all(), "Dice is 1"


@pytest.mark.skipif(not DATA.is_dir(), reason="the real scans are not on this machine")
def test_a_real_series_without_series_uid_and_endings() -> None:
    scan = dicom.load_image(str(only(DATA / "totalsegmentator-example/dicom").image))
    assert scan.grid.shape == (512, 512, 20)
    assert scan.grid.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert scan.values_XYZ.min() == -1024


def test_files_that_are_zipped_are_no_dicom(tmp_path: Path) -> None:
    (path,) = written.series(tmp_path / "a", hu()[:, :, :1])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(gzip.compress(path.read_bytes()))
    assert not dicom.recognises(tmp_path / "b")
    with pytest.raises(DataError, match="must hold a CT series"):
        dicom.find(tmp_path / "b", dicom.Config())


def test_all_slices_in_one_file(tmp_path: Path) -> None:
    """An enhanced CT, made by highdicom of single slices: the same scan, at the same place."""
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    values = hu()
    slices = written.series(tmp_path / "single", values)
    made = LegacyConvertedEnhancedCTImage(
        [pydicom.dcmread(path) for path in slices],
        series_instance_uid=written.uid_of("enhanced"),
        series_number=8,
        sop_instance_uid=written.uid_of("enhanced", 1),
        instance_number=1,
    )
    (tmp_path / "enhanced").mkdir()
    made.save_as(tmp_path / "enhanced" / "one")
    single = dicom.load_image(str(only(tmp_path / "single").image))
    _dicom_tree.headers.cache_clear()
    scan = dicom.load_image(str(only(tmp_path / "enhanced").image))
    assert (scan.values_XYZ == single.values_XYZ).all()
    assert np.allclose(scan.grid.matrix, single.grid.matrix)
