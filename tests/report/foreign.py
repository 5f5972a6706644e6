"""A study of predictions alone on disk: labels without images, twelve arms of masks, and the null arm ``nothing``."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from missrate import split
from missrate.core import store
from missrate.core.crop import Crop
from missrate.core.quantise import encode
from missrate.core.seed import generator
from missrate.core.types import LESION, LabelMeaning, Matching, Prediction
from missrate.prepare import manifest
from missrate.prepare.case import prepare_case
from missrate.readers import phantom
from missrate.study import work
from missrate.study.config import StudyConfig

ARMS = [f"net{index:02d}" for index in range(12)]
AGAINST = ARMS[3]
PATIENTS = 8
MATCHINGS = [Matching("overlap"), Matching("iou", 0.1)]


def make(root: Path) -> dict[str, Any]:
    """Writes the study below ``root`` and gives the inputs of ``page.write``.

    Arm k finds each lesion with probability (12 - k) / 12 and marks as many false blobs a scan: the study names its
    arms from the best to the worst backwards, so that their order on the page is not that of the files.
    """
    study = _study()
    data = store.Prepared(root / "prepared" / "hospital")
    _prepare(data.folder)
    split.split(data.manifest_path, study.partition, root / "split.json")
    cases = store.read_json(root / "split.json")["cases"]
    sex = {case_id: "f" if index % 2 else "m" for index, case_id in enumerate(sorted(cases))}
    arms = [*reversed(ARMS), "nothing"]
    for arm in arms:
        _predict(root, arm, data, cases)
        _summarise(root, arm, sorted(cases), sex)
    work.compare_arms(
        {arm: [[_statistics(root, arm, case_id) for case_id in sorted(cases)]] for arm in arms},
        {arm: [[]] for arm in arms},
        root / "comparison.json",
        fixed=(0.5,),
        folds=[None],
        against=AGAINST,
        matching=MATCHINGS[0],
        resamples=100,
        seed=0,
        subgroups={"sex": sex},
    )
    return {
        "study": study.model_dump(mode="json"),
        "summaries": {arm: root / "evaluation" / arm / "summary.json" for arm in arms},
        "lesions": {arm: root / "evaluation" / arm / "lesions.csv" for arm in arms},
        "comparison": root / "comparison.json",
        "split": root / "split.json",
        "prepared": {"hospital": data.folder},
        "runs": {},
        "predictions": {arm: {None: root / "predictions" / arm} for arm in arms},
    }


def _study() -> StudyConfig:
    arms = [
        {"name": arm, "predictions": {"hospital": f"/home/somebody/masks/{arm}"}, "reader": "nifti"}
        for arm in reversed(ARMS)
    ]
    given = {
        "sources": {"hospital": {"reader": "phantom", "path": "/home/somebody/labels"}},
        "arms": arms,
        "evaluate": {"against": AGAINST, "null_arms": ["nothing"]},
        "report": {"title": "Which network?", "missed_lesions": 14},
    }
    return StudyConfig.model_validate(given).of("hospital")


def _prepare(folder: Path) -> None:
    entries = phantom.find(None, phantom.Config(patients=PATIENTS, size_px=48, lesion_share=0.9))
    for entry in entries:
        meaning = LabelMeaning(lesion=phantom.LESION, organ=phantom.ORGAN)
        prepare_case(phantom, entry, meaning, folder, images=False)
    manifest.finish(folder, "hospital", entries)


def _predict(root: Path, arm: str, data: store.Prepared, cases: dict[str, str]) -> None:
    for index, (case_id, patient_id) in enumerate(sorted(cases.items())):
        label = data.load_label(case_id)
        levels_XYZ = encode(_mask(arm, label.full() == LESION, index).astype(np.float32))
        path = root / "predictions" / arm / f"{case_id}.b2nd"
        store.write_prediction(path, Prediction(Crop.whole(levels_XYZ, label.grid), "mask"))
        work.measure(
            data.folder,
            case_id,
            patient_id,
            fold=None,
            prediction=path,
            out=_statistics(root, arm, case_id),
            thresholds=(0.5,),
            floor=0.01,
            as_misses=False,
        )


def _mask(arm: str, reference_XYZ: NDArray[np.bool_], index: int) -> NDArray[np.bool_]:
    marked_XYZ = np.zeros(reference_XYZ.shape, np.bool_)
    if arm == "nothing":
        return marked_XYZ
    quality = (len(ARMS) - ARMS.index(arm)) / len(ARMS)
    random = generator(index, "drawn mask", ARMS.index(arm))
    labels_XYZ, count = ndimage.label(reference_XYZ, np.ones((3, 3, 3)))
    for lesion in range(1, count + 1):
        if random.random() < quality:
            marked_XYZ |= labels_XYZ == lesion
    for _ in range(round(12 * quality)):
        x, y, z = (int(random.integers(0, n - 1)) for n in reference_XYZ.shape)
        marked_XYZ[x : x + 2, y : y + 2, z : z + 1] = True
    return marked_XYZ


def _summarise(root: Path, arm: str, cases: list[str], sex: dict[str, str]) -> None:
    warning = {"case_id": cases[0], "warning": "the voxels are said to be larger"}
    work.summarise(
        [_statistics(root, arm, case_id) for case_id in cases],
        root / "evaluation" / arm,
        [],
        fixed=(0.5,),
        folds=[None],
        arm=arm,
        matchings=MATCHINGS,
        part="test",
        seed=0,
        missing=[],
        failed=[],
        inputs={},
        resamples=100,
        warnings=[] if arm == "nothing" else [warning],
        extra=["stranger"] if arm == ARMS[0] else [],
        subgroups={"sex": sex},
    )


def _statistics(root: Path, arm: str, case_id: str) -> Path:
    return root / "evaluation" / arm / "statistics" / f"{case_id}.npz"
