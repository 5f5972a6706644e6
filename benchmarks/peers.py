"""What other tools offer for each task, called as their documentation says, on the same arrays.

A peer's module is imported when its function is first called, so that a missing one is "not installed" and nothing
else. Each entry says what the peer answers: rarely the whole of what the task asks.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.plain import TOLERANCE_MM
from benchmarks.volumes import Case, Patients

from benchmarks import plain

THRESHOLD, RESAMPLES = 0.5, 2000
LEVELS_K = np.arange(600, 60_000, 60)
"""The 990 levels .010, .011, ..., .999 of the task of lesions at every threshold."""
SAMPLED_K = LEVELS_K[::99]
"""The ten of them on which a peer that takes seconds for each is measured, and the rest inferred."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One tool's answer to one task. Its time is multiplied by ``scale`` where it was asked for a part of the work."""

    run: Callable[[Any], Any]
    answers: str
    scale: float = 1.0


def _predicted(case: Case, threshold: float = THRESHOLD) -> Any:
    return case.probability_XYZ >= np.float32(threshold)


def _tensor(array: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))[None, None]


def counts_medpy(case: Case) -> Any:
    from medpy.metric import binary

    predicted, reference = _predicted(case), case.reference_XYZ.view(np.bool_)
    return binary.precision(predicted, reference), binary.recall(predicted, reference)


def counts_nnunet(case: Case) -> Any:
    from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn

    return compute_tp_fp_fn_tn(case.reference_XYZ.view(np.bool_), _predicted(case))


def counts_monai(case: Case, threshold: float = THRESHOLD) -> Any:
    from monai.metrics.confusion_matrix import get_confusion_matrix

    return get_confusion_matrix(_tensor(_predicted(case, threshold)), _tensor(case.reference_XYZ))


def counts_torchmetrics(case: Case) -> Any:
    import torch
    from torchmetrics.functional.classification import binary_stat_scores

    return binary_stat_scores(
        torch.from_numpy(case.probability_XYZ), torch.from_numpy(case.reference_XYZ), threshold=THRESHOLD
    )


def counts_sklearn(case: Case) -> Any:
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(case.reference_XYZ.ravel(), _predicted(case).ravel())


def curve_torchmetrics(case: Case) -> Any:
    import torch
    from torchmetrics.functional.classification import binary_precision_recall_curve

    probability, reference = torch.from_numpy(case.probability_XYZ), torch.from_numpy(case.reference_XYZ)
    return binary_precision_recall_curve(probability.ravel(), reference.ravel())


def curve_sklearn(case: Case) -> Any:
    from sklearn.metrics import precision_recall_curve

    return precision_recall_curve(case.reference_XYZ.ravel(), case.probability_XYZ.ravel())


def curve_monai(case: Case) -> Any:
    return [counts_monai(case, t) for t in np.linspace(0.1, 0.9, 5)]


def matching_cc3d(case: Case, threshold: float = THRESHOLD) -> Any:
    import cc3d

    lesions, count = cc3d.connected_components(case.reference_XYZ, connectivity=26, return_N=True)
    candidates, found = cc3d.connected_components(_predicted(case, threshold), connectivity=26, return_N=True)
    both = (lesions > 0) & (candidates > 0)
    pairs, shared = np.unique(np.stack([lesions[both], candidates[both]]), axis=1, return_counts=True)
    voxels = np.bincount(lesions.ravel(), minlength=count + 1), np.bincount(candidates.ravel(), minlength=found + 1)
    return pairs, shared / (voxels[0][pairs[0]] + voxels[1][pairs[1]] - shared)


def _panoptica(global_metrics: list[Any]) -> Any:
    from panoptica import (
        ConnectedComponentsInstanceApproximator,
        InputType,
        MaxBipartiteMatching,
        Metric,
        Panoptica_Evaluator,
    )
    from panoptica.utils.citation_reminder import disable_citation_reminder

    disable_citation_reminder()
    return Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=MaxBipartiteMatching(matching_threshold=0.1),
        instance_metrics=[Metric.IOU],
        global_metrics=global_metrics,
    )


def matching_panoptica(case: Case, threshold: float = THRESHOLD) -> Any:
    predicted = _predicted(case, threshold).view(np.uint8)
    result = _panoptica([]).evaluate(predicted, case.reference_XYZ, result_all=False, voxelspacing=case.spacing_mm)
    return result["ungrouped"].tp, result["ungrouped"].fp, result["ungrouped"].fn


def matching_picai(case: Case, threshold: float = THRESHOLD) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        from picai_eval.eval import evaluate_case

    return evaluate_case(_predicted(case, threshold).astype(np.float32), case.reference_XYZ)


def lesions_in_one_box(case: Case) -> Any:
    return plain.lesions_in_one_box(case.reference_XYZ, case.probability_XYZ, LEVELS_K)


