"""Materialises a View once per configuration, so that every arm that sees the same thing reads the same files."""

from pathlib import Path

import numpy as np

from missrate.core import store
from missrate.core.types import LESION
from missrate.core.view import View


def materialise(prepared: store.Prepared, case_id: str, patient_id: str, *, view: View, folder: Path) -> None:
    """Writes one case of the view unless it is there."""
    if (folder / f"{case_id}.json").exists():
        return
    case = prepared.load(case_id, patient_id)
    box = view.box(case.image_XYZ)
    label_XYZ = view.apply_label(case.label_XYZ, box, case.grid)
    lesion_slices = np.flatnonzero((label_XYZ == LESION).any(axis=(0, 1))).astype(np.int32)
    image_XYZ = view.apply_image(case.image_XYZ, case.grid)
    seen = store.ViewedCase(case_id, patient_id, image_XYZ, label_XYZ, lesion_slices, box, case.grid)
    store.write_view(folder, seen)
