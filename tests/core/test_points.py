"""The file of an operating point: what was written comes back, and what another version wrote does not."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from missrate.core import points
from missrate.core.errors import InputError, StoreError
from missrate.core.types import Certificate, OperatingPoint

PROMISE = Certificate(
    level="patient",
    miss_rate=0.1,
    confidence=0.95,
    in_expectation=False,
    n=46,
    never_found=1,
    never_found_at_most=0.099,
    bound="a sentence",
    risk=1 / 46,
    floor=0.01,
    least_volume_ml=0.2,
    false_positives_per_scan=None,
    false_positive_ml_per_scan=2.5,
    empty="it costs more than was stated",
)
POINTS = [
    OperatingPoint("half", {None: 0.5}, "fixed"),
    OperatingPoint("t", {0: 0.25, 1: None}, "other folds", "false_positives_per_scan <= 2"),
    OperatingPoint("certified", {None: 1 / 3}, "calibration", "patient_miss_rate <= 0.1", PROMISE),
    OperatingPoint("certified", {None: None}, "calibration", "patient_miss_rate <= 0.1", reason="too few"),
]


@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p.name}-{p.chosen_on}")
def test_a_point_comes_back_and_only_a_certificate_makes_it_certified(point: OperatingPoint, tmp_path: Path) -> None:
    points.write(tmp_path / "point.json", point, patients=[("a", "a1")], calibration={"cases": 3})
    assert points.read(tmp_path / "point.json") == point
    assert json.loads((tmp_path / "point.json").read_text())["calibration"] == {"cases": 3}
    assert point.certified == (point.certificate is not None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "missrate/operating_point/1"}, "must have schema missrate/operating_point/4.*calibrate again"),
        ({"schema": "missrate/operating_point/2"}, "must have schema missrate/operating_point/4.*calibrate again"),
        ({"schema": "missrate/operating_point/3"}, "must have schema missrate/operating_point/4.*calibrate again"),
        ({"schema": None}, "calibrate again"),
        ({"patients": "a"}, "must be as missrate wrote it"),
        ({"thresholds": [0.5]}, "must be as missrate wrote it"),
        ({"thresholds": {"first": 0.5}}, "must be as missrate wrote it"),
        ({"certificate": {"level": "patient"}}, "must be as missrate wrote it"),
        ({"certificate": asdict(PROMISE) | {"k": 1}}, "must be as missrate wrote it"),  # as the second version did
    ],
)
def test_another_version_or_a_damaged_file_is_an_error(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    path.write_text(json.dumps(points.to_json(POINTS[0]) | {"patients": []} | change))
    with pytest.raises(StoreError, match=words):
        points.read(path)
    path.write_text("[]")
    with pytest.raises(StoreError, match="must be a JSON object"):
        points.read(path)


def test_new_scans_need_one_threshold() -> None:
    assert points.only_threshold(POINTS[0]) == 0.5
    for point, words in ((POINTS[1], "each of 2 folds"), (POINTS[3], "must have a threshold. Got none: too few")):
        with pytest.raises(InputError, match=words):
            points.only_threshold(point)


def test_the_file_knows_on_whom_a_point_was_chosen_and_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    points.write(path, POINTS[0], patients=[("pat-7", "scan-1"), ("pat-31", "scan-2"), ("pat-7", "scan-3")])
    origin = points.origin(path)
    tested = [("pat-31", "other"), ("pat-8", "another"), ("pat-7", "scan-1"), ("pat-31", "third")]
    assert origin.chosen_on(tested) == ["pat-31", "pat-7"]
    # Where nobody said whose the cases are, their own names tell.
    assert origin.chosen_on([("scan-2", "scan-2"), ("scan-4", "scan-4")]) == ["scan-2"]
    assert origin.chosen_on([("pat-3", "scan-31"), ("scan-1x", "pat-7"), ("case", "patient")]) == []
    assert "pat-" not in path.read_text()
    assert "scan-" not in path.read_text()


@pytest.mark.parametrize("matching", [{"least_volume_ml": v} for v in (10**400, float("nan"), float("inf"), -1, "0.5")])
def test_a_least_volume_that_is_none_is_an_error(matching: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    path.write_text(json.dumps(points.to_json(POINTS[0]) | {"patients": [], "matching": matching}))
    with pytest.raises(StoreError):
        points.origin(path)
