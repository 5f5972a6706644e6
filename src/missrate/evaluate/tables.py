"""``lesions.csv`` and ``cases.csv``: one row per lesion and per case, so that every miss is a row."""

import csv
import io
from typing import Any

import numpy as np

from missrate.core.admissible import level_at
from missrate.core.case import CaseStatistics
from missrate.core.matching import large_enough, outcome, voxel_counts
from missrate.core.quantise import threshold_of
from missrate.core.types import Matching, OperatingPoint

_LESION_COLUMNS = [
    "case_id",
    "patient_id",
    "fold",
    "lesion",
    "voxels",
    "volume_ml",
    "diameter_mm",
    "centre_x",
    "centre_y",
    "centre_z",
    "peak_probability",
]
_LESION_POINT_COLUMNS = ["found", "covered", "best_iou"]
_CASE_COLUMNS = ["case_id", "patient_id", "fold", "lesions", "reference_voxels", "volume_ml", "peak_probability"]
_CASE_POINT_COLUMNS = [
    "threshold",
    "found",
    "false_positives",
    "voxels_true_positive",
    "voxels_false_negative",
    "voxels_false_positive",
    "false_positive_ml",
]


def lesions_csv(cases: list[CaseStatistics], points: list[OperatingPoint], matching: Matching) -> str:
    """One row per lesion, in the order of case ids; the columns of each point end in its name.

    ``found`` is 1 or 0, by the rule; ``covered`` the share of the lesion's voxels that candidates share, ``best_iou``
    the highest IoU with any one of them: how missed a missed lesion is. Empty without a threshold, the last two also
    for points, which have no voxels. Lesions are numbered from 1, centres are voxel indices in RAS+, and what has no
    millimetres is empty. Raises InputError as ``matching.outcome``.
    """
    named = [f"{column}_{point.name}" for point in points for column in _LESION_POINT_COLUMNS]
    rows: list[list[Any]] = [[*_LESION_COLUMNS, *named]]
    for case in sorted(cases, key=lambda case: case.case_id):
        at_points = [_lesions_at_point(case, level_at(point, case), matching) for point in points]
        for i in range(case.lesion_peak.size):
            known = case.voxel_ml is not None
            rows.append(
                [
                    *_who(case),
                    i + 1,
                    int(case.lesions.voxels[i]),
                    _fixed(float(case.lesions.volume_ml[i]) if known else None),
                    _fixed(float(case.lesions.diameter_mm[i]) if known else None, digits=2),
                    *(int(index) for index in case.lesions.centre_XYZ[i]),
                    _fixed(threshold_of(int(case.lesion_peak[i]))),
                    *(cell for lesions in at_points for cell in lesions[i]),
                ]
            )
    return _text(rows)


def _lesions_at_point(case: CaseStatistics, level: int | None, matching: Matching) -> list[list[Any]]:
    """The cells of each lesion at one point."""
    lesions = case.lesion_peak.size
    if level is None:
        return [[""] * len(_LESION_POINT_COLUMNS)] * lesions
    found_L = outcome(case, level, matching).found.astype(int).tolist()
    if case.kind == "points":
        return [[hit, "", ""] for hit in found_L]
    tree = case.tree_at(level)
    rows = tree.standing(level)
    rows = rows[large_enough(case, tree.voxels[rows], matching)]
    candidate, lesion, shared = tree.pairs(rows)
    covered_L, best_L = np.bincount(lesion, shared, lesions) / case.lesions.voxels, np.zeros(lesions)
    np.maximum.at(best_L, lesion, shared / (case.lesions.voxels[lesion] + tree.voxels[rows[candidate]] - shared))
    shares = zip(found_L, covered_L.tolist(), best_L.tolist(), strict=True)
    return [[hit, _fixed(covered, 4), _fixed(best, 4)] for hit, covered, best in shares]


def cases_csv(cases: list[CaseStatistics], points: list[OperatingPoint], matching: Matching) -> str:
    """One row per case, in the order of case ids; the columns of each point end in its name, empty without a threshold.

    Raises InputError as ``matching.outcome``.
    """
    named = [f"{column}_{point.name}" for point in points for column in _CASE_POINT_COLUMNS]
    rows: list[list[Any]] = [[*_CASE_COLUMNS, *named]]
    for case in sorted(cases, key=lambda case: case.case_id):
        voxels = case.inside.total
        volume_ml = None if case.voxel_ml is None else voxels * case.voxel_ml
        peak = _fixed(threshold_of(int(case.slice_peak.max())))
        row: list[Any] = [*_who(case), case.lesion_peak.size, voxels, _fixed(volume_ml), peak]
        for point in points:
            row += _at_point(case, level_at(point, case), matching)
        rows.append(row)
    return _text(rows)


def _at_point(case: CaseStatistics, level: int | None, matching: Matching) -> list[Any]:
    if level is None:
        return [""] * len(_CASE_POINT_COLUMNS)
    result, voxels = outcome(case, level, matching), voxel_counts(case, level)
    outside_ml = None if case.voxel_ml is None else voxels.false_positives * case.voxel_ml
    return [
        _fixed(threshold_of(level)),
        int(result.found.sum()),
        result.false_positives,
        voxels.true_positives,
        voxels.false_negatives,
        voxels.false_positives,
        _fixed(outside_ml),
    ]


def _who(case: CaseStatistics) -> list[Any]:
    return [case.case_id, case.patient_id, "" if case.fold is None else case.fold]


def _fixed(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _text(rows: list[list[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
