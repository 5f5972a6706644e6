"""The doctor: looks at one case, refuses what cannot be used, warns of what looks wrong, and describes the rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from missrate.core import lesions, store
from missrate.core.crop import Box, Crop, bounding_box
from missrate.core.errors import DataError
from missrate.core.grid import require_same
from missrate.core.types import LabelMeaning, Scan

INT16 = np.iinfo(np.int16)
LEAST_VOXELS = 5
"""A smaller lesion is worth a look: most are slips of the brush."""
AIR_HU = -300.0
"""Below the fat of any patient, above the air around: a lesion whose mean lies there lies beside the patient."""
LEAST_RANGE_HU = 50.0
SHELL_VOXELS = 2

Warned = dict[str, str]
"""``kind``, the same words for every case, and ``text``, what is so in this one."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A case that can be used: the image in int16 (None of a label alone), the label as uint8 in the box in which it
    is not 0, both in RAS+, and ``facts``, what ``case.json`` says of them."""

    image_XYZ: NDArray[np.int16] | None
    label: Crop
    facts: dict[str, Any]


def examine(scan: Scan | None, label: Crop, meaning: LabelMeaning) -> Examined:
    """What is known of a scan and its label, or of a label alone. Raises DataError with the reason for a refusal."""
    if scan is not None:
        require_same(scan.grid, label.grid, names=("image", "label"))
        label = Crop(label.values_XYZ, label.start, scan.grid)
    image_XYZ, hu = (None, {}) if scan is None else _image(scan)
    small = label.trimmed()
    counts = _counts(small.values_XYZ, meaning)
    small = Crop(small.values_XYZ.astype(np.uint8, copy=False), small.start, small.grid)
    spots = list(_spots(small, image_XYZ, meaning))
    warnings = [*hu.pop("warnings", []), *_label_warnings(spots, small, meaning, counts)]
    facts = {
        "grid": store.grid_to_json(small.grid),
        "spacing_mm": small.grid.spacing_mm and [round(side, 5) for side in small.grid.spacing_mm],
        "source_axcodes": None if scan is None else scan.source_axcodes,
        "image_hash": None if image_XYZ is None else store.hash_array(image_XYZ.transpose(2, 1, 0)),
        # The place in the scan counts: two small lesions of one shape are not the same label. Empty ones say nothing.
        "label_hash": f"{store.hash_array(small.values_XYZ)} at {small.start}" if counts else None,
        "label_voxels": {str(value): count for value, count in counts.items()},
        "lesion_slices": int(_lesion(small, meaning).any(axis=(0, 1)).sum()),
        "lesions": [spot.row for spot in spots],
        "warnings": warnings,
    }
    return Examined(image_XYZ, small, facts | hu | _organ(small, image_XYZ, meaning))


def warned(kind: str, text: str) -> Warned:
    """One warning."""
    return {"kind": kind, "text": text}


@dataclass(frozen=True, slots=True)
class _Spot:
    """A lesion: its line of ``case.json``, mean HU (None without an image), and whether the organ is near it."""

    row: dict[str, Any]
    box: Box
    mean_hu: float | None
    near_organ: bool


def _image(scan: Scan) -> tuple[NDArray[np.int16], dict[str, Any]]:
    values = scan.values_XYZ
    straight = values[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in values.strides)]
    low, high = (
        float(straight.min()),
        float(straight.max()),
    )  # NaN comes through both; backwards takes three times as long
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int((~np.isfinite(values)).sum())
        raise DataError(f"HU must be finite. Got {bad} voxels that are NaN or infinite; perhaps a failed export.")
    warnings = []
    if doubt := not_hu(scan.intensity, low, high):
        warnings.append(warned("not HU", doubt))
    if low < INT16.min or high > INT16.max:
        warnings.append(warned("clipped", f"values {low:g}..{high:g} were clipped to int16"))
    return _int16(values, low, high), {"hu_range": [low, high], "intensity": scan.intensity, "warnings": warnings}


def not_hu(intensity: str, low: float, high: float) -> str:
    """Why these can hardly be HU; empty where they can."""
    if intensity != "hu":
        return "grey values, not HU: no window in HU means anything here"
    values = f"values {low:g}..{high:g}"
    if high - low < LEAST_RANGE_HU:
        return f"{values} span too little for HU: perhaps they were normalised"
    if low >= 0:
        exported = f"{values} look like an exported picture, not HU"
        return exported if high <= 255 else f"{values}, none below 0: perhaps the rescale intercept was not applied"
    return ""


def _int16(values: NDArray[Any], low: float, high: float) -> NDArray[np.int16]:
    """Rounded and clipped, x nearest in memory, as scans mostly come and as they are stored."""
    if values.dtype.kind == "f":
        values = np.rint(values)
    if low < INT16.min or high > INT16.max:
        values = np.clip(values, INT16.min, INT16.max)
    return np.asfortranarray(values, np.int16)


def _counts(values_XYZ: NDArray[Any], meaning: LabelMeaning) -> dict[int, int]:
    """How many voxels each value other than 0 has. Raises DataError for a value that was not declared."""
    counts = {value: int(np.count_nonzero(values_XYZ == value)) for value in sorted({0, *meaning.known()})}
    if sum(counts.values()) < values_XYZ.size:  # there are others
        counts = {int(v): int(n) for v, n in zip(*np.unique(values_XYZ, return_counts=True), strict=True)}
    counts = {value: count for value, count in counts.items() if value and count}
    unknown = sorted(counts.keys() - meaning.known())
    if unknown:
        raise DataError(
            f"Label values must be declared in [labels]. Got {unknown} beside {sorted(meaning.known())}; "
            "perhaps add them to lesion, organ, background or ignore."
        )
    return counts


def _spots(label: Crop, image_XYZ: NDArray[np.int16] | None, meaning: LabelMeaning) -> Iterator[_Spot]:
    """Size, place and contrast of each lesion: mean HU inside minus mean HU of the shell of two voxels around it.

    Only the organ within the shell counts where the map names one: fat beside the organ would make every lesion look
    bright. None when the shell is empty.
    """
    labels_XYZ, count = lesions.components(_lesion(label, meaning))
    found = lesions.measure(labels_XYZ, count, label.grid)
    known = label.grid.voxel_ml is not None
    boxes = [bounding_box(labels_XYZ)] if count == 1 else ndimage.find_objects(labels_XYZ)
    for index, (along_x, along_y, along_z) in enumerate(boxes):
        box: Box = (along_x, along_y, along_z)
        mean_hu, contrast, near = _surroundings(label, image_XYZ, labels_XYZ[box] == index + 1, box, meaning)
        row = {
            "voxels": int(found.voxels[index]),
            "volume_ml": float(found.volume_ml[index]) if known else None,
            "diameter_mm": float(found.diameter_mm[index]) if known else None,
            "centre": [int(c + s) for c, s in zip(found.centre_XYZ[index], label.start, strict=True)],
            "contrast_hu": contrast,
        }
        x, y, z = (slice(b.start + s, b.stop + s) for b, s in zip(box, label.start, strict=True))
        yield _Spot(row, (x, y, z), mean_hu, near)


def _surroundings(
    label: Crop, image_XYZ: NDArray[np.int16] | None, inside: NDArray[np.bool_], box: Box, meaning: LabelMeaning
) -> tuple[float | None, float | None, bool]:
    """Mean HU, contrast, and whether there is any organ in the shell."""
    spans = [
        (max(b.start + s - SHELL_VOXELS, 0), min(b.stop + s + SHELL_VOXELS, n))
        for b, s, n in zip(box, label.start, label.grid.shape, strict=True)
    ]
    x, y, z = (slice(*span) for span in spans)
    before = [(b.start + s - low, high - b.stop - s) for (low, high), b, s in zip(spans, box, label.start, strict=True)]
    inside = np.pad(inside, before)
    around = _part(label, (x, y, z))
    shell = _grown(inside, SHELL_VOXELS) & ~_is(around, meaning.lesion)
    organ = shell & _is(around, meaning.organ)
    near = bool(organ.any())
    if image_XYZ is None:
        return None, None, near
    hu = image_XYZ[x, y, z]
    shell = organ if near else shell
    mean_hu = float(hu[inside].mean())
    return mean_hu, mean_hu - float(hu[shell].mean()) if shell.any() else None, near


def _grown(mask_XYZ: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask with its six neighbours, ``steps`` times: a dilation, by shifts much faster than scipy's."""
    for _ in range(steps):
        grown = mask_XYZ.copy()
        for axis in range(3):
            target, source = np.moveaxis(grown, axis, 0), np.moveaxis(mask_XYZ, axis, 0)
            target[1:] |= source[:-1]
            target[:-1] |= source[1:]
        mask_XYZ = grown
    return mask_XYZ


