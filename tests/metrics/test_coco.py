"""COCO's mask AP and AR: by hand, and against pycocotools' own way from masks on small pictures."""

import contextlib
import io
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from missrate.core import catalog
from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.quantise import level_of
from missrate.core.types import Matching
from missrate.evaluate.blocks import NO_SCORES, NO_VOXELS, Cohort, block, shelf
from tests.drawn import OVERLAP, case, measured
from tests.metrics.test_by_score import points

pytest.importorskip("pycocotools", reason="COCO metrics need pycocotools")

LOW = level_of(0.1)
AP, AR = "coco_average_precision", "coco_average_recall"
EIGHT = np.ones((3, 3))
Picture = tuple[NDArray[np.bool_], NDArray[np.float64]]


def metric(name: str) -> ModuleType:
    return catalog.load("metrics", name)


def both(cases: list[CaseStatistics], rule: Matching = OVERLAP, at: int = LOW) -> list[Any]:
    return [metric(name).measure(cases, at, rule, None) for name in (AP, AR)]


# --- by hand --------------------------------------------------------------------------------------------------------


def test_half_overlap_counts_at_one_threshold_of_ten() -> None:
    # IoU 2/3 = .667: a match at .50, .55, .60 and .65, so AP and AR are 4 / 10.
    assert both([case("###...", ".99...")]) == pytest.approx([0.4, 0.4])
    # IoU 1/2 is enough at .50.
    assert both([case("##....", ".9....")]) == both([case("##....", "9.....")]) == pytest.approx([0.1, 0.1])


def test_101_recalls_by_hand() -> None:
    # Two lesions; score .9 finds one, .7 is false, .5 finds the other. Precision 1 up to recall .5 (51 of the 101
    # points 0, .01, ..., 1), then 2/3 (50 points).
    assert both([case("#...#", "9.7.5")]) == pytest.approx([(51 + 50 * 2 / 3) / 101, 1.0])
    # One lesion never found: recall 1/2 is reached by 51 points.
    assert both([case("#...#", "9....")]) == pytest.approx([51 / 101, 0.5])


def test_a_detection_in_a_healthy_scan_is_a_false_positive() -> None:
    healthy = case("......", "...9..", "h")
    assert both([case("##....", "55....", "a"), healthy]) == pytest.approx([0.5, 1.0])
    assert both([healthy]) == [None, None]


def test_only_a_hundred_candidates_of_a_scan_count() -> None:
    many = case("#" + "." * 239, "1" + ".9" * 100 + "." * 39)
    fewer = case("#" + "." * 239, "1" + ".9" * 99 + "." * 41)
    assert both([many]) == [0.0, 0.0]
    assert both([fewer]) == pytest.approx([0.01, 1.0])


def test_the_level_and_the_least_volume_decide_what_the_candidates_are() -> None:
    # At .1 the candidate has 4 voxels (IoU 1/2), at .5 two (IoU 1).
    growing = case("##....", "9911..")
    assert both([growing]) == pytest.approx([0.1, 0.1])
    assert both([growing], at=level_of(0.5)) == pytest.approx([1.0, 1.0])
    # The higher, false candidate of .1 ml does not exist from .2 ml on.
    small = case("##....", "55...9")
    assert both([small]) == pytest.approx([0.5, 1.0])
    assert both([small], Matching(least_volume_ml=0.2)) == pytest.approx([1.0, 1.0])


# --- pycocotools from masks -----------------------------------------------------------------------------------------


