"""The doctor inside prepare: what is refused, with which words, and that the others go on."""

import csv
from pathlib import Path

import numpy as np
import pytest

from missrate.core import store
from missrate.core.errors import DataError
from missrate.core.types import IGNORED, LESION, ORGAN, Entry, LabelMeaning
from missrate.core.view import View
from missrate.core.viewed import read_view
from missrate.prepare.case import prepare_case
from missrate.prepare.manifest import finish
from missrate.prepare.patients import with_patients
from missrate.prepare.views import materialise
from missrate.readers import nifti
from tests.readers.test_nifti import AFFINE, save

MEANING = LabelMeaning(lesion=(2,), organ=(1,), ignore=(9,))


def volumes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(seed).integers(-1000, 1000, (12, 10, 6)).astype(np.int16)
    label = np.zeros((12, 10, 6), np.uint8)
    label[2:8, 2:8, 1:5] = 1
    label[3:5, 3:6, 2:4] = 2
    return image, label


def make(root: Path, case: str, image: np.ndarray, label: np.ndarray, shifted: float = 0.0) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += shifted
    save(root / "images" / f"{case}.nii.gz", image)
    save(root / "labels" / f"{case}.nii.gz", label, moved)


def prepare(root: Path, out: Path) -> dict[str, str]:
    """Prepares all; gives the reasons of the refused cases."""
    entries = nifti.find(root, nifti.Config())
    for entry in entries:
        prepare_case(nifti, entry, MEANING, out)
    finish(out, "s", entries)
    with (out / "refused.csv").open() as file:
        return {row["case_id"]: row["reason"] for row in csv.DictReader(file)}


