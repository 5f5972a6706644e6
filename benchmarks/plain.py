"""The best straightforward evaluation that numpy, scipy, cc3d and edt allow: what ours is measured against.

The same outputs at the same levels, written as plainly as it can be without being slow: cropped to what is active,
every voxel threshold from one sorted count, components anew at each candidate level, distances by one transform per
mask. It shares nothing with ``missrate.evaluate`` but the levels, so that it is an oracle as well.

Shapes: XYZ voxels, L lesions, C candidates, K levels, B resamples, P patients, V voxels of some list. A reference is
uint8 (0, 1); probabilities are float32 in [0, 1]; ``p >= t`` is predicted; components are 26-connected.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from missrate.core.lesions import components
from missrate.core.quantise import TOP

try:
    import edt  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError:  # the tests' environment: scipy answers the same, more slowly
    edt = None

Reference = NDArray[np.uint8]
Probability = NDArray[np.float32]
LEAST_IOU, TOLERANCE_MM = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The confusion table in voxels."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Voxels at or above each of the TOP + 1 levels, and what follows; nan where a ratio is 0/0."""

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]
    precision: NDArray[np.float64]
    miss_rate: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Matched:
    """Lesions found at one level under both rules, and the candidates that find none."""

    found_any: NDArray[np.bool_]  # (L,)
    found_iou: NDArray[np.bool_]  # (L,) one to one, IoU of at least LEAST_IOU
    false_positives_any: int
    false_positives_iou: int  # PI-CAI convention: a second candidate that overlaps enough is excused
    candidate_voxels: NDArray[np.int64]  # (C,)
    candidate_peak: NDArray[np.uint16]  # (C,)


@dataclass(frozen=True, slots=True)
class Surfaces:
    """Directed-maximum HD95 in mm (None where a mask is empty) and NSD by border voxels (None where both are)."""

    hd95_mm: float | None
    nsd: float | None


@dataclass(frozen=True, slots=True)
class Everything:
    """All of one case."""

    counts: Counts
    curve: Curve
    matched_K: list[Matched]
    surfaces: Surfaces
    slice_voxels: NDArray[np.int64]  # (Z,)
    slice_peak: NDArray[np.float32]  # (Z,)
    slice_peak_inside: NDArray[np.float32]  # (Z,)


def counts(reference_XYZ: Reference, probability_XYZ: Probability, threshold: float) -> Counts:
    """Voxels right and wrong at one threshold."""
    inside_XYZ, predicted_XYZ = reference_XYZ.view(np.bool_), probability_XYZ >= edge(threshold)
    masks = (predicted_XYZ, inside_XYZ, predicted_XYZ & inside_XYZ)
    predicted, reference, both = (int(np.count_nonzero(mask)) for mask in masks)
    return Counts(both, reference - both, predicted - both, reference_XYZ.size - reference - predicted + both)


def edge(threshold: float) -> np.float32:
    """The float32 that whoever writes the threshold as one gets: .7 lies above it, .1 below."""
    return np.float32(threshold)


def levels_of(probability: Probability) -> NDArray[np.uint16]:
    """Levels by floor, or the next one where its edge, rounded to float32, is reached.

    A float32 times 60,000 has 40 bits at most, so that the product in float64 is exact.
    """
    levels = np.multiply(probability, TOP, dtype=np.float64).astype(np.uint16)
    above = ((levels.astype(np.int64) + 1) / TOP).astype(np.float32)
    return levels + (probability >= above)


