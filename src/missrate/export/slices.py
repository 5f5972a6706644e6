"""Axial slices as PNG without loss: images of 16 bits, value = HU + 32768, and masks of 8 bits."""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from missrate.core import store
from missrate.core.types import LabelledScan
from missrate.export.about import About, Case
from missrate.readers._pictures import to_pages

OFFSET = 32768
README = """\
images/CASE_zNNNN.png: 16 bits, value = HU + 32768. masks/ of the same names: {labels}.
Rows run from anterior to posterior, columns from the patient's right to left, slice numbers to the head.
slices.csv: case, patient, slice and size of a voxel in mm (x, y, z) of each file. To read them with missrate:
options = {{ hu_range = [-32768, 32767] }}; and, where all voxels have one size, spacing_mm = [x, y, z].
"""


def write(case: LabelledScan, out: Path, about: About) -> None:
    """A picture and a mask for each slice, those without a lesion included."""
    images = (case.image_XYZ.astype(np.int32) + OFFSET).astype(np.uint16)
    for folder, values_XYZ in (("images", images), ("masks", about.labels(case.label_XYZ))):
        for z, page_YX in enumerate(to_pages(values_XYZ)):
            path = out / folder / f"{name_of(case.case_id, z)}.png"
            if not path.exists():
                store.write_atomic(path, png(page_YX), durable=False)


def finish(out: Path, cases: list[Case], about: About) -> None:
    """``slices.csv`` and ``README.txt``."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "case_id", "patient_id", "slice", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm"])
    for case in cases:
        for z in range(case["grid"]["shape"][2]):
            spacing = case["spacing_mm"] or ("", "", "")
            table.writerow([name_of(case["case_id"], z) + ".png", case["case_id"], case["patient_id"], z, *spacing])
    store.write_text(out / "slices.csv", text.getvalue())
    labels = ", ".join(f"{value} {name}" for name, value in about.names().items())
    store.write_text(out / "README.txt", README.format(labels=labels))


def name_of(case_id: str, z: int) -> str:
    """The slice's name without ending: the number has four digits, so that names sort as slices do."""
    return f"{case_id}_z{z:04d}"


def png(page_YX: NDArray[np.generic]) -> bytes:
    """One picture of 8 or 16 bits."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(page_YX)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