def test_each_fault_is_a_line_and_the_others_go_on(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    image, label = volumes()
    make(raw, "good", image, label)
    make(raw, "shape", volumes(1)[0], label[:, :, :5])
    make(raw, "shifted", volumes(2)[0], label, shifted=0.2)
    make(raw, "value", volumes(3)[0], np.where(label == 2, 7, label).astype(np.uint8))
    nan = volumes(4)[0].astype(np.float32)
    nan[1, 1, 1] = np.nan
    make(raw, "nan", nan, label)
    make(raw, "cut", volumes(5)[0], label)
    cut = raw / "images" / "cut.nii.gz"
    cut.write_bytes(cut.read_bytes()[:300])
    make(raw, "twin", image, label)
    make(raw, "unpaired", volumes(6)[0], label)
    (raw / "labels" / "unpaired.nii.gz").unlink()
    reasons = prepare(raw, out)
    expected = {
        "shape": "must have the same shape",
        "shifted": "0.2 mm apart",
        "value": "Got [7] beside [1, 2, 9]",
        "nan": "Got 1 voxels that are NaN",
        "cut": "must be a whole NIfTI file",
        "twin": "the same voxels as good",
        "unpaired": "must have a label. Got an image without one",
    }
    assert reasons.keys() == expected.keys()
    for case, words in expected.items():
        assert words in reasons[case], (case, reasons[case])
    manifest = store.Prepared(out).manifest()
    assert [case["case_id"] for case in manifest["cases"]] == ["good"]
    assert manifest["refused"] == 7


def test_a_shift_below_a_tenth_of_the_spacing_is_no_error(tmp_path: Path) -> None:
    make(tmp_path / "raw", "a", *volumes(), shifted=0.09)
    assert prepare(tmp_path / "raw", tmp_path / "out") == {}


def test_nothing_usable_is_one_sentence(tmp_path: Path) -> None:
    make(tmp_path / "raw", "a", volumes()[0], volumes()[1] + 40)
    with pytest.raises(DataError, match=r"at least one usable case\. Got 0 of 1"):
        prepare(tmp_path / "raw", tmp_path / "out")
    assert (tmp_path / "out" / "refused.csv").exists()


def test_the_stored_case_is_the_scan(tmp_path: Path) -> None:
    image, label = volumes()
    label[0, 0, 0] = 9
    make(tmp_path / "raw", "a", image, label)
    prepare(tmp_path / "raw", tmp_path / "out")
    case = store.Prepared(tmp_path / "out").load("a", "a")
    turned = image[::-1, ::-1]  # the files run left and posterior
    assert (case.image_XYZ == turned).all()
    expected = np.select([label == 2, label == 1, label == 9], [LESION, ORGAN, IGNORED], 0)[::-1, ::-1]
    assert (case.label_XYZ == expected).all()
    facts = store.Prepared(tmp_path / "out").manifest()["cases"][0]
    # 2 x 3 x 2 voxels of 3 mm3
    assert facts["lesions"][0]["volume_ml"] == pytest.approx(0.036)
    assert facts["source_axcodes"] == "LPS"


def test_contrast_is_inside_minus_shell(tmp_path: Path) -> None:
    _, label = volumes()
    # The organ around the lesion is 100 HU; what lies outside of the organ (-100) is not its neighbour.
    image = np.select([label == 2, label == 1], [60, 100], -100).astype(np.int16)
    label[5:7, 3:6, 2:4] = 0
    make(tmp_path / "raw", "a", image, label)
    prepare(tmp_path / "raw", tmp_path / "out")
    assert store.Prepared(tmp_path / "out").manifest()["cases"][0]["lesions"][0]["contrast_hu"] == -40.0


def test_a_finished_case_is_not_touched_again(tmp_path: Path) -> None:
    make(tmp_path / "raw", "a", *volumes())
    prepare(tmp_path / "raw", tmp_path / "out")
    path = tmp_path / "out" / "cases" / "a" / "image.b2nd"
    before = path.stat().st_mtime_ns
    prepare(tmp_path / "raw", tmp_path / "out")
    assert path.stat().st_mtime_ns == before


def test_an_exported_picture_is_a_warning(tmp_path: Path) -> None:
    image, label = volumes()
    make(tmp_path / "raw", "a", np.clip(image, 0, 255), label)
    prepare(tmp_path / "raw", tmp_path / "out")
    assert "exported picture" in store.Prepared(tmp_path / "out").manifest()["cases"][0]["warnings"][0]["text"]


def test_a_table_may_begin_with_a_byte_order_mark_and_names_each_case_once(tmp_path: Path) -> None:
    entries, table = [Entry("a", "a", None, "a"), Entry("b", "b", None, "b")], tmp_path / "patients.csv"
    table.write_text("\ufeffcase_id,patient_id\na,p1\nb,p2\n", encoding="utf-8")
    assert [e.patient_id for e in with_patients(entries, table)] == ["p1", "p2"]
    table.write_text("case_id,patient_id\na,p1\nb,p2\na,p3\n")
    with pytest.raises(DataError, match="one row for each case_id"):
        with_patients(entries, table)


def test_patients_come_from_a_table_that_names_every_case(tmp_path: Path) -> None:
    entries = [Entry("a", "a", None, None), Entry("b", "b", None, None)]
    table = tmp_path / "patients.csv"
    table.write_text("case_id,patient_id\na,p1\nb,p1\n")
    assert [e.patient_id for e in with_patients(entries, table)] == ["p1", "p1"]
    table.write_text("case_id,patient_id\na,p1\n")
    with pytest.raises(DataError, match="Got none for b"):
        with_patients(entries, table)
    table.write_text("case,patient\na,p1\n")
    with pytest.raises(DataError, match="columns case_id and patient_id"):
        with_patients(entries, table)


@pytest.mark.parametrize("bad", ["../x", "a b", "", ".hidden", "a/b"])
def test_an_id_that_is_no_file_name_is_refused(bad: str) -> None:
    with pytest.raises(DataError, match="must be letters"):
        Entry(bad, "p", None, None)


def test_view_is_materialised_once_with_its_lesion_slices(tmp_path: Path) -> None:
    make(tmp_path / "raw", "a", *volumes())
    prepare(tmp_path / "raw", tmp_path / "out")
    folder = tmp_path / "view"
    for _ in range(2):
        materialise(store.Prepared(tmp_path / "out"), "a", "a", view=View(spacing_mm=2.0), folder=folder)
    seen = read_view(folder, "a")
    assert seen.image_XYZ.shape == seen.label_XYZ.shape == (6, 5, 6)
    assert seen.lesion_slices.tolist() == [2, 3]
    assert seen.grid.shape == (12, 10, 6)
