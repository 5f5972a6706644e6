"""Matching: hand-drawn cases, and brute force with an independent labeller and an independent assignment."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from missrate.core import matching
from missrate.core.errors import InputError
from missrate.core.quantise import TOP, level_of
from missrate.core.types import Matching
from tests.drawn import IOU, OVERLAP, STRICT, TENTHS, case, drawn, measured

HALF = level_of(0.5)
POINT = Matching("point")
RULES = {"overlap": OVERLAP, "iou": IOU, "strict": STRICT, "point": POINT, "strict point": replace(POINT, strict=True)}


def test_a_candidate_over_two_lesions_finds_both_by_overlap_and_one_of_them_one_to_one() -> None:
    # Lesions of 2 voxels each, candidate of 6: both intersections over unions are 2 / 6.
    over_two = case("##..##", "######")
    by_overlap = matching.outcome(over_two, HALF, OVERLAP)
    assert by_overlap.found.tolist() == [True, True]
    assert (by_overlap.matched, by_overlap.false_positives, by_overlap.candidates) == (1, 0, 1)
    one_to_one = matching.outcome(over_two, HALF, IOU)
    assert (one_to_one.found.sum(), one_to_one.matched, one_to_one.false_positives) == (1, 1, 0)


def test_a_second_candidate_on_a_found_lesion_is_excused_by_picai_and_not_by_strict() -> None:
    # The lesion has 6 voxels, the candidates 2 and 3 of them: 2 / 6 and 3 / 6, both at least .1.
    twice = case("######", "##.###")
    picai, strict = matching.outcome(twice, HALF, IOU), matching.outcome(twice, HALF, STRICT)
    assert (picai.matched, picai.false_positives, picai.candidates) == (1, 0, 2)
    assert (strict.matched, strict.false_positives, strict.candidates) == (1, 1, 2)
    assert picai.found.tolist() == strict.found.tolist() == [True]
    assert matching.false_positives(twice, HALF, OVERLAP) == 0


def test_a_duplicate_below_the_minimum_is_a_false_positive_in_both_conventions() -> None:
    # The lesion has 12 voxels, the small candidate 1 of them: 1 / 12 < .1.
    crumb = case("############", "#.##########")
    assert matching.false_positives(crumb, HALF, IOU) == 1
    assert matching.false_positives(crumb, HALF, STRICT) == 1


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    # scipy and SimpleITK say two by default, cc3d and scikit-image one.
    corner = case("#./.#", "#./..")
    assert corner.lesion_peak.size == 1
    assert matching.found(corner, HALF, OVERLAP).tolist() == [True]
    across_slices = measured(drawn("#./..", "../.#"), drawn("../..", "../.."))
    assert across_slices.lesion_peak.size == 1


def test_the_minimum_itself_is_enough() -> None:
    # 1 voxel of lesion inside 10 of candidate: exactly 1 / 10.
    assert matching.found(case("#.........", "##########"), HALF, IOU).tolist() == [True]
    assert matching.found(case("#..........", "###########"), HALF, IOU).tolist() == [False]


def test_iou_is_not_monotone_in_the_threshold() -> None:
    # At .9 the candidate is the lesion; at .2 it has 12 voxels, 1 / 12 < .1.
    growing = case("#...........", "922222222222")
    assert matching.found(growing, level_of(0.9), IOU).tolist() == [True]
    assert matching.found(growing, level_of(0.2), IOU).tolist() == [False]


def test_false_positives_of_a_healthy_case_count() -> None:
    healthy = case("......", "#.##.#")
    for rule in (OVERLAP, IOU, STRICT):
        result = matching.outcome(healthy, HALF, rule)
        assert (result.found.size, result.matched, result.false_positives) == (0, 0, 3)


def test_an_empty_prediction_misses_everything_and_has_no_false_positive() -> None:
    for rule in (OVERLAP, IOU, STRICT):
        result = matching.outcome(case("##.#", "...."), HALF, rule)
        assert result.found.tolist() == [False, False]
        assert (result.matched, result.false_positives, result.candidates) == (0, 0, 0)


def test_candidates_below_the_least_volume_do_not_exist() -> None:
    # Voxels of .1 ml: 2 voxels are .2 ml, 3 are .3 ml.
    small = case("##.....###", "##.##..###")
    rule = Matching("overlap", least_volume_ml=0.3)
    result = matching.outcome(small, HALF, rule)
    assert result.found.tolist() == [False, True]
    assert (result.matched, result.false_positives, result.candidates) == (1, 0, 1)


def test_a_volume_that_is_the_least_volume_but_for_rounding_is_enough() -> None:
    # .7 x .7 x 5 mm are .00245 ml, and .0024499999999999995 in floating point.
    one = case("#.", "#.", spacing_mm=(0.7, 0.7, 5.0))
    assert matching.found(one, HALF, Matching(least_volume_ml=0.00245)).tolist() == [True]
    assert matching.found(one, HALF, Matching(least_volume_ml=0.0025)).tolist() == [False]


def test_a_least_volume_needs_millimetres() -> None:
    with pytest.raises(InputError, match="millimetres"):
        matching.found(case("#", "#", spacing_mm=None), HALF, Matching(least_volume_ml=0.1))


def test_below_the_floor_candidates_are_not_known() -> None:
    for level in (level_of(0.09), 1):
        with pytest.raises(InputError, match=r"between the floor of case c, 0\.1, and 1"):
            matching.found(case("#", "#"), level, OVERLAP)


def test_a_candidate_is_where_its_highest_plateau_has_its_middle() -> None:
    # The candidate peaks inside the lesion, then outside of it; of two equal plateaus the larger decides below.
    inside, outside = case("##....", "29222."), case("##....", "22292.")
    assert matching.outcome(inside, HALF, POINT).found.tolist() == [True]
    assert matching.outcome(outside, level_of(0.2), POINT).found.tolist() == [False]
    assert matching.outcome(outside, level_of(0.2), OVERLAP).found.tolist() == [True]
    two = case("##......", "99.8....")
    assert matching.outcome(two, level_of(0.8), POINT).false_positives == 1
    # A second candidate in a found lesion is excused unless strict.
    twice = case("#####", "9.9..")
    assert matching.outcome(twice, HALF, POINT).false_positives == 0
    assert matching.outcome(twice, HALF, Matching("point", strict=True)).false_positives == 1


@pytest.mark.parametrize(
    "rule", [Matching("iou"), Matching("iou", 0.0), Matching("iou", 1.5), Matching("overlap", 0.1)]
)
def test_a_rule_that_cannot_be_applied_is_an_error(rule: Matching) -> None:
    with pytest.raises(InputError, match=r"must have a minimum|has no minimum"):
        matching.curve(case("#", "#"), rule)


def test_the_number_of_matches_goes_before_their_overlap() -> None:
    # Greedy would pair lesion 0 with candidate 0 (.6) and leave lesion 1 and candidate 1 alone.
    lesion, candidate = np.array([0, 1, 0], np.int32), np.array([0, 0, 1], np.int32)
    pairs = matching.one_to_one(lesion, candidate, np.array([0.6, 0.2, 0.3]))
    assert sorted(map(tuple, pairs.tolist())) == [(0, 1), (1, 0)]


def test_among_equally_many_matches_the_greatest_overlap_wins() -> None:
    pairs = matching.one_to_one(np.array([0, 0], np.int32), np.array([4, 7], np.int32), np.array([0.3, 0.5]))
    assert pairs.tolist() == [[0, 7]]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.sampled_from([0, 0.2, 0.5, 0.9]))
)
def test_one_to_one_is_the_best_of_all_pairings(iou: NDArray[np.float64]) -> None:
    lesion, candidate = np.nonzero(iou)
    pairs = matching.one_to_one(lesion.astype(np.int32), candidate.astype(np.int32), iou[lesion, candidate])
    assert len(set(pairs[:, 0].tolist())) == len(set(pairs[:, 1].tolist())) == len(pairs)
    wide = iou if iou.shape[0] <= iou.shape[1] else iou.T
    tried = [[wide[i, j] for i, j in enumerate(order)] for order in permutations(range(wide.shape[1]), wide.shape[0])]
    most, total = max((sum(v > 0 for v in values), sum(values)) for values in tried)
    assert len(pairs) == most
    assert iou[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(total)


VOLUMES = st.tuples(
    arrays(bool, (4, 3, 3), elements=st.sampled_from([False, False, True])),
    arrays(np.float64, (4, 3, 3), elements=st.sampled_from([0.0, 0.0, 0.3, 0.6, 0.9, 1.0])),
)


@settings(max_examples=40)
@given(VOLUMES, st.sampled_from([0.0, 0.2, 0.3]))
def test_every_level_agrees_with_relabelling_by_scipy(
    volume: tuple[NDArray[np.bool_], NDArray[np.float64]], least_ml: float
) -> None:
    reference, probability = volume
    cube = np.ones((3, 3, 3))
    lesions, n_lesions = ndimage.label(reference, cube)
    statistics = measured(reference, probability)
    rules = {name: replace(rule, least_volume_ml=least_ml) for name, rule in RULES.items()}
    curves = {name: matching.curve(statistics, rule) for name, rule in rules.items()}
    for level in (*TENTHS.tolist(), level_of(0.2999), level_of(0.3001), TOP + 1):
        mask = probability >= level / TOP
        labels, n = ndimage.label(mask, cube)
        masks = [labels == c for c in range(1, n + 1) if (labels == c).sum() * 0.1 >= least_ml - 1e-9]
        expected = _by_hand(lesions, n_lesions, masks, probability)
        for name, (found, matched, false) in expected.items():
            curve = curves[name]
            assert (curve.found[level], curve.matched[level], curve.false_positives[level]) == (found, matched, false)
            if level <= TOP:
                at = matching.outcome(statistics, level, rules[name])
                assert (at.found.sum(), at.matched, at.false_positives) == (found, matched, false)
                assert at.candidates == len(masks)


def _by_hand(
    lesions: NDArray[np.signedinteger], n_lesions: int, masks: list[NDArray[np.bool_]], probability: NDArray[np.float64]
) -> dict[str, tuple[int, int, int]]:
    """Found lesions, matched candidates and false positives by each rule, from masks alone."""
    each = [lesions == i + 1 for i in range(n_lesions)]
    shared = np.array([[(a & b).sum() for b in masks] for a in each]).reshape(n_lesions, len(masks))
    union = np.array([[(a | b).sum() for b in masks] for a in each]).reshape(n_lesions, len(masks))
    enough = shared >= 0.1 * union
    touched, most = int((shared > 0).any(axis=0).sum()), _most_matches(enough)
    points = [_point(mask, probability) for mask in masks]
    hit = [int(lesions[point]) for point in points]
    hits = len(set(hit) - {0})
    return {
        "overlap": (int((shared > 0).any(axis=1).sum()), touched, len(masks) - touched),
        "iou": (most, most, len(masks) - int(enough.any(axis=0).sum())),
        "strict": (most, most, len(masks) - most),
        "point": (hits, hits, hit.count(0)),
        "strict point": (hits, hits, len(masks) - hits),
    }


def _point(mask: NDArray[np.bool_], probability: NDArray[np.float64]) -> tuple[int, ...]:
    """The middle of the highest plateau; of several, of the one that was part of the larger candidate just before."""
    inside = np.where(mask, probability, -1.0)
    plateaus, n = ndimage.label(inside == inside.max(), np.ones((3, 3, 3)))
    middles = [tuple(int(np.floor(axis.mean() + 0.5)) for axis in np.nonzero(plateaus == k + 1)) for k in range(n)]
    ranked, sizes = list(range(n)), dict.fromkeys(range(n), 0)
    for level in sorted(set(inside[mask].tolist()), reverse=True):
        candidates, _ = ndimage.label(inside >= level, np.ones((3, 3, 3)))
        groups: dict[int, list[int]] = {}
        for k in ranked:
            groups.setdefault(int(candidates[tuple(np.argwhere(plateaus == k + 1)[0])]), []).append(k)
        ranked = [max(group, key=lambda k: (sizes[k], [-i for i in middles[k]])) if len(group) > 1 else group[0]
                  for group in groups.values()]  # fmt: skip
        sizes = {k: int((candidates == candidates[tuple(np.argwhere(plateaus == k + 1)[0])]).sum()) for k in ranked}
    return middles[ranked[0]]


def _most_matches(allowed: NDArray[np.bool_]) -> int:
    """Augmenting paths (Kuhn 1955): another algorithm than the one under test."""
    owner: dict[int, int] = {}

    def augment(i: int, seen: set[int]) -> bool:
        for c in np.flatnonzero(allowed[i]).tolist():
            if c not in seen:
                seen.add(c)
                if c not in owner or augment(owner[c], seen):
                    owner[c] = i
                    return True
        return False

    return sum(augment(i, set()) for i in range(allowed.shape[0]))


@settings(max_examples=40)
@given(VOLUMES)
def test_any_overlap_is_the_lesions_peak(volume: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    statistics = measured(*volume)
    assert np.array_equal(matching.found_levels(statistics, OVERLAP), statistics.lesion_peak)
    for level in TENTHS:
        assert np.array_equal(matching.found(statistics, int(level), OVERLAP), statistics.lesion_peak >= level)


def test_the_greatest_level_that_finds_a_lesion_heeds_the_least_volume() -> None:
    # At .9 the candidate has 1 voxel (.1 ml), at .5 it has 3.
    growing = case("##....", ".955..")
    assert matching.found_levels(growing, Matching(least_volume_ml=0.3)).tolist() == [level_of(0.5)]
    assert matching.found_levels(growing, Matching(least_volume_ml=0.4)).tolist() == [0]
    with pytest.raises(InputError, match="monotone"):
        matching.found_levels(growing, IOU)


def test_isolated_voxels_that_fill_an_odd_box_are_labelled() -> None:
    # cc3d 4.1.1 raises "maximum length exception" here: 8 corners of 3 x 3 x 3.
    corners = np.zeros((3, 3, 3))
    corners[::2, ::2, ::2] = 1.0
    assert matching.outcome(measured(np.zeros((3, 3, 3)), corners), HALF, OVERLAP).false_positives == 8
