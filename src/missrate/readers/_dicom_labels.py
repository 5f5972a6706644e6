"""References in DICOM to label maps: contours (RTSTRUCT) and segmentations (SEG), on the grid IJK of their series."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError
from missrate.readers._dicom_tree import quiet, read
from missrate.readers._dicom_volume import LPS_TO_RAS

BETWEEN = 0.25
"""How far, in slices, a contour may lie from the middle of a slice."""
OUTSIDE = ("EXTERNAL", "SUPPORT", "BOLUS", "AVOIDANCE", "ISOCENTER", "MARKER")

Shape = tuple[int, int, int]
Affine = NDArray[np.float64]


def contours(
    path: Path, structures: Mapping[str, int], shape: Shape, affine: Affine, *, name: str
) -> NDArray[np.uint8]:
    """The label map of an RTSTRUCT: each slice is filled by the even-odd rule, so a contour in another is a hole.

    ``structures``: name of a region to label value, of two the later one wins; empty: the only region, as 1.
    Raises DataError for regions that are not there, open contours, and contours between slices.
    """
    data = read(path, f"The contours of {name}")
    try:
        with quiet():
            numbers = {int(r.ROINumber): str(r.ROIName) for r in data.StructureSetROISequence}
            kinds = {
                int(o.ReferencedROINumber): str(getattr(o, "RTROIInterpretedType", ""))
                for o in getattr(data, "RTROIObservationsSequence", None) or []
            }
            drawn: dict[int, list[tuple[str, NDArray[np.float64]]]] = defaultdict(list)
            for item in data.ROIContourSequence:  # a region may have several items
                drawn[int(item.ReferencedROINumber)] += _points(item)
            if len(numbers) < len(data.StructureSetROISequence):
                raise ValueError("two regions with one number")
    except Exception:
        raise DataError(f"The contours of {name} must be a whole structure set. Got a damaged one.") from None
    label_IJK = np.zeros(shape, np.uint8, order="F")
    for number, value in _chosen(numbers, kinds, structures, name):
        mask_IJK = np.zeros(shape, np.bool_, order="F")
        for geometry, points_mm in drawn.get(number, []):
            if geometry != "CLOSED_PLANAR":
                raise DataError(f"The contours of {name} must be closed and plane. Got another kind.")
            _fill(mask_IJK, _voxels(points_mm, affine), name)
        label_IJK[mask_IJK] = value
    return label_IJK


def _points(item: Any) -> list[tuple[str, NDArray[np.float64]]]:
    return [
        (str(c.ContourGeometricType), np.array([float(v) for v in c.ContourData]).reshape(-1, 3))
        for c in getattr(item, "ContourSequence", None) or []
    ]


def _chosen(
    numbers: dict[int, str], kinds: dict[int, str], structures: Mapping[str, int], name: str
) -> list[tuple[int, int]]:
    """Region numbers with their label values."""
    known = ", ".join(sorted(set(numbers.values()))[:12]) or "none"
    if not structures:
        inner = [number for number in numbers if kinds.get(number, "").upper() not in OUTSIDE]
        if len(inner) != 1:
            raise DataError(f"`structures` must say which regions of {name} have which value. Got regions {known}.")
        return [(inner[0], 1)]
    result = []
    for wanted, value in structures.items():
        found = [number for number, title in numbers.items() if title == wanted]
        if len(found) != 1:
            raise DataError(f"`structures` must name regions of {name} that exist once. Got {wanted!r} of {known}.")
        result.append((found[0], value))
    return result


def _voxels(points_mm: NDArray[np.float64], affine: Affine) -> NDArray[np.float64]:
    """Points in LPS mm as indices IJK."""
    to_index = np.linalg.inv(affine) @ LPS_TO_RAS
    return np.asarray(points_mm @ to_index[:3, :3].T + to_index[:3, 3])


def _fill(mask_IJK: NDArray[np.bool_], points_IJK: NDArray[np.float64], name: str) -> None:
    """Turns the voxels over whose middle lies within the polygon. In place."""
    if len(points_IJK) < 3:
        return
    if not np.isfinite(points_IJK).all():
        raise DataError(f"The contours of {name} must be finite. Got NaN or infinite points.")
    k = round(float(np.median(points_IJK[:, 2])))
    if np.abs(points_IJK[:, 2] - k).max() > BETWEEN or not 0 <= k < mask_IJK.shape[2]:
        raise DataError(f"The contours of {name} must lie in its slices. Got one between or beyond them.")
    mask_IJK[:, :, k] ^= inside(points_IJK[:, :2], (mask_IJK.shape[0], mask_IJK.shape[1]))


def inside(points_PC: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which of the points (i, j) of a lattice lie within a closed polygon, by the even-odd rule.

    Each edge that a row crosses turns over every point to its right. Points on an edge belong to one side of it only,
    so that polygons that share an edge share no point.
    """
    turned = np.zeros((shape[0] + 1, shape[1]), np.int64)
    i, j = points_PC[:, 0], points_PC[:, 1]
    i_next, j_next = np.roll(i, -1), np.roll(j, -1)
    for a in range(len(points_PC)):
        low, high = sorted((j[a], j_next[a]))
        rows = np.arange(max(int(np.ceil(low)), 0), min(int(np.ceil(high)), shape[1]))
        if rows.size:
            crossing = i[a] + (rows - j[a]) * (i_next[a] - i[a]) / (j_next[a] - j[a])
            np.add.at(turned, (np.clip(np.ceil(crossing), 0, shape[0]).astype(np.int64), rows), 1)
    return np.asarray(turned.cumsum(axis=0)[:-1] % 2 == 1)


