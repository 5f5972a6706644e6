"""The answer in sentences: every level is spoken of, and none is hidden by another."""

from typing import Any

import numpy as np
import pytest

from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.quantise import TOP
from missrate.core.types import OperatingPoint, Points
from missrate.evaluate.statistics import measure_points
from tests.compare.arms import BOTH, LARGE, NONE, arm, compared
from tests.drawn import drawn

TWELVE = arm(*[BOTH] * 12)
HALF_OF_EACH = arm(*["9...9..."] * 12)
"""One of the two voxels of each large lesion is missed, and no lesion is."""


def said(**arms: Any) -> list[str]:
    answer: list[str] = compared({"a": TWELVE} | arms)["answer"]
    return answer


def test_a_difference_in_voxels_is_said_where_no_lesion_differs() -> None:
    # Twelve patients differ in voxels alone: p = 2 / 2**12, times four levels .00195.
    first, second = said(b=HALF_OF_EACH)
    assert first.startswith("b compared with a misses more of the lesion voxels: 33.3% against 0.0% (+33.3 points [")
    assert ", p = 0.00195). No difference is shown in the slices with lesion: 0.0% against 0.0% (" in first
    assert "the lesions: 0.0% against 0.0%" in first and "the patients with lesions: 0.0% against 0.0%" in first
    assert "no test could" not in first
    assert "are corrected over 4 levels (Holm), and they decide." in second


def test_every_level_that_differs_is_named_and_p_knows_levels_and_arms() -> None:
    result = compared({"a": TWELVE, "b": arm(*[NONE] * 12), "c": HALF_OF_EACH})
    metrics = result["comparisons"]["b"]["metrics"]
    # Eight tests: four of b and that of voxels of c have 2 / 2**12, the other three of c have p = 1. Holm gives the
    # five smallest 8, 8, 8, 8 and 8 times that, since it never lets a later one fall below an earlier one.
    levels = ("voxel_miss_rate", "slice_miss_rate", "lesion_miss_rate", "patient_miss_rate")
    for level in levels:
        block = metrics[level]["pooled"]
        assert (block["p"], block["p_levels"]) == (pytest.approx(2 / 4096), pytest.approx(16 / 4096))
        assert (block["shown"], block["could_show"]) == (True, True)
    assert result["answer"][0].count("100.0% against 0.0%") == 4
    assert "No difference" not in result["answer"][0]
    assert "are corrected over 4 levels and 2 arms (Holm)" in result["answer"][2]


def test_less_at_one_level_and_more_at_another_are_one_sentence() -> None:
    # b finds a voxel of the small lesion's patient everywhere and only half of every large lesion; a finds all of the
    # large lesion and never the small one.
    arms = {"a": arm(*["999....."] * 12, reference="###.#..."), "b": arm(*["9...9..."] * 12, reference="###.#...")}
    (first, _) = compared(arms)["answer"]
    assert first.startswith("b compared with a misses less of the lesions: 0.0% against 50.0% (-50.0 points [")
    assert ", but misses more of the lesion voxels: 50.0% against 25.0% (+25.0 points [" in first


def test_that_no_test_could_show_it_is_said_only_where_no_level_can() -> None:
    # Of two patients who differ no test gives less than 2 / 2**2.
    few = compared({"a": arm(*[BOTH] * 2), "b": arm(*[LARGE] * 2)})["answer"][0]
    assert few.startswith("No difference between b and a is shown in the lesion voxels: ")
    assert "So few patients differ that no test could show one." in few
    # No patient differs here, and no volume on balance; but eight volumes that differ alike would have shown.
    halves = {"a": arm(*["9...9..."] * 4, *[BOTH] * 4), "b": arm(*[BOTH] * 4, *["9...9..."] * 4)}
    mixed = compared(halves)["answer"][0]
    assert mixed.startswith("No difference between b and a is shown in the lesion voxels: 16.7% against 16.7%")
    assert "no test could" not in mixed


def test_what_could_show_looks_at_the_other_p_values_as_they_are() -> None:
    # Eight patients differ, .0078 at the least: of eight tests the smallest p is multiplied by 8, later ones by less.
    result = compared({"a": TWELVE[:8], "b": arm(*[LARGE] * 8), "c": TWELVE[:8]})
    blocks = [
        result["comparisons"]["b"]["metrics"][level]["pooled"] for level in ("voxel_miss_rate", "lesion_miss_rate")
    ]
    for block in blocks:
        assert block["p"] == block["least_p"] == pytest.approx(2 / 256)
        assert block["could_show"] == block["shown"]


def test_each_sentence_names_the_price() -> None:
    noisy = arm(*["99..9.99"] * 12)
    assert said(b=noisy)[0].endswith(
        " The price: 1.00 false positives per scan against 0.00, 60.0% voxel precision against 100.0%."
    )


def test_levels_without_voxels_are_named_and_in_no_family() -> None:
    reference = Crop.whole(drawn("##..#...").astype(bool), Grid.of((1, 8, 1), np.diag([10.0, 10.0, 1.0, 1.0])))

    def pointed(column: int) -> list[CaseStatistics]:
        points = Points(np.array([[0.0, column, 0.0]]), "voxel", np.array([TOP], np.uint16))
        return [measure_points(reference, points, case_id=f"c{i}", patient_id=f"c{i}") for i in range(8)]

    first, second = compared({"a": pointed(0), "b": pointed(3)})["answer"]
    assert " Undefined: the lesion voxels, the slices with lesion." in first
    assert "corrected over 2 levels (Holm)" in second


def test_null_arms_are_described_in_a_sentence_without_p() -> None:
    lines = said(nothing=arm(*[NONE] * 12), b=TWELVE)
    (null,) = (line for line in lines if line.startswith("nothing "))
    assert null.startswith("nothing is a null arm, described and not tested. It misses of the lesion voxels: 100.0% ")
    assert "p = " not in null
    assert any("are corrected over 4 levels (Holm)" in line for line in lines)


def test_without_lesions_or_a_threshold_there_is_one_reason() -> None:
    healthy = {name: arm("9.......", "........", reference="........") for name in "ab"}
    assert compared(healthy)["answer"] == [
        "b and a cannot be compared: there is no lesion. The price: 0.50 false positives per scan against 0.50, 0.0% "
        "voxel precision against 0.0%."
    ]
    none = OperatingPoint("t", {None: None}, "calibration")
    half = OperatingPoint("half", {None: 0.5}, "fixed")
    assert compared({"a": TWELVE, "b": TWELVE}, points={"a": half, "b": none})["answer"] == [
        "b cannot be compared with a: no threshold was admissible for b."
    ]
