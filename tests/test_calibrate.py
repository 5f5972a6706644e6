"""Operating points: admissible from above, the constant map never, folds from the others."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from missrate.calibrate import Target, best_f_beta, choose, choose_by_fold, greatest_with_patient_miss_rate
from missrate.core.admissible import level_at
from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.matching import false_positives
from missrate.core.quantise import level_of
from missrate.core.types import OperatingPoint
from tests.drawn import IOU, OVERLAP, TENTHS, case, drawn, measured


def chosen(cases: list[CaseStatistics], count: float, ml: float) -> OperatingPoint:
    target = Target(false_positives_per_scan=count, false_positive_ml_per_scan=ml)
    return choose(cases, OVERLAP, target=target, name="t")


def threshold(cases: list[CaseStatistics], count: float, ml: float) -> float | None:
    return chosen(cases, count, ml).thresholds[None]


def test_among_admissible_thresholds_the_one_that_misses_least_and_then_the_highest() -> None:
    # Lesions at .8 and .4; false positives of .1 ml at .6 (one) and .2 (two more).
    one = [case("#...#......", "8.6.4.2.2..")]
    # None allowed: only above .6, so .8 finds one lesion (.7 too, but .8 is higher).
    assert threshold(one, 0, 9) == 0.8
    # One allowed: .3 and .4 find both; .4 is the highest.
    assert threshold(one, 1, 9) == 0.4
    assert threshold(one, 9, 9) == 0.4
    # The volume binds on its own: less than .1 ml forbids the first false positive.
    assert threshold(one, 9, 0.05) == 0.8


def test_of_equals_the_one_that_covers_more_of_the_lesions() -> None:
    # One lesion of three voxels, .9, .5 and .3, nothing outside: .9 finds it, .3 shows all of it.
    assert threshold([case("###..", "953..")], 1, 9) == 0.3


def test_the_target_is_written_beside_the_point() -> None:
    target = Target(false_positives_per_scan=1, false_positive_ml_per_scan=2.5)
    point = choose([case("#.", "9.")], OVERLAP, target=target, name="mine")
    assert (point.name, point.chosen_on, point.certified) == ("mine", "calibration", False)
    assert point.target == "false_positives_per_scan <= 1 and false_positive_ml_per_scan <= 2.5"


def test_a_threshold_below_a_forbidden_one_is_forbidden() -> None:
    # At .5 there are 9 false positives; at .2 they merge with the lesion: 0 of them and nothing missed.
    merging = [case("#" + "." * 19, "2" + "25" * 9 + "2")]
    # So only thresholds above .5 remain, where nothing is predicted: all miss everything, and none is of use.
    assert chosen(merging, 5, 99).thresholds == {None: None}
    assert chosen(merging, 5, 99).reason == "no usable threshold exists: the best one, 1, finds nothing"


def test_certainty_alone_is_no_operating_point() -> None:
    # The lesion is found at probability 1 only, with nothing false: the next patient may be a little less certain.
    certain = [case("##.....", "#......"), case(".......", "......3", "b")]
    assert "nothing but voxels of probability 1" in str(chosen(certain, 0, 0).reason)
    assert chosen(certain, 0, 0).thresholds == {None: None}
    nearly = [case("##.....", "9......"), case(".......", "......3", "b")]
    assert (chosen(nearly, 0, 0).thresholds, chosen(nearly, 0, 0).reason) == ({None: 0.9}, None)
    # A mask has no scale: that one is as good at 1 as anywhere.
    mask = [measured(drawn("##....."), drawn("#......"), binary=True)]
    assert chosen(mask, 0, 0).thresholds == {None: 1.0}


def test_no_admissible_threshold_says_so() -> None:
    assert str(chosen([case("#.", "##")], 0, 0).reason).startswith(
        "no threshold was admissible: even the highest one exceeds false"
    )


def test_the_reason_of_a_fold_names_it() -> None:
    # Fold 0 is chosen on fold 1, whose lesion nothing finds above its false positive; the other way round .9 serves.
    cases = [case("#..", "9..", "a", fold=0), case("#..", "3.5", "b", fold=1)]
    target = Target(false_positives_per_scan=0, false_positive_ml_per_scan=0)
    point = choose_by_fold(cases, OVERLAP, target=target, name="t")
    assert point.thresholds == {0: None, 1: 0.9}
    assert point.reason == "fold 0: no usable threshold exists: the best one, 1, finds nothing"


def test_other_points_at_the_end_of_the_scale_are_of_no_use_either() -> None:
    certain = [case("#..", "#.5", "a", patient="a"), case("#..", "#..", "b", patient="b")]
    for point in (
        greatest_with_patient_miss_rate(certain, OVERLAP, at_most=0.0, name="t"),
        best_f_beta(certain, OVERLAP, beta=1.0, name="t"),
    ):
        assert point.thresholds == {None: None} and "voxels of probability 1" in str(point.reason)
    anything = greatest_with_patient_miss_rate([case("#..", "5..")], OVERLAP, at_most=1.0, name="t")
    assert anything.thresholds == {None: None} and "finds nothing" in str(anything.reason)
    low = greatest_with_patient_miss_rate([case("#..", "..5")], OVERLAP, at_most=0.0, name="t")
    assert low.thresholds == {None: None} and "the lowest known threshold, 0.1, misses more" in str(low.reason)


@pytest.mark.parametrize("c", ["1", "3", "5", "9", "#"])
def test_the_constant_map_is_never_chosen(c: str) -> None:
    # 20 voxels of .1 ml: 1.9 ml outside the lesion of one scan and 2 of the other, 1.95 ml per scan.
    constant = [case("#" + "." * 19, c * 20, "a"), case("." * 20, c * 20, "b")]
    for bound in (0.0, 1.0, 1.949):
        # Either there is no admissible threshold at all, or only some at which nothing is predicted.
        assert threshold(constant, 99, bound) is None
    # Only who allows the whole volume gets it, and of a map that is 1 everywhere nobody does.
    assert threshold(constant, 99, 1.96) == (None if c == "#" else int(c) / 10)


VOLUMES = st.lists(
    st.tuples(
        arrays(bool, (3, 3, 2), elements=st.sampled_from([False, False, True])),
        arrays(np.float64, (3, 3, 2), elements=st.sampled_from([0.0, 0.2, 0.4, 0.7, 1.0])),
    ),
    min_size=1,
    max_size=4,
)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(VOLUMES, st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.3, 1.0]))
def test_the_point_keeps_its_target_at_every_higher_threshold(
    volumes: list[tuple[NDArray[np.bool_], NDArray[np.float64]]], count: float, ml: float
) -> None:
    # One lesion that fills its scan, so that there is always something to find.
    cases = [measured(np.ones((3, 3, 2)), np.full((3, 3, 2), 0.7), case="whole")]
    cases += [measured(r, p, case=f"c{i}") for i, (r, p) in enumerate(volumes)]
    within = []
    for level in TENTHS:
        false = sum(false_positives(each, int(level), OVERLAP) for each in cases) / len(cases)
        outside_ml = sum(int(each.outside.at_least(int(level))) * 0.1 for each in cases) / len(cases)
        within.append(false <= count and outside_ml <= ml + 1e-9)
    point = chosen(cases, count, ml)
    lowest = point.thresholds[None]
    if lowest is None:
        assert point.reason
        assert not within[-1] or point.reason.startswith("no usable threshold")
    else:
        assert all(ok for k, ok in enumerate(within, start=1) if k / 10 >= lowest)


def test_pixels_only_cannot_keep_a_bound_in_ml() -> None:
    pixels = [case("#.", "9.", spacing_mm=None)]
    with pytest.raises(InputError, match="pixels only"):
        threshold(pixels, 1, 1)
    assert threshold(pixels, 1, float("inf")) == 0.9


def test_cases_without_a_lesion_choose_nothing() -> None:
    with pytest.raises(InputError, match="at least one lesion"):
        threshold([case("..", "9.")], 1, 1)


def test_the_threshold_of_a_fold_comes_from_the_other_folds() -> None:
    # Fold 0 has its lesion at .9, fold 1 at .6, fold 2 at .3: each is chosen where both of the others are found.
    cases = [case("#..", f"{peak}..", f"c{k}", fold=k) for k, peak in enumerate([9, 6, 3])]
    target = Target(false_positives_per_scan=1, false_positive_ml_per_scan=1)
    point = choose_by_fold(cases, OVERLAP, target=target, name="t")
    assert point.thresholds == {0: 0.3, 1: 0.3, 2: 0.6}
    assert (point.chosen_on, point.certified) == ("other folds", False)
    assert [level_at(point, each) for each in cases] == [level_of(0.3), level_of(0.3), level_of(0.6)]


def test_folds_must_be_whole() -> None:
    target = Target(false_positives_per_scan=1, false_positive_ml_per_scan=1)
    torn = [case("#", "9", "a", fold=0, patient="p"), case("#", "9", "b", fold=1, patient="p")]
    for cases, words in (
        ([case("#", "9")], "must have a fold"),
        (torn, "must lie in one fold"),
        ([case("#", "9", fold=0)], "at least two folds"),
    ):
        with pytest.raises(InputError, match=words):
            choose_by_fold(cases, OVERLAP, target=target, name="t")


def test_one_threshold_serves_every_fold_and_a_missing_fold_is_an_error() -> None:
    fixed = OperatingPoint("half", {None: 0.5}, "fixed")
    assert level_at(fixed, case("#", "9", fold=3)) == level_of(0.5)
    with pytest.raises(InputError, match="must have a threshold for fold 3"):
        level_at(OperatingPoint("t", {0: 0.5}, "other folds"), case("#", "9", fold=3))
    assert level_at(OperatingPoint("t", {3: None}, "other folds"), case("#", "9", fold=3)) is None


def test_the_greatest_threshold_that_misses_few_patients() -> None:
    # Highest lesion per patient .9, .6 (in the second scan), .3; a healthy patient plays no part.
    cases = [
        case("#..", "9..", "a"),
        case("#..", "2..", "b1", patient="b"),
        case("#..", "6..", "b2", patient="b"),
        case("#..", "3..", "c"),
        case("...", "1..", "h"),
    ]
    for at_most, expected in ((0.0, 0.3), (0.3, 0.3), (0.34, 0.6), (0.67, 0.9), (1.0, None)):
        point = greatest_with_patient_miss_rate(cases, OVERLAP, at_most=at_most, name="t")
        assert point.thresholds[None] == expected
    never = greatest_with_patient_miss_rate([case("#.", ".9")], OVERLAP, at_most=0.5, name="t")
    assert never.thresholds[None] is None
    assert never.target == "patient_miss_rate <= 0.5"
    with pytest.raises(InputError, match="monotone"):
        greatest_with_patient_miss_rate(cases, IOU, at_most=0.5, name="t")


def test_best_f_beta_by_hand() -> None:
    # A lesion of 4 voxels at .9 .9 .5 .5; outside one voxel at .5 and nine at .2.
    # F1 at .9: 2 * 2 / (4 + 2) = .667; at .5: 2 * 4 / (4 + 5) = .889; at .2: 2 * 4 / (4 + 14) = .444.
    # F.5 at .9: 1.25 * 2 / (1.25 * 2 + .25 * 2) = 5/6; at .5: 1.25 * 4 / (1.25 * 4 + 1) = 5/6: equal, so .9.
    one = [case("####...........", "99555.222222222")]
    assert best_f_beta(one, OVERLAP, beta=1.0, name="f").thresholds[None] == 0.5
    assert best_f_beta(one, OVERLAP, beta=0.5, name="f").thresholds[None] == 0.9
    assert best_f_beta([case("#.", ".9")], OVERLAP, beta=1.0, name="f").thresholds[None] is None


def test_calibration_imports_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, missrate.calibrate, missrate.compare, missrate.evaluate.summary; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0
