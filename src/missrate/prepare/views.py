"""Materialises a View once per configuration, so that every arm that sees the same thing reads the same files."""

from pathlib import Path

from missrate.core import store
from missrate.core.view import View
from missrate.core.viewed import ViewedCase, write_view


def materialise(prepared: store.Prepared, case_id: str, patient_id: str, *, view: View, folder: Path) -> None:
    """Writes one case of the view unless it is there."""
    if (folder / f"{case_id}.json").exists():
        return
    case = prepared.load(case_id, patient_id)
    box = view.box(case.image_XYZ)
    label_XYZ = view.apply_label(case.label_XYZ, box, case.grid)
    image_XYZ = view.apply_image(case.image_XYZ, case.grid)
    write_view(folder, ViewedCase.of((case_id, patient_id), image_XYZ, label_XYZ, box, case.grid))
