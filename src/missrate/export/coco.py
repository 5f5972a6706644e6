"""COCO's instance segmentation: a picture for each axial slice, and for each lesion in it a mask.

A lesion that spans several slices has an annotation in each, all with the same ``lesion``: COCO knows no volumes, and
whoever counts its annotations counts slices of lesions, not lesions. Slices without a lesion are there as well:
leaving them out is how false positives are hidden.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core import store
from missrate.core.documents import Document
from missrate.core.errors import InputError
from missrate.core.lesions import components
from missrate.core.types import LESION, ORGAN, LabelledScan
from missrate.export.about import About, Case
from missrate.export.slices import name_of, png
from missrate.readers._pictures import to_pages


def write(case: LabelledScan, out: Path, about: About) -> None:
    """``images/CASE_zNNNN.png`` (8 bits, windowed) and, last, ``parts/CASE.json`` with its annotations."""
    done = out / "parts" / f"{case.case_id}.json"
    if done.exists():
        return
    low, high = about.window_hu
    scaled = (case.image_XYZ.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    pages_NYX = to_pages(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
    for z, page_YX in enumerate(pages_NYX):
        store.write_atomic(out / "images" / f"{name_of(case.case_id, z)}.png", png(page_YX), durable=False)
    lesions_NYX = to_pages(components(case.label_XYZ == LESION)[0])
    organ_NYX = to_pages(case.label_XYZ == ORGAN)
    rows = [row for z in range(len(pages_NYX)) for row in _annotations(lesions_NYX[z], organ_NYX[z], z, about)]
    store.write_json(done, {"case_id": case.case_id, "annotations": rows})


class RowForm(Document):
    """An annotation, and the slice that it lies in."""

    slice: int


class PartForm(Document):
    """The annotations of one case."""

    annotations: list[RowForm]


def finish(out: Path, cases: list[Case], about: About) -> None:
    """``annotations.json``, or with a split one file for each part or fold; ids count from 1 in each."""
    for place in sorted({about.parts.get(case["case_id"], "") for case in cases}, key=str):
        own = [case for case in cases if about.parts.get(case["case_id"], "") == place]
        name = "annotations.json" if place == "" else f"annotations_{f'fold{place}' if about.folds else place}.json"
        store.write_json(out / name, _collected(out, own, about))


def _annotations(
    lesions_YX: NDArray[np.int32], organ_YX: NDArray[np.bool_], z: int, about: About
) -> list[dict[str, Any]]:
    found = [(about.lesion, int(number), lesions_YX == number) for number in np.unique(lesions_YX[lesions_YX > 0])]
    if organ_YX.any():
        found.append((1, 0, organ_YX))
    return [{"slice": z, "category_id": category, "lesion": number, **_mask(m)} for category, number, m in found]


def _mask(mask_YX: NDArray[np.bool_]) -> dict[str, Any]:
    """Run lengths as pycocotools packs them, with box (x, y, width, height) and area in pixels."""
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise InputError("COCO must have pycocotools. Got none; perhaps pip install 'missrate[coco]'.") from error
    packed = coco.encode(np.asfortranarray(mask_YX, np.uint8))
    box = [float(value) for value in coco.toBbox(packed)]
    counts = {"size": [int(n) for n in packed["size"]], "counts": packed["counts"].decode("ascii")}
    return {"segmentation": counts, "bbox": box, "area": int(mask_YX.sum()), "iscrowd": 0}


def _collected(out: Path, cases: list[Case], about: About) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for case in cases:
        width, height, slices = case["grid"]["shape"]
        first = len(images) + 1
        about_case = {"case_id": case["case_id"], "patient_id": case["patient_id"], "spacing_mm": case["spacing_mm"]}
        for z in range(slices):
            name = f"{name_of(case['case_id'], z)}.png"
            images.append(
                {"id": first + z, "file_name": name, "width": width, "height": height, "slice": z, **about_case}
            )
        for row in store.read_json(out / "parts" / f"{case['case_id']}.json", None, PartForm)["annotations"]:
            placed = {"id": len(annotations) + 1, "image_id": first + row["slice"]}
            annotations.append({k: v for k, v in row.items() if k != "slice"} | placed)
    classes = [(value, name) for name, value in about.names().items() if name in ("organ", "lesion")]
    return {
        "info": {"description": f"{about.name}, window {about.window_hu[0]:g}..{about.window_hu[1]:g} HU"},
        "images": images,
        "categories": [{"id": value, "name": name} for value, name in classes],
        "annotations": annotations,
    }
