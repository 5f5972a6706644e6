"""Comparisons of arms drawn by hand: differences, who misses what, matched costs, and what cannot be compared."""

import json

import numpy as np
import pytest

from missrate.compare import Gate, markdown
from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.errors import InputError, UnknownNameError
from missrate.core.grid import Grid
from missrate.core.quantise import TOP, level_of
from missrate.core.types import OperatingPoint, Points
from missrate.evaluate.statistics import measure_points
from tests.compare.arms import HALF, arm, compared
from tests.drawn import case, drawn, measured

# Each scan has lesions "##" and "#". a finds both in both scans, b the large one in the first and none in the second.
A = arm("99..9...", "99..9...")
B = arm("99......", ".......9")


def test_differences_are_arm_minus_against() -> None:
    metrics = compared({"a": A, "b": B})["comparisons"]["b"]["metrics"]
    lesion = metrics["lesion_miss_rate"]["pooled"]
    assert (lesion["arm"], lesion["against"], lesion["difference"]) == (0.75, 0.0, 0.75)
    # Two patients say little: on one who is not here it may be the other way round.
    assert lesion["ci95"][0] < 0.0 < 0.9 < lesion["ci95"][1] <= 1.0
    assert lesion["interval"] == "paired patient-bootstrap"
    # Voxels: b misses 1 + 3 of 6; Dice 4/5 and 0; one false positive of .1 ml in two scans.
    assert metrics["voxel_miss_rate"]["pooled"]["difference"] == pytest.approx(4 / 6)
    assert metrics["dice"]["case_mean"]["difference"] == pytest.approx(0.4 - 1.0)
    assert metrics["dice"]["pooled"]["arm"] == pytest.approx(4 / 9)
    assert metrics["false_positives_per_scan"]["pooled"]["difference"] == 0.5
    assert metrics["false_positive_ml_per_scan"]["case_mean"]["difference"] == pytest.approx(0.05)


def test_two_discordant_patients_can_never_be_separable() -> None:
    lesion = compared({"a": A, "b": B})["comparisons"]["b"]["metrics"]["lesion_miss_rate"]["pooled"]
    # Swapping within each of two patients: 2 of 4 patterns are as extreme, and no data could give less.
    assert (lesion["p"], lesion["least_p"], lesion["p_holm"]) == (0.5, 0.5, 0.5)
    assert (lesion["separable"], lesion["attainable"]) == (False, False)
    assert "So few patients differ that no test could show one." in compared({"a": A, "b": B})["answer"][0]


def test_eight_discordant_patients_can() -> None:
    result = compared({"a": arm(*["99..9..."] * 8), "b": arm(*["99......"] * 8), "c": arm(*["99..9..."] * 8)})
    lesion = result["comparisons"]["b"]["metrics"]["lesion_miss_rate"]["pooled"]
    # 2 / 2**8 = .0078; two arms against the reference: Holm doubles the smaller one.
    assert (lesion["p"], lesion["p_holm"]) == (pytest.approx(2 / 256), pytest.approx(4 / 256))
    assert lesion["separable"]
    same = result["comparisons"]["c"]["metrics"]["lesion_miss_rate"]["pooled"]
    assert (same["difference"], same["p"], same["p_holm"], same["separable"]) == (0.0, 1.0, 1.0, False)
    # Over four levels and two arms the p of eight tests are corrected: .0078 of voxels, slices and lesions become .063.
    assert lesion["p_levels"] == pytest.approx(16 / 256)
    assert not lesion["shown"]
    assert result["answer"][0].startswith("No difference between b and a is shown in the lesion voxels: 33.3% against")


def test_who_misses_what() -> None:
    b = arm("99......", ".......9", "99..9...")
    a = arm("....9...", "........", "99..9...")
    found = compared({"a": a, "b": b})["comparisons"]["b"]
    # Scan 0: a misses lesion 1, b lesion 2. Scan 1: both miss both. Scan 2: nobody misses anything.
    assert found["lesions"]["missed_by_arm_only"] == {"count": 1, "rows": [["c0", "c0", 2]]}
    assert found["lesions"]["missed_by_against_only"] == {"count": 1, "rows": [["c0", "c0", 1]]}
    assert found["lesions"]["missed_by_both"] == {"count": 2, "rows": [["c1", "c1", 1], ["c1", "c1", 2]]}
    patients = found["patients"]
    assert [patients[f"missed_by_{k}"] for k in ("arm_only", "against_only", "both", "neither")] == [0, 0, 1, 2]
    assert (patients["p"], patients["test"]) == (1.0, "exact McNemar")


