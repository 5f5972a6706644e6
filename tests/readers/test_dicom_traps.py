"""DICOM that would give a wrong scan or a wrong label without a word, end in another error, or quote a path."""

import os
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import uid as syntaxes

from missrate.core.config import parse
from missrate.core.errors import ConfigError, DataError
from missrate.core.types import Entry
from missrate.readers import _dicom_tree, dicom
from tests.readers import dicom_written as written

SHAPE = (9, 7, 6)


@pytest.fixture(autouse=True)
def _forget() -> None:
    forget()


def forget() -> None:
    _dicom_tree.headers.cache_clear()
    _dicom_tree.folders.cache_clear()


def hu(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def only(root: Path, **options: Any) -> Entry:
    (entry,) = dicom.find(root, dicom.Config(**options))
    return entry


def notes(root: Path) -> str:
    return " ".join(dicom.notes(root, dicom.Config(ids="folder")))


def test_columns_and_rows_may_be_spaced_differently(tmp_path: Path) -> None:
    """PixelSpacing says the distance of rows first, the affine's first axis runs along a row."""
    affine = written.AFFINE.copy()
    affine[0, 0], affine[1, 1] = 0.5, 0.9
    (data, *_) = [pydicom.dcmread(path) for path in written.series(tmp_path, hu(), affine=affine)]
    assert list(data.PixelSpacing) == [0.9, 0.5]
    assert dicom.load_image(str(only(tmp_path).image)).grid.spacing_mm == pytest.approx((0.5, 0.9, 2.5))


@pytest.mark.parametrize(("off_mm", "refused"), [(0.02, False), (0.1, True)])
def test_slices_may_be_off_by_a_fiftieth(tmp_path: Path, off_mm: float, refused: bool) -> None:
    """Of 2.5 mm that is .05 mm, and .005 for rounding."""
    path = written.series(tmp_path, hu())[2]
    data = pydicom.dcmread(path)
    data.ImagePositionPatient[2] = f"{float(data.ImagePositionPatient[2]) + off_mm:.4f}"
    data.save_as(path)
    entry = only(tmp_path)
    if refused:
        with pytest.raises(DataError, match="equally far apart"):
            dicom.load_image(str(entry.image))
    else:
        assert dicom.load_image(str(entry.image)).grid.shape == SHAPE


def test_an_outer_slice_that_repeats_an_instance_is_kept(tmp_path: Path) -> None:
    """Software that makes data anonymous may repeat a UID: the last slice must not go for it."""
    values, paths = hu(), written.series(tmp_path, hu())
    first, last = (pydicom.dcmread(path) for path in (paths[0], paths[-1]))
    last.SOPInstanceUID = last.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    last.save_as(paths[-1])
    assert (dicom.load_image(str(only(tmp_path).image)).values_XYZ == values[::-1, ::-1]).all()


def test_two_versions_of_a_slice_are_refused(tmp_path: Path) -> None:
    data = pydicom.dcmread(written.series(tmp_path, hu())[2])
    data.PixelData = bytes(len(data.PixelData))
    data.save_as(tmp_path / "version")
    with pytest.raises(DataError, match="Got two at one"):
        dicom.load_image(str(only(tmp_path).image))


def test_a_header_that_ends_early_and_a_localiser_in_a_series_are_said(tmp_path: Path) -> None:
    paths = written.series(tmp_path / "s", hu())
    written.series(
        tmp_path / "s" / "scout", hu()[:, :, :2], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SliceThickness="1"
    )
    paths[-1].write_bytes(paths[-1].read_bytes()[:300])
    assert "1 DICOM files or folders cannot be read; a scan beside them may lack its outer slices" in notes(tmp_path)
    assert "2 files under the series of a scan are localisers" in notes(tmp_path)


def test_a_reference_that_names_a_series_is_not_lent_to_another(tmp_path: Path) -> None:
    """Two phases share a frame of reference; the contours were drawn on one."""
    frame = written.uid_of("shared")
    for name in "ab":
        written.series(tmp_path / name, hu(ord(name)), name=name, FrameOfReferenceUID=frame)
    path = written.rtstruct(tmp_path / "rt", {"GTV": [written.square(0.6, 3.4, 1)]}, name="a")
    data = pydicom.dcmread(path)
    (item,) = data.ReferencedFrameOfReferenceSequence
    item.FrameOfReferenceUID = frame
    data.save_as(path)
    assert [e.label is not None for e in dicom.find(tmp_path, dicom.Config(ids="folder"))] == [True, False]
    del item.RTReferencedStudySequence
    data.save_as(path)
    forget()
    assert all(e.label for e in dicom.find(tmp_path, dicom.Config(ids="folder"))), "it names the frame alone"


def test_a_copy_of_the_same_reference_is_no_second_one(tmp_path: Path) -> None:
    written.series(tmp_path / "image", hu())
    path = written.rtstruct(tmp_path / "rt", {"GTV": [written.square(0.6, 3.4, 1)]})
    shutil.copy(path, tmp_path / "image" / "again")
    assert dicom.load_map(str(only(tmp_path).label)).labels_XYZ.sum() == 9


def test_all_contours_of_a_region_count_and_two_regions_have_two_numbers(tmp_path: Path) -> None:
    written.series(tmp_path / "image", hu())
    regions = {"GTV": [written.square(0.6, 3.4, 1)], "More": [written.square(0.6, 2.4, 3)]}
    path = written.rtstruct(tmp_path / "rt", regions)
    data = pydicom.dcmread(path)
    data.ROIContourSequence[1].ReferencedROINumber = 1
    data.save_as(path)
    assert dicom.load_map(str(only(tmp_path, structures={"GTV": 1}).label)).labels_XYZ.sum() == 9 + 4
    data.StructureSetROISequence[1].ROINumber = 1
    data.save_as(path)
    forget()
    with pytest.raises(DataError, match="whole structure set"):
        dicom.load_map(str(only(tmp_path, structures={"More": 1}).label))


@pytest.mark.parametrize("value", [-1, 0, 256])
def test_values_that_no_map_can_hold(value: int) -> None:
    with pytest.raises(ConfigError, match=r"structures\.GTV"):
        parse(dicom.Config, {"structures": {"GTV": value}}, where="options")


@pytest.mark.parametrize("ids", ["hashed", "folder"])
def test_nifti_maps_go_by_the_patient_not_by_a_folder_that_ends_in_another_number(tmp_path: Path, ids: Any) -> None:
    """The folders of a download: a patient's, a study's and a series', the last two with numbers of no meaning."""
    (tmp_path / "labels").mkdir()
    sums = {}
    for number, deep in ((1, "Pancreas-2"), (2, "Pancreas-99667")):
        folder = tmp_path / f"PANCREAS_000{number}" / "11-24-2015-Pancreas-18957" / deep
        written.series(folder, hu(number), name=f"s{number}", PatientID=f"PANCREAS_000{number}")
        label = np.full(SHAPE, number, np.uint8)
        nib.Nifti1Image(label, np.eye(4)).to_filename(tmp_path / "labels" / f"label000{number}.nii.gz")
        sums[number] = int(hu(number).sum(dtype=int))
    for entry in dicom.find(tmp_path, dicom.Config(ids=ids, labels="labels", flip_labels="y")):
        (value,) = np.unique(dicom.load_map(str(entry.label)).labels_XYZ)
        assert int(dicom.load_image(str(entry.image)).values_XYZ.sum()) == sums[int(value)]
        assert ids == "folder" or "PANCREAS" not in str(entry.label)


def test_two_maps_that_fit_the_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    written.series(tmp_path / "case_1" / "series_2", hu(), PatientID="nobody")
    for number in (1, 2):
        label = np.ones(SHAPE, np.uint8)
        nib.Nifti1Image(label, np.eye(4)).to_filename(tmp_path / "labels" / f"label{number}.nii.gz")
    with pytest.raises(DataError, match="must have one label map"):
        dicom.load_map(str(only(tmp_path, labels="labels", flip_labels="y").label))


@pytest.mark.parametrize("number", [12345678901, "1.2.840.99999999901"])
def test_the_end_of_a_long_number_is_no_number(number: object) -> None:
    assert _dicom_tree.number_of(f"x{number}") is None
    assert (_dicom_tree.number_of("label0007"), _dicom_tree.number_of("7a")) == (7, None)


def test_a_segmentation_elsewhere_or_of_fractions_is_refused(tmp_path: Path) -> None:
    slices = written.series(tmp_path / "image", hu())
    label = np.zeros(SHAPE[::-1], np.uint8)
    label[1:4, 2:4, 1:3] = 1
    for name, shift_mm, words in (("half", 0.4, "Got another grid"), ("off", 0.8 * 6, "Got some beyond them")):
        affine = written.AFFINE.copy()
        affine[0, 3] += shift_mm
        moved = written.series(tmp_path / "moved" / name, hu(), affine=affine)
        written.seg(tmp_path / "image" / "seg", moved, label)
        shutil.rmtree(tmp_path / "moved")
        forget()
        with pytest.raises(DataError, match=words):
            dicom.load_map(str(only(tmp_path).label))
    written.seg(tmp_path / "image" / "seg", slices, label, kind="FRACTIONAL")
    forget()
    with pytest.raises(DataError, match="Got fractions"):
        dicom.load_map(str(only(tmp_path).label))


@pytest.mark.parametrize("syntax", [syntaxes.ExplicitVRLittleEndian, syntaxes.RLELossless, syntaxes.JPEGLSLossless])
def test_a_slice_that_is_cut_gives_no_other_voxels(tmp_path: Path, syntax: syntaxes.UID) -> None:
    values, paths = hu(), written.series(tmp_path, hu())
    if syntax != syntaxes.ExplicitVRLittleEndian:
        data = pydicom.dcmread(paths[2])
        data.compress(syntax)
        data.save_as(paths[2])
    good = paths[2].read_bytes()
    refused = 0
    for length in range(0, len(good), 53):
        paths[2].write_bytes(good[:length])
        forget()
        try:
            scan = dicom.load_image(str(only(tmp_path).image))
        except DataError:
            refused += 1
        else:
            assert (scan.values_XYZ == values[::-1, ::-1]).all()
    assert refused > 20


def test_a_bomb_is_no_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deflated zeros: a thousand bytes for each of the file, and refused before the library inflates them at once."""
    path = written.series(tmp_path, hu())[2]
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = syntaxes.DeflatedExplicitVRLittleEndian
    data.save_as(path)
    assert dicom.load_image(str(only(tmp_path).image)).grid.shape == SHAPE
    data.add_new((0x0042, 0x0011), "OB", bytes(_dicom_tree.LEAST_INFLATED))
    data.save_as(path)
    forget()
    assert "1 DICOM files or folders cannot be read" in notes(tmp_path)
    monkeypatch.setattr(_dicom_tree, "LEAST_INFLATED", _dicom_tree.LEAST_INFLATED * 2)
    forget()
    assert "cannot be read" not in notes(tmp_path), "it was whole, only too large"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    assert not dicom.recognises(tmp_path)
    written.series(tmp_path / "b", hu())
    assert dicom.load_image(str(only(tmp_path).image)).grid.shape == SHAPE


def test_what_the_disk_refuses_does_not_name_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / f"{written.SECRET}_Erika"
    written.series(folder, hu())
    written.series(tmp_path / "other", hu(1), name="other")
    entry = next(e for e in dicom.find(tmp_path, dicom.Config()) if "[1]" in str(e.image))

    def refusing(place: Any) -> Any:
        if written.SECRET in str(place):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refusing)
    _dicom_tree.headers.cache_clear()
    assert len(dicom.find(tmp_path, dicom.Config())) == 1, "the other series goes on"
    assert "1 DICOM files or folders cannot be read" in notes(tmp_path)
    monkeypatch.undo()
    _dicom_tree.headers.cache_clear()
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="must be where it was found") as caught:
        dicom.load_image(str(entry.image))
    assert written.SECRET not in repr(caught.value)
