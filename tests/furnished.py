"""The smallest data for which the studies on the documentation's pages can be planned: every source, by its format."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tests.readers import dicom_written
from tests.readers.test_nifti import save

SHAPE = (8, 8, 4)
NAMES = ("100000_00001", "100001_00001", "100002_00001", "100003_00001", "100278_00001", "100279_00001")


def furnish(place: Path, study: dict[str, Any]) -> None:
    """Writes what the study's sources and predictions name below ``place``, six patients each."""
    trains = any("model" in arm for arm in study["arms"])
    for name, source in study["sources"].items():
        root = place / source["path"]
        if source.get("reader") == "dicom":
            _dicom(root, source["options"]["labels"])
        else:
            _nifti(root, flat=not trains)
        if "patients" in source:
            lines = ["case_id,patient_id,scanner", *(f"{case},p{k},{k % 2}" for k, case in enumerate(NAMES))]
            (place / source["patients"]).write_text("\n".join(lines))
        for arm in study["arms"]:
            for model in ("baseline", "other") if "predictions" in arm else ():
                _nifti(place / arm["predictions"][name].removesuffix("*") / model, flat=True)


def _nifti(root: Path, *, flat: bool) -> None:
    for case in NAMES:
        save((root if flat else root / "labels") / f"{case}.nii.gz", np.ones(SHAPE, np.uint8))
        if not flat:
            save(root / "images" / f"{case}.nii.gz", np.zeros(SHAPE, np.int16))


def _dicom(root: Path, labels: str) -> None:
    for k in range(2):
        dicom_written.series(root / f"PANCREAS_000{k + 1}", np.zeros(SHAPE, np.int16), name=f"s{k}")
        (root / labels).mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4)).to_filename(root / labels / f"label000{k + 1}.nii.gz")