def test_mcnemar_counts_patients_not_scans() -> None:
    # Six patients of two scans each; b finds nothing in any of them: 2 / 2**6.
    def twelve(prediction: str) -> list[CaseStatistics]:
        return [case("#..", prediction, f"c{i}", patient=f"p{i // 2}") for i in range(12)]

    patients = compared({"a": twelve("9.."), "b": twelve("...")})["comparisons"]["b"]["patients"]
    assert (patients["missed_by_arm_only"], patients["p"]) == (6, pytest.approx(2 / 64))


def test_a_dice_that_is_undefined_in_one_arm_is_counted() -> None:
    # The healthy scan is 0/0 for a (nothing predicted) and 0 for b (a false positive).
    a = [*arm("99..9..."), case("....", "....", "h")]
    b = [*arm("99..9..."), case("....", "9...", "h")]
    dice = compared({"a": a, "b": b})["comparisons"]["b"]["metrics"]["dice"]["case_mean"]
    assert (dice["n"], dice["undefined"], dice["difference"]) == (1, 1, 0.0)


def test_arms_are_compared_at_equal_false_positives() -> None:
    # Lesion at .9, the other at .4; false positives at .7 (a) or .3 (b), in each of two scans.
    a, b = arm(*["99..4..7"] * 2), arm(*["99..4..3"] * 2)
    matched = compared({"a": a, "b": b}, fp_per_scan=(0.0, 1.0), fp_ml_per_scan=(0.05, 0.1))["matched"]
    count = matched["by_false_positives_per_scan"]
    # a without false positives must stay above .7: by one level, and there it misses half of the lesions.
    above, floor = (level_of(0.7) + 1) / TOP, 0.1
    assert [(e["bound"], e["threshold"], e["lesion_miss_rate"]["value"]) for e in count["a"]] == [
        (0.0, above, 0.5), (1.0, floor, 0.0)
    ]  # fmt: skip
    assert [(e["threshold"], e["lesion_miss_rate"]["value"]) for e in count["b"]] == [
        ((level_of(0.3) + 1) / TOP, 0.0), (floor, 0.0)
    ]  # fmt: skip
    assert count["a"][1]["false_positives_per_scan"] == 1.0
    volume = matched["by_false_positive_ml_per_scan"]
    assert [e["threshold"] for e in volume["a"]] == [above, floor]
    assert volume["a"][0]["voxel_miss_rate"] == {"few_patients": True} | {
        "value": pytest.approx(1 / 3),
        "ci95": [pytest.approx(0.057, abs=0.02), pytest.approx(0.887, abs=0.02)],
    }
    assert "descriptive" in matched["how"]


def test_arms_are_compared_at_equal_sensitivity() -> None:
    # At .5 a finds one of two lesions in each scan. b does so from .6 down and has .2 ml of false positives there.
    a, b = arm(*["99..4..."] * 2), arm(*["66....66"] * 2)
    at_rate = compared({"a": a, "b": b})["matched"]["by_lesion_miss_rate"]
    assert at_rate["bound"] == 0.5
    assert (at_rate["arms"]["a"]["threshold"], at_rate["arms"]["a"]["false_positive_ml_per_scan"]["value"]) == (
        0.9,
        0.0,
    )
    assert at_rate["arms"]["b"]["threshold"] == 0.6
    assert at_rate["arms"]["b"]["false_positive_ml_per_scan"]["value"] == pytest.approx(0.2)
    never = compared({"a": A, "b": arm("........", "........")})["matched"]["by_lesion_miss_rate"]
    assert never["arms"]["b"] is None


def test_an_arm_works_only_if_it_beats_the_location_prior() -> None:
    # At most .1 ml (one voxel) outside per scan: the prior finds one voxel of three, the good arm all of them, the bad
    # one none, and the whole-scan arm has no threshold at all.
    arms = {
        "good": arm(*["99..9..."] * 6),
        "bad": arm(*["...9...."] * 6),
        "everything": arm(*["########"] * 6),
        "location_prior": arm(*["51.11111"] * 6),
    }
    result = compared(arms, against="good", fp_ml_per_scan=(0.1,))
    assert result["works"] == {"good": True, "bad": False, "everything": False, "location_prior": None}
    because = result["works_because"]["good"]
    assert because["voxel_miss_rate_difference"] == pytest.approx(0 - 2 / 3)
    assert result["works_because"]["everything"]["threshold"] is None
    assert "bad does not beat location_prior at matched false-positive volume." in result["answer"]
    assert result["matched"]["by_false_positive_ml_per_scan"]["everything"][0]["lesion_miss_rate"]["value"] == 1.0


