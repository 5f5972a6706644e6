"""Part of the COCO metrics: pycocotools matches, accumulates and interpolates; only the overlaps come from the tree.

A scan is an "image", a lesion an instance, a candidate a detection whose score is its highest level. IoU thresholds are
.50 to .95 in steps of .05, at most 100 detections per scan, all sizes, no crowds.
"""

import contextlib
import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.matching import large_enough
from missrate.core.quantise import threshold_of
from missrate.core.sweep import Floats
from missrate.core.types import Matching

MOST_DETECTIONS = 100
_CATEGORY = 1
_ALL_SIZES = [0.0, np.inf]


@dataclass(frozen=True, slots=True)
class Averages:
    """COCO's AP and AR, over the IoU thresholds."""

    precision: float
    recall: float


def averages(
    cases: list[CaseStatistics], levels: list[int], matching: Matching, weight_per_patient: dict[str, float] | None
) -> Averages | None:
    """AP and AR of the candidates at each case's level; None without lesions, scores or voxels of candidates.

    COCO settles ties of score by the order of images: that of the case ids. ``matching`` gives the least volume only. A
    weight must be a whole number: so often its patient's scans come. Raises InputError for no cases, another
    weight, a level at which the candidates are not known, and where pycocotools is not installed.
    """
    if not cases:
        raise InputError("A cohort must hold at least one case. Got none.")
    if any(case.kind != "probability" for case in cases):
        return None
    pairs = sorted(zip(cases, levels, strict=True), key=lambda pair: pair[0].case_id)
    times = [_times(case, weight_per_patient) for case, _ in pairs]
    if sum(case.lesion_peak.size * n for (case, _), n in zip(pairs, times, strict=True)) == 0:
        return None
    judge = _judge()
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
        images = [_image(judge, i, case, level, matching) for i, (case, level) in enumerate(pairs)]
        judge.evalImgs = [image for image, n in zip(images, times, strict=True) for _ in range(n)]
        judge.params.imgIds = list(range(len(judge.evalImgs)))
        judge._paramsEval = copy.deepcopy(judge.params)
        judge.accumulate()
    return Averages(float(judge.eval["precision"].mean()), float(judge.eval["recall"].mean()))


def averages_at(
    cases: list[CaseStatistics], levels: list[int], matching: Matching, weights_BP: Floats
) -> list[Averages | None]:
    """``averages`` under many weightings of the patients (sorted)."""
    patients = sorted({case.patient_id for case in cases})
    return [averages(cases, levels, matching, dict(zip(patients, each, strict=True))) for each in weights_BP.tolist()]


def _times(case: CaseStatistics, weight_per_patient: dict[str, float] | None) -> int:
    weight = 1.0 if weight_per_patient is None else weight_per_patient[case.patient_id]
    if weight != int(weight) or weight < 0.0:
        raise InputError(f"A weight for COCO must be a whole number. Got {weight:g} for patient {case.patient_id}.")
    return int(weight)


def _judge() -> Any:
    """A COCOeval that knows no file. Raises InputError where pycocotools is not installed."""
    try:
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise InputError(
            "COCO metrics must have the package pycocotools. Got an environment without it; perhaps install "
            "missrate[coco]."
        ) from error
    judge = COCOeval(iouType="segm")
    judge.params.catIds = [_CATEGORY]
    judge.params.areaRng, judge.params.areaRngLbl = [_ALL_SIZES], ["all"]
    judge.params.maxDets = [MOST_DETECTIONS]
    return judge


def _image(judge: Any, image: int, case: CaseStatistics, level: int, matching: Matching) -> Any:
    """What pycocotools says of one scan, whose overlaps it is given instead of masks."""
    tree = case.tree_at(level)
    rows = tree.standing(level)
    rows = rows[large_enough(case, tree.voxels[rows], matching)]
    rows = rows[np.argsort(-tree.peak[rows].astype(np.int64), kind="stable")[:MOST_DETECTIONS]]
    key = image, _CATEGORY
    judge._gts[key] = _instances(case.lesions.voxels)
    judge._dts[key] = _instances(tree.voxels[rows], [threshold_of(int(peak)) for peak in tree.peak[rows]])
    candidate, lesion, shared = tree.pairs(rows)
    iou_CL = np.zeros((rows.size, case.lesion_peak.size))
    iou_CL[candidate, lesion] = shared / (case.lesions.voxels[lesion] + tree.voxels[rows[candidate]] - shared)
    judge.ious[key] = iou_CL if iou_CL.size else []
    return judge.evaluateImg(image, _CATEGORY, _ALL_SIZES, MOST_DETECTIONS)


def _instances(voxels: NDArray[np.int64], scores: Sequence[float] = ()) -> list[dict[str, Any]]:
    """Annotations as pycocotools keeps them; ids begin with 1 because it takes a match with 0 for none."""
    area = [float(n) for n in voxels]
    result: list[dict[str, Any]] = [{"id": i + 1, "area": n, "ignore": 0, "iscrowd": 0} for i, n in enumerate(area)]
    for annotation, score in zip(result, scores, strict=False):
        annotation["score"] = score
    return result
