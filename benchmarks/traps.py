"""What other tools answer where an answer is easily wrong: each installed one beside the right answer.

Usage: python -m benchmarks.traps. Prints the versions and a Markdown table. An answer that is an exception is its name
and how its message begins; a tool that does not answer the question at all is not asked. Some answers depend on numpy:
since it returns its own integers from ``count_nonzero``, medpy's 0/0 is nan and no longer the 0 or 1 that it means.
"""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.evaluation import machine
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
SHAPE = (12, 12, 6)
SPACING_MM = (1.0, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class Trap:
    """A question, what is right, and how each tool is asked."""

    question: str
    right: str
    asked: dict[str, Callable[[], Any]]


def mask(*corners: tuple[slice, slice, slice]) -> Mask:
    """An empty grid with these boxes filled."""
    filled = np.zeros(SHAPE, bool)
    for corner in corners:
        filled[corner] = True
    return filled


EMPTY = mask()
VOXEL = mask((slice(1, 2), slice(1, 2), slice(1, 2)))
LESION = mask((slice(4, 7), slice(4, 7), slice(2, 4)))
CORNERS = mask((slice(1, 2), slice(1, 2), slice(1, 2)), (slice(2, 3), slice(2, 3), slice(2, 3)))
# One plate against three: of the prediction's border voxels (100 + 36 + 100: the middle plate's inner ones are none)
# 42 % lie two slices from the reference, so that the 95th percentile is that distance whatever is pooled.
PLATE = mask((slice(1, 11), slice(1, 11), slice(1, 2)))
PLATES = mask((slice(1, 11), slice(1, 11), slice(1, 4)))
WHOLE = np.ones(SHAPE, bool)


def tensor(array: Mask) -> Any:
    """With the two axes that MONAI wants in front."""
    import torch

    return torch.from_numpy(array.astype(np.float32))[None, None]


def dices(reference: Mask, prediction: Mask) -> dict[str, Callable[[], Any]]:
    """Every tool's Dice."""
    return {
        "surface-distance": lambda: dice_google(reference, prediction),
        "nnU-Net": lambda: nnunet(reference, prediction)["Dice"],
        "MONAI": lambda: dice_monai(reference, prediction),
        "torchmetrics": lambda: dice_torchmetrics(reference, prediction),
        "scikit-learn": lambda: sklearn("f1_score", reference, prediction),
        "medpy": lambda: medpy("dc", reference, prediction),
        "panoptica": lambda: panoptica(reference, prediction, "global_bin_dsc"),
        "picai_eval": lambda: dice_picai(reference, prediction),
    }


def dice_google(reference: Mask, prediction: Mask) -> Any:
    import surface_distance

    return surface_distance.compute_dice_coefficient(reference, prediction)


def dice_monai(reference: Mask, prediction: Mask) -> Any:
    from monai.metrics import compute_dice

    return compute_dice(tensor(prediction), tensor(reference)).item()


def dice_torchmetrics(reference: Mask, prediction: Mask) -> Any:
    import torch
    from torchmetrics.functional.classification import binary_f1_score

    return binary_f1_score(torch.from_numpy(prediction).int(), torch.from_numpy(reference).int()).item()


def dice_picai(reference: Mask, prediction: Mask) -> Any:
    from picai_eval.analysis_utils import calculate_dsc

    return calculate_dsc(prediction.astype(np.float32), reference.astype(np.int32))


def nnunet(reference: Mask, prediction: Mask) -> Any:
    """Its metrics of one case, by a reader that hands out arrays."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics

    class Arrays:
        def read_seg(self, name: str) -> tuple[NDArray[np.uint8], dict[str, Any]]:
            return (reference if name == "reference" else prediction).astype(np.uint8), {}

    return compute_metrics("reference", "prediction", Arrays(), [1])["metrics"][1]


def sklearn(name: str, reference: Mask, prediction: Mask) -> Any:
    import sklearn.metrics

    return getattr(sklearn.metrics, name)(reference.ravel(), prediction.ravel())


def medpy(name: str, reference: Mask, prediction: Mask, **options: Any) -> Any:
    from medpy.metric import binary

    return getattr(binary, name)(prediction, reference, **options)


def panoptica(reference: Mask, prediction: Mask, name: str, spacing: tuple[float, float, float] | None = None) -> Any:
    from benchmarks.peers import _panoptica
    from panoptica import Metric

    metric = Metric.HD95 if name == "global_bin_hd95" else Metric.DSC
    result = _panoptica([metric]).evaluate(
        prediction.astype(np.uint8), reference.astype(np.uint8), result_all=False, voxelspacing=spacing
    )
    return getattr(result["ungrouped"], name)


def recalls(reference: Mask, prediction: Mask) -> dict[str, Callable[[], Any]]:
    """Every tool's recall."""

    def torchmetrics() -> Any:
        import torch
        from torchmetrics.functional.classification import binary_recall

        return binary_recall(torch.from_numpy(prediction).int(), torch.from_numpy(reference).int()).item()

    def curve() -> Any:
        return sklearn("precision_recall_curve", reference, prediction)[1].tolist()

    def monai() -> Any:
        from monai.metrics.confusion_matrix import compute_confusion_matrix_metric, get_confusion_matrix

        counts = get_confusion_matrix(tensor(prediction), tensor(reference))
        return compute_confusion_matrix_metric("sensitivity", counts).item()

    return {
        "torchmetrics": torchmetrics,
        "scikit-learn": lambda: sklearn("recall_score", reference, prediction),
        "scikit-learn's curve": curve,
        "medpy": lambda: medpy("recall", reference, prediction),
        "MONAI": monai,
    }


def hd95s(reference: Mask, prediction: Mask, spacing: tuple[float, float, float]) -> dict[str, Callable[[], Any]]:
    """Every tool's HD95."""

    def monai() -> Any:
        from monai.metrics import compute_hausdorff_distance

        both, options = (tensor(prediction), tensor(reference)), {"include_background": True, "spacing": spacing}
        return compute_hausdorff_distance(*both, percentile=95, **options).item()

    def google() -> Any:
        import surface_distance as sd

        return sd.compute_robust_hausdorff(sd.compute_surface_distances(reference, prediction, spacing), 95)

    return {
        "MONAI": monai,
        "surface-distance": google,
        "medpy": lambda: medpy("hd95", reference, prediction, voxelspacing=spacing),
        "panoptica": lambda: panoptica(reference, prediction, "global_bin_hd95", spacing),
    }


def hd95_mean_monai() -> Any:
    """The mean over a case that is met exactly and one that is missed altogether."""
    from monai.metrics import HausdorffDistanceMetric

    metric = HausdorffDistanceMetric(include_background=True, percentile=95)
    for prediction in (LESION, EMPTY):
        metric(tensor(prediction), tensor(LESION))
    return metric.aggregate().item()


def dice_mean_monai() -> Any:
    """The mean over a case that is met exactly and a healthy one with a false alarm."""
    from monai.metrics import DiceMetric

    metric = DiceMetric()
    for reference, prediction in ((LESION, LESION), (EMPTY, VOXEL)):
        metric(tensor(prediction), tensor(reference))
    return metric.aggregate().item()


def lesion_counts() -> dict[str, Callable[[], Any]]:
    """How many lesions two voxels that touch at a corner are."""

    def scipy() -> Any:
        from scipy import ndimage

        return ndimage.label(CORNERS)[1]

    def simpleitk() -> Any:
        import SimpleITK as sitk  # noqa: N813

        found = sitk.ConnectedComponent(sitk.GetImageFromArray(CORNERS.astype(np.uint8)))
        return int(sitk.GetArrayFromImage(found).max())

    def cc3d() -> Any:
        import cc3d

        return int(cc3d.connected_components(CORNERS).max())

    def skimage() -> Any:
        from skimage.measure import label

        return int(label(CORNERS).max())

    return {
        "scipy": scipy,
        "SimpleITK": simpleitk,
        "cc3d": cc3d,
        "scikit-image": skimage,
        "panoptica": lambda: panoptica(CORNERS, CORNERS, "n_ref_instances"),
        "picai_eval": lambda: len(picai(CORNERS, CORNERS.astype(np.float32))[0]),
    }


def picai(reference: Mask, detection: NDArray[np.float32]) -> Any:
    """Its rows of lesions and candidates, and the case's confidence."""
    from picai_eval.eval import evaluate_case

    return evaluate_case(detection, reference.astype(np.int32))[:2]


def picai_rows(rows: list[tuple[int, float, float]]) -> Any:
    from picai_eval.metrics import Metrics

    return Metrics({"case": rows})


def picai_froc(rows: list[tuple[int, float, float]]) -> Any:
    """Sensitivity at no more than one false positive per scan."""
    return picai_rows(rows).lesion_TPR_at_FPR(1.0)


def monai_froc(alarms: list[float], found: list[float]) -> Any:
    """Mean sensitivity at 1/4, 1/2, 1, 2, 4, 8 false positives per scan; one scan."""
    from monai.metrics.froc import compute_froc_curve_data, compute_froc_score

    return float(compute_froc_score(*compute_froc_curve_data(np.array(alarms), np.array(found), len(found), 1)))


def without_prediction_nnunet() -> Any:
    """Two references, one prediction: how many cases its summary holds."""
    import SimpleITK as sitk  # noqa: N813
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    with tempfile.TemporaryDirectory() as name:
        for folder, cases in (("reference", "ab"), ("prediction", "a")):
            (Path(name) / folder).mkdir()
            for case in cases:
                image = sitk.GetImageFromArray(LESION.astype(np.uint8))
                sitk.WriteImage(image, str(Path(name) / folder / f"{case}.nii.gz"))
        reference, prediction = (str(Path(name) / folder) for folder in ("reference", "prediction"))
        found = compute_metrics_on_folder(reference, prediction, None, SimpleITKIO(), ".nii.gz", [1], num_processes=1)
    return f"mean Dice {found['mean'][1]['Dice']:g} over {len(found['metric_per_case'])} of 2 cases"


def another_shape() -> dict[str, Callable[[], Any]]:
    """A prediction that lacks half of the scan."""
    short = LESION[:6]
    return {
        "picai_eval": lambda: picai(LESION, short.astype(np.float32))[0],
        "nnU-Net": lambda: nnunet(LESION, short)["Dice"],
        "medpy": lambda: medpy("dc", LESION, short),
        "MONAI": lambda: dice_monai(LESION, short),
        "panoptica": lambda: panoptica(LESION, short, "global_bin_dsc"),
        "surface-distance": lambda: dice_google(LESION, short),
    }


def constant_map() -> dict[str, Callable[[], Any]]:
    """One lesion, and a prediction that is .5 everywhere."""
    return {
        "panoptica": lambda: "TP {}, FP {}".format(*(panoptica(LESION, WHOLE, n) for n in ("tp", "fp"))),
        "picai_eval": lambda: picai(LESION, np.full(SHAPE, 0.5, np.float32))[0],
        "MONAI": lambda: f"FROC score {monai_froc([], [0.5])} of its one candidate",
        "scikit-learn": lambda: f"recall {sklearn('recall_score', LESION, WHOLE):g}",
    }


def froc_ends(question: str, right: str, alarms: list[float], found: list[float]) -> Trap:
    """One scan: false alarms and lesions by their scores, 0 for a lesion without a candidate."""
    rows = [(1, s, 0.5 if s else 0.0) for s in found] + [(0, s, 0.0) for s in alarms]
    asked = {"MONAI": lambda: monai_froc(alarms, found), "picai_eval": lambda: picai_froc(rows)}
    return Trap(f"FROC: {question}", right, asked)


def traps() -> list[Trap]:
    """All questions."""
    total_miss = hd95s(LESION, EMPTY, SPACING_MM) | {"MONAI's mean with a case of 0": hd95_mean_monai}
    false_alarm = dices(EMPTY, VOXEL) | {"MONAI's mean with a case of 1": dice_mean_monai}
    return [
        Trap("Dice of two empty masks", "undefined (0/0), counted", dices(EMPTY, EMPTY)),
        Trap("Dice, empty reference, one false voxel", "0, and a false positive that counts (mean .5)", false_alarm),
        Trap("HD95 of a total miss", "undefined, counted as a miss (mean: 0 and 1 missed)", total_miss),
        Trap("recall with an empty reference", "undefined (0/0), counted", recalls(EMPTY, VOXEL)),
        Trap("lesions in two voxels that touch at a corner", "1 (26-connected, stated)", lesion_counts()),
        Trap("a case without a prediction", "shown with its reason", {"nnU-Net": without_prediction_nnunet}),
        Trap("a prediction of another shape", "an error", another_shape()),
        Trap("HD95, a plate that grew by two slices of 2.5 mm", "5 mm", hd95s(PLATE, PLATES, SPACING_MM)),
        Trap("a constant map over one lesion", "864 voxels of false positive beside the find", constant_map()),
        froc_ends("one lesion, found, no false alarm", "1 at every rate", [], [0.9]),
        froc_ends("two lesions, found, no false alarm", "1 at every rate", [], [0.9, 0.8]),
        froc_ends("one lesion found at .9, an alarm at .1", "1 from 0 false positives on", [0.1], [0.9]),
        froc_ends("nothing found, one false alarm", "0", [0.5], [0.0]),
        froc_ends("no candidate at all", "0", [], [0.0]),
        froc_ends("no lesion, one false alarm", "undefined (0/0), 1 false positive per scan", [0.5], []),
        froc_ends("a lesion and an alarm tied at .5", "1 at 1 false positive, 0 below", [0.5], [0.5]),
    ]


def answer(ask: Callable[[], Any]) -> str:
    """What a tool said, or how it failed."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            value = ask()
    except ImportError:
        return "not installed"
    except Exception as error:
        return f"{type(error).__name__} ({' '.join(str(error).split())[:60]})"
    text = f"{value:g}" if isinstance(value, float | np.floating) else str(value)
    return f'{text}, printing "Warning"' if "Warning" in said.getvalue() else text


def main() -> None:
    """Prints the table."""
    print(", ".join(f"{name} {version}" for name, version in machine().items() if name != "processor"), end=".\n\n")
    print("| case | right | what others answer |")
    print("|---|---|---|")
    for trap in traps():
        others = "; ".join(f"{name} {answer(ask)}" for name, ask in trap.asked.items())
        print(f"| {trap.question} | {trap.right} | {others} |", flush=True)


if __name__ == "__main__":
    main()
