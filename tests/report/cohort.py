"""A whole small study on disk without training: phantoms, drawn predictions, and every room from prepare to compare."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from missrate import split
from missrate.core import store
from missrate.core.crop import Crop
from missrate.core.quantise import encode
from missrate.core.seed import generator
from missrate.core.types import LESION, Entry, LabelMeaning, Matching, Prediction
from missrate.predict.null import NULL_ARMS
from missrate.prepare import manifest
from missrate.prepare.case import prepare_case
from missrate.readers import phantom
from missrate.study import budgets, work
from missrate.study.config import StudyConfig

QUALITY = {"scratch": (0.45, 14), "pretrained": (0.75, 5), "unet": (0.6, 9)}
"""How well each arm sees lesions, and how many false blobs it draws a scan."""
MATCHINGS = [Matching("overlap"), Matching("iou", 0.1)]


@dataclass(frozen=True, slots=True)
class Options:
    """What tests vary. ``blind`` arms mark nothing; ``perfect`` ones mark the reference."""

    patients: int = 9
    size_px: int = 56
    lesion_share: float = 0.7
    folds: int | None = None
    title: str = "Which model misses fewer lesions?"
    pictures: int = 6
    blind: tuple[str, ...] = ()
    perfect: tuple[str, ...] = ()
    false_positives: float = 2.0
    resamples: int = 100
    unequal: str = ""  # why the U-Net had another budget, if it had


def make(root: Path, options: Options) -> dict[str, Any]:
    """Writes the study below ``root`` and gives the inputs of ``page.write``."""
    study = _study(options)
    prepared = {name: root / "prepared" / name for name in study.sources}
    _prepare(prepared["target"], options)
    split.split(prepared["target"] / "manifest.json", study.partition, root / "split.json")
    value = store.read_json(root / "split.json")
    folds: list[int | None] = list(range(options.folds)) if options.folds else [None]
    test = {c: p for c, p in value["cases"].items() if options.folds or value["patients"][p] == "test"}
    arms = [*QUALITY, *NULL_ARMS]
    points = {arm: _evaluate(root, arm, options, value) for arm in arms}
    for arm in arms:
        _summarise(root, arm, options, folds=folds, test=test, point=points[arm])
    work.compare_arms(
        {arm: [[_statistics(root, arm, c) for c in sorted(test)]] for arm in arms},
        {arm: [files] for arm, files in points.items()},
        root / "comparison.json",
        fixed=(0.5,),
        folds=folds,
        against="scratch",
        matching=MATCHINGS[0],
        resamples=options.resamples,
        seed=0,
        unequal=budgets.unequal(study),
    )
    runs = {arm: [_run(root, arm, fold) for fold in folds] for arm in ("pretrain", *QUALITY)}
    return {
        "study": study.model_dump(mode="json"),
        "summaries": {arm: root / "evaluation" / arm / "summary.json" for arm in arms},
        "lesions": {arm: root / "evaluation" / arm / "lesions.csv" for arm in arms},
        "comparison": root / "comparison.json",
        "split": root / "split.json",
        "prepared": prepared,
        "runs": runs,
        "predictions": {arm: dict.fromkeys(folds, root / "predictions" / arm) for arm in arms},
    }


def _study(options: Options) -> StudyConfig:
    counts = {"train": 2, "calibration": options.patients // 3, "test": options.patients - options.patients // 3 - 2}
    parts = {"folds": options.folds} if options.folds else {"parts": counts}
    own: dict[str, Any] = {"model": "unet2d", "loss": {"name": "tversky_ce"}}
    own |= {"unequal": options.unequal, "train": {"steps": 50}} if options.unequal else {}
    return StudyConfig.model_validate(
        {
            "sources": {
                "target": {"reader": "phantom", "path": "/home/somebody/target"},
                "unused": {"reader": "phantom"},
            },
            "split": {"source": "target", **parts},
            "arms": [
                {"name": "pretrain", "model": "maskrcnn", "evaluate": False},
                {"name": "scratch", "model": "maskrcnn"},
                {"name": "pretrained", "model": "maskrcnn", "init": "arm:pretrain"},
                {"name": "unet", **own},
            ],
            "report": {"title": options.title, "missed_lesions": options.pictures, "note": "Drawn, not measured."},
        }
    )


def _prepare(folder: Path, options: Options) -> None:
    config = phantom.Config(patients=options.patients, size_px=options.size_px, lesion_share=options.lesion_share)
    entries = phantom.find(None, config)
    twin = Entry("target_twin", "target_other", entries[0].image, entries[0].label)
    meaning = LabelMeaning(lesion=phantom.LESION, organ=phantom.ORGAN)
    for entry in (*entries, twin):
        prepare_case(phantom, entry, meaning, folder)
    manifest.finish(folder, "target", [*entries, twin])


def _evaluate(root: Path, arm: str, options: Options, value: dict[str, Any]) -> list[Path]:
    """Predictions, statistics and the operating point of one arm."""
    data = store.Prepared(root / "prepared" / "target")
    calibration = []
    for index, (case_id, patient_id) in enumerate(sorted(value["cases"].items())):
        place = value["patients"][patient_id]
        if place == "train":
            continue
        scan = data.load(case_id, patient_id)
        path = root / "predictions" / arm / f"{case_id}.b2nd"
        levels_XYZ = encode(_probability(arm, scan.label_XYZ == LESION, index, options))
        kind: Literal["mask", "probability"] = "mask" if arm in NULL_ARMS[:2] else "probability"
        store.write_prediction(path, Prediction(Crop.whole(levels_XYZ, scan.grid), kind))
        work.measure(
            data.folder,
            case_id,
            patient_id,
            fold=place if options.folds else None,
            prediction=path,
            out=_statistics(root, arm, case_id),
            thresholds=(0.5,),
            floor=0.01,
            as_misses=False,
        )
        if options.folds or place == "calibration":
            calibration.append(_statistics(root, arm, case_id))
    target = {"false_positives_per_scan": options.false_positives, "false_positive_ml_per_scan": 20.0}
    out = root / "calibration" / f"{arm}.json"
    goal = _study(options).evaluate.target.model_copy(update=target)
    work.choose_point(calibration, out, goal, matching=MATCHINGS[0], by_fold=bool(options.folds), arm=arm, run=None)
    return [out]


def _summarise(
    root: Path,
    arm: str,
    options: Options,
    *,
    folds: list[int | None],
    test: dict[str, str],
    point: list[Path],
) -> None:
    work.summarise(
        [_statistics(root, arm, c) for c in sorted(test)],
        root / "evaluation" / arm,
        point,
        fixed=(0.5,),
        folds=folds,
        arm=arm,
        matchings=MATCHINGS,
        part="out-of-fold" if options.folds else "test",
        seed=0,
        missing=[],
        failed=[],
        inputs={},
        resamples=options.resamples,
    )


def _statistics(root: Path, arm: str, case_id: str) -> Path:
    return root / "evaluation" / arm / "statistics" / f"{case_id}.npz"


def _probability(arm: str, reference_XYZ: NDArray[np.bool_], index: int, options: Options) -> NDArray[np.float32]:
    """The reference and some false blobs, blurred and weighted at random; better arms weigh lesions more."""
    shape = reference_XYZ.shape
    if arm in ("nothing", "everything") or arm in options.blind:
        return np.full(shape, float(arm == "everything"), np.float32)
    if arm in options.perfect:
        return reference_XYZ.astype(np.float32)
    if arm == "location_prior":
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        return np.exp(-8 * sum(axis**2 for axis in axes)).astype(np.float32) * np.float32(0.6)
    quality, blobs = QUALITY[arm]
    random = generator(index, "drawn prediction", sorted(QUALITY).index(arm))
    seen_XYZ = gaussian_filter(reference_XYZ.astype(np.float32), 1.0) * np.clip(random.normal(quality, 0.35), 0.02, 1.0)
    false_XYZ = np.zeros(shape, np.float32)
    for _ in range(blobs):
        x, y, z = (int(random.integers(0.3 * n, 0.7 * n)) for n in shape)
        false_XYZ[x : x + 3, y : y + 3, z : z + 2] = random.uniform(0.1, 1.0)
    return np.asarray(np.clip(seen_XYZ + gaussian_filter(false_XYZ, 1.0), 0.0, 1.0), np.float32)


def _run(root: Path, arm: str, fold: int | None) -> Path:
    """What a training leaves, as far as the report reads it."""
    folder = root / "runs" / arm / f"fold{fold}"
    random = generator(0, arm)
    rows: list[dict[str, Any]] = []
    for step in range(1, 121):
        loss = float(2.0 / (1 + step / 20) + 0.3 * random.random())
        rows.append({"step": step, "losses": {"mask": loss / 2, "box": loss / 2}, "loss": loss, "lr": 1e-3})
        if step % 50 == 0:
            rows.append({"step": step, "validation": {"mask": loss}, "validation_loss": None if step == 100 else loss})
    store.write_text(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    about = {"device": "a processor", "precision": "32-true", "versions": {"torch": "2"}, "fold": fold}
    store.write_json(folder / "provenance.json", {"schema": store.PROVENANCE, "loaded": ["random: none"], **about})
    return folder
