"""Certificates: whom they are for, when there is none, what they say, and that the promise holds in simulation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from missrate.calibrate import Certify, Target, certify, choose, greatest_with_patient_miss_rate, losses_of
from missrate.core.case import CaseStatistics
from missrate.core.config import parse
from missrate.core.errors import ConfigError, InputError, ProvenanceError
from missrate.core.matching import found_levels, outcome, voxel_counts
from missrate.core.points import hash_of_patients
from missrate.core.quantise import TOP, level_of, threshold_of
from missrate.core.types import Matching, OperatingPoint
from tests.drawn import IOU, OVERLAP, case
from tests.synthetic import cohort, scored

FLOOR = level_of(0.01)


def certified(cases: list[CaseStatistics], level: str = "patient", **options: Any) -> OperatingPoint:
    given: dict[str, Any] = {"miss_rate": 0.05, "seen": None, "name": "c", "matching": OVERLAP} | options
    matching = given.pop("matching")
    return certify(cases, matching, level=level, **given)  # type: ignore[arg-type]


def test_the_synthetic_statistics_are_what_the_same_drawing_measures() -> None:
    drawn, made = case("#.#.#", "9.5.."), scored([level_of(0.9), level_of(0.5), 0], "p", floor=level_of(0.1))
    assert found_levels(drawn, OVERLAP).tolist() == found_levels(made, OVERLAP).tolist()
    for tenth in (1, 5, 6, 9, 10):
        level = level_of(tenth / 10)
        assert outcome(drawn, level, OVERLAP).found.tolist() == outcome(made, level, OVERLAP).found.tolist()
        assert voxel_counts(drawn, level).true_positives == voxel_counts(made, level).true_positives


@pytest.mark.parametrize(
    ("n", "miss_rate", "confidence", "needs"),
    [(18, 0.05, None, 19), (8, 0.1, None, 9), (58, 0.05, 0.95, 59), (28, 0.1, 0.95, 29)],
)
def test_too_few_patients_get_a_reason_and_one_more_a_threshold(
    n: int, miss_rate: float, confidence: float | None, needs: int
) -> None:
    # .05 >= 1 / (n + 1) from n = 19 on; .95**58 = .0510 and .95**59 = .0485; .9**28 = .0523 and .9**29 = .0471.
    levels = [1000 * (i + 1) for i in range(needs)]
    few = certified(cohort(levels[:n]), miss_rate=miss_rate, confidence=confidence)
    assert few.thresholds == {None: None}
    assert few.reason == f"not certifiable with {n} patients: needs n >= {needs}"
    assert (few.certified, few.certificate) == (False, None)
    enough = certified(cohort(levels), miss_rate=miss_rate, confidence=confidence)
    # k = floor((n + 1) miss_rate) = 1, the smallest; with confidence k = 0 may be missed: the smallest again.
    assert enough.thresholds == {None: threshold_of(1000)}
    assert enough.certified
    assert enough.reason is None


def test_healthy_patients_do_not_count() -> None:
    sick = cohort([1000 * (i + 1) for i in range(18)])
    healthy = [scored([], f"h{i}") for i in range(40)]
    assert certified([*sick, *healthy]).reason == "not certifiable with 18 patients: needs n >= 19"


def test_what_the_certificate_says() -> None:
    # n = 100 at 5 %: k = floor(5.05) = 5; the fifth smallest of 600, 1200, ... is 3000; 4 of 100 lie below it.
    cases = cohort([600 * (i + 1) for i in range(100)], floor=FLOOR)
    point = certified(cases)
    assert (point.name, point.chosen_on, point.thresholds) == ("c", "calibration", {None: 0.05})
    assert point.target == "patient_miss_rate <= 0.05 in expectation"
    promised = point.certificate
    assert promised is not None
    assert (promised.level, promised.miss_rate, promised.confidence) == ("patient", 0.05, None)
    assert (promised.n, promised.k, promised.risk, promised.floor) == (100, 5, 0.04, 0.01)
    assert promised.bound == (
        "the expected share of missed patients is at most 0.05, over new patients and calibration draws (a lesion is "
        "found by any overlap with a candidate), provided that these 100 patients were used for nothing else and that "
        "new ones come like them"
    )
    # With confidence: P(Binomial(100, .05) <= 1) = .0371 and <= 2 = .118, so one may be missed: the second smallest.
    sure = certified(cases, confidence=0.95)
    assert sure.thresholds == {None: 0.02}
    assert sure.target == "patient_miss_rate <= 0.05 with confidence 0.95"
    assert sure.certificate is not None
    assert (sure.certificate.k, sure.certificate.risk, sure.certificate.confidence) == (1, 0.01, 0.95)
    assert "with confidence 0.95 over calibration draws, at most 0.05 of all patients" in sure.certificate.bound


def test_the_hash_names_the_patients_with_a_lesion_in_any_order() -> None:
    cases = cohort([1000 * (i + 1) for i in range(20)])
    one, other = (certified(given).certificate for given in (cases, [*cases[::-1], scored([], "healthy")]))
    assert one is not None and other is not None
    assert one.patients == other.patients == hash_of_patients(f"p{i}" for i in range(20))
    fewer = certified(cases[:-1]).certificate
    assert fewer is not None and fewer.patients != one.patients


@pytest.mark.parametrize("level", ["patient", "lesion", "voxel"])
def test_a_certificate_is_refused_when_a_patient_was_seen_and_a_plain_point_is_not(level: str) -> None:
    cases = cohort([30_000 + i for i in range(60)])
    words = r"Got 6 that the model was trained or selected on: p0, p1, p2, p3, p4; perhaps ask for a plain point"
    with pytest.raises(ProvenanceError, match=words):
        certified(cases, level, seen=["other", *(f"p{i}" for i in range(6))])
    target = Target(false_positives_per_scan=1, false_positive_ml_per_scan=1)
    plain = choose(cases, OVERLAP, target=target, name="plain")
    assert plain.thresholds == {None: 0.5}
    assert not plain.certified
    unseen = certified(cases, level, seen=["other"]).certificate
    assert unseen is not None
    assert unseen.bound.endswith("come like these 60, none of whom the model was trained or selected on")


def test_a_false_alarm_elsewhere_finds_no_tumour() -> None:
    # Each patient has a tumour at .3 and a false alarm at .9: the patient's highest score would promise .9.
    cases = [case("#..", "3.9", f"p{i}") for i in range(19)]
    assert certified(cases).thresholds == {None: 0.3}
    # One patient in 19 whose tumour is not found at all: k = 1, so the smallest, which is nothing above the floor.
    lung = certified([*cases[:18], case("#..", "..9", "lung")])
    assert lung.thresholds == {None: None}
    assert lung.reason == "even at the floor 0.1 the target is missed: the loss is 0.05263"


def test_a_patient_is_found_in_any_of_several_scans() -> None:
    cases = cohort([40_000] * 18)
    cases += [scored([900], "twice", name="first"), scored([30_000], "twice", name="second")]
    # 19 patients, not 20; the last is found up to 30,000.
    point = certified(cases)
    assert point.thresholds == {None: 0.5}
    assert point.certificate is not None and point.certificate.n == 19


def test_the_loss_of_lesions_and_voxels_is_a_share_of_the_patient_over_all_scans() -> None:
    cases = [scored([100, 300], "a", name="a1"), scored([300, 700], "a", name="a2"), scored([500], "b")]
    for level in ("lesion", "voxel"):
        losses = losses_of(cases, OVERLAP, level)
        assert losses["a"].levels.tolist() == [100, 300, 700]
        assert losses["a"].counts.tolist() == [1, 2, 1]
        assert losses["b"].levels.tolist() == [500]
    assert losses_of(cases, OVERLAP, "patient")["a"].levels.tolist() == [700]


def test_lesions_and_voxels_by_hand() -> None:
    # 19 patients at 10 %: the mean share may be (20 * .1 - 1) / 19 = 1 / 19, that is one whole patient's worth.
    # Four patients have 2 lesions, the weaker at 1000, 2000, 3000, 4000; halves add up: 2 of them at t in (2000, 3000].
    cases = [scored([1000 * (i + 1), 50_000], f"two{i}") for i in range(4)] + cohort([50_000] * 15)
    for level in ("lesion", "voxel"):
        point = certified(cases, level, miss_rate=0.1)
        assert point.thresholds == {None: threshold_of(3000)}
        assert point.certificate is not None
        assert point.certificate.risk == pytest.approx(1 / 19)
        assert point.certificate.k is None
        assert f"a patient's lesion{'s' if level == 'lesion' else ' voxels'} that are missed" in point.certificate.bound


def test_voxels_and_lesions_differ_where_a_lesion_is_found_in_part() -> None:
    # A lesion of four voxels at .9 .9 .9 .2 is found up to .9; a quarter of its voxels is missed above .2.
    cases = [case("####.", "9992.", f"p{i}") for i in range(19)]
    assert certified(cases, "lesion", miss_rate=0.2).thresholds == {None: 0.9}
    # (20 * .2 - 1) / 19 = .158 < .25, so all of it must be shown; (20 * .3 - 1) / 19 = .263 allows the quarter.
    assert certified(cases, "voxel", miss_rate=0.2).thresholds == {None: 0.2}
    assert certified(cases, "voxel", miss_rate=0.3).thresholds == {None: 0.9}


def test_a_raised_floor_bounds_what_is_certified_and_not_the_voxels() -> None:
    # All lesions at .3; one noisy (healthy) scan knows its candidates only from .4 upwards.
    cases = [*cohort([level_of(0.3)] * 19), scored([], "noisy", floor=level_of(0.4))]
    for level in ("patient", "lesion"):
        point = certified(cases, level)
        assert point.thresholds == {None: None}
        assert point.reason == "even at the floor 0.4 the target is missed: the loss is 1"
    voxels = certified(cases, "voxel")
    assert voxels.thresholds == {None: 0.3}
    assert voxels.certificate is not None and voxels.certificate.floor == threshold_of(1)
    # The plain point with a patient miss rate obeys the same floor.
    plain = greatest_with_patient_miss_rate(cases, OVERLAP, at_most=0.05, name="t")
    assert plain.thresholds == {None: None}
    assert greatest_with_patient_miss_rate(cases[:-1], OVERLAP, at_most=0.05, name="t").thresholds == {None: 0.3}


def test_the_least_volume_takes_part_in_the_promise() -> None:
    # The lesion's candidate has one voxel (.1 ml) down to .4 and two at .3.
    cases = [case("##.", "93.", f"p{i}") for i in range(19)]
    assert certified(cases).thresholds == {None: 0.9}
    point = certified(cases, matching=Matching("overlap", least_volume_ml=0.2))
    assert point.thresholds == {None: 0.3}
    assert point.certificate is not None and point.certificate.least_volume_ml == 0.2
    assert "with a candidate of at least 0.2 ml)" in point.certificate.bound


def test_the_constant_map_may_find_all_but_does_not_look_good() -> None:
    # It finds every patient at its one level; what it costs stands beside it: 2 of 3 voxels, .2 ml, in every scan.
    cases = [case("#..", "444", f"p{i}") for i in range(19)]
    point = certified(cases)
    assert point.thresholds == {None: 0.4}
    assert all(voxel_counts(each, level_of(0.4)).false_positives == 2 for each in cases)
    # As a plain point it is never chosen: only above its level is the bound kept, where nothing is found.
    target = Target(false_positives_per_scan=9, false_positive_ml_per_scan=0.19)
    assert choose(cases, OVERLAP, target=target, name="t").thresholds == {None: None}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda cs: [replace(c, kind="mask") for c in cs], {}, r"must have scores.*Got masks for p0, .* \(19 in all\)"),
        (lambda cs: cs, {"matching": IOU}, "must be by any overlap"),
        (lambda cs: cs, {"level": "lesion", "confidence": 0.95}, "must come with the level 'patient'. Got 0.95"),
        (lambda cs: [replace(c, fold=i % 2) for i, c in enumerate(cs)], {}, "one model. Got out-of-fold maps of 2"),
        (lambda cs: [replace(c, kind="points") for c in cs], {"level": "voxel"}, "with voxels. Got points"),
        (lambda cs: cs, {"miss_rate": 5}, r"must lie in \(0, 1\)"),
        (lambda cs: [], {}, "at least one case"),
    ],
)
def test_what_cannot_be_certified_is_an_error(
    change: Callable[[list[CaseStatistics]], list[CaseStatistics]], options: dict[str, Any], words: str
) -> None:
    cases = change(cohort([30_000] * 19))
    with pytest.raises(InputError, match=words):
        certified(cases, **options)


def test_settings_of_a_study_know_that_confidence_is_of_patients() -> None:
    fine = parse(Certify, {"level": "patient", "miss_rate": 0.1, "confidence": 0.95}, where="certify")
    assert str(fine) == "patient_miss_rate <= 0.1 with confidence 0.95"
    with pytest.raises(ConfigError, match="confidence must come with level 'patient', not 'voxel'"):
        parse(Certify, {"level": "voxel", "miss_rate": 0.1, "confidence": 0.95}, where="certify")
    for wrong in (0.0, 1.0):
        with pytest.raises(ConfigError, match="miss_rate"):
            parse(Certify, {"level": "patient", "miss_rate": wrong}, where="certify")


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
    # mean of 200 draws lies within .0061 of it (four standard errors).
    risks = _drawn_risks(100, 200)
    assert risks.size == 200
    assert abs(risks.mean() - 5 / 101) < 0.0061


def test_the_confidence_is_what_was_promised() -> None:
    # The smallest of 59 uniforms exceeds .05 with probability .95**59 = .0485; of 300 draws 14.5 do, deviation 3.7.
    risks = _drawn_risks(59, 300, confidence=0.95)
    assert risks.size == 300
    assert 1 <= (risks > 0.05).sum() <= 29


@pytest.mark.parametrize("level", ["lesion", "voxel"])
def test_shares_of_lesions_keep_the_promise(level: str) -> None:
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
    risks = []
    for _ in range(100):
        cases = [scored(mine, f"p{i}") for i, mine in enumerate(patients(40))]
        threshold = certified(cases, level, miss_rate=0.1).thresholds[None]
        assert threshold is not None
        risks.append(below[np.searchsorted(found, level_of(threshold))])
    # At most .1 in expectation, and no more below it than the granularity 1 / 41 and four standard errors allow.
    error = 4 * float(np.std(risks)) / 10
    assert 0.1 - 1 / 41 - error < np.mean(risks) < 0.1 + error
