"""The regression gate: what must fail, what must not, and what never can."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from missrate.compare import Gate
from missrate.compare.arms import Arm
from missrate.compare.gate import Level, judge
from missrate.core.errors import InputError
from missrate.core.intervals import patient_weights
from missrate.core.types import OperatingPoint
from tests.compare.arms import BOTH, HALF, LARGE, NONE, arm, compared
from tests.drawn import OVERLAP, case

LEVELS: tuple[Level, ...] = ("voxel", "slice", "lesion", "patient")


def judged(arms: dict[str, Any], asked: Gate | None = None, **changes: Any) -> dict[str, Any]:
    rows: dict[str, Any] = compared(arms, gate=asked or Gate(), **changes)["gate"]["arms"]
    return rows


@pytest.mark.parametrize("level", LEVELS)
def test_identical_arms_never_fail_and_pass_from_enough_patients_on(level: Level) -> None:
    # An unseen patient alone may differ, by everything: 1 - .05 ** (1 / n) is .181 for 15 patients, .259 for 10.
    def row(patients: int, **asked: float) -> dict[str, Any]:
        same = arm(*[BOTH, LARGE, NONE] * 5, *[BOTH] * 3)[:patients]
        found: dict[str, Any] = judged({"a": same, "b": same}, Gate(level, **asked), resamples=2000)["b"]
        return found

    many, few = row(15), row(10)
    assert (many["worse"], many["difference"], many["lower_limit"], many["discordant_patients"]) == (False, 0.0, 0.0, 0)
    assert many["upper_limit"] == pytest.approx(1 - 0.05 ** (1 / 15), abs=0.02)
    assert (few["worse"], few["lower_limit"]) == (None, 0.0)
    assert few["upper_limit"] == pytest.approx(1 - 0.05 ** (1 / 10), abs=0.02)
    assert "cannot tell" in few["sentence"]
    assert "do not exclude an increase of 20 points" in few["sentence"]
    assert (row(15, detect=0.1)["worse"], row(10, margin=0.1)["worse"]) == (None, False)


def test_what_looks_worse_but_cannot_be_shown_is_not_passed() -> None:
    # b misses both lesions of three of twelve patients: a quarter, but by chance in 1 of 8 patterns.
    a, b = arm(*[BOTH] * 12), arm(*[NONE] * 3, *[BOTH] * 9)
    row = judged({"a": a, "b": b}, Gate(margin=0.02), resamples=2000)["b"]
    assert (row["worse"], row["can_fail"], row["p"]) == (None, False, 1 / 8)
    assert row["lower_limit"] > 0.02
    assert "with 3 patients who differ no test could show it" in row["sentence"]
    # Five must differ, as 3 of 12 do: at least 20 patients.
    assert row["patients_needed"] >= 20
    more = {"a": arm(*[BOTH] * 24), "b": arm(*[NONE] * 6, *[BOTH] * 18)}
    assert judged(more, Gate(margin=0.02), resamples=2000)["b"]["worse"] is True


def test_four_patients_who_all_got_worse_are_not_passed() -> None:
    row = judged({"a": arm(*[BOTH] * 4), "b": arm(*[NONE] * 4)})["b"]
    assert (row["worse"], row["difference"], row["patients_needed"]) == (None, 1.0, 5)


@pytest.mark.parametrize("level", LEVELS)
def test_arms_that_differ_a_little_on_two_patients_are_not_passed(level: Level) -> None:
    # However small the difference at hand, nothing is known of a third patient.
    many = "##..#..." * 8
    arms = {"a": arm(*[BOTH * 8] * 2, reference=many), "b": arm(BOTH * 8, BOTH * 7 + LARGE, reference=many)}
    row = judged(arms, Gate(level))["b"]
    assert row["worse"] is None
    assert row["upper_limit"] > 0.5


def test_an_arm_that_got_better_passes() -> None:
    row = judged({"a": arm(*[NONE] * 12), "b": arm(*[BOTH] * 12)})["b"]
    assert (row["worse"], row["difference"], row["patients_needed"]) == (False, -1.0, None)


@pytest.mark.parametrize("level", LEVELS)
def test_an_arm_that_misses_every_lesion_of_thirty_patients_fails(level: Level) -> None:
    result = compared({"a": arm(*[BOTH] * 30), "b": arm(*[NONE] * 30)}, gate=Gate(level, margin=0.5))["gate"]
    row = result["arms"]["b"]
    assert (result["worse"], row["worse"], row["difference"], row["lower_limit"]) == (True, True, 1.0, 1.0)
    assert row["sentence"].startswith("b: worse. It misses 100.0% of the")
    assert (
        "+100.0 points, where +50 are allowed. With 0.95 confidence the difference is at least +100.0 points (bootstrap"
        in row["sentence"]
    )
    back = judged({"b": arm(*[NONE] * 30), "a": arm(*[BOTH] * 30)}, Gate(level), against="b")["a"]
    assert (back["worse"], back["p"]) == (False, 1.0)


@pytest.mark.parametrize(("patients", "worse"), [(2, None), (4, None), (5, True)])
def test_fewer_than_five_discordant_patients_can_never_fail(patients: int, worse: bool | None) -> None:
    # All get worse, so every resample says so; but 1 of 2**n patterns is as bad by chance: 1/4, 1/16, 1/32.
    row = judged({"a": arm(*[BOTH] * patients), "b": arm(*[NONE] * patients)})["b"]
    assert (row["lower_limit"], row["p"], row["least_p"]) == (1.0, 0.5**patients, 0.5**patients)
    assert (row["worse"], row["can_fail"], row["discordant_patients"]) == (worse, worse or False, patients)
    assert (f"with {patients} patients who differ no test could show it" in row["sentence"]) is not worse


def test_two_arms_share_the_chance_of_a_false_alarm() -> None:
    # Holm: twice 1/32 is above .05, twice 1/64 is not.
    def rows(patients: int) -> dict[str, Any]:
        bad = arm(*[NONE] * patients)
        return judged({"a": arm(*[BOTH] * patients), "b": bad, "c": bad})

    assert [(row["worse"], row["can_fail"], row["p_holm"]) for row in rows(5).values()] == [(None, False, 2 / 32)] * 2
    assert [(row["worse"], row["can_fail"], row["p_holm"]) for row in rows(6).values()] == [(True, True, 2 / 64)] * 2


def test_the_margin_must_be_exceeded() -> None:
    # b misses one of two lesions in every patient: the difference is .5 in every resample.
    arms = {"a": arm(*[BOTH] * 8), "b": arm(*[LARGE] * 8)}
    assert [judged(arms, Gate(margin=margin))["b"]["worse"] for margin in (0.0, 0.49, 0.5, 0.6)] == [
        True, True, False, False
    ]  # fmt: skip
    assert judged({"a": arm(*[BOTH] * 20), "b": arm(*[LARGE] * 20)}, Gate("patient"))["b"]["worse"] is False


def test_more_confidence_asks_for_more_patients() -> None:
    arms = {"a": arm(*[BOTH] * 6), "b": arm(*[NONE] * 6)}  # p = 1/64
    assert [judged(arms, Gate(confidence=c))["b"]["worse"] for c in (0.9, 0.98, 0.99)] == [True, True, None]
    assert judged(arms, Gate(confidence=0.99))["b"]["can_fail"] is False


@pytest.mark.parametrize("patients", [8, 25])
def test_noise_fails_at_most_as_often_as_the_confidence_allows(patients: int) -> None:
    # Two arms that find each patient's lesion by the toss of a coin. The bootstrap's limit alone is too sure.
    found, missed = ([case("#.", drawing, f"c{i:02}") for i in range(patients)] for drawing in ("9.", ".."))
    weights, random = patient_weights(patients, 400, 0), np.random.default_rng(7)
    runs, failed, limit_alone = 200, 0, 0
    for _ in range(runs):
        tossed = [
            [pair[k] for pair, k in zip(zip(found, missed, strict=True), random.integers(0, 2, patients), strict=True)]
            for _ in range(2)
        ]
        arms = {name: Arm.of(name, cases, HALF, OVERLAP) for name, cases in zip("ab", tossed, strict=True)}
        row = judge(arms, "a", weights, Gate())["arms"]["b"]
        failed, limit_alone = failed + (row["worse"] is True), limit_alone + (row["lower_limit"] > 0.0)
    assert failed <= stats.binom.ppf(0.999, runs, 0.05)
    assert failed < limit_alone


def test_the_order_of_arms_and_cases_does_not_matter() -> None:
    arms = {"a": arm(*[BOTH] * 9), "b": arm(*[LARGE, BOTH, NONE] * 3), "c": arm(*[NONE] * 9)}
    rows = judged(arms)
    turned = judged({name: arms[name][::-1] for name in ("c", "b", "a")})
    assert turned == rows
    assert json.dumps(rows, allow_nan=False)


def test_what_cannot_be_judged_is_not_passed() -> None:
    healthy = [case("..", "9.", "h0"), case("..", "..", "h1")]
    result = compared({"a": healthy, "b": healthy}, gate=Gate())["gate"]
    assert (result["worse"], result["arms"]["b"]["worse"]) == (False, None)
    assert "cannot be judged" in result["arms"]["b"]["sentence"]
    none = OperatingPoint("t", {None: None}, "calibration")
    arms = {"a": arm(*[BOTH] * 3), "b": arm(*[BOTH] * 3)}
    assert judged(arms, points={"a": HALF, "b": none})["b"]["worse"] is None


def test_seeds_that_differ_widen_the_limit() -> None:
    # The mean of two seeds misses half; one seed misses nothing, so half of the draws show no difference at all.
    arms = {"a": arm(*[BOTH] * 10), "b": [arm(*[BOTH] * 10), arm(*[NONE] * 10)]}
    row = judged(arms)["b"]
    assert (row["arm"], row["lower_limit"], row["worse"]) == (0.5, 0.0, None)
    assert row["p"] == 0.5**10
    assert judged({**arms, "b": [arm(*[NONE] * 10)] * 2})["b"]["worse"] is True


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"level": "organ"}, "must be one of voxel, slice, lesion, patient. Got 'organ'"),
        ({"margin": -0.1}, r"must be a rate in \[0, 1\)"),
        ({"margin": 2.0}, r"perhaps .02 for 2 points"),
        ({"detect": 0.0}, r"must be a rate in \(0, 1\]. Got 0"),
        ({"margin": 0.5, "detect": 0.5}, r"together must lie below 1"),
        ({"confidence": 95.0}, r"must lie in \[.5, 1\). Got 95"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(Gate(), **change)
