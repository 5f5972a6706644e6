"""summary.json on a cohort small enough to be counted by hand, and the two tables."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.quantise import TOP, level_of
from missrate.core.types import Matching, OperatingPoint
from missrate.evaluate.summary import summarise
from missrate.evaluate.tables import cases_csv, lesions_csv
from tests.drawn import IOU, OVERLAP, case, drawn, measured

HALF = OperatingPoint("half", {None: 0.5}, "fixed")
LOW = OperatingPoint("low", {None: 0.2}, "calibration", target="t")

# Patient a: lesions of 2 and 1 voxels, the first found. Patient b: two scans, one with a lesion of 3 voxels, missed at
# .5 with a false positive beside it, and one healthy. Patient h: healthy with two false positives.
COHORT = [
    case("##...#..", "95......", "a1", patient="a"),
    case("###.....", "22...8..", "b1", patient="b"),
    case("........", "........", "b2", patient="b"),
    case("........", "7..6....", "h1", patient="h"),
]


def summary(cases: list[CaseStatistics] = COHORT, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "arm": "unet", "points": [HALF], "matchings": [OVERLAP], "part": "test", "seed": 1, "missing": ["z"],
        "failed": [{"case_id": "y", "reason": "no"}], "inputs": {"reference": "sha256:0"}, "resamples": 200,
    }  # fmt: skip
    return summarise(cases, **(arguments | changes))


def test_the_head_says_what_was_counted() -> None:
    value = summary()
    assert value["schema"] == "missrate/evaluation/1"
    assert (value["arm"], value["part"], value["seed"], value["fold"]) == ("unet", "test", 1, None)
    assert (value["cases"], value["patients"], value["healthy_cases"], value["lesions"]) == (4, 3, 2, 3)
    assert value["missing_predictions"] == ["z"]
    assert value["failed"] == [{"case_id": "y", "reason": "no"}]
    assert value["operating_point"] == {
        "name": "half", "threshold": 0.5, "chosen_on": "fixed", "target": None, "certified": False
    }  # fmt: skip
    assert value["matching"] == {
        "rule": "overlap", "minimum": None, "strict": False, "connectivity": 26, "least_volume_ml": 0.0, "floor": 0.1
    }  # fmt: skip


def test_pooled_and_case_mean_by_hand() -> None:
    metrics = summary()["metrics"]

    def shown(name: str, average: str) -> tuple[Any, ...]:
        block = metrics[name][average]
        return tuple(block.get(key) for key in ("value", "numerator", "denominator", "n", "undefined"))

    # Voxels: a1 TP 2 FN 1; b1 FN 3 FP 1; b2 nothing at all; h1 FP 2.
    assert shown("voxel_miss_rate", "pooled") == (pytest.approx(4 / 6), 4, 6, 2, 2)
    assert shown("voxel_miss_rate", "case_mean") == (pytest.approx((1 / 3 + 1) / 2), None, None, 2, 2)
    assert shown("lesion_miss_rate", "pooled") == (pytest.approx(2 / 3), 2, 3, 2, 2)
    assert shown("lesion_miss_rate", "case_mean") == (pytest.approx((1 / 2 + 1) / 2), None, None, 2, 2)
    # Dice: 4/5, 0/4, 0/0 (undefined and counted), 0/2.
    assert shown("dice", "pooled") == (pytest.approx(4 / 11), 4, 11, 3, 1)
    assert shown("dice", "case_mean") == (pytest.approx(0.8 / 3), None, None, 3, 1)
    assert shown("voxel_precision", "pooled") == (pytest.approx(2 / 5), 2, 5, 3, 1)
    # False positives: 0 + 1 + 0 + 2 over all 4 scans, 0 + 2 over the 2 healthy ones; 3 voxels of .1 ml.
    assert shown("false_positives_per_scan", "pooled") == (pytest.approx(3 / 4), 3, 4, 4, 0)
    assert shown("false_positives_per_healthy_scan", "pooled") == (1.0, 2, 2, 2, 2)
    assert shown("false_positive_ml_per_scan", "case_mean") == (pytest.approx(0.3 / 4), None, None, 4, 0)
    assert "pooled" not in metrics["false_positive_ml_per_scan"]


def test_patients_have_exact_intervals() -> None:
    block = summary()["metrics"]["patient_miss_rate"]["pooled"]
    assert (block["value"], block["numerator"], block["denominator"], block["undefined"]) == (0.5, 1, 2, 1)
    assert block["interval"] == "clopper-pearson"
    # 1 of 2: low solves 1 - (1 - p)**2 = .025, high solves 1 - p**2 = .025; one-sided 1 - p**2 = .05.
    assert block["ci95"] == pytest.approx([1 - 0.975**0.5, 0.975**0.5])
    assert block["upper95_one_sided"] == pytest.approx(0.95**0.5)


def test_intervals_by_hand() -> None:
    # Two patients with a lesion, 0 of 1 and 1 of 1: Clopper and Pearson's of 1 in 2, as one lesion a patient is exact.
    two = [case("#.", "9.", "a"), case("#.", "..", "b")]
    block = summary(two, resamples=20_000)["metrics"]["lesion_miss_rate"]["pooled"]
    assert block["value"] == 0.5
    assert block["ci95"] == pytest.approx([1 - 0.975**0.5, 0.975**0.5], abs=0.005)
    assert block["few_patients"] is True
    # A healthy patient adds nothing to a miss rate, and a single patient has no interval.
    third = summary([*two, case("..", "..", "h")], resamples=20_000)["metrics"]["lesion_miss_rate"]["pooled"]
    assert third["ci95"] == pytest.approx(block["ci95"], abs=0.01)
    assert summary(two[:1])["metrics"]["lesion_miss_rate"]["pooled"]["ci95"] is None


def test_few_patients_are_marked_up_to_nineteen() -> None:
    cases = [case("#.", "9." if i % 3 else "..", f"c{i:02}") for i in range(20)]
    marked = [summary(cases[:n])["metrics"]["lesion_miss_rate"]["pooled"]["few_patients"] for n in (19, 20)]
    assert marked == [True, False]


@pytest.mark.parametrize("prediction", ["9.", ".."])
def test_no_interval_has_width_zero(prediction: str) -> None:
    # All found, or all missed, without a false positive, in 12 patients and 2 healthy ones: rates, counts and curves.
    cases = [*(case("#.", prediction, f"c{i:02}") for i in range(12)), *(case("..", "..", f"h{i}") for i in range(2))]
    metrics = summary(cases)["metrics"]
    limits = [block["ci95"] for averages in metrics.values() for block in averages.values() if block.get("ci95")]
    assert len(limits) >= 10
    assert all(high - low > 0.05 for low, high in limits)
    assert metrics["false_positives_per_scan"]["pooled"]["ci95"][1] == pytest.approx(1 - 0.025 ** (1 / 14), abs=0.05)


def test_cohort_metrics_and_their_reasons() -> None:
    metrics = summary()["metrics"]
    # Patient scores .9, .8 and .7 (healthy): every pair is right.
    auroc = metrics["patient_auroc"]["cohort"]
    assert (auroc["value"], auroc["n"]) == (1.0, 3)
    # One healthy patient alone says nothing about others.
    assert (auroc["ci95"], auroc["interval_reason"]) == (
        None, "an interval needs two patients with and two without a lesion"
    )  # fmt: skip
    binary = summary([case("#.", "#.", "a", binary=True), case("..", "..", "b", binary=True)])["metrics"]
    assert binary["froc_sensitivity"]["cohort"]["value"] is None
    assert "needs scores" in binary["froc_sensitivity"]["cohort"]["reason"]


def test_lesions_by_diameter() -> None:
    # A voxel of 1 ml is a sphere of 12.4 mm, two of them 15.6, ten 26.7; a voxel of .1 ml is one of 5.8 mm.
    large = {"spacing_mm": (10.0, 10.0, 10.0)}
    cases = [
        case("#..##..", "9......", "a", **large),
        case("##########", "9.........", "b", **large),
        case("#..", "...", "c"),
    ]
    bands = summary(cases)["metrics"]["lesion_miss_rate"]["by_diameter_mm"]
    assert {band: (block["numerator"], block["denominator"]) for band, block in bands.items()} == {
        "<10": (1, 1), "10-20": (1, 2), ">=20": (0, 1)
    }  # fmt: skip
    pixels = summary([case("#..", "9..", spacing_mm=None)])["metrics"]
    assert pixels["lesion_miss_rate"]["by_diameter_mm"]["<10"]["reason"] == "no millimetres"
    assert pixels["false_positive_ml_per_scan"]["case_mean"]["value"] is None


def test_every_other_combination_stands_in_also() -> None:
    value = summary(points=[LOW, HALF], matchings=[OVERLAP, IOU])
    assert (value["operating_point"]["name"], value["matching"]["rule"]) == ("low", "overlap")
    also = [(entry["operating_point"]["name"], entry["matching"]["rule"]) for entry in value["also"]]
    assert also == [("low", "iou"), ("half", "overlap"), ("half", "iou")]
    assert {tuple(entry["metrics"]) for entry in value["also"]} == {tuple(value["metrics"])}
    # At .2 two of b1's three voxels are found.
    assert value["metrics"]["lesion_miss_rate"]["pooled"]["numerator"] == 1
    assert value["also"][1]["metrics"] == summary()["metrics"]


def test_each_fold_has_its_own_threshold() -> None:
    cases = [case("#.", "6.", "a", fold=0), case("#.", "6.", "b", fold=1)]
    point = OperatingPoint("t", {0: 0.5, 1: 0.7}, "other folds")
    value = summary(cases, points=[point])
    assert value["metrics"]["lesion_miss_rate"]["pooled"]["numerator"] == 1
    assert value["operating_point"]["threshold"] is None
    assert value["operating_point"]["thresholds"] == {"0": 0.5, "1": 0.7}
    assert value["fold"] is None
    assert summary(cases[:1], points=[point])["fold"] == 0
    torn = [case("#.", "6.", "a", fold=0, patient="p"), case("#.", "6.", "b", fold=1, patient="p")]
    with pytest.raises(InputError, match="must lie in one fold"):
        summary(torn, points=[point])


def test_a_point_without_a_threshold_has_no_metrics_but_a_reason() -> None:
    value = summary(points=[HALF, OperatingPoint("t", {None: None}, "calibration", target="fp <= 1")])
    assert value["also"][0]["metrics"] == {}
    assert value["also"][0]["reason"] == "no threshold was admissible: fp <= 1"
    assert value["also"][0]["operating_point"]["threshold"] is None


def test_equal_arguments_give_equal_json_without_nan_whatever_the_order() -> None:
    text = json.dumps(summary(matchings=[OVERLAP, IOU]), allow_nan=False)
    assert text == json.dumps(summary(COHORT[::-1], matchings=[OVERLAP, IOU]), allow_nan=False)


def test_refused_input() -> None:
    with pytest.raises(InputError, match="Got 0, 1 and 1"):
        summary([])
    with pytest.raises(InputError, match="Got a1 more than once"):
        summary([COHORT[0], COHORT[0]])
    with pytest.raises(InputError, match="between the floor"):
        summary(points=[OperatingPoint("odd", {None: 0.05}, "fixed")])
    with pytest.raises(InputError, match="minimum"):
        summary(matchings=[Matching("iou")])


def test_every_lesion_is_a_row() -> None:
    none = OperatingPoint("none", {None: None}, "calibration")
    lines = lesions_csv(COHORT[::-1], [HALF, LOW, none], OVERLAP).splitlines()
    assert lines[0] == (
        "case_id,patient_id,fold,lesion,voxels,volume_ml,diameter_mm,centre_x,centre_y,centre_z,peak_probability,"
        "found_half,covered_half,best_iou_half,found_low,covered_low,best_iou_low,"
        "found_none,covered_none,best_iou_none"
    )
    # Diameter of .2 ml: (6 * 200 / pi) ** (1/3) = 7.26 mm; of .1 ml 5.76, of .3 ml 8.31.
    assert lines[1] == "a1,a,,1,2,0.200000,7.26,0,0,0,0.900000,1,1.0000,1.0000,1,1.0000,1.0000,,,"
    assert lines[2] == "a1,a,,2,1,0.100000,5.76,0,5,0,0.000000,0,0.0000,0.0000,0,0.0000,0.0000,,,"
    assert lines[3] == "b1,b,,1,3,0.300000,8.31,0,1,0,0.200000,0,0.0000,0.0000,1,0.6667,0.6667,,,"
    assert len(lines) == 4
    pixels = lesions_csv([case("#", "9", spacing_mm=None, fold=2)], [HALF], OVERLAP).splitlines()
    assert pixels[1] == "c,c,2,1,1,,,0,0,0,0.900000,1,1.0000,1.0000"


def test_a_missed_lesion_says_how_missed_it_is() -> None:
    # The lesion has 6 voxels, the candidates in it 1 and 4: 5/6 covered, IoU 1/6 and 4/6. At an IoU of .9 it is missed.
    torn = case("..######..", "..#.####..", "t")
    assert lesions_csv([torn], [HALF], Matching("iou", 0.9)).splitlines()[1].endswith(",0,0.8333,0.6667")
    over = case("######....", "....####..", "o")
    # 2 of 6 covered; 2 / (6 + 4 - 2) = .25.
    assert lesions_csv([over], [HALF], IOU).splitlines()[1].endswith(",1,0.3333,0.2500")
    # A candidate below the least volume (.1 ml each voxel) does not exist, so it covers nothing.
    small = Matching(least_volume_ml=0.2)
    assert lesions_csv([torn], [HALF], small).splitlines()[1].endswith(",1,0.6667,0.6667")


def test_every_case_is_a_row() -> None:
    lines = cases_csv(COHORT, [HALF], OVERLAP).splitlines()
    assert lines[0].endswith("voxels_true_positive_half,voxels_false_negative_half,voxels_false_positive_half,"
                             "false_positive_ml_half")  # fmt: skip
    assert lines[1:] == [
        "a1,a,,2,3,0.300000,0.900000,0.500000,1,0,2,1,0,0.000000",
        "b1,b,,1,3,0.300000,0.800000,0.500000,0,1,0,3,1,0.100000",
        "b2,b,,0,0,0.000000,0.000000,0.500000,0,0,0,0,0,0.000000",
        "h1,h,,0,0,0.000000,0.700000,0.500000,0,2,0,0,2,0.200000",
    ]
    deep = measured(drawn("#.", ".."), drawn("9.", ".."), spacing_mm=None)
    assert cases_csv([deep], [HALF], OVERLAP).splitlines()[1] == "c,c,,1,1,,0.900000,0.500000,1,0,1,0,0,"


def test_a_metric_of_one_threshold_is_undefined_where_folds_have_several(tmp_path: Path) -> None:
    own = tmp_path / "largest.py"
    own.write_text(
        '"""The largest candidate of the cohort: its voxels."""\n\n'
        'UNIT, BETTER, LEVEL = "voxels", "higher", "cohort"\n\n\n'
        "def measure(cases, at, matching, weight_per_patient):\n"
        "    return float(max(case.tree_at(at).voxels.max(initial=0) for case in cases))\n"
    )
    cases = [case("##..", "99..", "a", fold=0), case("#...", "7...", "b", fold=1)]
    folds = OperatingPoint("t", {0: 0.8, 1: 0.6}, "other folds")
    block = summary(cases, points=[folds], metrics=[str(own)])["metrics"]["largest"]["cohort"]
    assert (block["value"], block["reason"]) == (
        None, "the folds have different thresholds, and this metric takes one (no measure_at)"
    )  # fmt: skip
    assert summary(cases, metrics=[str(own)])["metrics"]["largest"]["cohort"]["value"] == 2.0


def test_a_threshold_below_a_raised_floor_has_curves_by_score() -> None:
    # The candidates of one noisy scan are known from .7 upwards, and at .5, which was asked for: so is the unseen
    # patient's, who has no floor.
    noisy = case("##...", ".9...", "n")
    high, half = (
        replace(noisy.trees[0], lowest=level_of(low), highest=top) for low, top in ((0.7, TOP), (0.5, level_of(0.5)))
    )
    cases = [*(case("#.", "9.", f"c{i}") for i in range(3)), replace(noisy, trees=(high, half))]
    metrics = summary(cases)["metrics"]
    for name in ("froc_sensitivity", "froc_sensitivity_by_score", "lesion_average_precision_by_score"):
        assert metrics[name]["cohort"]["ci95"] is not None
