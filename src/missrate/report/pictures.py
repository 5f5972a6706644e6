"""Missed lesions as pictures: which to show, and for each the whole axial slice and an enlarged part of it.

Arrays are XYZ in RAS+; pictures are YX in radiological convention: the patient's right on the left, anterior up.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core import store
from missrate.core.crop import Crop
from missrate.core.quantise import level_of
from missrate.core.types import LESION
from missrate.report.material import Arm, Material
from missrate.report.raster import Mask, outline, png
from missrate.report.words import optional

DETAIL_MM = 80.0
"""The side of the enlarged part; of larger lesions 1.6 times the diameter."""
LEAST_PX = 24
OVERVIEW_PX = 176
"""The whole slice is shown with at most this many pixels a side, so that many pictures fit into one page."""
AIR_HU = -300.0
"""Between air (-1000) and fat (-100); exported pictures, which hold no negative values, are shown whole."""

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of a slice: its PNG, its size in mm, and outlines (and the frame of the detail) as SVG paths in mm.

    Without an image ``png`` is empty, and the ground is plain.
    """

    png: str
    width: float
    height: float
    reference: str
    prediction: str
    frame: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """One missed lesion of one arm; a case without an image has no overview."""

    arm: Arm
    title: str
    lines: list[str]
    overview: Panel | None
    detail: Panel


@dataclass(frozen=True, slots=True)
class _Case:
    """What of a case is needed for pictures of it; ``image`` None: there is none."""

    case_id: str
    label: Crop
    image: store.Image | None


@dataclass(frozen=True, slots=True)
class _Slice:
    grey_YX: NDArray[np.uint8] | None
    not_air_YX: Mask
    reference_YX: Mask
    prediction_YX: Mask
    spacing_YX: tuple[float, float]


def axial(volume_XYZ: NDArray[Any], z: int) -> NDArray[Any]:
    """Slice ``z`` of a RAS+ array as a picture YX: row 0 is anterior, column 0 is the patient's right."""
    return volume_XYZ[::-1, ::-1, z].T


def plane(crop: Crop, z: int) -> NDArray[Any]:
    """Slice ``z`` of a crop on the whole grid as a picture YX; nothing else of the grid is filled in."""
    shape, start = crop.grid.shape, crop.start
    slice_XY1 = np.zeros((shape[0], shape[1], 1), crop.values_XYZ.dtype)
    if start[2] <= z < start[2] + crop.values_XYZ.shape[2]:
        slice_XY1[(*crop.box[:2], 0)] = crop.values_XYZ[:, :, z - start[2]]
    return axial(slice_XY1, 0)


def choose(arms: list[Arm], most: int) -> list[tuple[Arm, Row]]:
    """Arms in turn; each gives its largest missed lesion among the patients that were shown least."""
    waiting = {arm.name: arm.missed() for arm in arms}
    shown: Counter[str] = Counter()
    chosen: list[tuple[Arm, Row]] = []
    while len(chosen) < most and any(waiting.values()):
        for arm in arms:
            rows = waiting[arm.name]
            if rows and len(chosen) < most:
                row = min(rows, key=lambda row: shown[row["patient_id"]])  # of equals the first: the largest
                rows.remove(row)
                shown[row["patient_id"]] += 1
                chosen.append((arm, row))
    return chosen


def missed(material: Material) -> list[Picture]:
    """Up to ``report.missed_lesions`` lesions that arms, but no null arms, miss at their primary points."""
    chosen = choose(material.trained_arms(), material.study["report"]["missed_lesions"])
    data = material.prepared[material.source]
    made: dict[int, Picture] = {}
    scan: _Case | None = None
    for index, (arm, row) in sorted(enumerate(chosen), key=lambda item: (item[1][1]["case_id"], item[0])):
        if scan is None or scan.case_id != row["case_id"]:  # one scan in memory at a time
            scan = _load(data, row["case_id"])
        made[index] = _picture(material, arm, row, scan)
    return [made[index] for index in sorted(made)]


def _load(data: store.Prepared, case_id: str) -> _Case:
    return _Case(case_id, data.load_label(case_id), data.image(case_id))


