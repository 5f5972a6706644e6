"""Arms of several seeds: the estimate is the mean, the interval draws a seed, and nothing is pooled."""

import pytest

from missrate.compare import markdown
from missrate.compare.arms import Given
from missrate.core.errors import InputError
from missrate.core.types import OperatingPoint
from tests.compare.arms import BOTH, HALF, LARGE, NONE, arm, compared

ONE, ALL = arm(*[LARGE] * 8), arm(*[NONE] * 8)
REFERENCE = arm(*[BOTH] * 8)
SEEDS: dict[str, Given] = {"a": REFERENCE, "b": [ONE, ALL]}


def test_the_estimate_is_the_mean_over_seeds_and_the_spread_stands_beside_it() -> None:
    result = compared(SEEDS)
    rate = result["rates"]["b"]["lesion_miss_rate"]
    # Half of the lesions and all of them, in every patient.
    assert (rate["value"], rate["seeds"]["values"]) == (0.75, [0.5, 1.0])
    # Draws are .5 or 1; an unseen patient with none missed lowers .5 to .5 * .05 ** (1 / 8) in .025 of all draws.
    assert rate["ci95"] == [pytest.approx(0.5 * 0.05 ** (1 / 8), abs=0.05), 1.0]
    assert rate["seeds"]["spread"] == {"low": 0.5, "high": 1.0, "sd": pytest.approx(0.25 * 2**0.5)}
    block = result["comparisons"]["b"]["metrics"]["lesion_miss_rate"]["pooled"]
    assert block["difference"] == 0.75
    assert 0.0 < block["ci95"][0] < 0.5
    assert block["ci95"][1] == pytest.approx(1.0, abs=0.01)
    # Swapped within patients as means over seeds: 1.5 of 2 lesions in each of eight.
    assert (block["p"], block["separable"]) == (2 / 256, True)
    assert "seeds" not in result["rates"]["a"]["lesion_miss_rate"]
    assert result["seeds"] == {"a": 1, "b": 2}


def test_mcnemar_stands_for_each_seed_and_three_trainings_are_not_more_patients() -> None:
    comparison = compared(SEEDS)["comparisons"]["b"]
    assert "patients" not in comparison
    first, second = (each["patients"] for each in comparison["by_seed"])
    assert (first["missed_by_arm_only"], first["p"]) == (0, 1.0)
    assert (second["missed_by_arm_only"], second["p"]) == (8, 2 / 256)
    assert second["missed_by_arm_only"] + second["missed_by_neither"] == 8
    thrice = compared({"a": REFERENCE, "b": [ALL] * 3})["comparisons"]["b"]["metrics"]["lesion_miss_rate"]["pooled"]
    once = compared({"a": REFERENCE, "b": ALL})["comparisons"]["b"]["metrics"]["lesion_miss_rate"]["pooled"]
    assert thrice["p"] == once["p"]
    assert thrice["ci95"] == once["ci95"]


def test_seeds_that_do_not_pair_up_say_so() -> None:
    three: dict[str, Given] = {"a": [REFERENCE] * 2, "b": [ONE] * 3}
    comparison = compared(three)["comparisons"]["b"]
    assert comparison["by_seed"] == []
    assert comparison["by_seed_reason"] == "b has 3 seeds and a 2: they do not pair up"


def test_a_difference_within_the_spread_over_seeds_is_not_separable() -> None:
    # One seed misses nothing: half of the draws show no difference, whatever the test of the mean says.
    block = compared({"a": REFERENCE, "b": [REFERENCE, ALL]})["comparisons"]["b"]["metrics"]["lesion_miss_rate"]
    assert block["pooled"]["p"] == 2 / 256
    assert block["pooled"]["ci95"][0] < 0.0 < 0.9 < block["pooled"]["ci95"][1]
    assert block["pooled"]["separable"] is False


def test_what_belongs_to_one_training_is_shown_for_each() -> None:
    result = compared(SEEDS)
    assert set(result["curves"]) == {"a", "b seed 1", "b seed 2"}
    assert set(result["matched"]["by_false_positives_per_scan"]) == {"a", "b seed 1", "b seed 2"}
    assert "50.0 to 100.0" in markdown.table(result)
    assert result["ranks"]["lesion_miss_rate"]["arms"]["b"]["rank"] == 2
    rows = {row["metric"]: row for row in compared(SEEDS, pairs="all")["all_pairs"]}
    assert rows["lesion_miss_rate"]["difference"] == -0.75
    assert rows["patient_miss_rate"]["difference"] == -0.5


def test_one_seed_in_a_list_is_one_seed() -> None:
    plain, listed = compared({"a": REFERENCE, "b": ONE}), compared({"a": [REFERENCE], "b": [ONE]})
    assert plain == listed


def test_each_seed_may_have_its_own_point_and_all_must_hold_the_same_cases() -> None:
    low = OperatingPoint("low", {None: 0.95}, "fixed")
    result = compared({"a": REFERENCE, "b": [REFERENCE, REFERENCE]}, points={"a": HALF, "b": [HALF, low]})
    assert result["rates"]["b"]["lesion_miss_rate"]["seeds"]["values"] == [0.0, 1.0]
    assert [point["name"] for point in result["points"]["b"]] == ["half", "low"]
    with pytest.raises(InputError, match=r"Arm b must have one operating point a seed\. Got 1 for 2"):
        compared(SEEDS, points={"a": HALF, "b": [HALF]})
    with pytest.raises(InputError, match="b seed 2 and a differ in c7"):
        compared({"a": REFERENCE, "b": [ONE, ALL[:7]]})
    with pytest.raises(InputError, match="same reference"):
        compared({"a": REFERENCE, "b": [ONE, arm(*[NONE] * 8, reference="##...#..")]})


def test_one_training_applied_in_two_ways_draws_one_seed_for_both() -> None:
    both: dict[str, Given] = {"a": [REFERENCE, ALL], "b": [REFERENCE, ALL]}

    def interval(**trained: str) -> list[float]:
        found = compared(both, trained=trained)["comparisons"]["b"]["metrics"]["lesion_miss_rate"]["pooled"]["ci95"]
        return list(found)

    assert interval()[1] - interval()[0] > 1.9
    # Nothing differs but on an unseen patient: 1 - .025 ** (1 / 8) either way.
    assert interval(a="a", b="a") == pytest.approx([-(1 - 0.025 ** (1 / 8)), 1 - 0.025 ** (1 / 8)], abs=0.06)