def _part(label: Crop, box: Box) -> NDArray[Any]:
    """The label in a box of the whole grid that may reach beyond the crop."""
    result = np.zeros(tuple(b.stop - b.start for b in box), label.values_XYZ.dtype)
    spans = [(max(b.start, c.start), min(b.stop, c.stop)) for b, c in zip(box, label.box, strict=True)]
    target = tuple(slice(low - b.start, high - b.start) for (low, high), b in zip(spans, box, strict=True))
    source = tuple(slice(low - s, high - s) for (low, high), s in zip(spans, label.start, strict=True))
    result[target] = label.values_XYZ[source]
    return result


def _label_warnings(spots: list[_Spot], label: Crop, meaning: LabelMeaning, counts: dict[int, int]) -> Iterator[Warned]:
    if not spots:
        yield warned("no lesion", "no lesion: a healthy case, or an empty label")
    slices, has_organ = label.grid.shape[2], bool(counts.keys() & set(meaning.organ))
    for number, spot in enumerate(spots, start=1):
        name = f"lesion {number}" if len(spots) > 1 else "the lesion"
        if spot.row["voxels"] < LEAST_VOXELS:
            yield warned("tiny lesion", f"{name} has {spot.row['voxels']} voxel(s): perhaps a slip of the brush")
        if spot.mean_hu is not None and spot.mean_hu < AIR_HU:
            flipped = "perhaps the label is flipped or shifted"
            yield warned("lesion in air", f"{name} lies in air ({spot.mean_hu:.0f} HU): {flipped}")
        if has_organ and not spot.near_organ:
            yield warned("lesion outside of the organ", f"{name} does not touch the organ")
        # Of a scan of a slice or two every lesion reaches a border, and nobody can do anything about it.
        if slices > 2 and (spot.box[2].start == 0 or spot.box[2].stop == slices):
            end = "first" if spot.box[2].start == 0 else "last"
            yield warned("lesion at the border", f"{name} reaches the {end} slice: perhaps the scan ends within it")


def _organ(label: Crop, image_XYZ: NDArray[np.int16] | None, meaning: LabelMeaning) -> dict[str, Any]:
    """Mean and standard deviation of the organ's HU: a label that is flipped or shifted shows there."""
    if image_XYZ is None:
        return {}
    inside = _is(label.values_XYZ, meaning.organ)
    values = image_XYZ[label.box][inside].astype(np.float32)
    return {"organ_hu": [float(values.mean()), float(values.std())] if values.size else None}


def _lesion(label: Crop, meaning: LabelMeaning) -> NDArray[np.bool_]:
    return _is(label.values_XYZ, meaning.lesion)


def _is(values: NDArray[Any], wanted: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where the values are among a few."""
    result = np.zeros(values.shape, np.bool_)
    for value in wanted:
        result |= values == value
    return result
