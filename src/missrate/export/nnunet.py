"""nnU-Net's raw layout (version 2), with its own folds or parts as ``splits_final.json``."""

from pathlib import Path

from missrate.core import store
from missrate.core.types import LabelledScan
from missrate.export import volumes
from missrate.export.about import About, Case

ENDING = ".nii.gz"


def write(case: LabelledScan, out: Path, about: About) -> None:
    """``imagesTr/CASE_0000.nii.gz`` and ``labelsTr/CASE.nii.gz``; of cases that are only tested in ``imagesTs``."""
    part = "Tr" if about.trained(case.case_id) else "Ts"
    volumes.save(out / f"images{part}" / f"{case.case_id}_0000{ENDING}", case.image_XYZ, case.grid)
    volumes.save(out / f"labels{part}" / f"{case.case_id}{ENDING}", about.labels(case.label_XYZ), case.grid)


def finish(out: Path, cases: list[Case], about: About) -> None:
    """``dataset.json``, and ``splits_final.json`` where there is a split: put it into nnU-Net's preprocessed folder."""
    trained = [case["case_id"] for case in cases if about.trained(case["case_id"])]
    description = {
        "name": about.name,
        "channel_names": {"0": "CT"},
        "labels": about.names(),
        "numTraining": len(trained),
        "file_ending": ENDING,
    }
    store.write_json(out / "dataset.json", description)
    folds = _folds(trained, about)
    if folds:
        store.write_json(out / "splits_final.json", folds)


def _folds(trained: list[str], about: About) -> list[dict[str, list[str]]]:
    if about.folds is not None:
        held = [[c for c in trained if about.parts[c] == fold] for fold in range(about.folds)]
    else:
        held = [[c for c in trained if about.parts.get(c) == "validation"]]
    return [{"train": [c for c in trained if c not in part], "val": part} for part in held if part]
