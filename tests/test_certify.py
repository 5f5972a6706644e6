"""Certificates: whom they are for, when there is none, what they say and cost, and that the promise is kept."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from missrate.calibrate import (
    PROMISES,
    Certify,
    Target,
    certify,
    choose,
    greatest_with_patient_miss_rate,
    losses_of,
    prices,
)
from missrate.core.case import CaseStatistics
from missrate.core.config import parse
from missrate.core.errors import ConfigError, InputError, ProvenanceError
from missrate.core.matching import found_levels, outcome, voxel_counts
from missrate.core.quantise import TOP, level_of, threshold_of
from missrate.core.types import Certificate, CertifiedLevel, Matching, OperatingPoint
from tests.drawn import IOU, OVERLAP, case
from tests.synthetic import cohort, scored

FLOOR = level_of(0.01)
LEVELS: tuple[CertifiedLevel, ...] = ("patient", "lesion", "voxel")


def certified(cases: list[CaseStatistics], level: CertifiedLevel = "patient", **options: Any) -> OperatingPoint:
    """With confidence .95 unless the options say otherwise."""
    given: dict[str, Any] = {"miss_rate": 0.05} | options
    matching, seen = given.pop("matching", OVERLAP), given.pop("seen", None)
    return certify(cases, matching, Certify(level=level, **given), seen=seen, name="c")


def promised(cases: list[CaseStatistics], level: CertifiedLevel = "patient", **options: Any) -> Certificate:
    certificate = certified(cases, level, **options).certificate
    assert certificate is not None
    return certificate


def test_the_synthetic_statistics_are_what_the_same_drawing_measures() -> None:
    drawn, made = case("#.#.#", "9.5.."), scored([level_of(0.9), level_of(0.5), 0], "p", floor=level_of(0.1))
    assert found_levels(drawn, OVERLAP).tolist() == found_levels(made, OVERLAP).tolist()
    for tenth in (1, 5, 6, 9, 10):
        level = level_of(tenth / 10)
        assert outcome(drawn, level, OVERLAP).found.tolist() == outcome(made, level, OVERLAP).found.tolist()
        assert voxel_counts(drawn, level).true_positives == voxel_counts(made, level).true_positives


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("needs", "how", "threshold"),
    [
        # .95**58 = .0510 and .95**59 = .0485; .9**28 = .0523 and .9**29 = .0471; .8**13 = .0550 and .8**14 = .0440:
        # with so few patients nobody may be missed, and the smallest level is the threshold.
        (59, {"miss_rate": 0.05}, 1000),
        (29, {"miss_rate": 0.1}, 1000),
        (14, {"miss_rate": 0.2}, 1000),
        # In expectation the same n bounds those who are never found; k = floor((n + 1) miss_rate) = 3 each.
        (59, {"miss_rate": 0.05, "in_expectation": True}, 3000),
        (29, {"miss_rate": 0.1, "in_expectation": True}, 3000),
        (14, {"miss_rate": 0.2, "in_expectation": True}, 3000),
        # With confidence .5 14 would do for that, but .05 >= 1 / (n + 1) only from n = 19 on: k = 1.
        (19, {"miss_rate": 0.05, "in_expectation": True, "confidence": 0.5}, 1000),
    ],
)
def test_too_few_patients_get_a_reason_and_one_more_a_threshold(
    needs: int, how: dict[str, Any], threshold: int, level: CertifiedLevel
) -> None:
    levels = [1000 * (i + 1) for i in range(needs)]
    few = certified(cohort(levels[:-1]), level, **how)
    assert few.thresholds == {None: None}
    assert few.reason == f"not certifiable with {needs - 1} patients: needs n >= {needs}"
    assert (few.certified, few.certificate) == (False, None)
    enough = certified(cohort(levels), level, **how)
    assert enough.thresholds == {None: threshold_of(threshold)}
    assert enough.certified
    assert enough.reason is None


def test_healthy_patients_do_not_count() -> None:
    sick = cohort([1000 * (i + 1) for i in range(58)])
    healthy = [scored([], f"h{i}") for i in range(40)]
    assert certified([*sick, *healthy]).reason == "not certifiable with 58 patients: needs n >= 59"


def test_what_the_certificate_says() -> None:
    # n = 100 at 5 %: P(Binomial(100, .05) <= 1) = .0371 and <= 2 = .118, so one may be missed: of 600, 1200, ... the
    # second smallest. None of 100 is never found: at most 1 - .05 ** (1 / 100) of all.
    cases = cohort([600 * (i + 1) for i in range(100)], floor=FLOOR)
    point = certified(cases)
    assert (point.name, point.chosen_on, point.thresholds) == ("c", "calibration", {None: 0.02})
    assert point.target == "patient_miss_rate <= 0.05 with confidence 0.95"
    sure = promised(cases)
    assert (sure.level, sure.miss_rate, sure.confidence, sure.in_expectation) == ("patient", 0.05, 0.95, False)
    assert (sure.n, sure.risk, sure.floor, sure.never_found) == (100, 0.01, 0.01, 0)
    assert sure.never_found_at_most == pytest.approx(1 - 0.05 ** (1 / 100))
    assert (sure.false_positives_per_scan, sure.false_positive_ml_per_scan, sure.empty) == (0.0, 0.0, None)
    condition = (
        " (a lesion is found by any overlap with a candidate), provided that these 100 patients were used for nothing "
        "else and that new ones come like them"
    )
    assert sure.bound == (
        "at most 0.05 of all patients with a lesion are missed, with 0.95 confidence over calibrations: were this one "
        "repeated with 100 other patients each time, at most 0.05 of the repeats would end in a threshold that misses "
        f"more; repeats that end without a threshold are among the others{condition}"
    )
    # In expectation: k = floor(5.05) = 5, the fifth smallest; 4 of 100 lie below it.
    point = certified(cases, in_expectation=True)
    assert point.thresholds == {None: 0.05}
    assert point.target == "patient_miss_rate <= 0.05 in expectation"
    mean = promised(cases, in_expectation=True)
    assert (mean.in_expectation, mean.risk, mean.confidence, mean.never_found) == (True, 0.04, 0.95, 0)
    assert mean.bound == (
        "at most 0.05 of all patients with a lesion are missed on average over calibrations: were this one repeated "
        "with 100 other patients each time, and repeats that end without a threshold counted as missing nobody; of "
        f"repeats that end in a threshold the average may be higher{condition}"
    )


@pytest.mark.parametrize("level", LEVELS)
def test_a_certificate_is_refused_when_a_patient_was_seen_and_a_plain_point_is_not(level: CertifiedLevel) -> None:
    cases = cohort([30_000 + i for i in range(60)])
    words = r"Got 6 that the model was trained or selected on: p0, p1, p2, p3, p4; perhaps ask for a plain point"
    with pytest.raises(ProvenanceError, match=words):
        certified(cases, level, seen=["other", *(f"p{i}" for i in range(6))])
    target = Target(false_positives_per_scan=1, false_positive_ml_per_scan=1)
    plain = choose(cases, OVERLAP, target=target, name="plain")
    assert plain.thresholds == {None: 0.5}
    assert not plain.certified
    unseen = promised(cases, level, seen=["other"])
    assert unseen.bound.endswith("come like these 60, none of whom the model was trained or selected on")


def test_a_false_alarm_elsewhere_finds_no_tumour() -> None:
    # Each patient has a tumour at .3 and a false alarm at .9: the patient's highest score would promise .9.
    cases = [case("#..", "3.9", f"p{i}") for i in range(19)]
    assert certified(cases, miss_rate=0.2).thresholds == {None: 0.3}
    # One patient in 19 whose tumour is not found at all, whatever else is: up to .226 of all may be like that
    # (P(Binomial(19, .226) <= 1) = .05).
    lung = certified([*cases[:18], case("#..", "..9", "lung")], miss_rate=0.2)
    assert lung.thresholds == {None: None}
    assert lung.reason == (
        "1 of 19 calibration patients are found at no threshold, so 0.2264 of all patients may never be found (0.95 "
        "confidence), more than 0.2"
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("in_expectation", [False, True])
def test_patients_who_are_never_found_are_counted_before_anything_is_promised(
    level: CertifiedLevel, in_expectation: bool
) -> None:
    # 2 of 100, and P(Binomial(100, .0616) <= 2) = .05. The other 98 would lie far within 5 %: all at one level.
    cases = cohort([0, FLOOR - 1] + [30_000] * 98, floor=FLOOR)
    if level == "voxel":
        cases[1] = scored([0], "p1", floor=FLOOR)  # voxels are counted from the lowest level on
    point = certified(cases, level, in_expectation=in_expectation)
    assert (point.thresholds, point.certificate) == ({None: None}, None)
    assert point.reason == (
        "2 of 100 calibration patients are found at no threshold, so 0.0617 of all patients may never be found (0.95 "
        "confidence), more than 0.05"
    )
    # One of 100 leaves at most .0466. In expectation all of its units may be missed: .01 <= (101 * .05 - 1) / 100. With
    # confidence a whole patient may (P(Binomial(100, .05) <= 1) = .0371), but no share of .01, as it cannot be known
    # whether that is one patient: exp(-100 kl(.01, .05)) = .084, and e * .0371 = .101.
    found = certified([*cases[:1], *cohort([30_000] * 100, floor=FLOOR)[1:]], level, in_expectation=in_expectation)
    if in_expectation or level == "patient":
        assert found.thresholds == {None: 0.5}
        assert found.certificate is not None and found.certificate.never_found == 1
        assert found.certificate.never_found_at_most == pytest.approx(float(stats.beta.ppf(0.95, 2, 99)))
    else:
        assert found.reason is not None and found.reason.endswith("the target is missed: the loss is 0.01")


def test_a_loss_too_high_at_the_floor_is_the_reason_where_everybody_is_found() -> None:
    # Of two lesions each patient has one that is never found: no patient is, but half of the lesions are.
    cases = [scored([0, 30_000], f"p{i}", floor=FLOOR) for i in range(20)]
    assert certified(cases, miss_rate=0.2).thresholds == {None: 0.5}
    for level, floor in (("lesion", 0.01), ("voxel", threshold_of(1))):
        for in_expectation in (False, True):
            refused = certified(cases, level, miss_rate=0.2, in_expectation=in_expectation)  # type: ignore[arg-type]
            assert refused.reason == f"even at the floor {floor:g} the target is missed: the loss is 0.5"


def test_a_patient_is_found_in_any_of_several_scans() -> None:
    cases = cohort([40_000] * 18)
    cases += [scored([900], "twice", name="first"), scored([30_000], "twice", name="second")]
    # 19 patients, not 20, none of whom may be missed (.8**19 = .0144, P(<= 1) = .0829); the last is found up to 30,000.
    assert certified(cases, miss_rate=0.2).thresholds == {None: 0.5}
    assert promised(cases, miss_rate=0.2).n == 19


def test_the_loss_of_lesions_and_voxels_is_a_share_of_the_patient_over_all_scans() -> None:
    cases = [scored([100, 300], "a", name="a1"), scored([300, 700], "a", name="a2"), scored([500], "b")]
    for level in ("lesion", "voxel"):
        losses = losses_of(cases, OVERLAP, level)
        assert losses["a"].levels.tolist() == [100, 300, 700]
        assert losses["a"].counts.tolist() == [1, 2, 1]
        assert losses["b"].levels.tolist() == [500]
    assert losses_of(cases, OVERLAP, "patient")["a"].levels.tolist() == [700]


@pytest.mark.parametrize("level", ["lesion", "voxel"])
def test_lesions_and_voxels_by_hand_in_expectation(level: CertifiedLevel) -> None:
    # 29 patients at 10 %: the mean share may be (30 * .1 - 1) / 29 = 2 / 29, that is two whole patients' worth. Five
    # patients have 2 lesions, the weaker at 1000, 2000, ..., 5000; halves add up: 4 of them at t in (4000, 5000].
    cases = [scored([1000 * (i + 1), 50_000], f"two{i}") for i in range(5)] + cohort([50_000] * 24)
    assert certified(cases, level, miss_rate=0.1, in_expectation=True).thresholds == {None: threshold_of(5000)}
    certificate = promised(cases, level, miss_rate=0.1, in_expectation=True)
    assert certificate.risk == pytest.approx(2 / 29)
    of = f"at most 0.1 of a patient's lesion{'s' if level == 'lesion' else ' voxels'} (mean over patients) are missed"
    assert of in certificate.bound


@pytest.mark.parametrize("level", ["lesion", "voxel"])
def test_shares_that_all_patients_lose_by_hand_with_confidence(level: CertifiedLevel) -> None:
    # Each patient loses 1 of 10 lesions above 1000. kl(.1, .2) = .1 ln .5 + .9 ln (9 / 8) = .03669, so that Hoeffding's
    # exp(-n kl) is .0512 for n = 81 and .0494 for 82. Bentkus allows 8 patients' worth in both, less than .1:
    # e P(Binomial(n, .2) <= 9) = .070 and .062.
    many = [scored([1000, *[50_000] * 9], f"p{i}") for i in range(82)]
    assert certified(many, level, miss_rate=0.2).thresholds == {None: threshold_of(50_000)}
    assert promised(many, level, miss_rate=0.2).risk == pytest.approx(0.1)
    assert certified(many[1:], level, miss_rate=0.2).thresholds == {None: threshold_of(1000)}
    # A patient is found by any of the ten.
    assert certified(many[1:], miss_rate=0.2).thresholds == {None: threshold_of(50_000)}


@pytest.mark.parametrize("low", [11, 12, 13])
def test_whole_patients_by_hand_with_confidence(low: int) -> None:
    # 200 patients at 10 %: P(Binomial(200, .1) <= 11, 12, 13) = .0168, .0320, .0566. So 12 patients may be missed; for
    # lesions Bentkus' factor e leaves 11 (.0457 and .0870), where Hoeffding's limit alone (exp(-200 kl(.055, .1)) =
    # .0710) would not.
    cases = cohort([1000] * low + [50_000] * (200 - low))
    assert certified(cases, miss_rate=0.1).thresholds == {None: threshold_of(50_000 if low <= 12 else 1000)}
    for level in LEVELS[1:]:
        point = certified(cases, level, miss_rate=0.1)
        assert point.thresholds == {None: threshold_of(50_000 if low <= 11 else 1000)}


def test_voxels_and_lesions_differ_where_a_lesion_is_found_in_part() -> None:
    # A lesion of four voxels at .9 .9 .9 .2 is found up to .9; a quarter of its voxels is missed above .2.
    cases = [case("####.", "9992.", f"p{i}") for i in range(23)]
    mean: dict[str, Any] = {"in_expectation": True}
    assert certified(cases[:19], "lesion", miss_rate=0.2, **mean).thresholds == {None: 0.9}
    # (20 * .2 - 1) / 19 = .158 < .25, so all of it must be shown; (20 * .3 - 1) / 19 = .263 allows the quarter.
    assert certified(cases[:19], "voxel", miss_rate=0.2, **mean).thresholds == {None: 0.2}
    assert certified(cases[:19], "voxel", miss_rate=0.3, **mean).thresholds == {None: 0.9}
    # With confidence: kl(.25, .5) = .25 ln .5 + .75 ln 1.5 = .1308, and exp(-n kl) = .0563 for n = 22, .0494 for 23;
    # e P(Binomial(22, .5) <= 6) = .071.
    assert certified(cases, "lesion", miss_rate=0.2).thresholds == {None: 0.9}
    assert certified(cases[1:], "voxel", miss_rate=0.5).thresholds == {None: 0.2}
    assert certified(cases, "voxel", miss_rate=0.5).thresholds == {None: 0.9}


def test_a_raised_floor_bounds_what_is_certified_and_not_the_voxels() -> None:
    # All lesions at .3; one noisy (healthy) scan knows its candidates only from .4 upwards.
    cases = [*cohort([level_of(0.3)] * 19), scored([], "noisy", floor=level_of(0.4))]
    for level in LEVELS[:2]:
        point = certified(cases, level, miss_rate=0.2)
        assert point.thresholds == {None: None}
        assert point.reason is not None
        assert point.reason.startswith("19 of 19 calibration patients are found at no threshold, so 1 of all patients")
    assert certified(cases, "voxel", miss_rate=0.2).thresholds == {None: 0.3}
    voxels = promised(cases, "voxel", miss_rate=0.2)
    assert voxels.floor == threshold_of(1)
    # What candidates it costs is not known so far down, the volume is.
    assert (voxels.false_positives_per_scan, voxels.false_positive_ml_per_scan) == (None, 0.0)
    # The plain point with a patient miss rate obeys the same floor.
    plain = greatest_with_patient_miss_rate(cases, OVERLAP, at_most=0.05, name="t")
    assert plain.thresholds == {None: None}
    assert greatest_with_patient_miss_rate(cases[:-1], OVERLAP, at_most=0.05, name="t").thresholds == {None: 0.3}


def test_the_least_volume_takes_part_in_the_promise() -> None:
    # The lesion's candidate has one voxel (.1 ml) down to .4 and two at .3.
    cases = [case("##.", "93.", f"p{i}") for i in range(19)]
    assert certified(cases, miss_rate=0.2).thresholds == {None: 0.9}
    matching = Matching("overlap", least_volume_ml=0.2)
    assert certified(cases, matching=matching, miss_rate=0.2).thresholds == {None: 0.3}
    certificate = promised(cases, matching=matching, miss_rate=0.2)
    assert certificate.least_volume_ml == 0.2
    assert "with a candidate of at least 0.2 ml)" in certificate.bound


def test_the_constant_map_may_find_all_but_does_not_look_good() -> None:
    # It finds every patient at its one level; what it costs stands beside it: 2 of 3 voxels, .2 ml, in every scan.
    cases = [case("#..", "444", f"p{i}") for i in range(19)]
    point = certified(cases, miss_rate=0.2)
    assert point.thresholds == {None: 0.4}
    assert all(voxel_counts(each, level_of(0.4)).false_positives == 2 for each in cases)
    # It is one candidate that touches the lesion, and so no false positive: only the volume shows it.
    bounds: dict[str, Any] = {"false_positives_per_scan": 0.0, "false_positive_ml_per_scan": 0.19}
    told = promised(cases, miss_rate=0.2, **bounds)
    assert told.false_positives_per_scan == 0.0
    assert told.false_positive_ml_per_scan == pytest.approx(0.2)
    assert told.empty == "it costs 0.2 false-positive ml per scan, more than the 0.19 that were stated"
    # As a plain point it is never chosen: only above its level is the bound kept, where nothing is found.
    target = Target(false_positives_per_scan=9, false_positive_ml_per_scan=0.19)
    assert choose(cases, OVERLAP, target=target, name="t").thresholds == {None: None}


@pytest.mark.parametrize(
    ("count", "ml", "empty"),
    [
        (None, None, None),
        # At the bounds is within them, however .1 ml in each of 19 scans add up; and either may be without end.
        (1.0, 0.1, None),
        (float("inf"), 0.1, None),
        (1.0, float("inf"), None),
        (0.9, 0.1, "it costs 1 false positives per scan, more than the 0.9 that were stated"),
        (0.0, None, "it costs 1 false positives per scan, more than the 0 that were stated"),
        (1.0, 0.05, "it costs 0.1 false-positive ml per scan, more than the 0.05 that were stated"),
        (None, 0.05, "it costs 0.1 false-positive ml per scan, more than the 0.05 that were stated"),
    ],
)
@pytest.mark.parametrize("level", LEVELS)
def test_a_promise_that_costs_more_than_was_stated_is_empty_and_stays_true(
    count: float | None, ml: float | None, empty: str | None, level: CertifiedLevel
) -> None:
    # The tumour at .9, and a false alarm of .1 ml likewise.
    cases = [case("#..", "9.9", f"p{i}") for i in range(19)]
    bounds = {"false_positives_per_scan": count, "false_positive_ml_per_scan": ml}
    certificate = promised(cases, level, miss_rate=0.2, **bounds)
    assert certificate.empty == empty
    assert certificate.false_positives_per_scan == 1
    assert certificate.false_positive_ml_per_scan == pytest.approx(0.1)
    # The bounds choose nothing: threshold and sentence are those without them.
    without = certified(cases, level, miss_rate=0.2)
    assert certified(cases, level, miss_rate=0.2, **bounds).thresholds == without.thresholds == {None: 0.9}
    assert without.certificate == replace(certificate, empty=None)


def test_false_positives_of_healthy_scans_are_part_of_the_cost() -> None:
    # 19 scans with a tumour and nothing else, one healthy with two false alarms of .1 ml: .1 and .01 per scan.
    cases = [*[case("#....", "9....", f"p{i}") for i in range(19)], case(".....", ".9.9.", "healthy")]
    certificate = promised(cases, miss_rate=0.2, false_positives_per_scan=0.1, false_positive_ml_per_scan=0.009)
    assert certificate.false_positives_per_scan == pytest.approx(0.1)
    assert certificate.empty == "it costs 0.01 false-positive ml per scan, more than the 0.009 that were stated"


def test_a_promise_at_the_floor_is_empty() -> None:
    for level in LEVELS[:2]:
        at, above = (promised(cohort([found] * 19, floor=FLOOR), level, miss_rate=0.2) for found in (FLOOR, FLOOR + 1))
        assert at.empty == "its threshold is the floor, the lowest from which anything is known"
        assert above.empty is None
    # Voxels are known from the lowest level on.
    voxel = [promised(cohort([found] * 19), "voxel", miss_rate=0.2).empty for found in (1, 2)]
    assert voxel == ["its threshold is the floor, the lowest from which anything is known", None]


def test_a_study_states_its_bounds_once() -> None:
    target = Target(false_positives_per_scan=2, false_positive_ml_per_scan=9)
    plain = Certify(level="patient", miss_rate=0.1, confidence=0.9, in_expectation=True)
    bounded = plain.bounded_by(target)
    assert (bounded.false_positives_per_scan, bounded.false_positive_ml_per_scan) == (2, 9)
    assert bounded.model_dump(exclude=set(Target.model_fields)) == plain.model_dump(exclude=set(Target.model_fields))
    # Its own bound comes first, even if it is 0; each by itself.
    own = Certify(level="patient", miss_rate=0.1, false_positives_per_scan=0).bounded_by(target)
    assert (own.false_positives_per_scan, own.false_positive_ml_per_scan) == (0, 9)


def ladder(n: int) -> list[CaseStatistics]:
    """Tumours at .1, .2, ..., .9, .1, ... and, in every second scan, a false alarm of .1 ml at .5 beside."""
    return [case("#..", f"{1 + i % 9}.{'.5'[i % 2]}", f"p{i}") for i in range(n)]


@pytest.mark.parametrize("in_expectation", [False, True])
def test_the_price_of_each_promise_by_hand(in_expectation: bool) -> None:
    # 45 patients, five at each tenth from .1 to .9. With confidence k may be missed, P(Binomial(45, a) <= k) <= .05,
    # in expectation k = floor(46 a) - 1; the first 5 at .1, so the threshold is (1 + k // 5) / 10.
    rows = prices(ladder(45), OVERLAP, Certify(level="patient", miss_rate=0.05, in_expectation=in_expectation))
    # .94**45 = .0618 and .93**45 = .0382: nobody who is never found, so from 7 % on.
    assert [row["miss_rate"] for row in rows] == [percent / 100 for percent in range(7, 51)]
    for percent, row in zip(range(7, 51), rows, strict=True):
        k = 46 * percent // 100 - 1
        if not in_expectation:
            k = max(k for k in range(45) if stats.binom.cdf(k, 45, percent / 100) <= 0.05)
        assert row["threshold"] == (1 + k // 5) / 10
        # 22 of 45 scans have the false alarm, which is shown up to .5.
        count = 22 / 45 if k // 5 < 5 else 0.0
        assert row["false_positives_per_scan"] == pytest.approx(count)
        assert row["false_positive_ml_per_scan"] == pytest.approx(count / 10)
    assert len({row["threshold"] for row in rows}) >= 3


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("in_expectation", [False, True])
def test_prices_are_those_of_the_certificates_and_a_laxer_promise_is_never_lower(
    level: CertifiedLevel, in_expectation: bool
) -> None:
    rng = np.random.default_rng(8)
    many = rng.integers(1, 5, 60).tolist()
    cases = [scored(rng.integers(1, TOP, k).tolist(), f"p{i}") for i, k in enumerate(many)]
    cases += ladder(5)
    wanted = Certify(level=level, miss_rate=0.2, in_expectation=in_expectation)
    rows = prices(cases, OVERLAP, wanted)
    asked = [row["miss_rate"] for row in rows]
    assert asked == list(PROMISES[-len(asked) :])
    thresholds = [row["threshold"] or 0.0 for row in rows]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < thresholds[-1]
    for miss_rate in (asked[0], 0.2, 0.37, 0.5):
        point = certify(cases, OVERLAP, wanted.model_copy(update={"miss_rate": miss_rate}), seen=None, name="c")
        assert point.certificate is not None
        assert rows[asked.index(miss_rate)] == {
            "miss_rate": miss_rate,
            "threshold": point.thresholds[None],
            "false_positives_per_scan": point.certificate.false_positives_per_scan,
            "false_positive_ml_per_scan": point.certificate.false_positive_ml_per_scan,
        }


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_has_a_price_where_nothing_can_be_certified(level: CertifiedLevel) -> None:
    # .5**4 = .0625 and .5**5 = .0313: five patients can be promised half, .54**5 = .0459 even 46 %; four nothing.
    wanted = Certify(level=level, miss_rate=0.05)
    assert prices(cohort([30_000] * 4), OVERLAP, wanted) == []
    assert [row["miss_rate"] for row in prices(cohort([30_000] * 5), OVERLAP, wanted)] == [0.46, 0.47, 0.48, 0.49, 0.5]
    # Half of them are never found: up to .61 of all may be.
    assert prices(cohort([30_000, 0] * 30), OVERLAP, wanted) == []
    # What is an error for the certificate is one here.
    with pytest.raises(InputError, match="must be by any overlap"):
        prices(cohort([30_000] * 60), IOU, wanted)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda cs: [replace(c, kind="mask") for c in cs], {}, r"must have scores.*Got masks for p0, .* \(19 in all\)"),
        (lambda cs: cs, {"matching": IOU}, "must be by any overlap"),
        (lambda cs: [replace(c, fold=i % 2) for i, c in enumerate(cs)], {}, "one model. Got out-of-fold maps of 2"),
        (lambda cs: [replace(c, kind="points") for c in cs], {"level": "voxel"}, "with voxels. Got points"),
        (lambda cs: [], {}, "at least one case"),
    ],
)
def test_what_cannot_be_certified_is_an_error(
    change: Callable[[list[CaseStatistics]], list[CaseStatistics]], options: dict[str, Any], words: str
) -> None:
    cases = change(cohort([30_000] * 19))
    with pytest.raises(InputError, match=words):
        certified(cases, **options)


@pytest.mark.parametrize("level", LEVELS)
def test_settings_of_a_study_promise_with_confidence_unless_told_otherwise(level: CertifiedLevel) -> None:
    given = {"level": level, "miss_rate": 0.1}
    assert str(parse(Certify, given, where="certify")) == f"{level}_miss_rate <= 0.1 with confidence 0.95"
    surer = parse(Certify, given | {"confidence": 0.99}, where="certify")
    assert str(surer) == f"{level}_miss_rate <= 0.1 with confidence 0.99"
    mean = parse(Certify, given | {"in_expectation": True}, where="certify")
    assert str(mean) == f"{level}_miss_rate <= 0.1 in expectation"


@pytest.mark.parametrize(
    "wrong",
    [
        *({"miss_rate": value} for value in (0.0, 1.0, 5, float("nan"))),
        *({"confidence": value} for value in (0.0, 1.0, 95, None)),
        {"level": "slice"},
        {"false_positives_per_scan": -1},
        {"false_positive_ml_per_scan": float("nan")},
    ],
    ids=str,
)
def test_impossible_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse(Certify, {"level": "patient", "miss_rate": 0.1} | wrong, where="certify")


def _drawn_risks(n: int, repetitions: int, **options: Any) -> NDArray[np.float64]:
    """The true miss rate at certified thresholds when lesions are found up to levels uniform on 1 to TOP."""
    rng = np.random.default_rng(5)
    thresholds = [
        certified(cohort(draw), **options).thresholds[None]
        for draw in rng.integers(1, TOP + 1, (repetitions, n)).tolist()
    ]
    # P(s < t) for s uniform on 1..TOP: exact, so no test patients need be drawn.
    return np.array([(level_of(t) - 1) / TOP for t in thresholds if t is not None])


def test_the_expected_risk_is_what_was_promised() -> None:
    # The k-th smallest of n uniforms has the mean k / (n + 1) = 5 / 101 = .0495; its deviation is .0216, so that the
    # mean of 100 draws lies within .0087 of it (four standard errors); k = 4 and 6 are .0099 away.
    risks = _drawn_risks(100, 100, in_expectation=True)
    assert risks.size == 100
    assert abs(risks.mean() - 5 / 101) < 0.0087


@pytest.mark.parametrize("level", ["patient", "lesion"])
def test_the_confidence_is_what_was_promised(level: CertifiedLevel) -> None:
    # The smallest of 59 uniforms exceeds .05 with probability .95**59 = .0485; of 150 draws 7.3 do, deviation 2.6. The
    # second smallest would with .199 (30 draws). For lesions, one a patient, this is the worst case.
    risks = _drawn_risks(59, 150, level=level)
    assert risks.size == 150
    assert 1 <= (risks > 0.05).sum() <= 17


@pytest.mark.parametrize("level", ["lesion", "voxel"])
def test_shares_of_lesions_keep_the_promise(level: CertifiedLevel) -> None:
    # Patients with 1 to 4 lesions that share a difficulty; the truth from 4,000 further patients at every threshold.
    rng = np.random.default_rng(6)

    def patients(n: int) -> list[list[int]]:
        hard = rng.uniform(0.2, 1.0, n)
        return [(1 + h * rng.integers(0, TOP, rng.integers(1, 5))).astype(int).tolist() for h in hard]

    truth = patients(4000)
    found = np.sort(np.concatenate([np.array(mine) for mine in truth]))
    weight = np.concatenate([np.full(len(mine), 1 / len(mine) / len(truth)) for mine in truth])
    order = np.argsort(np.concatenate([np.array(mine) for mine in truth]), kind="stable")
    below = np.concatenate([[0.0], np.cumsum(weight[order])])

    def risk(cases: list[CaseStatistics], **options: Any) -> float:
        threshold = certified(cases, level, **options).thresholds[None]
        assert threshold is not None
        return float(below[np.searchsorted(found, level_of(threshold))])

    drawn = [[scored(mine, f"p{i}") for i, mine in enumerate(patients(40))] for _ in range(60)]
    risks = [risk(cases, miss_rate=0.1, in_expectation=True) for cases in drawn]
    # At most .1 in expectation, and no more below it than the granularity 1 / 41 and four standard errors allow.
    error = 4 * float(np.std(risks)) / len(risks) ** 0.5
    assert 0.1 - 1 / 41 - error < np.mean(risks) < 0.1 + error
    # With confidence more than .2 at most once in 20 draws (with the mean of these patients as limit it were one in
    # two), and not by a threshold that misses nothing: exp(-40 kl(r, .2)) = .05 for r = .064.
    sure = [risk(cases, miss_rate=0.2) for cases in drawn]
    assert np.mean(np.array(sure) > 0.2) <= 0.05
    assert np.mean(sure) > 0.04
