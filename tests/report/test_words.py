"""Numbers as readers see them."""

import pytest

from missrate.report.words import amount, block_cell, p_value, point_words, sentence, share, signed, signed_amount


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (1.0, "1.000"), (0.1234, "0.123"), (0.9997, "0.9997"), (0.00027, "0.0003"), (0.9996, "0.9996")],
)
def test_a_share_never_rounds_to_an_end_that_it_is_not(value: float, text: str) -> None:
    assert share(value) == text


def test_amounts_and_differences() -> None:
    assert [amount(v) for v in (0.0, 0.031, 1.5, 12.34, 11273.6)] == ["0.00", "0.031", "1.50", "12.3", "11 274"]
    assert [signed(v) for v in (0.1, -0.25, 0.0, -0.0001)] == ["+0.100", "−0.250", "0.000", "0.000"]
    assert [signed_amount(v) for v in (1.5, -0.05, 0.0)] == ["+1.50", "−0.050", "0.00"]
    assert [p_value(v) for v in (None, 0.00001, 0.25)] == ["undefined", "< 0.001", "0.250"]
    assert sentence("false_positives_per_scan <= 2") == "false positives per scan ≤\u00a02"


def test_cells_say_undefined_with_their_count() -> None:
    assert block_cell({"value": None, "n": 0, "undefined": 7, "ci95": None}, "dice").text == "undefined (7)"
    cohort = block_cell({"value": None, "n": 5, "ci95": None, "reason": "needs scores"}, "patient_auroc")
    assert (cohort.text, cohort.below) == ("undefined (5)", ("needs scores",))
    assert block_cell(None, "dice").text == "undefined (all)"


def test_cells_hold_value_interval_counts_and_n() -> None:
    block = {"value": 0.25, "numerator": 1, "denominator": 4, "n": 3, "undefined": 2, "ci95": [0.0, 0.5]}
    cell = block_cell(block, "lesion_miss_rate")
    assert (cell.text, cell.below) == ("0.250", ("0.000–0.500", "1 / 4", "n 3, undefined (2)"))
    alone = block_cell({"value": 0.5, "n": 1, "undefined": 0, "ci95": None}, "dice")
    assert alone.below == ("no interval", "n 1")


def test_points_in_words() -> None:
    fixed = {"threshold": 0.5, "chosen_on": "fixed"}
    assert point_words(fixed) == "threshold 0.5 (fixed)"
    folds = {"threshold": None, "thresholds": {"0": 0.25, "1": 0.5}, "chosen_on": "other folds"}
    assert point_words(folds) == "threshold 0.25 to 0.5, by fold (chosen on other folds)"