def painted(rng: np.random.Generator) -> Picture:
    """Boxes as lesions; candidates are the same boxes moved or shrunk a little, some left out, and a few elsewhere.

    A candidate is flat at a low probability of its own and peaks in one pixel: the order of the peaks is another one.
    """
    reference, probability = np.zeros((48, 48), bool), np.zeros((48, 48))
    scores = rng.permutation(np.arange(4, 20)) / 20
    for k in range(int(rng.integers(0, 5))):
        x, y = 12 * (k // 4) + 2 + 24 * (k % 2), 12 * (k % 4) + 2
        width, height = rng.integers(4, 9, 2)
        reference[x : x + width, y : y + height] = True
        if rng.random() < 0.8:
            dx, dy, shrink = rng.integers(-1, 2), rng.integers(-1, 2), rng.integers(0, 2)
            probability[x + dx : x + dx + width - shrink, y + dy : y + dy + height] = rng.choice([0.12, 0.14, 0.16])
            probability[x + 2, y + 2] = scores[k]
    for k in range(int(rng.integers(0, 4))):
        x, y = 38, 12 * k + 1
        probability[x : x + 4, y : y + 4] = rng.choice([0.12, 0.14, 0.16])
        probability[x, y] = scores[10 + k]
    return reference, probability


def from_masks(pictures: list[Picture]) -> list[float]:
    """AP and AR by pycocotools alone: run lengths, its own IoU, its default sizes and numbers of detections."""
    from pycocotools import mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def components(picture: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
        labels, n = ndimage.label(picture, EIGHT)
        return [labels == k + 1 for k in range(n)]

    def runs(one: NDArray[np.bool_]) -> Any:
        return mask.encode(np.asfortranarray(one.astype(np.uint8)))

    truth, found = COCO(), []
    annotations: list[dict[str, Any]] = []
    for i, (reference, probability) in enumerate(pictures):
        annotations += [
            {"id": 0, "image_id": i, "category_id": 1, "iscrowd": 0, "area": int(one.sum()), "segmentation": runs(one)}
            for one in components(reference)
        ]
        found += [
            {"image_id": i, "category_id": 1, "score": float(probability[one].max()), "segmentation": runs(one)}
            for one in components(probability > 0)
        ]
    for i, annotation in enumerate(annotations):
        annotation["id"] = i + 1
    with contextlib.redirect_stdout(io.StringIO()):
        images = [{"id": i, "height": 48, "width": 48} for i in range(len(pictures))]
        truth.dataset = {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1}]}
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(found), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(judge.stats[0]), float(judge.stats[8])]


@pytest.mark.parametrize("seed", range(12))
def test_the_same_as_from_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = [painted(rng) for _ in range(6)]
    cases = [measured(a[..., None], b[..., None], case=f"c{i}") for i, (a, b) in enumerate(pictures)]
    expected = from_masks(pictures)
    assert 0.0 < expected[0] < 1.0
    assert both(cases) == pytest.approx(expected, abs=1e-12)
    # In whatever order the cases come: ties are settled by their ids.
    assert both(cases[::-1]) == both(cases)


# --- in a summary ---------------------------------------------------------------------------------------------------


def shown(name: str, cases: list[CaseStatistics], levels: list[int]) -> Any:
    member = next(m for m in shelf([AP, AR]) if m.name == name)
    return block(Cohort.of(cases, 20, 0), member, levels, OVERLAP)["cohort"]


def test_each_case_keeps_its_level_and_there_is_no_interval() -> None:
    cases = [case("##....", "9911..", "a"), case("##....", "9911..", "b")]
    one = shown(AP, cases, [LOW, level_of(0.5)])
    # At .50 both are found; at the nine others the first is false and the second found. Both score .9: a comes first,
    # so precision is 1/2 up to recall 1/2.
    assert one["value"] == pytest.approx((1.0 + 9 * 0.5 * 51 / 101) / 10)
    assert (one["ci95"], one["interval_reason"]) == (None, "this metric is not resampled")


def test_only_when_asked_for_and_only_with_scores_and_voxels() -> None:
    assert not {AP, AR} & {m.name for m in shelf()}
    assert shown(AR, [case("#.", "#.", binary=True)], [LOW])["reason"] == NO_SCORES
    assert shown(AR, [points("##..", (0, 0.9))], [LOW])["reason"] == NO_VOXELS
    assert both([points("##..", (0, 0.9))]) == [None, None]


def test_weights_are_whole_numbers() -> None:
    cases = [case("##..", "99..", "a"), case("##..", "....", "b")]
    assert metric(AR).measure(cases, LOW, OVERLAP, {"a": 3.0, "b": 1.0}) == pytest.approx(0.75)
    assert metric(AR).measure_at(cases, [LOW] * 2, OVERLAP, np.array([[1.0, 1.0], [0.0, 2.0]])) == [0.5, 0.0]
    with pytest.raises(InputError, match="whole number"):
        metric(AR).measure(cases, LOW, OVERLAP, {"a": 0.5, "b": 1.0})


def test_without_the_package_the_error_names_it_and_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(InputError, match=r"package pycocotools.*missrate\[coco\]"):
        both([case("##..", "99..")])
