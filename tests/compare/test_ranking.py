"""Ranks over resamples, who cannot be told from the top arm, and every pair of arms: by hand."""

from itertools import combinations

import pytest

from missrate.compare.arms import NULL_ARMS
from missrate.compare.paired import adjust_family
from missrate.compare.pairs import MAIN
from missrate.core.ranks import drawn_patients
from missrate.core.resampling import holm
from missrate.predict import null
from tests.compare.arms import BOTH, LARGE, NONE, arm, compared

ARMS = {"a": arm(*[BOTH] * 8), "b": arm(*[BOTH] * 7, LARGE), "c": arm(*[NONE] * 8)}


def test_ranks_by_hand() -> None:
    lesion = compared(ARMS)["ranks"]["lesion_miss_rate"]
    # a misses nothing, b one lesion of the last patient, c all. Whoever draws that patient sees a before b; the others
    # see both first, half each. c is always last.
    share_of_ties = float((drawn_patients(8, 200, 0)[:, 7] == 0).mean())
    assert 0.2 < share_of_ties < 0.5  # (7/8)**8 = .34
    assert (lesion["average"], lesion["better"], lesion["top"]) == ("pooled", "lower", ["a"])
    assert lesion["top_stays"] == pytest.approx(1 - share_of_ties / 2)
    assert lesion["arms"]["a"] == {"rank": 1, "ci95": [1, 1], "first": pytest.approx(1 - share_of_ties / 2)}
    assert lesion["arms"]["b"] == {"rank": 2, "ci95": [1, 2], "first": pytest.approx(share_of_ties / 2)}
    assert lesion["arms"]["c"] == {"rank": 3, "ci95": [3, 3], "first": 0.0}
    # b differs from a in one patient only (p = 1); c in all eight (2 / 2**8, twice that by Holm).
    assert (lesion["inseparable"], lesion["others"], lesion["resamples_undefined"]) == (1, 2, 0)


def test_more_is_better_for_dice_and_every_level_is_ranked() -> None:
    ranks = compared(ARMS)["ranks"]
    assert set(ranks) == {"dice", "voxel_miss_rate", "slice_miss_rate", "lesion_miss_rate", "patient_miss_rate"}
    assert (ranks["dice"]["average"], ranks["dice"]["better"]) == ("case_mean", "higher")
    assert [ranks["dice"]["arms"][name]["rank"] for name in "abc"] == [1, 2, 3]
    # No patient is missed by a or b: both are first, and neither is told from the other.
    patient = ranks["patient_miss_rate"]
    assert ([patient["arms"][name]["rank"] for name in "abc"], patient["top"]) == ([1, 1, 3], ["a", "b"])
    assert (patient["top_stays"], patient["inseparable"]) == (1.0, 1)


def test_null_arms_take_no_rank_and_order_does_not_matter() -> None:
    assert NULL_ARMS == null.NULL_ARMS
    with_null = {"nothing": ARMS["c"], **ARMS, "everything": arm(*["#" * 8] * 8)}
    ranks = compared(with_null)["ranks"]
    assert set(ranks["dice"]["arms"]) == {"a", "b", "c"}
    assert ranks == compared(ARMS)["ranks"]
    assert compared({name: ARMS[name] for name in "cba"})["ranks"] == ranks
    healthy = arm("9...", reference="....")
    assert compared({"a": healthy, "b": healthy})["ranks"]["lesion_miss_rate"]["inseparable"] is None


def test_all_pairs_are_corrected_over_all_pairs() -> None:
    assert compared(ARMS)["all_pairs"] is None
    result = compared(ARMS, pairs="all")
    rows = result["all_pairs"]
    assert [(row["arm"], row["other"], row["metric"]) for row in rows] == [
        (a, b, metric) for metric in MAIN for a, b in combinations("abc", 2)
    ]
    lesion = {(row["arm"], row["other"]): row for row in rows if row["metric"] == "lesion_miss_rate"}
    assert [lesion[pair]["difference"] for pair in lesion] == [-1 / 16, -1.0, -15 / 16]
    # One discordant patient p = 1; eight of them 2/256, thrice and twice that.
    assert [lesion[pair]["p"] for pair in lesion] == [1.0, 2 / 256, 2 / 256]
    assert [lesion[pair]["p_holm"] for pair in lesion] == [1.0, 6 / 256, 6 / 256]
    assert [lesion[pair]["separable"] for pair in lesion] == [False, True, True]
    assert lesion["a", "b"]["attainable"] is False
    # The comparisons with the reference arm are the same differences with the other sign.
    against = result["comparisons"]["c"]["metrics"]["lesion_miss_rate"]["pooled"]
    assert (against["p"], against["p_holm"]) == (2 / 256, 4 / 256)
    assert [-end for end in against["ci95"][::-1]] == pytest.approx(lesion["a", "c"]["ci95"])
    assert result["comparisons"] == compared(ARMS)["comparisons"]


def test_pairs_agree_with_the_comparisons_where_patterns_are_drawn() -> None:
    # Twenty patients who all differ: too many to enumerate.
    arms = {"a": arm(*[BOTH, LARGE] * 10), "b": arm(*[LARGE, BOTH] * 10), "c": arm(*[NONE, BOTH] * 10)}
    result = compared(arms, pairs="all")
    for row in result["all_pairs"]:
        if row["arm"] != "a" or row["metric"] == "patient_miss_rate":
            continue
        block = result["comparisons"][row["other"]]["metrics"][row["metric"]][row["average"]]
        assert row["p"] == pytest.approx(block["p"], abs=0.02)
        assert row["difference"] == pytest.approx(-block["difference"])


def test_a_family_is_adjusted_together() -> None:
    blocks = [{"p": p, "least_p": 0.001, "ci95": [0.1, 0.2]} for p in (0.01, None, 0.03)]
    adjust_family(blocks)
    assert [block["p_holm"] for block in blocks] == [*holm([0.01, 0.03])[:1], None, 0.03]
    assert [block["separable"] for block in blocks] == [True, False, True]