def curve(reference_XYZ: Reference, probability_XYZ: Probability) -> Curve:
    """Precision and miss rate at every level at once, from two counts of the voxels that are not 0."""
    active_XYZ = probability_XYZ > 0.0
    levels_V, is_inside_V = levels_of(probability_XYZ[active_XYZ]), reference_XYZ[active_XYZ].view(np.bool_)
    inside = np.bincount(levels_V[is_inside_V], minlength=TOP + 1)
    outside = np.bincount(levels_V, minlength=TOP + 1) - inside
    reference = int(np.count_nonzero(reference_XYZ))
    inside[0] += reference - inside.sum()
    outside[0] += reference_XYZ.size - reference - outside.sum()
    inside, outside = np.cumsum(inside[::-1])[::-1], np.cumsum(outside[::-1])[::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return Curve(inside, outside, inside / (inside + outside), 1.0 - inside / np.float64(reference))


def matching(reference_XYZ: Reference, probability_XYZ: Probability, threshold: float) -> Matched:
    """Lesions found at one threshold, in the box of all that is active."""
    return lesions_in_one_box(reference_XYZ, probability_XYZ, levels_K=np.array([round(threshold * TOP)]))[0]


def lesions(reference_XYZ: Reference, probability_XYZ: Probability, levels_K: NDArray[np.integer]) -> list[Matched]:
    """``Matched`` at each level, ascending, all at least 1: the components anew each time, island by island.

    An island is a component of the lowest level; every candidate lies within one, so that the space between them is
    not labelled again at each level. Candidates come in the order of their islands.
    """
    lesion_XYZ, count = components(reference_XYZ.view(np.bool_))
    voxels_L = np.bincount(lesion_XYZ[reference_XYZ.view(np.bool_)], minlength=count + 1)[1:]
    island_XYZ, _ = components(probability_XYZ >= edge(int(levels_K[0]) / TOP))
    parts: list[list[_Candidates]] = [[] for _ in levels_K]
    for k, box in enumerate(ndimage.find_objects(island_XYZ), start=1):
        levels_XYZ = np.where(island_XYZ[box] == k, levels_of(probability_XYZ[box]), np.uint16(0))
        inside, top = _inside(lesion_XYZ[box]), int(levels_XYZ.max())
        for part, level in zip(parts, levels_K, strict=True):
            if level > top:
                break
            part.append(_candidates(levels_XYZ, int(level), *inside))
    return [_matched(part, voxels_L) for part in parts]


def lesions_in_one_box(
    reference_XYZ: Reference, probability_XYZ: Probability, levels_K: NDArray[np.integer]
) -> list[Matched]:
    """The same in one box around all islands: what one writes first. Candidates come in the order of their voxels."""
    box = active_box(reference_XYZ.view(np.bool_) | (probability_XYZ >= edge(int(levels_K[0]) / TOP)))
    lesion_XYZ, count = components(reference_XYZ[box].view(np.bool_))
    levels_XYZ = levels_of(probability_XYZ[box])
    voxels_L = np.bincount(lesion_XYZ.ravel(), minlength=count + 1)[1:]
    inside = _inside(lesion_XYZ)
    return [_matched([_candidates(levels_XYZ, int(level), *inside)], voxels_L) for level in levels_K]


@dataclass(frozen=True, slots=True)
class _Candidates:
    voxels: NDArray[np.int64]  # (C,)
    peak: NDArray[np.uint16]  # (C,)
    candidate: NDArray[np.int64]  # a row for each pair that overlaps
    lesion: NDArray[np.int64]
    shared: NDArray[np.int64]


def _inside(lesion_XYZ: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The flat index and the lesion (from 0) of each voxel of a lesion."""
    inside_V = np.flatnonzero(lesion_XYZ)
    return inside_V, lesion_XYZ.ravel()[inside_V].astype(np.int64) - 1


def _candidates(
    levels_XYZ: NDArray[np.uint16], level: int, inside_V: NDArray[np.intp], lesion_V: NDArray[np.int64]
) -> _Candidates:
    mask_XYZ = levels_XYZ >= level
    label_XYZ, count = components(mask_XYZ)
    label_V = label_XYZ[mask_XYZ]
    peak_C = np.zeros(count + 1, np.uint16)
    np.maximum.at(peak_C, label_V, levels_XYZ[mask_XYZ])
    candidate_V = label_XYZ.ravel()[inside_V]
    on_V = candidate_V > 0
    pair, shared = np.unique(lesion_V[on_V] * (count + 1) + candidate_V[on_V], return_counts=True)
    lesion, candidate = np.divmod(pair, count + 1)
    return _Candidates(np.bincount(label_V, minlength=count + 1)[1:], peak_C[1:], candidate - 1, lesion, shared)


def _matched(parts: list[_Candidates], voxels_L: NDArray[np.int64]) -> Matched:
    found_any, found_iou = np.zeros(voxels_L.size, bool), np.zeros(voxels_L.size, bool)
    if not parts:
        return Matched(found_any, found_iou, 0, 0, np.empty(0, np.int64), np.empty(0, np.uint16))
    first = np.cumsum([0] + [part.voxels.size for part in parts])
    voxels_C = np.concatenate([part.voxels for part in parts])
    candidate = np.concatenate([part.candidate + k for part, k in zip(parts, first[:-1], strict=True)])
    lesion, shared = (np.concatenate([getattr(part, name) for part in parts]) for name in ("lesion", "shared"))
    iou = shared / (voxels_C[candidate] + voxels_L[lesion] - shared)
    enough = iou >= LEAST_IOU
    found_any[lesion] = True
    found_iou[_one_to_one(lesion[enough], candidate[enough], iou[enough])] = True
    return Matched(
        found_any,
        found_iou,
        voxels_C.size - np.unique(candidate).size,
        voxels_C.size - np.unique(candidate[enough]).size,
        voxels_C,
        np.concatenate([part.peak for part in parts]),
    )


def _one_to_one(lesion: NDArray[np.int64], candidate: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """The lesions of the pairing with the most matches and, among those, the greatest sum of IoU."""
    rows, row = np.unique(lesion, return_inverse=True)
    columns, column = np.unique(candidate, return_inverse=True)
    weight = np.zeros((rows.size, columns.size))
    weight[row, column] = iou + rows.size + 1.0  # a match outweighs any sum of IoU
    chosen_row, chosen_column = linear_sum_assignment(weight, maximize=True)
    return rows[chosen_row[weight[chosen_row, chosen_column] > 0.0]]


def surfaces(
    reference_XYZ: Reference, probability_XYZ: Probability, spacing_mm: tuple[float, float, float], threshold: float
) -> Surfaces:
    """Distances between the borders of both masks, by one distance transform each in the box of both."""
    predicted_XYZ = probability_XYZ >= edge(threshold)
    box = active_box(predicted_XYZ | reference_XYZ.view(np.bool_))
    masks = (np.ascontiguousarray(reference_XYZ[box].view(np.bool_)), np.ascontiguousarray(predicted_XYZ[box]))
    if not (masks[0].any() and masks[1].any()):
        return Surfaces(None, 0.0 if masks[0].any() or masks[1].any() else None)
    borders = [border(mask) for mask in masks]
    to_prediction = distance_mm(borders[1], spacing_mm)[borders[0]]
    to_reference = distance_mm(borders[0], spacing_mm)[borders[1]]
    near = np.count_nonzero(to_prediction <= TOLERANCE_MM) + np.count_nonzero(to_reference <= TOLERANCE_MM)
    hd95_mm = max(float(np.percentile(d, 95)) for d in (to_prediction, to_reference))
    return Surfaces(hd95_mm, float(near / (to_prediction.size + to_reference.size)))


def border(mask_XYZ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of the mask with one of six neighbours outside of it; what lies beyond the array is outside."""
    inner_XYZ = mask_XYZ.copy()
    for axis in range(3):
        here, there = np.moveaxis(inner_XYZ, axis, 0), np.moveaxis(mask_XYZ, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[0] = here[-1] = False
    return mask_XYZ & ~inner_XYZ


def distance_mm(target_XYZ: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """How far each voxel lies from the nearest true one."""
    if edt is None:
        return np.asarray(ndimage.distance_transform_edt(~target_XYZ, sampling=spacing_mm), np.float32)
    return np.asarray(edt.edt(~target_XYZ, anisotropy=spacing_mm, black_border=False, parallel=1), np.float32)


def bootstrap(
    inside_PK: NDArray[np.float64],
    outside_PK: NDArray[np.float64],
    reference_P: NDArray[np.float64],
    resamples: int,
    seed: int = 0,
) -> NDArray[np.float64]:
    """95 % percentile intervals of the pooled precision and miss rate at each level, shape (2, 2, K): low, high.

    Whole patients are resampled; undefined ratios (0/0) are left out, and a level without a defined one gives nan.
    """
    patients = reference_P.size
    random = np.random.default_rng(seed)
    weights_BP = random.multinomial(patients, np.full(patients, 1.0 / patients), size=resamples).astype(np.float64)
    inside_BK, outside_BK, reference_B = weights_BP @ inside_PK, weights_BP @ outside_PK, weights_BP @ reference_P
    with np.errstate(invalid="ignore", divide="ignore"):
        precision_BK, miss_BK = inside_BK / (inside_BK + outside_BK), 1.0 - inside_BK / reference_B[:, None]
    return np.stack([_interval(precision_BK), _interval(miss_BK)])


def _interval(draws_BK: NDArray[np.float64]) -> NDArray[np.float64]:
    draws_KB = np.ascontiguousarray(draws_BK.T)
    whole_K = ~np.isnan(draws_KB).any(axis=1)
    result = np.full((2, draws_KB.shape[0]), np.nan)
    result[:, whole_K] = np.quantile(draws_KB[whole_K], (0.025, 0.975), axis=1)
    for k in np.flatnonzero(~whole_K):
        defined = draws_KB[k][~np.isnan(draws_KB[k])]
        if defined.size:
            result[:, k] = np.quantile(defined, (0.025, 0.975))
    return result


def everything(
    reference_XYZ: Reference,
    probability_XYZ: Probability,
    spacing_mm: tuple[float, float, float],
    levels_K: NDArray[np.integer],
    threshold: float = 0.5,
) -> Everything:
    """All of one case; the counts at the threshold are read from the curve."""
    whole = curve(reference_XYZ, probability_XYZ)
    level = round(threshold * TOP)
    both, alarms = int(whole.inside[level]), int(whole.outside[level])
    return Everything(
        Counts(both, int(whole.inside[0]) - both, alarms, int(whole.outside[0]) - alarms),
        whole,
        lesions(reference_XYZ, probability_XYZ, levels_K),
        surfaces(reference_XYZ, probability_XYZ, spacing_mm, threshold),
        reference_XYZ.sum(axis=(0, 1), dtype=np.int64),
        probability_XYZ.max(axis=(0, 1)),
        np.multiply(probability_XYZ, reference_XYZ).max(axis=(0, 1)),
    )


def active_box(mask_XYZ: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The smallest box that holds all true voxels; without one, the first voxel."""
    flat_XY: NDArray[np.bool_] = np.any(mask_XYZ, axis=2)
    lines = (np.any(flat_XY, axis=1), np.any(flat_XY, axis=0), np.any(mask_XYZ, axis=(0, 1)))
    spans = [np.flatnonzero(line) for line in lines]
    x, y, z = (slice(int(s[0]), int(s[-1]) + 1) if s.size else slice(0, 1) for s in spans)
    return x, y, z
