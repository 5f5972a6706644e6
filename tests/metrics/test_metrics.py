"""The shelf of metrics: one contract for all members, the traps of other tools, and the ends of each curve."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from missrate.core import catalog
from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.quantise import level_of
from missrate.core.sweep import sweep
from missrate.core.types import Matching, Ratio
from tests.drawn import IOU, OVERLAP, STRICT, case, drawn, measured

HALF = level_of(0.5)
NAMES = catalog.names("metrics")


def metric(name: str) -> ModuleType:
    return catalog.load("metrics", name)


def at_half(name: str, of: CaseStatistics, rule: Matching = OVERLAP) -> Any:
    further = {"tolerance_mm": 2.0} if hasattr(metric(name), "PARAMETER") else {}
    return metric(name).measure(of, HALF, rule, **further)


def cohort(
    name: str, cases: list[CaseStatistics], rule: Matching = OVERLAP, weights: dict[str, float] | None = None
) -> Any:
    if name.startswith("coco"):
        pytest.importorskip("pycocotools", reason="COCO metrics need pycocotools")
    return metric(name).measure(cases, HALF, rule, weights)


@pytest.mark.parametrize("name", NAMES)
def test_every_member_keeps_the_contract(name: str) -> None:
    member = metric(name)
    assert member.UNIT
    assert member.BETTER in ("lower", "higher")
    assert member.LEVEL in ("case", "patient", "cohort")
    assert catalog.describe("metrics", name).endswith(".")


@pytest.mark.parametrize("name", [n for n in NAMES if metric(n).LEVEL == "case"])
@pytest.mark.parametrize("rule", [OVERLAP, IOU, STRICT])
def test_no_case_makes_a_case_metric_nan_or_leaves_its_range(name: str, rule: Matching) -> None:
    hard = [("....", "...."), ("....", "####"), ("####", "...."), ("##..", "..##"), ("#.#.", "####"), ("####", "####")]
    for reference, prediction in hard:
        for spacing in ((1.0, 1.0, 1.0), None):
            value = at_half(name, case(reference, prediction, spacing_mm=spacing, surfels=True), rule)
            number = value.value if isinstance(value, Ratio) else value
            assert number is None or (np.isfinite(number) and number >= 0.0)
            if isinstance(value, Ratio) and not name.startswith("false_positives"):
                assert 0 <= value.numerator <= value.denominator


def test_voxel_metrics_by_hand() -> None:
    # reference ###..... prediction .##.#... : TP 2, FN 1, FP 1, TN 4
    one = case("###.....", ".##.#...")
    assert at_half("voxel_miss_rate", one) == Ratio(1, 3)
    assert at_half("voxel_precision", one) == Ratio(2, 3)
    assert at_half("dice", one) == Ratio(4, 6)
    assert at_half("voxel_accuracy", one) == Ratio(6, 8)
    assert at_half("false_positive_ml_per_scan", one) == pytest.approx(0.1)


def test_a_probability_that_is_the_threshold_counts() -> None:
    edge = case("##..", "55..")
    for name in ("voxel_miss_rate", "slice_miss_rate", "slice_miss_rate_any", "lesion_miss_rate"):
        assert at_half(name, edge).value == 0.0
        assert metric(name).measure(edge, level_of(0.6), OVERLAP).value == 1.0


def test_dice_of_two_empty_masks_is_undefined() -> None:
    # nan in surface-distance, nnU-Net and MONAI; 1 in MetricsReloaded; 0 in panoptica and scikit-learn.
    assert at_half("dice", case("....", "....")).value is None


def test_a_false_positive_in_a_healthy_scan_counts() -> None:
    # MONAI's default answers nan, so false alarms in healthy patients vanish from the mean.
    alarm = case("......", "#..#..")
    assert at_half("dice", alarm) == Ratio(0, 2)
    assert at_half("voxel_precision", alarm) == Ratio(0, 2)
    assert (
        at_half("false_positives_per_scan", alarm) == at_half("false_positives_per_healthy_scan", alarm) == Ratio(2, 1)
    )
    assert at_half("lesion_precision", alarm) == Ratio(0, 2)
    for name in ("voxel_miss_rate", "slice_miss_rate", "slice_miss_rate_any", "lesion_miss_rate"):
        assert at_half(name, alarm) == Ratio(0, 0)
    assert at_half("false_positives_per_healthy_scan", case("#...", "#.#.")) == Ratio(0, 0)


def test_a_total_miss_has_dice_0_and_miss_rate_1() -> None:
    missed = case("##..", "....")
    assert at_half("dice", missed).value == 0.0
    for name in ("voxel_miss_rate", "slice_miss_rate", "slice_miss_rate_any", "lesion_miss_rate"):
        assert at_half(name, missed).value == 1.0
    assert metric("patient_miss_rate").measure([missed], HALF, OVERLAP) == Ratio(1, 1)
    assert at_half("voxel_precision", missed) == at_half("lesion_precision", missed) == Ratio(0, 0)


def test_slices_with_lesion_by_hand() -> None:
    # slice        0     1     2     3 (no lesion)
    # reference    ##..  ##..  ##..  ....
    # prediction   #...  ...#  ....  ####
    four = measured(drawn("##..", "##..", "##..", "...."), drawn("#...", "...#", "....", "####"))
    # Overlap in slice 0 alone; anything at all in slices 0 and 1.
    assert at_half("slice_miss_rate", four) == Ratio(2, 3)
    assert at_half("slice_miss_rate_any", four) == Ratio(1, 3)


def test_empty_slices_are_counted_where_a_nanmean_would_drop_them() -> None:
    # The original evaluation took per-slice precision TP / (TP + FP) and a nanmean over slices. Slices 1 and 2, where
    # nothing is predicted although there is lesion, are 0/0 and vanish: nanmean([1, nan, nan]) = 1, a perfect score.
    thin = measured(drawn("##", "##", "##"), drawn("##", "..", ".."))
    assert at_half("slice_miss_rate", thin) == Ratio(2, 3)
    assert at_half("voxel_miss_rate", thin) == Ratio(4, 6)


def test_predicting_nothing_has_the_best_accuracy_and_the_worst_miss_rate() -> None:
    # 1 lesion voxel in 20: nothing is right on 19 / 20; finding it with 2 false voxels is right on 18 / 20.
    nothing, finder = case("#" + "." * 19, "." * 20), case("#" + "." * 19, "###" + "." * 17)
    assert at_half("voxel_accuracy", nothing) == Ratio(19, 20)
    assert at_half("voxel_accuracy", finder) == Ratio(18, 20)
    assert at_half("voxel_miss_rate", nothing).value == 1.0
    assert at_half("voxel_miss_rate", finder).value == 0.0


def test_lesion_precision_leaves_out_what_picai_calls_neither() -> None:
    # The lesion has 6 voxels, two candidates on it and one elsewhere.
    twice = case("######..", "##.###.#")
    assert at_half("lesion_precision", twice, OVERLAP) == Ratio(2, 3)
    assert at_half("lesion_precision", twice, IOU) == Ratio(1, 2)
    assert at_half("lesion_precision", twice, STRICT) == Ratio(1, 3)


def test_false_positive_volume_makes_the_whole_scan_look_as_bad_as_it_is() -> None:
    # One candidate, no false positive, nothing missed: and 9 voxels of .1 ml outside the lesion.
    everything = case("#.........", "##########")
    assert at_half("false_positives_per_scan", everything) == Ratio(0, 1)
    assert at_half("lesion_miss_rate", everything) == Ratio(0, 1)
    assert at_half("false_positive_ml_per_scan", everything) == pytest.approx(0.9)
    assert at_half("false_positive_ml_per_scan", case("#", "#", spacing_mm=None)) is None


def test_a_patient_is_found_by_one_lesion_in_any_scan() -> None:
    measure = metric("patient_miss_rate").measure
    missed, found, healthy = case("##", ".."), case("#..#", "...#"), case("..", "##")
    assert measure([missed], HALF, OVERLAP) == Ratio(1, 1)
    assert measure([missed, found], HALF, OVERLAP) == Ratio(0, 1)
    assert measure([healthy], HALF, OVERLAP) == Ratio(0, 0)
    assert measure([healthy, missed], HALF, OVERLAP) == Ratio(1, 1)


# --- cohort metrics -------------------------------------------------------------------------------------------------

COHORT = [n for n in NAMES if metric(n).LEVEL == "cohort"]


@pytest.mark.parametrize("name", COHORT)
def test_a_binary_prediction_has_no_scores(name: str) -> None:
    both = [case("##..", "##..", "a", binary=True), case("....", "....", "b", binary=True)]
    assert cohort(name, both) is None


@pytest.mark.parametrize("name", COHORT)
def test_without_lesions_there_is_nothing_to_find(name: str) -> None:
    assert cohort(name, [case("....", "#...", "a"), case("....", "....", "b")]) is None


@pytest.mark.parametrize("name", COHORT)
@pytest.mark.parametrize("rule", [OVERLAP, IOU])
def test_a_perfect_detector_has_1_and_one_that_finds_nothing_has_the_worst(name: str, rule: Matching) -> None:
    # MONAI's and picai_eval's FROC lose the last point: a perfect detector of one lesion scores 0 there.
    perfect = [case("##..", "99..", "a"), case("....", "....", "b")]
    assert cohort(name, perfect, rule) == pytest.approx(1.0, abs=1e-12)
    nothing = [case("##..", "....", "a"), case("....", "....", "b")]
    # AUROC: both patients score 0, a tie.
    assert cohort(name, nothing, rule) == (0.5 if name == "patient_auroc" else 0.0)


@pytest.mark.parametrize("name", COHORT)
def test_a_weight_of_two_is_the_patient_twice(name: str) -> None:
    cases = [case("##...#", "9..5.3", "a"), case("......", "..7..2", "b"), case("#.....", "3.4..5", "c")]
    again = [case("##...#", "9..5.3", "d"), case("......", "..7..2", "e")]
    for rule in (OVERLAP, IOU):
        weighted = cohort(name, cases, rule, {"a": 2.0, "b": 2.0, "c": 1.0})
        assert weighted == pytest.approx(cohort(name, cases + again, rule))
        assert cohort(name, cases, rule, {"a": 1.0, "b": 1.0, "c": 1.0}) == pytest.approx(cohort(name, cases, rule))
        assert cohort(name, cases, rule, {"a": 0.0, "b": 3.0, "c": 0.0}) is None


@pytest.mark.parametrize("name", [n for n in COHORT if hasattr(metric(n), "measure_each")])
def test_many_weights_at_once_agree_with_one_by_one(name: str) -> None:
    cases = [case("##...#", "9..5.3", "a"), case("......", "..7..2", "b"), case("#.....", "3.4..5", "c")]
    weights_BP = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    one_by_one = [cohort(name, cases, OVERLAP, dict(zip("abc", w, strict=True))) for w in weights_BP]
    assert metric(name).measure_each(sweep(cases, OVERLAP), weights_BP) == one_by_one
    # Without weights every level counts, not only those at which the pooled counts change.
    assert one_by_one[0] == cohort(name, cases, OVERLAP)


def test_auroc_is_the_mann_whitney_statistic() -> None:
    ill, healthy = [9, 5, 5, 2], [5, 3, 1]
    cases = [case("#.", f"{peak}.", f"i{k}") for k, peak in enumerate(ill)]
    cases += [case("..", f".{peak}", f"h{k}") for k, peak in enumerate(healthy)]
    u = stats.mannwhitneyu(ill, healthy).statistic
    assert cohort("patient_auroc", cases) == pytest.approx(u / 12)
    # By hand: 9 beats 3; each 5 beats 2 and ties 1; 2 beats 1: (3 + 2.5 + 2.5 + 1) / 12.
    assert cohort("patient_auroc", cases) == pytest.approx(9 / 12)


def test_auroc_takes_the_highest_candidate_of_enough_volume_over_all_scans() -> None:
    # Patient p: one voxel at .9 and three at .4 in two scans; the healthy one has two voxels at .7.
    cases = [
        case("......", "9.....", "p1", patient="p"),
        case("###...", "444...", "p2", patient="p"),
        case("......", "77....", "h"),
    ]
    assert cohort("patient_auroc", cases) == 1.0
    assert cohort("patient_auroc", cases, Matching(least_volume_ml=0.2)) == 0.0
    assert cohort("patient_auroc", cases, Matching(least_volume_ml=0.3)) == 1.0
    assert cohort("patient_auroc", cases, Matching(least_volume_ml=0.5)) == 0.5


def test_average_precision_by_hand() -> None:
    # One lesion at .9, a false positive at .7, the other lesion at .5, two more false positives at .2.
    # t .9: recall 1/2, precision 1; .7: nothing gained; .5: recall 1, precision 2/3; area 1/2 + 1/2 * 2/3 = 5/6.
    two = [case("#...#......", "9.7.5.2.2..", "a")]
    assert cohort("lesion_average_precision", two) == pytest.approx(5 / 6)


def test_recall_that_falls_gains_nothing_twice() -> None:
    # IoU: at .9 found (1/1); at .2 lost (1/12 < .1, one false positive). Recall 1, 0: the area stays 1.
    assert cohort("lesion_average_precision", [case("#...........", "922222222222")], IOU) == 1.0
    # The same beside a lesion that stays found: recall 1, then 1/2 at precision 1/2, which takes nothing away.
    assert cohort("lesion_average_precision", [case("#.#...........", "9.922222222222")], IOU) == 1.0


def test_froc_by_hand() -> None:
    # Two scans; lesions at .9 and .5; false positives: one at .7 (.5 per scan below it), 8 more at .3 (4.5 per scan).
    # Sensitivity 1/2 for x = 1/8 and 1/4 (thresholds .8 to 1), 1 from x = 1/2 on: (2 * .5 + 5) / 7.
    first, second = case("#...#" + "." * 16, "9.7.5" + "." * 16, "a"), case("." * 17, ".3" * 8 + ".", "b")
    assert cohort("froc_sensitivity", [first, second]) == pytest.approx(6 / 7)


def test_froc_ignores_what_lies_below_a_forbidden_threshold() -> None:
    # At .5 nine false positives in one scan; at .2 they merge with the lesion into one candidate: 0 of them, all found.
    merging = case("#" + "." * 19, "2" + "25" * 9 + "2")
    assert metric("false_positives_per_scan").measure(merging, level_of(0.2), OVERLAP) == Ratio(0, 1)
    assert metric("false_positives_per_scan").measure(merging, HALF, OVERLAP) == Ratio(9, 1)
    assert cohort("froc_sensitivity", [merging]) == 0.0


def test_the_constant_map_looks_bad_one_to_one() -> None:
    constant = [case("#" + "." * 19, "#" * 20, "a"), case("." * 20, "#" * 20, "b")]
    assert cohort("froc_sensitivity", constant, IOU) == 0.0
    assert cohort("lesion_average_precision", constant, IOU) == 0.0
    assert cohort("patient_auroc", constant) == 0.5
    # Any overlap cannot see it, which is why the volume stands beside it.
    assert at_half("false_positive_ml_per_scan", constant[1]) == pytest.approx(2.0)


@pytest.mark.parametrize("name", COHORT)
def test_a_cohort_needs_cases(name: str) -> None:
    with pytest.raises(InputError, match="at least one case"):
        cohort(name, [])
