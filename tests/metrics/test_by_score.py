"""The curves by candidate score: by hand, at their ends, against brute force, and what sets them apart."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from missrate.core import catalog
from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.errors import InputError
from missrate.core.grid import Grid
from missrate.core.matching import outcome
from missrate.core.quantise import TOP, encode, level_of
from missrate.core.types import Matching, OperatingPoint, Points
from missrate.evaluate.blocks import Cohort, block, shelf
from missrate.evaluate.statistics import measure_points
from missrate.evaluate.summary import summarise
from missrate.metrics import _scored
from tests.drawn import IOU, OVERLAP, STRICT, case, drawn, measured

LOW = level_of(0.1)
POINT, STRICT_POINT = Matching("point"), Matching("point", strict=True)
FROC, AP = "froc_sensitivity_by_score", "lesion_average_precision_by_score"
BOTH_CURVES = [("froc_sensitivity", FROC), ("lesion_average_precision", AP)]
RULES = [OVERLAP, IOU, STRICT, POINT, STRICT_POINT]


def metric(name: str) -> ModuleType:
    return catalog.load("metrics", name)


def value(name: str, cases: list[CaseStatistics], rule: Matching = OVERLAP, at: int = LOW) -> Any:
    return metric(name).measure(cases, at, rule, None)


# --- by hand --------------------------------------------------------------------------------------------------------


def test_average_precision_by_hand() -> None:
    # Four candidates by score: lesion .9, false .7, lesion .5, false .2; a third lesion is never found.
    # Recall 1/3 at precision 1, then 2/3 at precision 2/3: (1 + 2/3) / 3 = 5/9.
    assert value(AP, [case("#...#...#..", "9.7.5.2....")]) == pytest.approx(5 / 9)


def test_froc_by_hand() -> None:
    # Two scans, two lesions at .9 and .5, one false positive at .7 (.5 per scan): 1/2 at x = 1/8 and 1/4, then 1.
    cases = [case("#...#", "9.7.5", "a"), case(".....", ".....", "b")]
    assert value(FROC, cases) == pytest.approx((2 * 0.5 + 5) / 7)


def test_ties_are_one_step() -> None:
    # A lesion and a false positive, both .5. Whichever was counted first would give AP 1 or 1/2; together 1/2.
    for drawing in (("#.....", "5...5."), ("....#.", "5...5.")):
        assert value(AP, [case(*drawing)]) == pytest.approx(0.5)
    # One scan, one false positive per scan: the lesion counts from x = 1 on, at none of the three bounds below.
    assert value(FROC, [case("#.....", "5...5.")]) == pytest.approx(4 / 7)


def test_the_level_decides_what_the_candidates_are() -> None:
    # At .2 one candidate of peak .9 holds both lesions; at .5 there are two, of .9 and .6.
    joined = case("#...#", "92226")
    assert value(AP, [joined], OVERLAP, level_of(0.2)) == value(AP, [joined], OVERLAP, level_of(0.5)) == 1.0
    # One to one the joined candidate finds just one lesion (1/5), with the score of its peak.
    assert value(AP, [joined], IOU, level_of(0.2)) == 0.5
    assert value(AP, [joined], IOU, level_of(0.5)) == 1.0
    scored = [_scored.of_case(joined, level_of(t), OVERLAP).found.tolist() for t in (0.2, 0.5)]
    assert scored == [[level_of(0.9)] * 2, [level_of(0.9), level_of(0.6)]]


def test_a_lesion_has_the_score_of_the_highest_candidate_that_touches_it() -> None:
    # Two candidates on one lesion, .4 and .8, and a false one between the two scores.
    twice = case("#####.....", "4.8....6..")
    both = _scored.of_case(twice, LOW, OVERLAP)
    assert both.found.tolist() == [level_of(0.8)]
    assert sorted(both.matched.tolist()) == [level_of(0.4), level_of(0.8)]
    assert both.false_positives.tolist() == [level_of(0.6)]


def test_one_to_one_keeps_the_score_of_its_own_candidate() -> None:
    # The greater overlap (2 of 5 voxels) peaks at .4, the lesser (1 of 5) at .8: paired is the greater one, as PI-CAI.
    twice = case("#####.....", "44.8......")
    picai, strict = _scored.of_case(twice, LOW, IOU), _scored.of_case(twice, LOW, STRICT)
    assert picai.found.tolist() == picai.matched.tolist() == strict.found.tolist() == [level_of(0.4)]
    assert picai.false_positives.tolist() == []
    assert strict.false_positives.tolist() == [level_of(0.8)]
    # Found at precision 1 under PI-CAI; strict calls the other one false, and it comes first.
    assert (value(AP, [twice], IOU), value(AP, [twice], STRICT)) == (1.0, 0.5)


def test_by_point_the_highest_candidate_in_a_lesion_is_the_match() -> None:
    twice = case("#####.....", "4.8....6..")
    loose, strict = _scored.of_case(twice, LOW, POINT), _scored.of_case(twice, LOW, STRICT_POINT)
    assert loose.found.tolist() == loose.matched.tolist() == strict.found.tolist() == [level_of(0.8)]
    assert loose.false_positives.tolist() == [level_of(0.6)]
    assert sorted(strict.false_positives.tolist()) == [level_of(0.4), level_of(0.6)]


def test_candidates_below_the_least_volume_do_not_exist() -> None:
    # Voxels of .1 ml: the false positive at .9 has one, the candidate at .5 three.
    cases = [case("###...", "555..9")]
    assert value(AP, cases) == 0.5
    assert value(AP, cases, Matching(least_volume_ml=0.2)) == 1.0


# --- points ---------------------------------------------------------------------------------------------------------


def points(reference: str, *places: tuple[int, float], name: str = "c") -> CaseStatistics:
    """Candidates (column, score) on a reference of one row."""
    mask = drawn(reference).astype(bool)
    position = np.array([[0.0, float(at), 0.0] for at, _ in places]).reshape(-1, 3)
    score = encode(np.array([s for _, s in places]))
    grid = Crop.whole(mask, Grid.of(mask.shape, None))
    return measure_points(grid, Points(position, "voxel", score), case_id=name, patient_id=name)


@pytest.mark.parametrize("rule", [POINT, OVERLAP])
def test_points_are_candidates(rule: Matching) -> None:
    # Hits at .9 and .4 in the first lesion, a false one at .7, a hit at .5 in the second: AP 1/2 + 1/2 * 2/3.
    cases = [points("##..##..", (0, 0.9), (1, 0.4), (2, 0.7), (4, 0.5), name="a"), points("........", name="b")]
    assert value(AP, cases, rule) == pytest.approx(5 / 6)
    # Two scans, .5 false positives per scan below .7.
    assert value(FROC, cases, rule) == pytest.approx((2 * 0.5 + 5) / 7)
    metrics = summarise(
        cases, arm="a", points=[OperatingPoint("low", {None: 0.1}, "fixed")], matchings=[rule], part="test", seed=None,
        missing=[], failed=[], inputs={}, resamples=50,
    )["metrics"]  # fmt: skip
    assert metrics[AP]["cohort"]["value"] == pytest.approx(5 / 6)
    assert metrics["lesion_average_precision"]["cohort"]["value"] == pytest.approx(5 / 6)


# --- the ends of both curves ----------------------------------------------------------------------------------------

# Reference and prediction of the scans, and the two values that both curves must have. MONAI's and picai_eval's FROC
# lose the last point when nothing is missed, so a perfect detector of one lesion scores 0 there.
ENDS: dict[str, tuple[list[tuple[str, str]], float | None, float | None]] = {
    "perfect, one lesion": ([("##....", "99....")], 1.0, 1.0),
    "perfect, beside a healthy scan": ([("##..#.", "99..5."), ("......", "......")], 1.0, 1.0),
    "nothing found": ([("##....", "....9.")], 0.0, 0.0),
    "no candidates": ([("##....", "......"), ("......", "......")], 0.0, 0.0),
    "no lesions": ([("......", "9..5..")], None, None),
    "neither lesions nor candidates": ([("......", "......")], None, None),
    "no false positives, half found": ([("#...#.", "9.....")], 0.5, 0.5),
    "all found, last of all, after nine false": ([("#..................", "1.9.9.9.9.9.9.9.9.9")], 0.0, 0.1),
    "all found, after one false": ([("#...", "5.9.")], 4 / 7, 0.5),
    "all tied": ([("#.....", "5.5.5.")], 3 / 7, 1 / 3),
    "as many false positives per scan as the last bound": ([("#" + "." * 16, "1" + ".9" * 8)], 1 / 7, 1 / 9),
    "found at the top level": ([("#.....", "#.#...")], 4 / 7, 0.5),
}


@pytest.mark.parametrize("name", list(ENDS))
@pytest.mark.parametrize("rule", [OVERLAP, POINT, Matching("iou", 0.5)])
def test_both_curves_hold_at_their_ends(name: str, rule: Matching) -> None:
    drawings, froc, area = ENDS[name]
    cases = [case(*each, name=f"c{k}") for k, each in enumerate(drawings)]
    for metrics, expected in zip(BOTH_CURVES, (froc, area), strict=True):
        for each in metrics:
            assert value(each, cases, rule) == (None if expected is None else pytest.approx(expected)), each


def test_the_two_curves_differ_where_candidates_merge() -> None:
    # One lesion. As the threshold sinks, nine false peaks of .8 come before the lesion's own .5, and below .2 all are
    # one candidate. By score at .2: that one candidate touches the lesion, and its peak is .8.
    merging = case("#" + "." * 19, "5" + "28" * 9 + "2")
    assert value("froc_sensitivity", [merging]) == 0.0
    assert value("lesion_average_precision", [merging]) == pytest.approx(0.1)
    assert value(FROC, [merging], at=level_of(0.2)) == value(AP, [merging], at=level_of(0.2)) == 1.0
    # At .5 the two agree: nothing merges above it.
    assert value(FROC, [merging], at=level_of(0.5)) == 0.0
    assert value(AP, [merging], at=level_of(0.5)) == pytest.approx(0.1)


def test_the_constant_map_looks_bad_by_score_one_to_one() -> None:
    constant = [case("#" + "." * 19, "#" * 20, "a"), case("." * 20, "#" * 20, "b")]
    assert value(FROC, constant, IOU) == value(AP, constant, IOU) == 0.0
    assert value(AP, constant) == 0.5


# --- brute force ----------------------------------------------------------------------------------------------------

VOLUMES = st.tuples(
    arrays(bool, (4, 4, 3), elements=st.sampled_from([False, False, False, True])),
    arrays(np.float64, (4, 4, 3), elements=st.sampled_from([0.0, 0.0, 0.0, 0.3, 0.6, 0.9])),
)


@settings(max_examples=80)
@given(VOLUMES)
def test_any_overlap_agrees_with_masks_and_labels(volume: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    reference, probability = volume
    cube = np.ones((3, 3, 3))
    lesions, n_lesions = ndimage.label(reference, cube)
    labels, n = ndimage.label(probability >= 0.3, cube)
    scored = _scored.of_case(measured(reference, probability), level_of(0.3), OVERLAP)
    for threshold in (0.3, 0.6, 0.9, 0.95):
        kept = [labels == c for c in range(1, n + 1) if probability[labels == c].max() >= threshold]
        found = sum(any((lesions == i)[mask].any() for mask in kept) for i in range(1, n_lesions + 1))
        touching = sum(bool(reference[mask].any()) for mask in kept)
        level = level_of(threshold)
        sums = [int((part >= level).sum()) for part in (scored.found, scored.matched, scored.false_positives)]
        assert sums == [found, touching, len(kept) - touching]


@settings(max_examples=60)
@given(VOLUMES, st.sampled_from([level_of(0.3), level_of(0.6)]))
def test_the_lowest_score_is_the_operating_point(
    volume: tuple[NDArray[np.bool_], NDArray[np.float64]], level: int
) -> None:
    one = measured(*volume)
    for rule in RULES:
        scored, at = _scored.of_case(one, level, rule), outcome(one, level, rule)
        assert scored.found.size == at.found.sum()
        assert (scored.matched.size, scored.false_positives.size) == (at.matched, at.false_positives)
        # A candidate at a level peaks there or higher.
        assert min((int(s.min()) for s in (scored.matched, scored.false_positives) if s.size), default=TOP) >= level


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 5, 8]), st.booleans()), min_size=1, max_size=12))
def test_average_precision_is_the_step_sum_over_items(items: list[tuple[int, bool]]) -> None:
    # Where every lesion is found and every candidate is one voxel, AP is that of a ranked list of items:
    # the sum over distinct scores s of (recall(s) - recall before) x precision(s), counted here one score at a time.
    one = case("".join("#." if hit else ".." for _, hit in items), "".join(f"{score}." for score, _ in items))
    lesions = sum(hit for _, hit in items)
    expected, before = 0.0, 0.0
    for score in sorted({score for score, _ in items}, reverse=True):
        called = [hit for other, hit in items if other >= score]
        recall = sum(called) / max(lesions, 1)
        expected, before = expected + (recall - before) * sum(called) / len(called), recall
    assert value(AP, [one]) == (pytest.approx(expected) if lesions else None)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 5, 8]), st.booleans()), min_size=1, max_size=12))
def test_average_precision_agrees_with_scikit_learn(items: list[tuple[int, bool]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is no dependency: compared where it is")
    one = case("".join("#." if hit else ".." for _, hit in items), "".join(f"{score}." for score, _ in items))
    hits = [hit for _, hit in items]
    if any(hits):
        assert value(AP, [one]) == pytest.approx(metrics.average_precision_score(hits, [s for s, _ in items]))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 5, 8]), st.booleans()), min_size=1, max_size=12))
def test_where_nothing_grows_or_merges_the_two_curves_are_one(items: list[tuple[int, bool]]) -> None:
    one = case("".join("#." if hit else ".." for _, hit in items), "".join(f"{score}." for score, _ in items))
    for rule in RULES:
        for by_threshold, by_score in BOTH_CURVES:
            assert value(by_score, [one], rule) == value(by_threshold, [one], rule)


# --- folds, weights and intervals -----------------------------------------------------------------------------------

COHORT = [
    case("##...#", "9..5.3", "a", fold=0),
    case("......", "..7..2", "b", fold=1),
    case("#.....", "3.4..5", "c", fold=1),
]


@pytest.mark.parametrize("name", [FROC, AP])
def test_many_weights_at_once_agree_with_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights_BP = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [0.0, 1.0, 2.0]])
    each = [metric(name).measure(COHORT, LOW, IOU, dict(zip("abc", w, strict=True))) for w in weights_BP]
    assert metric(name).measure_at(COHORT, [LOW] * 3, IOU, weights_BP) == each
    assert each[0] == value(name, COHORT, IOU)
    monkeypatch.setattr(_scored, "MOST", 1)  # one weighting at a time
    assert metric(name).measure_at(COHORT, [LOW] * 3, IOU, weights_BP) == each


@pytest.mark.parametrize("name", [FROC, AP])
def test_each_case_keeps_the_level_of_its_fold(name: str) -> None:
    # At .6 case a keeps .9 alone; at .3 cases b and c keep .7, and .3, .4, .5.
    levels = [level_of(0.6), level_of(0.3), level_of(0.3)]
    member = next(m for m in shelf() if m.name == name)
    found = block(Cohort.of(COHORT, 200, 0), member, levels, OVERLAP)["cohort"]
    # The same candidates as those of maps without what lies below each case's level.
    cut = [case("##...#", "9.....", "a"), case("......", "..7...", "b"), case("#.....", "3.4..5", "c")]
    assert found["value"] == value(name, cut)
    assert found["value"] != value(name, COHORT)
    assert found["ci95"][0] <= found["value"] <= found["ci95"][1]
    assert found["resamples"] == 200
    assert found["few_patients"]


def test_both_are_measured_without_being_asked_for() -> None:
    assert {FROC, AP} <= {member.name for member in shelf()}


def test_refused_input() -> None:
    with pytest.raises(InputError, match="minimum"):
        value(AP, COHORT, Matching("iou"))
    with pytest.raises(InputError, match="between the floor"):
        value(FROC, COHORT, OVERLAP, level_of(0.05))
