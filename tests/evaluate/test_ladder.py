"""A ladder's counts, by hand: two slices of 2 x 4 pixels with a lesion, one without."""

import numpy as np
import pytest

from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.ladder import Rung
from missrate.core.quantise import TOP, level_of
from missrate.evaluate.ladder import SliceCounts, count_slices, measure

GRID = Grid.of((2, 4, 3), None)


def _crops() -> tuple[Crop, Crop]:
    reference = np.zeros((2, 4, 3), bool)
    reference[0, :2, 0] = True  # 2 pixels in slice 0
    reference[1, 3, 1] = True  # 1 in slice 1
    levels = np.zeros((2, 4, 3), np.uint16)
    levels[0, :3, 0] = TOP  # both found, one false
    levels[:, :, 2] = level_of(0.6)  # the empty slice is covered whole
    return Crop.whole(reference, GRID), Crop.whole(levels, GRID)


def test_pixels_of_each_slice() -> None:
    counts = count_slices(*_crops(), level_of(0.5), patient_id="p", largest_share=None)
    assert counts.true_positives.tolist() == [2, 0, 0]
    assert counts.false_positives.tolist() == [1, 0, 8]
    assert counts.false_negatives.tolist() == [0, 1, 0]
    assert counts.pixels == 8


def test_crops_are_where_they_are() -> None:
    reference, levels = _crops()
    small = Crop(levels.values_XYZ[:, :, 2:], (0, 0, 2), GRID)
    counts = count_slices(reference, small, level_of(0.5), patient_id="p", largest_share=None)
    assert counts.false_positives.tolist() == [0, 0, 8]
    assert counts.false_negatives.tolist() == [2, 1, 0]


def test_a_slice_that_is_covered_too_far_counts_as_empty() -> None:
    counts = count_slices(*_crops(), level_of(0.5), patient_id="p", largest_share=0.76)
    assert counts.false_positives.tolist() == [1, 0, 0]
    exact = count_slices(*_crops(), level_of(0.5), patient_id="p", largest_share=3 / 8)
    assert exact.true_positives.tolist() == [2, 0, 0]  # 3 of 8 is not more than 3 of 8


def test_slices_before_the_first_do_not_count() -> None:
    counts = count_slices(*_crops(), level_of(0.5), patient_id="p", largest_share=None, first=1)
    assert counts.false_positives.tolist() == [0, 8]


def _measured(**how: object) -> dict[str, dict[str, float | None]]:
    counts = count_slices(*_crops(), level_of(0.5), patient_id="p", largest_share=None)
    rung = Rung.model_validate({"name": "r", "arm": "a"} | how)
    found: dict[str, dict[str, float | None]] = measure([counts], rung, resamples=100, seed=0)["metrics"]
    return found


def test_pooled_counts_every_slice() -> None:
    found = _measured()
    assert found["precision"]["value"] == pytest.approx(2 / 11)
    assert found["recall"]["value"] == pytest.approx(2 / 3)
    assert found["miss_rate"]["value"] == pytest.approx(1 / 3)
    assert found["accuracy"]["value"] == pytest.approx(14 / 24)


def test_the_mean_over_slices_drops_what_is_undefined_and_says_so() -> None:
    found = _measured(average="slices")
    assert found["precision"] == {"value": pytest.approx((2 / 3 + 0 / 8) / 2), "ci95": None, "undefined": 1}
    assert found["recall"] == {"value": pytest.approx((1 + 0) / 2), "ci95": None, "undefined": 1}


def test_dropping_the_slices_without_a_lesion_hides_their_false_positives() -> None:
    found = _measured(slices="with_lesion")
    assert found["precision"]["value"] == pytest.approx(2 / 3)
    assert _measured()["precision"]["value"] == pytest.approx(2 / 11)


def test_a_patient_without_a_counted_slice_is_no_patient() -> None:
    one, none = np.array([4]), np.array([0])
    cases = [SliceCounts("ill", one, none, none, 8), SliceCounts("well", none, none, none, 8)]
    found = measure(cases, Rung(name="r", arm="a", slices="with_lesion"), resamples=100, seed=0)
    assert (found["patients"], found["slices"]) == (1, 1)


def test_a_rate_of_nothing_is_no_number() -> None:
    zero = np.zeros(2, np.int64)
    found = measure([SliceCounts("p", zero, zero, zero, 8)], Rung(name="r", arm="a"), resamples=100, seed=0)["metrics"]
    assert found["recall"]["value"] is None
    assert found["precision"]["value"] is None
    assert found["accuracy"]["value"] == 1.0


def test_intervals_draw_patients() -> None:
    one, none = np.array([4]), np.array([0])
    cases = [SliceCounts("a", one, none, none, 8), SliceCounts("b", none, none, one, 8)]
    found = measure(cases, Rung(name="r", arm="a"), resamples=200, seed=0)["metrics"]["miss_rate"]
    assert found["value"] == 0.5
    # One pixel a patient, 1 of 2 missed: Clopper and Pearson's, up to the randomness of 200 resamples.
    assert found["ci95"] == pytest.approx([1 - 0.975**0.5, 0.975**0.5], abs=0.03)
