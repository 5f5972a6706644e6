"""Where other tools answer wrongly or not at all, and rules that hold from the scan to the summary.

The shelf alone is tested in ``test_metrics.py``, matching in ``core/test_matching.py``, refused grids and values in
``evaluate/test_statistics.py``, missing and failed predictions in ``test_cli.py``; here is what only shows in the
averages, or in the whole way from voxels to a metric.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from missrate.core import catalog
from missrate.core.admissible import admissible
from missrate.core.case import CaseStatistics
from missrate.core.matching import found
from missrate.core.quantise import TOP, encode, level_of
from missrate.core.sweep import sweep
from missrate.core.types import Matching, OperatingPoint, Ratio
from missrate.evaluate.summary import summarise
from missrate.report import tables
from tests.drawn import IOU, OVERLAP, TENTHS, case, measured
from tests.metrics.test_by_score import points

HALF = level_of(0.5)
Json = dict[str, Any]


def summary(cases: list[CaseStatistics], **changes: Any) -> Json:
    arguments: Json = {
        "arm": "a", "points": [OperatingPoint("half", {None: 0.5}, "fixed")], "matchings": [OVERLAP], "part": "test",
        "seed": None, "missing": [], "failed": [], "inputs": {}, "resamples": 50,
    }  # fmt: skip
    return summarise(cases, **(arguments | changes))


def mean(cases: list[CaseStatistics], name: str) -> Json:
    value: Json = summary(cases)["metrics"][name]["case_mean"]
    return value


def at_half(name: str, of: CaseStatistics) -> Any:
    return catalog.load("metrics", name).measure(of, HALF, OVERLAP)


# --- empty masks in the averages ------------------------------------------------------------------------------------

GOOD, QUIET = case("##......", "##......", "good"), case("........", "........", "quiet")
ALARM, MISS = case("........", "...#....", "alarm"), case("##......", "........", "miss")


def test_two_empty_masks_are_neither_perfect_nor_a_failure_but_counted() -> None:
    # nan (surface-distance, nnU-Net, MONAI), 1 (MetricsReloaded, PI-CAI) or 0 (panoptica, scikit-learn) elsewhere.
    dice = mean([GOOD, QUIET], "dice")
    assert (dice["value"], dice["n"], dice["undefined"]) == (1.0, 1, 1)


def test_one_false_voxel_in_a_healthy_scan_stays_in_the_means() -> None:
    # nan in MONAI's default: the mean would stay 1.
    dice = mean([GOOD, ALARM], "dice")
    assert (dice["value"], dice["n"], dice["undefined"]) == (0.5, 2, 0)
    precision = mean([GOOD, ALARM], "voxel_precision")
    assert (precision["value"], precision["n"]) == (0.5, 2)
    pooled = summary([GOOD, ALARM])["metrics"]["voxel_precision"]["pooled"]
    assert (pooled["numerator"], pooled["denominator"]) == (2, 3)


def test_a_miss_rate_of_healthy_scans_is_undefined_and_counted() -> None:
    # Recall is 0 in torchmetrics and medpy, 1 in scikit-learn's curve; FNR is 0 in seg-metrics.
    for name in ("voxel_miss_rate", "slice_miss_rate", "lesion_miss_rate"):
        rate = mean([MISS, ALARM, QUIET], name)
        assert (rate["value"], rate["n"], rate["undefined"]) == (1.0, 1, 2)
        only = mean([ALARM, QUIET], name)
        assert (only["value"], only["n"], only["undefined"], only["ci95"]) == (None, 0, 2, None)


def test_a_mean_distance_stands_beside_the_misses_that_it_leaves_out() -> None:
    # Dropped from the mean in MONAI, 0.0 (perfect) in seg-metrics, an exception in medpy. The scan's diagonal: 8 voxels
    # of 10 mm in a row, 70 mm from the first middle to the last.
    shifted = case("##......", "..##....", "shifted")
    distance = mean([GOOD, shifted, MISS, ALARM, QUIET], "hd95_directed_max_mm")
    # Each border of "shifted" is 10 and 20 mm from the other: place .95 of one step lies at 19.5.
    assert distance["value"] == pytest.approx((0.0 + 19.5) / 2)
    assert (distance["n"], distance["undefined"], distance["misses_left_out"]) == (2, 3, 1)
    assert distance["with_diagonal_for_misses"] == pytest.approx((0.0 + 19.5 + 70.0) / 3)
    without = mean([GOOD, shifted], "hd95_directed_max_mm")
    assert (without["misses_left_out"], without["with_diagonal_for_misses"]) == (0, without["value"])
    # NSD counts the miss and the false alarm by itself.
    nsd = mean([GOOD, MISS, ALARM, QUIET], "nsd_voxel_2mm")
    assert (nsd["value"], nsd["n"], nsd["undefined"]) == (pytest.approx(1 / 3), 3, 1)


def test_spacing_is_heeded_along_each_axis_from_the_scan_to_the_metric() -> None:
    # panoptica's global HD95 answers in voxels: 1 for each of these. A plate one voxel thick, moved by one voxel.
    for axis, apart in enumerate((2.0, 3.0, 5.0)):
        masks = np.zeros((2, 6, 6, 6))
        for k in (0, 1):
            masks[k][(slice(1, 5),) * axis + (2 + k,)] = 1.0
        moved = measured(masks[0], masks[1], spacing_mm=(2.0, 3.0, 5.0))
        assert at_half("hd95_directed_max_mm", moved) == pytest.approx(apart)


# --- components -----------------------------------------------------------------------------------------------------


def test_noise_has_far_fewer_components_by_26_neighbours_than_by_6() -> None:
    # On noisy maps 62 components by faces were 9 by corners; here the share is of the same kind, and ours is corners.
    noise = np.random.default_rng(0).random((12, 12, 12)) < 0.12
    by_faces, by_corners = ndimage.label(noise)[1], ndimage.label(noise, np.ones((3, 3, 3)))[1]
    assert by_corners < by_faces / 4
    both = measured(noise, noise.astype(float))
    assert both.lesion_peak.size == by_corners
    assert at_half("false_positives_per_scan", measured(np.zeros(noise.shape), noise.astype(float))) == Ratio(
        by_corners, 1
    )


# --- thresholds -----------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.integers(level_of(0.1) + 1, TOP - 1),
    st.sampled_from(["voxel_miss_rate", "slice_miss_rate", "slice_miss_rate_any", "lesion_miss_rate"]),
)
def test_losses_are_left_continuous_so_the_supremum_below_is_attained(level: int, name: str) -> None:
    # A voxel whose probability is an edge is in the mask at that threshold and at all below, and at none above.
    edge = measured(np.ones((1, 1, 1)), np.full((1, 1, 1), level / TOP))
    measure = catalog.load("metrics", name).measure
    assert [measure(edge, at, OVERLAP).numerator for at in (level - 1, level, level + 1)] == [0, 0, 1]


VOLUMES = st.tuples(
    arrays(bool, (4, 4, 2), elements=st.sampled_from([False, False, True])),
    arrays(np.float64, (4, 4, 2), elements=st.sampled_from([0.0, 0.15, 0.3, 0.6, 0.9])),
)


@settings(max_examples=60)
@given(VOLUMES)
def test_what_a_higher_threshold_finds_a_lower_one_finds_by_any_overlap(
    volume: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    one = measured(*volume)
    for name in ("voxel_miss_rate", "slice_miss_rate", "slice_miss_rate_any", "lesion_miss_rate"):
        measure = catalog.load("metrics", name).measure
        missed = [measure(one, int(level), OVERLAP).numerator for level in TENTHS]
        assert missed == sorted(missed)


def test_one_to_one_may_lose_at_a_lower_threshold_what_it_found() -> None:
    growing = case("##..........", "992222222222")
    measure = catalog.load("metrics", "lesion_miss_rate").measure
    half = Matching("iou", 0.5)
    assert [measure(growing, level_of(t), half).numerator for t in (0.2, 0.9)] == [1, 0]


def test_a_candidate_over_two_lesions_in_the_rates() -> None:
    over = case("##..##", "######")
    for rule, missed, precision in ((OVERLAP, Ratio(0, 2), Ratio(1, 1)), (IOU, Ratio(1, 2), Ratio(1, 1))):
        assert catalog.load("metrics", "lesion_miss_rate").measure(over, HALF, rule) == missed
        assert catalog.load("metrics", "lesion_precision").measure(over, HALF, rule) == precision
    # One voxel is enough to find the first, and nothing of the second.
    assert found(case("##..##", "#....."), HALF, OVERLAP).tolist() == [True, False]


def test_the_constant_map_is_bounded_by_its_volume() -> None:
    # 20 voxels of .1 ml, one of them lesion: one candidate that matches, no false positive, 1.9 ml too much.
    constant, finder = [case("#" + "." * 19, "#" * 20)], [case("#" + "." * 19, "##" + "." * 18)]
    for name in ("froc_sensitivity", "lesion_average_precision"):
        assert catalog.load("metrics", name).measure(constant, HALF, OVERLAP, None) == 1.0, "the count cannot see it"
    for cases, expected in ((constant, False), (finder, True)):
        allowed = admissible(
            sweep(cases, OVERLAP).pooled, 1.0, false_positives_per_scan=1.0, false_positive_ml_per_scan=1.0
        )
        assert allowed.any() == allowed.all() == expected


# --- the summary ----------------------------------------------------------------------------------------------------


def entries(value: Json) -> list[Json]:
    return [value, *value["also"], *(one for column in value["subgroups"].values() for one in column.values())]


MIXED = [GOOD, QUIET, ALARM, MISS]
SUBGROUPS = {"site": {each.case_id: "AB"[k % 2] for k, each in enumerate(MIXED)}}
COHORTS = {
    "probabilities": MIXED,
    "masks": [case("##..", "##..", "a", binary=True), case("....", ".#..", "b", binary=True)],
    "points": [points("##..", (0, 0.9), name="a"), points("....", (0, 0.9), name="b")],
    "pixels": [case("##..", "##..", "a", spacing_mm=None), case("....", ".#..", "b", spacing_mm=None)],
    "healthy": [QUIET, ALARM],
}


@pytest.mark.parametrize("kind", list(COHORTS))
def test_every_value_stands_with_n_and_what_is_undefined(kind: str) -> None:
    cases = COHORTS[kind]
    groups = SUBGROUPS if kind == "probabilities" else {}
    value = summary(cases, matchings=[OVERLAP, IOU], subgroups=groups)
    for entry in entries(value):
        for name, averages in entry["metrics"].items():
            for average, block in averages.items():
                if average in ("pooled", "case_mean"):
                    counted = entry.get("patients") if name == "patient_miss_rate" else entry.get("cases", len(cases))
                    if counted is None:  # an entry of ``also`` counts the same cases as the first
                        counted = value["patients"]
                    assert block["n"] + block["undefined"] == counted, name
                if average in ("pooled", "case_mean", "cohort"):
                    assert {"value", "n", "ci95"} <= block.keys()
                    # What is undefined is None, and never a number that looks like a result.
                    assert block["value"] is not None or block["ci95"] is None
                    assert block["value"] is None or np.isfinite(block["value"])


@pytest.mark.parametrize("kind", list(COHORTS))
def test_a_miss_rate_never_stands_without_its_price(kind: str) -> None:
    groups = SUBGROUPS if kind == "probabilities" else {}
    for entry in entries(summary(COHORTS[kind], matchings=[OVERLAP, IOU], subgroups=groups)):
        assert {"voxel_miss_rate", "lesion_miss_rate"} <= entry["metrics"].keys()
        assert {"voxel_precision", "false_positives_per_scan", "false_positive_ml_per_scan"} <= entry["metrics"].keys()


def test_no_table_of_the_report_shows_a_miss_rate_alone() -> None:
    columns = [each for each in vars(tables).values() if isinstance(each, list)]
    shown = [[c.metric for c in each] for each in columns if each and isinstance(each[0], tables.Column)]
    with_misses = [names for names in shown if any("miss_rate" in name for name in names)]
    assert with_misses
    for names in with_misses:
        assert any("precision" in name or "false_positive" in name for name in names)


def test_a_raised_floor_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    # 96 of 100 voxels at .2 or more, and candidates of more than 10 voxels are not to be followed.
    monkeypatch.setattr("missrate.evaluate.statistics.FEW", 10)
    noisy = np.full((10, 10, 1), 0.2)
    noisy[0, :5] = 0.7
    noisy[9, :4] = 0.0
    raised = measured(np.zeros((10, 10, 1)), noisy, case="noisy")
    value = summary([raised, GOOD], floor=0.1)
    # The lowest level at which at most 10 voxels lie above: just above .2.
    assert value["raised_floors"] == {"noisy": (level_of(0.2) + 1) / TOP}
    assert value["matching"]["floor"] == (level_of(0.2) + 1) / TOP
    assert encode(np.array([0.2]))[0] == level_of(0.2)
