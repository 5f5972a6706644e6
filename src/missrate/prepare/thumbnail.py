"""A small picture of a case: the axial slice in which its largest lesion lies, and where lesion and organ are."""

import io
from pathlib import Path

import numpy as np

from missrate.core import store
from missrate.core.crop import Box
from missrate.core.types import LabelMeaning
from missrate.prepare.examine import Examined

WINDOW_HU = (-160.0, 240.0)
"""Soft tissue."""
MOST_PX = 320


def write(path: Path, examined: Examined, meaning: LabelMeaning) -> None:
    """``grey_XY`` (uint8), ``label_XY`` (uint8: 1 lesion, 2 organ) and ``spacing_mm`` of one slice, numpy's .npz.

    Of a case without a lesion the slice with most of the organ, or the middle one; without an image ``grey_XY`` is
    all 0. Every n-th pixel, so that no side has more than 320.
    """
    label = examined.label
    box = _slice(examined)
    seen = meaning.apply(label.full()[box] if label.values_XYZ.any() else np.zeros(_shape(box), np.uint8))
    grey = np.zeros(_shape(box), np.uint8)
    if examined.image_XYZ is not None:
        low, high = WINDOW_HU if examined.facts["intensity"] == "hu" else examined.facts["hu_range"]
        scaled = (examined.image_XYZ[box].astype(np.float32) - low) * (255.0 / max(high - low, 1.0))
        grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    step = -(-max(grey.shape[:2]) // MOST_PX)
    spacing = [side * step for side in (label.grid.spacing_mm or (1.0, 1.0, 1.0))[:2]]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, grey_XY=grey[::step, ::step, 0], label_XY=seen[::step, ::step, 0], spacing_mm=np.array(spacing)
    )
    store.write_atomic(path, buffer.getvalue(), durable=False)


def _slice(examined: Examined) -> Box:
    label, rows = examined.label, examined.facts["lesions"]
    if rows:
        z = max(rows, key=lambda row: row["voxels"])["centre"][2]
    elif label.values_XYZ.any():
        z = label.start[2] + int((label.values_XYZ != 0).sum(axis=(0, 1)).argmax())
    else:
        z = label.grid.shape[2] // 2
    return slice(0, label.grid.shape[0]), slice(0, label.grid.shape[1]), slice(z, z + 1)


def _shape(box: Box) -> tuple[int, ...]:
    return tuple(b.stop - b.start for b in box)