def test_an_arm_that_beats_the_location_prior_in_half_of_the_patients_does_not_work() -> None:
    # In turn all three voxels and none, against one of three: better on average (1/2 against 2/3), not beyond noise.
    arms = {"a": arm(*["99..9...", "...9...."] * 4), "location_prior": arm(*["51.11111"] * 8)}
    because = compared(arms, fp_ml_per_scan=(0.1,))["works_because"]["a"]
    assert because["voxel_miss_rate_difference"] == pytest.approx(1 / 2 - 2 / 3)
    assert because["ci95"][0] < 0.0 < because["ci95"][1]
    assert because["works"] is False


def test_an_arm_below_all_candidate_levels_is_still_judged_fairly() -> None:
    # Its probabilities are a thousandth of the others', its ranking of voxels is perfect.
    reference = drawn("##..#...")
    faint = [measured(reference, reference / 1000, case=f"c{i}") for i in range(8)]
    arms = {"faint": faint, "location_prior": arm(*["51.11111"] * 8)}
    result = compared(arms, against="faint", fp_ml_per_scan=(0.1,))
    assert result["works"]["faint"] is True
    # The floor is lowered with its highest probability: at .0009 it finds all voxels, and nothing else.
    assert result["matched"]["by_false_positive_ml_per_scan"]["faint"][0]["voxel_miss_rate"]["value"] == 0.0


def test_without_a_baseline_or_millimetres_nobody_is_said_to_work() -> None:
    assert compared({"a": A, "b": B})["works"] == {"a": None, "b": None}
    pixels = {name: arm("99..9...", spacing_mm=None) for name in ("a", "location_prior")}
    result = compared(pixels)
    assert result["works"] == {"a": None, "location_prior": None}
    assert result["works_because"]["a"]["reason"] == "no millimetres"
    assert result["matched"]["by_false_positive_ml_per_scan"] == {"a": [], "location_prior": []}


def test_curves_hold_what_the_report_draws() -> None:
    curves = compared({"a": arm("99..4..7"), "b": arm("99..4..7")})["curves"]["a"]
    # [false positives per scan, sensitivity, threshold] at the levels that occur, and where nothing is predicted.
    assert curves["froc_by_count"] == [[1.0, 1.0, 0.4], [1.0, 0.5, 0.7], [0.0, 0.5, 0.9], [0.0, 0.0, 1.0]]
    assert curves["froc_by_volume"][0] == [pytest.approx(0.1), 1.0, 0.4]
    # [voxel miss rate, precision, threshold], nothing predicted at 1.
    assert curves["voxel_miss_rate_precision"][0] == [0.0, 0.75, 0.4]
    assert len(curves["voxel_miss_rate_precision"]) == 3
    rng = np.random.default_rng(0)
    fine = [measured(drawn("##..#..." * 40), rng.random((1, 320, 1)), case="c")]
    long = compared({"a": fine, "b": fine})["curves"]["a"]
    assert len(long["froc_by_count"]) == 100
    healthy = compared({"a": arm("9.......", reference="........")})["curves"]["a"]
    assert healthy["froc_by_count"] == []


def test_an_arm_without_a_threshold_says_so() -> None:
    none = OperatingPoint("t", {None: None}, "calibration")
    result = compared({"a": A, "b": B}, points={"a": HALF, "b": none})
    assert result["comparisons"]["b"] == {"metrics": {}, "reason": "no threshold was admissible for b"}
    assert result["answer"] == ["b cannot be compared with a: no threshold was admissible for b."]
    assert compared({"a": A, "b": B}, points={"a": none, "b": HALF})["matched"]["by_lesion_miss_rate"]["bound"] is None


def test_a_cohort_without_lesions_is_compared_by_its_false_alarms() -> None:
    arms = {name: arm("9.......", "........", reference="........") for name in ("a", "location_prior")}
    result = compared(arms)
    block = result["comparisons"]["location_prior"]["metrics"]["lesion_miss_rate"]["pooled"]
    assert (block["difference"], block["p"], block["separable"]) == (None, None, False)
    assert "there is no lesion" in result["answer"][0]
    assert result["works"]["a"] is None


def test_each_arm_has_its_own_thresholds_by_fold() -> None:
    cases = [case("#.", "6.", "c0", fold=0), case("#.", "6.", "c1", fold=1)]
    point = OperatingPoint("t", {0: 0.5, 1: 0.7}, "other folds")
    result = compared({"a": cases, "b": cases}, points={"a": HALF, "b": point})
    assert result["comparisons"]["b"]["lesions"]["missed_by_arm_only"]["rows"] == [["c1", "c1", 1]]
    assert result["points"]["b"]["thresholds"] == {"0": 0.5, "1": 0.7}