def segments(
    path: Path, structures: Mapping[str, int], shape: Shape, affine: Affine, *, name: str
) -> NDArray[np.uint8]:
    """The label map of a SEG: the number of a segment is its value, unless ``structures`` names segments by label.

    Frames that are empty may be missing. Raises DataError for fractions, for overlaps, and for another grid.
    """
    try:
        import highdicom
    except ImportError:
        raise DataError(f"A SEG must have highdicom. Got none for {name}; pip install 'missrate[dicom]'.") from None
    try:
        with quiet():
            data = highdicom.seg.segread(path)
            kind, titles = (
                str(data.SegmentationType),
                {str(s.SegmentLabel): int(s.SegmentNumber) for s in data.SegmentSequence},
            )
            volume = None if kind == "FRACTIONAL" else data.get_volume(combine_segments=True, dtype=np.uint8)
    except Exception as error:
        raise DataError(
            f"The segments of {name} must be whole and must not overlap. Got: {type(error).__name__}."
        ) from None
    if volume is None:
        raise DataError(f"The segments of {name} must be in or out. Got fractions.")
    values_KJI, affine_KJI = np.asarray(volume.array), np.asarray(volume.affine)
    label_IJK = _placed(
        values_KJI.transpose(2, 1, 0), LPS_TO_RAS @ affine_KJI[:, [2, 1, 0, 3]], shape=shape, affine=affine, name=name
    )
    if not structures:
        return label_IJK
    missing = [title for title in structures if title not in titles]
    if missing:
        raise DataError(f"`structures` must name segments of {name}. Got {missing[0]!r} of {', '.join(titles)}.")
    table = np.zeros(256, np.uint8)
    for title, value in structures.items():
        table[titles[title]] = value
    return np.asarray(table[label_IJK], np.uint8)


def _placed(
    values_IJK: NDArray[np.uint8], own: Affine, *, shape: Shape, affine: Affine, name: str
) -> NDArray[np.uint8]:
    """The values where they lie on the image's grid; their own may be a part of it, and run the other way."""
    step = np.linalg.inv(affine) @ own
    turn = np.rint(step[:3, :3])
    corner = step[:3, 3]
    whole = np.abs(step[:3, :3] - turn).max() < 1e-2 and np.abs(corner - np.rint(corner)).max() < 0.1
    if not whole or (np.abs(turn) != np.eye(3)).any():
        raise DataError(f"The segments of {name} must lie on the grid of its slices. Got another grid.")
    start = np.rint(corner).astype(int)
    for axis in range(3):
        if turn[axis, axis] < 0:
            values_IJK = np.flip(values_IJK, axis)
            start[axis] -= values_IJK.shape[axis] - 1
    stop = start + values_IJK.shape
    if (start < 0).any() or (stop > shape).any():
        raise DataError(f"The segments of {name} must lie within its slices. Got some beyond them.")
    result = np.zeros(shape, np.uint8, order="F")
    result[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = values_IJK
    return result
