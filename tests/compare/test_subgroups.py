"""Differences by size band and by a column of a patients table, and the areas under the ROC curve: by hand."""

import numpy as np
import pytest

from missrate.compare.subgroups import BANDS_MM
from missrate.core.case import CaseStatistics
from missrate.core.delong import area_difference
from missrate.core.errors import InputError
from missrate.evaluate import blocks
from tests.compare.arms import BOTH, LARGE, NONE, arm, compared
from tests.drawn import case

# Voxels of .1 ml: one is a sphere of 5.8 mm, seven one of 11.0 mm.
SIZES = "#######..#"


def test_the_bands_are_those_of_an_evaluation() -> None:
    assert BANDS_MM == blocks.BANDS_MM


def test_differences_by_size_band() -> None:
    arms = {name: arm(*[drawing] * 8, reference=SIZES) for name, drawing in (("a", "9........9"), ("b", "9........."))}
    bands = compared(arms)["comparisons"]["b"]["by_diameter_mm"]
    assert [(band, block["lesions"], block["difference"]) for band, block in bands.items()] == [
        ("<10", 8, 1.0), ("10-20", 8, 0.0), (">=20", 0, None)
    ]  # fmt: skip
    assert (bands["<10"]["p_holm"], bands["<10"]["ci95"][1]) == (2 / 256, 1.0)
    # Eight patients, and one who is not here on whom it is the other way round: 1 - 2 (1 - .025 ** (1 / 8)).
    assert bands["<10"]["ci95"][0] == pytest.approx(1 - 2 * (1 - 0.025 ** (1 / 8)), abs=0.1)
    assert (bands["10-20"]["p_holm"], bands[">=20"]["p_holm"]) == (1.0, None)
    pixels = {name: arm(*[BOTH] * 3, spacing_mm=None) for name in "ab"}
    assert compared(pixels)["comparisons"]["b"]["by_diameter_mm"] == {}


def test_differences_within_the_values_of_a_column() -> None:
    # b misses the small lesion of every woman, and of no man.
    arms = {"a": arm(*[BOTH] * 12), "b": arm(*[LARGE] * 8, *[BOTH] * 4)}
    sex = {f"c{i}": "f" if i < 8 else "m" for i in range(12)}
    groups = compared(arms, subgroups={"sex": sex})["comparisons"]["b"]["subgroups"]["sex"]
    assert [(value, part["cases"], part["patients"], part["lesions"]) for value, part in groups.items()] == [
        ("f", 8, 8, 16), ("m", 4, 4, 8)
    ]  # fmt: skip
    women, men = (groups[value]["metrics"] for value in "fm")
    assert (women["lesion_miss_rate"]["difference"], men["lesion_miss_rate"]["difference"]) == (0.5, 0.0)
    assert (women["lesion_miss_rate"]["p_holm"], men["lesion_miss_rate"]["p_holm"]) == (2 / 256, 1.0)
    # Voxels: one of three; no patient is missed.
    assert women["voxel_miss_rate"]["difference"] == pytest.approx(1 / 3)
    assert women["patient_miss_rate"]["difference"] == 0.0
    with pytest.raises(InputError, match=r"a value in column 'sex'\. Got none for c0"):
        compared(arms, subgroups={"sex": {name: v for name, v in sex.items() if name != "c0"}})


def test_a_patient_counts_within_the_scans_of_a_value() -> None:
    # Patient p: found in the scan of hospital x, missed in that of y. Overall b misses nobody.
    def scans(y: str) -> list[CaseStatistics]:
        return [case("#.", "9.", "x", patient="p"), case("#.", y, "y", patient="p")]

    arms = {"a": scans("9."), "b": scans("..")}
    found = compared(arms, subgroups={"hospital": {"x": "x", "y": "y"}})["comparisons"]["b"]
    assert found["metrics"]["patient_miss_rate"]["pooled"]["difference"] == 0.0
    assert [part["metrics"]["patient_miss_rate"]["difference"] for part in found["subgroups"]["hospital"].values()] == [
        0.0, 1.0
    ]  # fmt: skip


def test_areas_are_compared_by_delong() -> None:
    # a ranks all six pairs right; b puts the healthy .6 above one of three ill patients.
    def scores(*ill: int) -> list[CaseStatistics]:
        sick = [case("#..", f"{score}..", f"i{k}") for k, score in enumerate(ill)]
        return [*sick, case("...", "6..", "h0"), case("...", "2..", "h1")]

    found = compared({"a": scores(7, 8, 9), "b": scores(7, 5, 9)})["comparisons"]["b"]["auroc"]
    known = area_difference(np.array([[7.0, 5, 9], [7, 8, 9]]), np.array([[6.0, 2], [6, 2]]))
    assert known is not None and known.test is not None and known.ci is not None
    assert found["difference"] == pytest.approx(-1 / 6)
    assert (found["p"], found["ci95"]) == (pytest.approx(known.test.p), pytest.approx(list(known.ci)))
    assert (found["test"], found["reason"]) == ("paired DeLong", None)
    assert found["p_holm"] == found["p"]


def test_an_area_that_is_undefined_has_a_reason() -> None:
    everyone_ill = compared({"a": arm(*[BOTH] * 3), "b": arm(*[NONE] * 3)})["comparisons"]["b"]["auroc"]
    assert (everyone_ill["difference"], everyone_ill["separable"]) == (None, False)
    assert everyone_ill["reason"] == "needs patients with and without a lesion"
    masks = arm(*["#" * 8] * 3, binary=True)
    reason = compared({"a": arm(*[BOTH] * 3), "b": masks})["comparisons"]["b"]["auroc"]["reason"]
    assert reason == "the predictions are masks: needs scores"
