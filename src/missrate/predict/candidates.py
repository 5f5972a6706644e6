"""What a prediction marks in a scan, one by one, and a picture of the strongest.

Shape letters: X right, Y anterior, Z superior.
"""

import csv
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from missrate.core.grid import Grid
from missrate.core.lesions import components, measure
from missrate.core.quantise import threshold_of

SHOWN = 3
SIDE_PX = 360
WINDOW_HU = (-150.0, 250.0)
OUTLINE = (230, 60, 30)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A 26-connected component at or above the threshold; ``centre_XYZ`` lies in it. No millimetres: nan."""

    peak: float
    voxels: int
    volume_ml: float
    diameter_mm: float
    centre_XYZ: tuple[int, int, int]


def candidates(levels_XYZ: NDArray[np.uint16], level: int, grid: Grid, least_volume_ml: float = 0.0) -> list[Candidate]:
    """Those at or above ``level``, the highest probability first. Looks only where anything is marked.

    Smaller ones do not exist, as in ``matching``; without millimetres nothing is smaller.
    """
    marked_XYZ = levels_XYZ >= level
    spans = [np.flatnonzero(marked_XYZ.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not spans[0].size:
        return []
    box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    numbered_XYZ, count = components(marked_XYZ[box])
    peaks = np.zeros(count + 1, np.uint16)
    np.maximum.at(peaks, numbered_XYZ.ravel(), levels_XYZ[box].ravel())
    found = measure(numbered_XYZ, count, grid)
    start = [span.start for span in box]
    made = [
        Candidate(
            float(threshold_of(int(peaks[k + 1]))),
            int(found.voxels[k]),
            float(found.volume_ml[k]),
            float(found.diameter_mm[k]),
            tuple(int(c + s) for c, s in zip(found.centre_XYZ[k], start, strict=True)),  # type: ignore[arg-type]
        )
        for k in range(count)
        if not found.volume_ml[k] < least_volume_ml * (1.0 - 1e-9)
    ]
    return sorted(made, key=lambda candidate: (-candidate.peak, -candidate.voxels, candidate.centre_XYZ))


def table(found: list[Candidate], grid: Grid) -> str:
    """A row for each, as CSV; places in millimetres, RAS+, as every viewer of NIfTI shows them."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["candidate", "peak_probability", "voxels", "volume_ml", "diameter_mm", "x_mm", "y_mm", "z_mm"])
    for number, each in enumerate(found, start=1):
        x, y, z, _ = grid.matrix @ [*each.centre_XYZ, 1.0]
        sizes = (f"{each.volume_ml:.4g}", f"{each.diameter_mm:.3g}")
        writer.writerow([number, f"{each.peak:.4f}", each.voxels, *sizes, f"{x:.1f}", f"{y:.1f}", f"{z:.1f}"])
    return file.getvalue()


def preview(image_XYZ: NDArray[np.int16], mask_XYZ: NDArray[np.bool_], found: list[Candidate], grid: Grid) -> bytes:
    """A PNG: the axial slices through the strongest candidates, outlined; the middle slice where there is none.

    As radiologists look at it: anterior up, the patient's right on the left.
    """
    from PIL import Image

    slices = list(dict.fromkeys(each.centre_XYZ[2] for each in found))[:SHOWN] or [image_XYZ.shape[2] // 2]
    spacing = grid.spacing_mm or (1.0, 1.0, 1.0)
    width = SIDE_PX
    height = round(width * image_XYZ.shape[1] * spacing[1] / (image_XYZ.shape[0] * spacing[0]))
    height = min(max(height, 1), 4 * SIDE_PX)  # a strip, where the spacing is wrong
    page = Image.new("RGB", (width * len(slices), height))
    for place, z in enumerate(slices):
        low, high = WINDOW_HU
        grey = np.clip((image_XYZ[:, :, z].astype(np.float32) - low) / (high - low), 0, 1) * 255
        seen = Image.fromarray(np.rint(_upright(grey)).astype(np.uint8)).resize((width, height))
        # Averaged, so that a single voxel is still seen where the picture is coarser than the scan.
        marked = Image.fromarray(_upright(mask_XYZ[:, :, z]).astype(np.uint8) * 255).resize(
            (width, height), Image.Resampling.BOX
        )
        inside = np.asarray(marked) > 0
        colours = np.repeat(np.asarray(seen)[:, :, None], 3, axis=2)
        colours[inside & ~binary_erosion(inside, iterations=2)] = OUTLINE
        page.paste(Image.fromarray(colours), (width * place, 0))
    buffer = io.BytesIO()
    page.save(buffer, format="PNG")
    return buffer.getvalue()


def _upright(slice_XY: NDArray[np.generic]) -> NDArray[np.generic]:
    """Rows from anterior to posterior, columns from the patient's right (the end of X) to the left."""
    return np.ascontiguousarray(slice_XY[::-1, ::-1].T)
