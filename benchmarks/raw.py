"""The scans as the other tools want them: nnU-Net's raw folder with plans, made by nnU-Net itself."""

import contextlib
import json
import os
import sys
from pathlib import Path

from benchmarks.alone import DATA

NAME = "Dataset001_STS"


def cases() -> list[str]:
    """The ids of the scans."""
    return sorted(path.name for path in DATA.iterdir() if (path / "CT_image.nii.gz").exists())


def pairs() -> list[tuple[str, str]]:
    """Image and mask of each."""
    return [(str(DATA / c / "CT_image.nii.gz"), str(DATA / c / "CT_mask.nii.gz")) for c in cases()]


def environment(folder: Path) -> None:
    """Where nnU-Net looks for things; before it is imported."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112 - its own spelling


def planned(folder: Path) -> Path:
    """nnU-Net's plans for the scans. Fingerprint and plans are not what is measured."""
    environment(folder)
    root = folder / "raw" / NAME
    for name, (image, mask) in zip(cases(), pairs(), strict=True):
        for place, source in ((f"imagesTr/{name}_0000.nii.gz", image), (f"labelsTr/{name}.nii.gz", mask)):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).symlink_to(source)
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(about | {"numTraining": len(cases())}))
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments

    with contextlib.redirect_stdout(sys.stderr):
        extract_fingerprints([1], num_processes=1, check_dataset_integrity=False, verbose=False)
        plan_experiments([1])
    return folder / "preprocessed" / NAME / "nnUNetPlans.json"