def test_only_the_same_cases_with_the_same_reference_can_be_compared() -> None:
    with pytest.raises(InputError, match="b and a differ in c1"):
        compared({"a": A, "b": B[:1]})
    with pytest.raises(InputError, match=r"same reference\. b and a differ in c0"):
        compared({"a": A[:1], "b": arm("99......", reference="#...#...")})
    with pytest.raises(InputError, match="twice in arm b"):
        compared({"a": A, "b": [*B, B[0]]})
    with pytest.raises(UnknownNameError, match=r"must be one of a, b\. Got 'c'"):
        compared({"a": A, "b": B}, against="c")
    with pytest.raises(UnknownNameError, match="none for b"):
        compared({"a": A, "b": B}, points={"a": HALF})


def test_the_result_is_the_same_again_without_nan_and_whatever_the_order_of_cases() -> None:
    arms, turned = {"a": A, "b": B}, {"a": A[::-1], "b": B[::-1]}
    text = json.dumps(compared(arms), allow_nan=False)
    assert text == json.dumps(compared(arms), allow_nan=False) == json.dumps(compared(turned), allow_nan=False)


def test_points_have_no_voxels_and_are_compared_by_their_lesions() -> None:
    # The same reference; one candidate a scan, in the first lesion or beside all of them.
    reference = Crop.whole(drawn("##..#...").astype(bool), Grid.of((1, 8, 1), np.diag([10.0, 10.0, 1.0, 1.0])))

    def pointed(column: int) -> list[CaseStatistics]:
        points = Points(np.array([[0.0, column, 0.0]]), "voxel", np.array([TOP], np.uint16))
        return [measure_points(reference, points, case_id=f"c{i}", patient_id=f"c{i}") for i in range(8)]

    result = compared({"a": pointed(0), "b": pointed(3), "location_prior": pointed(3)}, pairs="all", gate=Gate())
    metrics = result["comparisons"]["b"]["metrics"]
    assert metrics["lesion_miss_rate"]["pooled"]["difference"] == 0.5
    assert metrics["false_positives_per_scan"]["pooled"]["difference"] == 1.0
    assert metrics["voxel_miss_rate"]["pooled"] == {
        "arm": None,
        "against": None,
        "difference": None,
        "ci95": None,
        "interval": "paired patient-bootstrap",
        "p": None,
        "least_p": None,
        "test": None,
        "few_patients": True,
        "p_holm": None,
        "separable": False,
        "attainable": False,
        "p_levels": None,
        "shown": False,
        "could_show": False,
    }
    assert result["ranks"]["voxel_miss_rate"]["top"] == []
    assert result["gate"]["arms"]["b"]["worse"] is True
    assert result["works_because"]["a"]["reason"] == "points have no voxels"
    assert result["matched"]["by_false_positives_per_scan"]["a"][0]["voxel_miss_rate"]["value"] is None
    assert "undefined" in markdown.table(result)


def test_null_arms_are_described_and_in_no_family() -> None:
    # b misses one lesion in each of eight patients: p = 2 / 2**8, and Holm multiplies it by the two arms of its family,
    # whatever null arms stand beside them.
    arms = {"a": arm(*["99..9..."] * 8), "b": arm(*["99......"] * 8), "c": arm(*["99..9..."] * 8)}
    with_null = arms | {"nothing": arm(*["........"] * 8), "everything": arm(*["########"] * 8)}
    alone, beside = (compared(each)["comparisons"] for each in (arms, with_null))
    assert {name: beside[name] for name in alone} == alone
    assert alone["b"]["metrics"]["lesion_miss_rate"]["pooled"]["p_holm"] == 4 / 256
    nothing = beside["nothing"]["metrics"]["lesion_miss_rate"]["pooled"]
    assert (nothing["difference"], nothing["described"], nothing["p"], nothing["p_holm"]) == (1.0, True, None, None)
    assert nothing["ci95"] is not None
    assert all(part["p"] is None for part in (beside["nothing"]["patients"], beside["nothing"]["auroc"]))
    result = compared(with_null)
    (said,) = (line for line in result["answer"] if line.startswith("nothing "))
    assert said.startswith("nothing is a null arm, described and not tested. It misses of the lesion voxels: 100.0% ag")
    assert "p = " not in said
    assert "null arm: not tested" in markdown.table(result)
    assert result["permutations"] == compared(arms)["permutations"]
    # Against a null arm nothing is tested either.
    against = compared(with_null, against="nothing")["comparisons"]["b"]["metrics"]["lesion_miss_rate"]["pooled"]
    assert (against["described"], against["p_holm"], against["separable"]) == (True, None, False)
