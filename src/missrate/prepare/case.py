"""One case: load, check, describe, store. What cannot be used becomes a line in ``refused.csv`` with its reason."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from missrate.core import lesions, store
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.grid import Grid, require_same
from missrate.core.types import Entry, LabelMeaning, Map, Scan

INT16 = np.iinfo(np.int16)


class Reader(Protocol):
    """The two loaders of a shelf member."""

    def load_image(self, location: str) -> Scan: ...
    def load_map(self, location: str) -> Map: ...


def prepare_case(
    reader: Reader, entry: Entry, meaning: LabelMeaning, folder: Path, *, labels_only: bool = False
) -> None:
    """Writes ``cases/<case_id>/{image,label}.b2nd, case.json`` or ``refused/<case_id>.json``; finished cases stay.

    ``case.json`` comes last and says that the case is whole. ``labels_only``: no image is looked for, since nothing is
    trained. Never raises for a bad case: the others go on.
    """
    target = folder / "cases" / entry.case_id
    refusal = folder / "refused" / f"{entry.case_id}.json"
    if (target / "case.json").exists() or refusal.exists():
        return
    identity = {"schema": store.CASE, "case_id": entry.case_id, "patient_id": entry.patient_id}
    try:
        facts = _label_alone(reader, entry, meaning, target) if labels_only else _pair(reader, entry, meaning, target)
    except DataError as error:
        store.write_json(refusal, {"case_id": entry.case_id, "patient_id": entry.patient_id, "reason": str(error)})
        return
    store.write_json(target / "case.json", identity | facts)


def _pair(reader: Reader, entry: Entry, meaning: LabelMeaning, target: Path) -> dict[str, Any]:
    """Stores image and label; gives what ``case.json`` says of them. Raises DataError."""
    scan, label_map = _load_pair(reader, entry)
    facts = _check_and_describe(scan, label_map, meaning)
    image_XYZ = np.clip(np.rint(scan.values_XYZ), INT16.min, INT16.max).astype(np.int16)
    label_XYZ = label_map.labels_XYZ.astype(np.uint8)
    grid = store.grid_to_json(scan.grid)
    store.write_volume(target / "image.b2nd", image_XYZ, {"grid": grid})
    _write_label(target, Crop.whole(label_XYZ, scan.grid), meaning)
    hashes = {"image_hash": store.hash_array(image_XYZ), "label_hash": store.hash_array(label_XYZ)}
    table = _lesion_table(image_XYZ, label_XYZ, scan.grid, meaning)
    return {"grid": grid, **hashes, **facts, "source_axcodes": scan.source_axcodes, "lesions": table}


def _label_alone(reader: Reader, entry: Entry, meaning: LabelMeaning, target: Path) -> dict[str, Any]:
    """As ``_pair`` without an image."""
    if entry.label is None:
        raise DataError("A case to be evaluated must have a label. Got an image without one; perhaps the ids differ.")
    label = load_reference(reader, entry.label)
    warnings = _check_values(label.values_XYZ, meaning)
    small = Crop(label.values_XYZ.astype(np.uint8), label.start, label.grid).trimmed()
    _write_label(target, small, meaning)
    labels_XYZ, count = lesions.components(np.isin(small.values_XYZ, meaning.lesion))
    found = lesions.measure(labels_XYZ, count, small.grid)
    known = small.grid.voxel_ml is not None
    table = [
        {
            "voxels": int(found.voxels[k]),
            "volume_ml": float(found.volume_ml[k]) if known else None,
            "diameter_mm": float(found.diameter_mm[k]) if known else None,
            "centre": [int(a + b) for a, b in zip(found.centre_XYZ[k], small.start, strict=True)],
            "contrast_hu": None,
        }
        for k in range(count)
    ]
    # The place in the scan counts: two small lesions of one shape are not the same label. Empty ones say nothing.
    placed = f"{store.hash_array(small.values_XYZ)} at {small.start}" if small.values_XYZ.any() else None
    hashes = {"image_hash": None, "label_hash": placed}
    return {"grid": store.grid_to_json(small.grid), **hashes, "warnings": warnings, "lesions": table}


def load_reference(reader: Any, location: str) -> Crop:
    """A label map in the box that the format keeps, or whole. Raises DataError."""
    if hasattr(reader, "load_reference"):
        crop: Crop = reader.load_reference(location)
        return crop
    label_map: Map = reader.load_map(location)
    return Crop.whole(label_map.labels_XYZ, label_map.grid)


def _write_label(target: Path, label: Crop, meaning: LabelMeaning) -> None:
    store.write_crop(target / "label.b2nd", label, {"meaning": meaning.model_dump()})


def _load_pair(reader: Reader, entry: Entry) -> tuple[Scan, Map]:
    if entry.image is None or entry.label is None:
        has, lacks = ("a label", "an image") if entry.image is None else ("an image", "a label")
        raise DataError(f"A case must have an image and a label. Got {has} without {lacks}; perhaps the ids differ.")
    return reader.load_image(entry.image), reader.load_map(entry.label)


def _check_values(labels_XYZ: NDArray[np.generic], meaning: LabelMeaning) -> list[str]:
    """Warnings about a label map. Raises DataError for a value that was not declared."""
    present = {int(v) for v in np.unique(labels_XYZ)}
    unknown = sorted(present - {0} - meaning.known())
    if unknown:
        raise DataError(
            f"Label values must be declared in [labels]. Got {unknown} beside {sorted(meaning.known())}; "
            "perhaps add them to lesion, organ, background or ignore."
        )
    return [] if present & set(meaning.lesion) else ["no lesion: a healthy case, or an empty label"]


def _check_and_describe(scan: Scan, label_map: Map, meaning: LabelMeaning) -> dict[str, Any]:
    """The refusals and warnings of one pair. Raises DataError."""
    require_same(scan.grid, label_map.grid, names=("image", "label"))
    values = scan.values_XYZ
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise DataError(f"HU must be finite. Got {bad} voxels that are NaN or infinite; perhaps a failed export.")
    warnings = _check_values(label_map.labels_XYZ, meaning)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 255:
        warnings.append(f"values {low:g}..{high:g} look like an exported picture, not HU")
    if low < INT16.min or high > INT16.max:
        warnings.append(f"values {low:g}..{high:g} were clipped to int16")
    return {"warnings": warnings, "hu_range": [low, high]}


def _lesion_table(
    image_XYZ: NDArray[np.int16], label_XYZ: NDArray[np.uint8], grid: Grid, meaning: LabelMeaning
) -> list[dict[str, Any]]:
    """Size, place and contrast of each lesion: mean HU inside minus mean HU of the shell of two voxels around it.

    Only the organ within the shell counts where the map names one. None when the shell is empty.
    """
    mask_XYZ = np.isin(label_XYZ, meaning.lesion)
    labels_XYZ, count = lesions.components(mask_XYZ)
    found = lesions.measure(labels_XYZ, count, grid)
    rows = []
    for index, box in enumerate(ndimage.find_objects(labels_XYZ)):
        around = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)
        inside = labels_XYZ[around] == index + 1
        shell = ndimage.binary_dilation(inside, iterations=2) & ~mask_XYZ[around]
        organ = shell & np.isin(label_XYZ[around], meaning.organ)
        shell = organ if organ.any() else shell  # fat beside the organ would make every lesion look bright
        hu = image_XYZ[around]
        contrast = float(hu[inside].mean() - hu[shell].mean()) if shell.any() else None
        known = grid.voxel_ml is not None
        rows.append(
            {
                "voxels": int(found.voxels[index]),
                "volume_ml": float(found.volume_ml[index]) if known else None,
                "diameter_mm": float(found.diameter_mm[index]) if known else None,
                "centre": found.centre_XYZ[index].tolist(),
                "contrast_hu": contrast,
            }
        )
    return rows
