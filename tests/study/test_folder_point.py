"""A point that was chosen elsewhere, applied to a folder: never in silence on patients that it was chosen on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from missrate import calibrate as room
from missrate.core import points
from missrate.core.errors import InputError, ProvenanceError
from missrate.core.types import OperatingPoint
from missrate.evaluate.summary import ALL
from missrate.study import folder
from tests.drawn import OVERLAP
from tests.synthetic import cohort

CALIBRATED = OperatingPoint("calibrated", {None: 0.4}, "calibration", "f")


def save(path: Path, values: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(path)


@pytest.fixture
def request_(tmp_path: Path) -> folder.Request:
    """Three patients, a, b and a healthy c, of whom a model says .5 in a cube."""
    for name in "abc":
        reference, predicted = np.zeros((9, 9, 5), np.uint8), np.zeros((9, 9, 5), np.float32)
        reference[2:5, 2:5, 1:3], predicted[2:6, 2:5, 1:3] = name != "c", 0.5
        save(tmp_path / "ref" / f"{name}.nii.gz", reference)
        save(tmp_path / "pred" / f"{name}.nii.gz", predicted)
    point = tmp_path / "point.json"
    return folder.Request(tmp_path / "ref", tmp_path / "pred", tmp_path / "out", operating_point=point)


def who(names: str) -> list[tuple[str, str]]:
    """Patients of one case each, which is called alike."""
    return [(name, name) for name in names]


def said(request: folder.Request) -> list[str]:
    return [row["warning"] for row in folder.evaluate(request, workers=0)["warnings"] if row["case_id"] == ALL]


def certified() -> OperatingPoint:
    wanted = room.Certify(level="patient", miss_rate=0.2)
    return room.certify(cohort([24_000] * 19), OVERLAP, wanted, seen=None, name="certified")


@pytest.mark.parametrize("known", ["abc", "a", "bxyz", "cxyz"])
def test_a_certified_point_is_refused_for_any_patient_who_certified_it(known: str, request_: folder.Request) -> None:
    assert request_.operating_point is not None
    points.write(request_.operating_point, certified(), patients=who(known))
    of = len(set(known) & set("abc"))
    with pytest.raises(ProvenanceError, match=f"must be tested on other patients. Got {of} of 3"):
        folder.evaluate(request_, workers=0)
    points.write(request_.operating_point, certified(), patients=who("xyz"))
    assert said(request_) == []


def test_whose_the_cases_are_may_have_been_said_one_time_only(request_: folder.Request, tmp_path: Path) -> None:
    assert request_.operating_point is not None
    points.write(request_.operating_point, certified(), patients=who("a"))
    table = tmp_path / "patients.csv"
    table.write_text("case_id,patient_id\na,p1\nb,p2\nc,p3\n")
    with pytest.raises(ProvenanceError, match="Got 1 of 3 that it was certified on: p1"):
        folder.evaluate(replace(request_, patients=table), workers=0)


def test_a_point_is_tested_with_its_own_least_volume_and_named_for_its_predictions(request_: folder.Request) -> None:
    assert request_.operating_point is not None
    about = {"matching": {"rule": "overlap", "least_volume_ml": 0.02}, "predictions": "other"}
    points.write(request_.operating_point, certified(), patients=who("xyz"), **about)
    with pytest.raises(InputError, match=r"Got 0 ml; perhaps --least-volume-ml 0.02"):
        folder.evaluate(request_, workers=0)
    (sentence,) = said(replace(request_, least_volume_ml=0.02))
    assert "was chosen for predictions called 'other', and these are called 'pred'" in sentence
    assert "patient_miss_rate <= 0.2 with confidence 0.95 is not promised of it" in sentence


def test_a_refused_call_leaves_what_an_earlier_one_wrote(request_: folder.Request) -> None:
    request = replace(request_, operating_point=None)
    folder.evaluate(request, workers=0)
    before = (request.out / "summary.json").read_bytes()
    for wrong in ({"lesion_label": 7}, {"thresholds": (0.5, 0.5)}, {"predictions": request.out / "nowhere"}):
        with pytest.raises(InputError):
            folder.evaluate(replace(request, **wrong), workers=0)
        assert (request.out / "summary.json").read_bytes() == before
    assert request_.operating_point is not None
    points.write(request_.operating_point, certified(), patients=who("a"))
    with pytest.raises(ProvenanceError):
        folder.evaluate(request_, workers=0)
    assert (request.out / "summary.json").read_bytes() == before


def test_a_plain_point_on_its_own_patients_is_no_estimate_and_says_so(request_: folder.Request) -> None:
    assert request_.operating_point is not None
    points.write(request_.operating_point, CALIBRATED, patients=who("bcx"))
    (sentence,) = said(request_)
    assert "'calibrated' was chosen on 2 of these 3 patients" in sentence
    points.write(request_.operating_point, CALIBRATED, patients=who("xyz"))
    assert said(request_) == []


def test_a_point_changes_nothing_about_masks_and_says_so(request_: folder.Request) -> None:
    assert request_.operating_point is not None
    for path in request_.predictions.iterdir():
        save(path, (np.asarray(nib.load(path).dataobj) > 0).astype(np.uint8))
    for point, promised in ((CALIBRATED, ""), (certified(), ", so that nothing is promised of them")):
        points.write(request_.operating_point, point, patients=who("xyz"))
        assert said(request_) == [
            f"the predictions are masks, to which the threshold {point.name!r} changes nothing{promised}"
        ]


def test_whose_each_case_is_was_said_where_a_table_was_given(request_: folder.Request, tmp_path: Path) -> None:
    request = replace(request_, operating_point=None)
    words = "each case counts as a patient of its own"
    assert words in folder.table(folder.evaluate(request, workers=0))
    table = tmp_path / "patients.csv"
    table.write_text("case_id,patient_id\na,p1\nb,p2\nc,p3\n")
    value = folder.evaluate(replace(request, patients=table), workers=0)
    assert words not in folder.table(value, patients_given=True)
