"""Pixels right and wrong in each axial slice, and what a rung of a ladder makes of them.

Means over slices without 0/0, cut slices and dropped slices stand here on purpose: to show what they hide. Everything
else in this package counts every slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.crop import Crop, union
from missrate.core.intervals import patient_weights, ratio_interval
from missrate.core.ladder import METRICS, Rung

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SliceCounts:
    """One case: true positives, false positives and false negatives of each slice, (Z,), and the pixels of a slice."""

    patient_id: str
    true_positives: Counts
    false_positives: Counts
    false_negatives: Counts
    pixels: int

    def of(self, keep_Z: NDArray[np.bool_]) -> "SliceCounts":
        """Some of the slices."""
        hits, false, missed = self.true_positives, self.false_positives, self.false_negatives
        return SliceCounts(self.patient_id, hits[keep_Z], false[keep_Z], missed[keep_Z], self.pixels)


def count_slices(
    reference: Crop, predicted: Crop, level: int, *, patient_id: str, largest_share: float | None, first: int = 0
) -> SliceCounts:
    """``reference`` (bool) against ``predicted`` (levels) at or above ``level``, both on one grid, slice by slice.

    Only slices from ``first`` on are kept. A slice of which more than ``largest_share`` is predicted counts as empty.
    """
    box = union(reference.box, predicted.box)
    inside_XYZ = reference.within(box).astype(bool)
    marked_XYZ = predicted.within(box) >= level
    size_x, size_y, depth = reference.grid.shape
    own = np.s_[box[2].start : box[2].stop]
    hits, marked, lesion = (np.zeros(depth, np.int64) for _ in range(3))
    for values, mask_XYZ in ((hits, inside_XYZ & marked_XYZ), (marked, marked_XYZ), (lesion, inside_XYZ)):
        values[own] = np.count_nonzero(mask_XYZ, axis=(0, 1))
    if largest_share is not None:
        too_large_Z = marked > largest_share * size_x * size_y
        hits[too_large_Z], marked[too_large_Z] = 0, 0
    counts = SliceCounts(patient_id, hits, marked - hits, lesion - hits, size_x * size_y)
    return counts.of(np.arange(depth) >= first)


def measure(cases: Sequence[SliceCounts], rung: Rung, *, resamples: int, seed: int) -> dict[str, Any]:
    """The four rates of a rung, each with its interval over patients, how many slices (or none) were left out, and n.

    {"patients", "slices", "metrics": {name: {"value", "ci95", "undefined"}}}; a rate of nothing has the value None.
    ``undefined``: slices that a mean over slices dropped, since their own rate is 0/0.
    """
    seen = [case.of(case.true_positives + case.false_negatives > 0) for case in cases]
    kept = seen if rung.slices == "with_lesion" else list(cases)
    kept = [case for case in kept if case.true_positives.size]
    patients = sorted({case.patient_id for case in kept})
    weights = patient_weights(len(patients), resamples, seed)
    metrics = {}
    for name in METRICS:
        numerator_P, denominator_P, undefined = _sums(kept, patients, name, by_slice=rung.average == "slices")
        total = float(denominator_P.sum())
        interval = ratio_interval(numerator_P, denominator_P, weights)
        metrics[name] = {
            "value": float(numerator_P.sum()) / total if total else None,
            "ci95": None if interval is None else [interval.low, interval.high],
            "undefined": undefined,
        }
    slices = sum(case.true_positives.size for case in kept)
    return {"patients": len(patients), "slices": slices, "metrics": metrics}


def _sums(
    cases: Sequence[SliceCounts], patients: list[str], metric: str, *, by_slice: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Numerators and denominators of each patient, and the slices whose own rate is 0/0."""
    index = {patient: k for k, patient in enumerate(patients)}
    numerator_P, denominator_P, undefined = np.zeros(len(patients)), np.zeros(len(patients)), 0
    for case in cases:
        above_Z, below_Z = _rate(case, metric)
        if by_slice:
            defined_Z = below_Z > 0
            undefined += int((~defined_Z).sum())
            above_Z, below_Z = above_Z[defined_Z] / below_Z[defined_Z], np.ones(int(defined_Z.sum()))
        numerator_P[index[case.patient_id]] += above_Z.sum()
        denominator_P[index[case.patient_id]] += below_Z.sum()
    return numerator_P, denominator_P, undefined


def _rate(case: SliceCounts, metric: str) -> tuple[NDArray[Any], NDArray[Any]]:
    hits, lesion = case.true_positives, case.true_positives + case.false_negatives
    pixels_Z = np.full(hits.size, case.pixels)
    return {
        "accuracy": (pixels_Z - case.false_positives - case.false_negatives, pixels_Z),
        "precision": (hits, hits + case.false_positives),
        "recall": (hits, lesion),
        "miss_rate": (case.false_negatives, lesion),
    }[metric]
