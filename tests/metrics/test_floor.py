"""Probabilities below the floor: they rank as others do, and where they cannot, it is said."""

from typing import Any

import numpy as np
import pytest

from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.quantise import TOP, encode, level_of, threshold_of
from missrate.core.types import Points
from missrate.evaluate import statistics
from missrate.evaluate.summary import ALL
from tests.drawn import case, drawn, measured
from tests.metrics.test_traps import summary

FLOOR = 0.01


def scan(reference: str, prediction: str, name: str, share: float) -> CaseStatistics:
    """A case whose probabilities are those of the drawing times ``share``."""
    return measured(drawn(reference), drawn(prediction) * share, case=name, floor=FLOOR)


def said(value: dict[str, Any]) -> list[str]:
    assert {row["case_id"] for row in value["warnings"]} <= {ALL}
    return [row["warning"] for row in value["warnings"]]


def value(summarised: dict[str, Any], name: str) -> Any:
    return summarised["metrics"][name]["cohort"]["value"]


SICK, HEALTHY = ("##..#...", "99..5..."), ("........", "...3....")


def test_a_faint_model_that_ranks_perfectly_gets_what_it_deserves() -> None:
    """The highest probability of all is .009; every lesion lies above every false alarm, in every patient."""
    faint, loud = (
        [scan(*SICK, f"s{n}", share) for n in range(4)] + [scan(*HEALTHY, f"h{n}", share) for n in range(4)]
        for share in (0.01, 1.0)
    )
    found, wanted = summary(faint, floor=FLOOR), summary(loud, floor=FLOOR)
    for name in ("patient_auroc", "froc_sensitivity", "lesion_average_precision"):
        assert value(found, name) == pytest.approx(value(wanted, name)), name
    assert value(found, "patient_auroc") == 1.0
    assert value(found, "froc_sensitivity") > 0.9
    (text,) = said(found)
    assert text.startswith("8 of 8 scans have no probability as high as the floor 0.01 (at most 0.009)")
    assert said(wanted) == []


def test_the_floor_sinks_by_the_share_that_the_highest_probability_has() -> None:
    assert scan(*SICK, "c", 0.01).floor == level_of(FLOOR) * level_of(0.009) // TOP == 5
    assert scan(*SICK, "c", 1.0).floor == level_of(FLOOR)
    assert case("##..", "....", floor=FLOOR).floor == 1, "of an empty map all is known"
    # .9 * .0001 = level 5: all that there is.
    assert scan(*SICK, "c", 0.0001).floor == 1


def test_a_lowered_floor_still_keeps_to_its_share_of_a_noisy_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "FEW", 10)
    noise = np.full((10, 10, 1), 0.001)
    noise[0, :5] = 0.009
    faint = measured(np.zeros((10, 10, 1)), noise, floor=FLOOR)
    assert faint.floor == level_of(0.001) + 1


def test_one_faint_scan_among_others_is_ranked_below_them_and_above_nothing() -> None:
    cases = [scan(*SICK, "loud", 1.0), scan(*SICK, "faint", 0.005), scan(*HEALTHY, "low", 0.002)]
    found = summary(cases, floor=FLOOR)
    # .9 and .0045 against .0006: both pairs in the right order; cut at the floor the second would be a tie.
    assert value(found, "patient_auroc") == 1.0
    assert found["matching"]["floor"] == FLOOR
    scans, lesions = said(found)
    assert "faint, low (2 in all)" in scans and "upwards" in scans
    assert lesions.startswith("2 lesions have a highest probability above 0 and below 0.01")
    assert "faint (1 in all)" in lesions


def test_a_lesion_below_the_floor_beside_one_above_is_named() -> None:
    mixed = measured(drawn("##..#..."), np.array([[[0.9], [0.9], [0], [0], [0.004], [0], [0], [0]]]), floor=FLOOR)
    (text,) = said(summary([mixed], floor=FLOOR))
    assert text.startswith("1 lesions have a highest probability above 0 and below 0.01")


def test_masks_and_empty_maps_need_no_word() -> None:
    masks = [case("##..", "#...", "a", binary=True), case("##..", "....", "b", binary=True)]
    empty = [case("##..", "....", "a", floor=FLOOR), case("##..", "9...", "b", floor=FLOOR)]
    assert said(summary(masks, floor=FLOOR)) == said(summary(empty, floor=FLOOR)) == []


def candidates(*scores: float) -> CaseStatistics:
    """A lesion at the first voxel; the first candidate on it, the others off it."""
    grid = Grid.of((6, 1, 1), np.diag([1.0, 1.0, 1.0, 1.0]))
    reference = Crop.whole(np.arange(6).reshape(6, 1, 1) == 0, grid)
    places = np.array([[float(n), 0, 0] for n in range(len(scores))]).reshape(-1, 3)
    points = Points(places, "voxel", encode(np.array(scores)))
    return statistics.measure_points(reference, points, case_id="c", patient_id="c", floor=level_of(FLOOR))


def test_candidates_of_a_table_below_the_floor() -> None:
    faint = candidates(0.009, 0.003)
    assert faint.floor < level_of(0.003)
    assert faint.trees[0].level.tolist() == [level_of(0.009), level_of(0.003)]
    mixed = candidates(0.003, 0.9)
    assert mixed.trees[0].level.tolist() == [level_of(0.9)]
    assert threshold_of(int(mixed.lesion_peak[0])) == 0.003
    (text,) = said(summary([mixed], floor=FLOOR))
    assert "1 lesions have a highest probability above 0" in text
    assert candidates().floor == 1
