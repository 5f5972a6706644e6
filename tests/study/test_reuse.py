"""What is evaluated again measures the cases that changed, and no other: the result is that of a first evaluation."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from missrate.evaluate import files
from missrate.study import folder
from missrate.study.folder import Request

CASES = ("a", "b", "c")


def save(path: Path, start: int, spacing: float = 1.0) -> None:
    """A cube from ``start`` on."""
    values = np.zeros((12, 12, 8), np.uint8)
    values[start : start + 4, 3:7, 2:5] = 1
    path.parent.mkdir(exist_ok=True)
    nib.Nifti1Image(values, np.diag([1.0, 1.0, spacing, 1.0])).to_filename(path)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    for case in CASES:
        save(tmp_path / "reference" / f"{case}.nii.gz", 3)
        save(tmp_path / "predicted" / f"{case}.nii.gz", 4)
    return Request(tmp_path / "reference", tmp_path / "predicted", tmp_path / "out")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Request], list[str]]:
    """Evaluates, and gives the cases that were measured."""
    names: list[str] = []
    measure = folder.measure

    def recorded(**arguments: Any) -> None:
        names.append(arguments["entry"].case_id)
        measure(**arguments)

    monkeypatch.setattr(folder, "measure", recorded)

    def evaluate(request: Request) -> list[str]:
        names.clear()
        folder.evaluate(request, workers=0)
        return sorted(names)

    return evaluate


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.suffix}


Evaluate = Callable[[Request], list[str]]


def test_nothing_changed_and_nothing_is_measured(request_: Request, measured: Evaluate) -> None:
    assert measured(request_) == list(CASES)
    first = contents(request_.out)
    assert measured(request_) == []
    assert contents(request_.out) == first
    # What is laid out of the statistics only needs no second look at voxels.
    assert measured(replace(request_, iou_minimum=0.3, point_rule=True, tolerances_mm=(1.0,))) == []


@pytest.mark.parametrize("which", ["reference", "predicted"])
def test_a_file_that_changed_is_measured_and_the_end_is_that_of_a_first_evaluation(
    request_: Request, measured: Evaluate, which: str, tmp_path: Path
) -> None:
    measured(request_)
    path = tmp_path / which / "b.nii.gz"
    stamp = path.stat().st_mtime_ns
    save(path, 5)
    # Whoever copies with times kept must not be taken for somebody who changed nothing.
    os.utime(path, ns=(stamp, stamp))
    assert measured(request_) == ["b"]
    again = contents(request_.out)
    elsewhere = replace(request_, out=tmp_path / "elsewhere")
    assert measured(elsewhere) == list(CASES)
    assert contents(elsewhere.out) == again


@pytest.mark.parametrize(
    "change",
    [
        {"floor": 0.02},
        {"thresholds": (0.5, 0.7)},
        {"metrics": ("hd95_surfel_mm",)},
        {"lesion_label": 1},
        {"prediction_label": 1},
    ],
)
def test_an_option_that_statistics_depend_on_measures_all(
    request_: Request, measured: Evaluate, change: dict[str, Any]
) -> None:
    measured(request_)
    assert measured(replace(request_, **change)) == list(CASES)


def test_another_patient_is_another_case(request_: Request, measured: Evaluate, tmp_path: Path) -> None:
    measured(request_)
    patients = tmp_path / "patients.csv"
    patients.write_text("case_id,patient_id\na,a\nb,a\nc,c\n")
    assert measured(replace(request_, patients=patients)) == ["b"]


def test_a_case_without_prediction_leaves_nothing_behind(request_: Request, measured: Evaluate, tmp_path: Path) -> None:
    measured(request_)
    (tmp_path / "predicted" / "c.nii.gz").unlink()
    assert measured(request_) == []
    assert not list((request_.out / "statistics").glob("c.*"))
    assert measured(replace(request_, missing="as-misses")) == ["c"]


EDITED: dict[str, tuple[str, object]] = {
    "numbers": ("numbers", "x"),
    "case_id": ("case_id", 5),
    "other": ("case_id", "b"),
}


@pytest.mark.parametrize("harm", ["cut", "gone", "schema", "key", "numbers", "case_id", "other", "failed"])
def test_what_is_no_whole_result_is_measured_again(
    request_: Request, measured: Evaluate, harm: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured(request_)
    arrays, about = (request_.out / "statistics" / f"a.{ending}" for ending in ("npz", "json"))
    expected = ["a"]
    if harm == "cut":
        arrays.write_bytes(arrays.read_bytes()[:-1])
    elif harm == "gone":
        about.unlink()
    elif harm == "schema":
        monkeypatch.setattr(files, "SCHEMA", "missrate/statistics/next")
        expected = list(CASES)
    elif harm == "key":
        about.write_text(json.dumps({k: v for k, v in json.loads(about.read_text()).items() if k != "key"}))
    elif harm in EDITED:
        name, value = EDITED[harm]
        about.write_text(json.dumps(json.loads(about.read_text()) | {name: value}))
    else:
        save(tmp_path / "predicted" / "a.nii.gz", 4, spacing=2.0)
        assert measured(request_) == ["a"]
        assert (request_.out / "statistics" / "a.failed.json").exists()
    assert measured(request_) == expected


def test_the_scan_beside_an_npz_counts(tmp_path: Path, measured: Evaluate) -> None:
    # Where the probabilities lie stands in the NIfTI file beside them: another voxel size there is a refusal.
    save(tmp_path / "reference" / "a.nii.gz", 3)
    save(tmp_path / "predicted" / "a.nii.gz", 4)
    probability = np.zeros((2, 8, 12, 12), np.float32)
    probability[1, 2:5, 3:7, 4:8] = 0.9
    probability[0] = 1.0 - probability[1]
    np.savez(tmp_path / "predicted" / "a.npz", probabilities=probability)
    request = Request(tmp_path / "reference", tmp_path / "predicted", tmp_path / "out", prediction_reader="nnunet_npz")
    assert measured(request) == ["a"]
    assert measured(request) == []
    save(tmp_path / "predicted" / "a.nii.gz", 4, spacing=2.0)
    with pytest.raises(Exception, match="same grid"):
        measured(request)