def _picture(material: Material, arm: Arm, row: Row, scan: _Case) -> Picture:
    x, y, z = (int(row[f"centre_{axis}"]) for axis in "xyz")
    fold = int(row["fold"]) if row["fold"] else None
    about = material.describe(row["case_id"], int(row["lesion"]))
    flat = _slice(material, arm, fold, scan, z)
    rows, columns = flat.reference_YX.shape
    side_mm = max(DETAIL_MM, 1.6 * (about["diameter_mm"] or 0.0))
    box = tuple(
        _span(centre, size, side_mm / spacing)
        for centre, size, spacing in zip((rows - 1 - y, columns - 1 - x), (rows, columns), flat.spacing_YX, strict=True)
    )
    contrast = material.contrast(row["case_id"], about)
    threshold = arm.threshold(fold)
    score = f"highest probability {float(row['peak_probability']):.3f} (threshold {threshold:.3g})"
    without = " (no image)" if scan.image is None else ""
    lines = [
        f"patient {row['patient_id']}, case {row['case_id']}, lesion {row['lesion']}",
        f"{optional(about['diameter_mm'], ' mm')}, {optional(about['volume_ml'], ' ml')}, contrast {contrast}{without}",
        *([] if material.masks else [score]),
        f"slice {z + 1} of {scan.label.grid.shape[2]}, counted from the feet",
    ]
    overview = None if flat.grey_YX is None else _overview(flat, flat.grey_YX, box)
    return Picture(
        arm, arm.name, lines, overview, _panel(flat, None if flat.grey_YX is None else flat.grey_YX[box], box)
    )


def _slice(material: Material, arm: Arm, fold: int | None, scan: _Case, z: int) -> _Slice:
    spacing_x, spacing_y, _ = scan.label.grid.spacing_mm or (1.0, 1.0, 1.0)
    reference_YX, spacing_YX = plane(scan.label, z) == LESION, (spacing_y, spacing_x)
    prediction_YX = _prediction(material, arm, fold, scan, z)
    if scan.image is None:
        return _Slice(None, reference_YX, reference_YX, prediction_YX, spacing_YX)
    low, high = material.study["view"]["window_hu"]
    image_YX = axial(scan.image.slab(z, z + 1), 0).astype(np.float32)
    grey_YX = np.rint(np.clip((image_YX - low) / (high - low), 0.0, 1.0) * 255.0).astype(np.uint8)
    return _Slice(grey_YX, image_YX > AIR_HU, reference_YX, prediction_YX, spacing_YX)


def _prediction(material: Material, arm: Arm, fold: int | None, scan: _Case, z: int) -> Mask:
    """What the arm marks at its threshold; nothing where it gave no prediction, which counts as a miss."""
    path, threshold = material.predictions[arm.name][fold] / f"{scan.case_id}.b2nd", arm.threshold(fold)
    if threshold is None or not path.exists():
        return np.zeros(plane(scan.label, z).shape, np.bool_)
    return np.asarray(plane(store.read_prediction(path).levels, z) >= level_of(threshold))


def _span(centre: int, size: int, wanted: float) -> slice:
    """About ``wanted`` pixels around the centre, moved so that they stay in the picture."""
    length = min(size, max(LEAST_PX, round(wanted)))
    start = min(max(centre - length // 2, 0), size - length)
    return slice(start, start + length)


def _overview(flat: _Slice, grey_YX: NDArray[np.uint8], box: tuple[slice, ...]) -> Panel:
    """The slice without the air around, by means over blocks of pixels; outlines keep the scan's own pixels."""
    frame_YX = np.zeros(grey_YX.shape, np.bool_)
    frame_YX[box] = True
    shown_YX = flat.not_air_YX | flat.reference_YX | frame_YX
    spans = [np.flatnonzero(shown_YX.any(axis=axis)) for axis in (1, 0)]
    starts, sizes = [int(span[0]) for span in spans], [int(span[-1] - span[0]) + 1 for span in spans]
    step = -(-max(sizes) // OVERVIEW_PX)
    rows, columns = (size // step for size in sizes)
    y, x = (slice(a, a + n * step) for a, n in zip(starts, (rows, columns), strict=True))
    blocks = grey_YX[y, x].reshape(rows, step, columns, step).mean(axis=(1, 3))
    return _panel(flat, np.rint(blocks).astype(np.uint8), (y, x), frame_YX)


def _panel(
    flat: _Slice, grey_YX: NDArray[np.uint8] | None, box: tuple[slice, ...], frame_YX: Mask | None = None
) -> Panel:
    spacing_y, spacing_x = flat.spacing_YX
    return Panel(
        png="" if grey_YX is None else png(grey_YX),
        width=(box[1].stop - box[1].start) * spacing_x,
        height=(box[0].stop - box[0].start) * spacing_y,
        reference=outline(flat.reference_YX[box], flat.spacing_YX),
        prediction=outline(flat.prediction_YX[box], flat.spacing_YX),
        frame="" if frame_YX is None else outline(frame_YX[box], flat.spacing_YX),
    )