def lesions_cc3d(case: Case) -> Any:
    return [matching_cc3d(case, level / 60_000) for level in SAMPLED_K]


def lesions_panoptica(case: Case) -> Any:
    return [matching_panoptica(case, level / 60_000) for level in SAMPLED_K]


def lesions_picai(case: Case) -> Any:
    return [matching_picai(case, level / 60_000) for level in SAMPLED_K]


def surfaces_monai(case: Case) -> Any:
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    masks = _tensor(_predicted(case)), _tensor(case.reference_XYZ)
    common: dict[str, Any] = {"include_background": True, "spacing": case.spacing_mm}
    hd95 = compute_hausdorff_distance(*masks, percentile=95, **common)
    return hd95, compute_surface_dice(*masks, class_thresholds=[TOLERANCE_MM], **common)


def surfaces_google(case: Case) -> Any:
    import surface_distance

    found = surface_distance.compute_surface_distances(
        case.reference_XYZ.view(np.bool_), _predicted(case), case.spacing_mm
    )
    hd95 = surface_distance.compute_robust_hausdorff(found, 95)
    return hd95, surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE_MM)


def surfaces_edt(case: Case) -> Any:
    import edt
    from benchmarks.plain import border

    borders = [border(mask) for mask in (case.reference_XYZ.view(np.bool_), _predicted(case))]
    far = [edt.edt(~borders[k], anisotropy=case.spacing_mm, parallel=1)[borders[1 - k]] for k in (0, 1)]
    return max(np.percentile(d, 95) for d in far), np.mean(np.concatenate(far) <= TOLERANCE_MM)


def surfaces_medpy(case: Case) -> Any:
    from medpy.metric import binary

    return binary.hd95(_predicted(case), case.reference_XYZ, voxelspacing=case.spacing_mm)


def surfaces_panoptica(case: Case) -> Any:
    from panoptica import Metric

    result = _panoptica([Metric.HD95, Metric.NSD]).evaluate(
        _predicted(case).view(np.uint8), case.reference_XYZ, result_all=False, voxelspacing=case.spacing_mm
    )["ungrouped"]
    return result.global_bin_hd95, result.global_bin_nsd


def bootstrap_picai(patients: Patients) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        from picai_eval.metrics import Metrics

    score_P = (patients.inside_PK > 0.0).mean(axis=1) / 2 + (patients.outside_PK > 0.0).mean(axis=1) / 2
    rows = {str(p): [(int(patients.reference_P[p] > 0), float(s), 0.5)] for p, s in enumerate(score_P)}
    return Metrics(rows).bootstrap_score_ci(n_bootstraps=RESAMPLES, seed=0)


PEERS: dict[str, dict[str, Peer]] = {
    "counts": {
        "medpy": Peer(counts_medpy, "precision and recall; 0 where they are 0/0"),
        "nnU-Net": Peer(counts_nnunet, "the four counts"),
        "MONAI": Peer(counts_monai, "the four counts"),
        "torchmetrics": Peer(counts_torchmetrics, "the four counts; predicted is p > t"),
        "scikit-learn": Peer(counts_sklearn, "the four counts"),
    },
    "curve": {
        "torchmetrics": Peer(curve_torchmetrics, "precision and recall at every value that occurs"),
        "scikit-learn": Peer(curve_sklearn, "precision and recall at every value that occurs"),
        "MONAI": Peer(curve_monai, "the four counts, threshold by threshold: 100 thresholds, from 5", 20.0),
    },
    "matching": {
        "cc3d": Peer(matching_cc3d, "components and the IoU of each pair; no matching"),
        "panoptica": Peer(matching_panoptica, "TP, FP, FN one to one, IoU >= .1; a second candidate is an FP"),
        "picai_eval": Peer(matching_picai, "lesions and candidates one to one, IoU >= .1"),
    },
    "lesions": {
        "plain in one box": Peer(lesions_in_one_box, "all of it: the plain code without its islands"),
        "cc3d": Peer(lesions_cc3d, "as at one threshold: 990 levels, from 10", 99.0),
        "panoptica": Peer(lesions_panoptica, "as at one threshold: 990 levels, from 10", 99.0),
        "picai_eval": Peer(lesions_picai, "as at one threshold: 990 levels, from 10", 99.0),
    },
    "surfaces": {
        "MONAI": Peer(surfaces_monai, "HD95 directed maximum, NSD by border voxels: as ours"),
        "edt": Peer(surfaces_edt, "the transform alone, uncropped; the rest is ours"),
        "surface-distance": Peer(surfaces_google, "HD95 and NSD by surface elements"),
        "medpy": Peer(surfaces_medpy, "HD95 of both directions pooled; no NSD"),
        "panoptica": Peer(surfaces_panoptica, "HD95 and NSD without the spacing"),
    },
    "bootstrap": {
        "picai_eval": Peer(bootstrap_picai, "intervals of AUROC and lesion average precision; none along a curve"),
    },
    "everything": {},
}
