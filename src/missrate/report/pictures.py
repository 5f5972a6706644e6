"""Missed lesions as pictures: which to show, and for each the whole axial slice and an enlarged part of it.

Arrays are XYZ in RAS+; pictures are YX in radiological convention: the patient's right on the left, anterior up.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core import store
from missrate.core.quantise import level_of
from missrate.core.types import LESION, LabelledScan
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
    """One part of a slice: its PNG, its size in mm, and outlines (and the frame of the detail) as SVG paths in mm."""

    png: str
    width: float
    height: float
    reference: str
    prediction: str
    frame: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """One missed lesion of one arm."""

    arm: Arm
    title: str
    lines: list[str]
    overview: Panel
    detail: Panel


@dataclass(frozen=True, slots=True)
class _Slice:
    grey_YX: NDArray[np.uint8]
    not_air_YX: Mask
    reference_YX: Mask
    prediction_YX: Mask
    spacing_YX: tuple[float, float]


def axial(volume_XYZ: NDArray[Any], z: int) -> NDArray[Any]:
    """Slice ``z`` of a RAS+ array as a picture YX: row 0 is anterior, column 0 is the patient's right."""
    return volume_XYZ[::-1, ::-1, z].T


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
    scan: LabelledScan | None = None
    for index, (arm, row) in sorted(enumerate(chosen), key=lambda item: (item[1][1]["case_id"], item[0])):
        if scan is None or scan.case_id != row["case_id"]:  # one scan in memory at a time
            scan = data.load(row["case_id"], row["patient_id"])
        made[index] = _picture(material, arm, row, scan)
    return [made[index] for index in sorted(made)]


def _picture(material: Material, arm: Arm, row: Row, scan: LabelledScan) -> Picture:
    x, y, z = (int(row[f"centre_{axis}"]) for axis in "xyz")
    fold = int(row["fold"]) if row["fold"] else None
    about = material.describe(row["case_id"], int(row["lesion"]))
    flat = _slice(material, arm, fold, scan, z)
    rows, columns = flat.grey_YX.shape
    side_mm = max(DETAIL_MM, 1.6 * (about["diameter_mm"] or 0.0))
    box = tuple(
        _span(centre, size, side_mm / spacing)
        for centre, size, spacing in zip((rows - 1 - y, columns - 1 - x), (rows, columns), flat.spacing_YX, strict=True)
    )
    contrast = "undefined" if about["contrast_hu"] is None else f"{about['contrast_hu']:+.0f} HU".replace("-", "−")
    threshold = arm.threshold(fold)
    lines = [
        f"patient {row['patient_id']}, case {row['case_id']}, lesion {row['lesion']}",
        f"{optional(about['diameter_mm'], ' mm')}, {optional(about['volume_ml'], ' ml')}, contrast {contrast}",
        f"highest probability {float(row['peak_probability']):.3f} (threshold {threshold:.3g})",
        f"slice {z + 1} of {scan.grid.shape[2]}, counted from the feet",
    ]
    return Picture(arm, arm.name, lines, _overview(flat, box), _detail(flat, box))


def _slice(material: Material, arm: Arm, fold: int | None, scan: LabelledScan, z: int) -> _Slice:
    low, high = material.study["view"]["window_hu"]
    image_YX = axial(scan.image_XYZ, z).astype(np.float32)
    grey_YX = np.rint(np.clip((image_YX - low) / (high - low), 0.0, 1.0) * 255.0).astype(np.uint8)
    spacing_x, spacing_y, _ = scan.grid.spacing_mm or (1.0, 1.0, 1.0)
    prediction_XYZ = _prediction(material, arm, fold, scan)
    reference_YX = axial(scan.label_XYZ, z) == LESION
    return _Slice(grey_YX, image_YX > AIR_HU, reference_YX, axial(prediction_XYZ, z), (spacing_y, spacing_x))


def _prediction(material: Material, arm: Arm, fold: int | None, scan: LabelledScan) -> Mask:
    """What the arm marks at its threshold; nothing where it gave no prediction, which counts as a miss."""
    path, threshold = material.predictions[arm.name][fold] / f"{scan.case_id}.b2nd", arm.threshold(fold)
    if threshold is None or not path.exists():
        return np.zeros(scan.grid.shape, np.bool_)
    levels_XYZ = store.read_prediction(path).levels.full()
    return np.asarray(levels_XYZ >= level_of(threshold))


def _span(centre: int, size: int, wanted: float) -> slice:
    """About ``wanted`` pixels around the centre, moved so that they stay in the picture."""
    length = min(size, max(LEAST_PX, round(wanted)))
    start = min(max(centre - length // 2, 0), size - length)
    return slice(start, start + length)


def _overview(flat: _Slice, box: tuple[slice, ...]) -> Panel:
    """The slice without the air around, by means over blocks of pixels; outlines keep the scan's own pixels."""
    frame_YX = np.zeros(flat.grey_YX.shape, np.bool_)
    frame_YX[box] = True
    shown_YX = flat.not_air_YX | flat.reference_YX | frame_YX
    spans = [np.flatnonzero(shown_YX.any(axis=axis)) for axis in (1, 0)]
    starts, sizes = [int(span[0]) for span in spans], [int(span[-1] - span[0]) + 1 for span in spans]
    step = -(-max(sizes) // OVERVIEW_PX)
    rows, columns = (size // step for size in sizes)
    y, x = (slice(a, a + n * step) for a, n in zip(starts, (rows, columns), strict=True))
    blocks = flat.grey_YX[y, x].reshape(rows, step, columns, step).mean(axis=(1, 3))
    return _panel(flat, np.rint(blocks).astype(np.uint8), (y, x), frame_YX)


def _detail(flat: _Slice, box: tuple[slice, ...]) -> Panel:
    return _panel(flat, flat.grey_YX[box], box, None)


def _panel(flat: _Slice, grey_YX: NDArray[np.uint8], box: tuple[slice, ...], frame_YX: Mask | None) -> Panel:
    spacing_y, spacing_x = flat.spacing_YX
    return Panel(
        png=png(grey_YX),
        width=(box[1].stop - box[1].start) * spacing_x,
        height=(box[0].stop - box[0].start) * spacing_y,
        reference=outline(flat.reference_YX[box], flat.spacing_YX),
        prediction=outline(flat.prediction_YX[box], flat.spacing_YX),
        frame="" if frame_YX is None else outline(frame_YX[box], flat.spacing_YX),
    )
