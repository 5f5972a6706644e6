"""A cohort's counts at every threshold: exactly, pooled over cases, and case by case at the levels that matter.

Shapes: J levels ascending (all that are known), K of them (at most ``LEVELS``), N cases, P patients in sorted order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.matching import Curve, curve, outcome
from missrate.core.quantise import TOP
from missrate.core.types import Matching

Floats = NDArray[np.float64]
LEVELS = 1024
"""Curves get intervals at so many levels: those between which the pooled counts change by equal shares."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over the cohort at each of ``levels``, (J,); with B weightings (J, B)."""

    levels: NDArray[np.uint16]
    found: Floats  # lesions
    matched: Floats  # candidates
    false_positives: Floats  # candidates
    inside_voxels: Floats
    outside_voxels: Floats
    outside_ml: Floats | None  # None when some case knows pixels only

    def one(self, b: int) -> "Counts":
        """Those of one weighting."""
        found, matched, false, inside, outside = (
            each[:, b]
            for each in (self.found, self.matched, self.false_positives, self.inside_voxels, self.outside_voxels)
        )
        ml = None if self.outside_ml is None else self.outside_ml[:, b]
        return Counts(self.levels, found, matched, false, inside, outside, ml)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Counts of every case at K levels, (K, N) unless stated, and of all cases together at every level."""

    pooled: Counts  # J levels
    levels: NDArray[np.uint16]  # (K,)
    patients: list[str]  # (P,) sorted
    patient: NDArray[np.int64]  # (N,) index into patients
    lesions: Floats  # (N,)
    reference_voxels: Floats  # (N,)
    voxel_ml: Floats | None  # (N,); None when some case knows pixels only
    found: Floats
    matched: Floats
    false_positives: Floats
    inside_voxels: Floats
    outside_voxels: Floats

    def counts(self, weights: Floats) -> Counts:
        """Sums at the K levels under the weights of the cases, (N,) or (N, B)."""
        found, matched, false, inside, outside = (
            each @ weights
            for each in (self.found, self.matched, self.false_positives, self.inside_voxels, self.outside_voxels)
        )
        ml = None if self.voxel_ml is None else self.outside_voxels @ (weights.T * self.voxel_ml).T
        return Counts(self.levels, found, matched, false, inside, outside, ml)


def common_floor(cases: Sequence[CaseStatistics]) -> int:
    """The lowest level from which on the candidates of all cases are known. Raises InputError for no cases."""
    if not cases:
        raise InputError("A cohort must hold at least one case. Got none.")
    return max(case.floor for case in cases)


def sweep(cases: list[CaseStatistics], matching: Matching) -> Sweep:
    """The counts of ``cases`` from their common floor upwards; a cohort of masks has one level.

    Errors as in ``matching.curve``.
    """
    floor = common_floor(cases)
    scored = any(case.scored for case in cases)
    levels = np.arange(floor, TOP + 1).astype(np.uint16) if scored else np.array([TOP], np.uint16)
    curves = [curve(case, matching) if scored else _at_top(case, matching) for case in cases]
    known_ml = [case.voxel_ml for case in cases if case.voxel_ml is not None]
    voxel_ml = np.array(known_ml) if len(known_ml) == len(cases) else None
    pooled = _pooled(cases, curves, levels, voxel_ml)
    kept = _where_counts_change(pooled)
    patients = sorted({case.patient_id for case in cases})

    def columns(each: list[NDArray[np.integer]]) -> Floats:
        return np.stack(each, axis=1).astype(np.float64)

    return Sweep(
        pooled=pooled,
        levels=kept,
        patients=patients,
        patient=np.array([patients.index(case.patient_id) for case in cases]),
        lesions=np.array([case.lesion_peak.size for case in cases], np.float64),
        reference_voxels=np.array([case.inside.total for case in cases], np.float64),
        voxel_ml=voxel_ml,
        found=columns([c.found[kept] for c in curves]),
        matched=columns([c.matched[kept] for c in curves]),
        false_positives=columns([c.false_positives[kept] for c in curves]),
        inside_voxels=columns([case.inside.at_least(kept) for case in cases]),
        outside_voxels=columns([case.outside.at_least(kept) for case in cases]),
    )


def _at_top(case: CaseStatistics, matching: Matching) -> Curve:
    """The curve of a mask, at its one level."""
    result = outcome(case, TOP, matching)
    counts = (int(result.found.sum()), result.matched, result.false_positives)
    found, matched, false = (np.full(TOP + 2, count, np.int32) for count in counts)
    return Curve(case.floor, found, matched, false)


def _pooled(
    cases: list[CaseStatistics], curves: list[Curve], levels: NDArray[np.uint16], voxel_ml: Floats | None
) -> Counts:
    sums, at = np.zeros((3, levels.size)), slice(int(levels[0]), int(levels[-1]) + 1)  # levels without a gap
    dense = np.zeros((3, TOP + 1))  # how much lies at each level, before it is summed from above once for all cases
    for n, (case, each) in enumerate(zip(cases, curves, strict=True)):
        sums[0] += each.found[at]
        sums[1] += each.matched[at]
        sums[2] += each.false_positives[at]
        dense[0, case.inside.levels] += case.inside.counts
        dense[1, case.outside.levels] += case.outside.counts
        if voxel_ml is not None:
            dense[2, case.outside.levels] += case.outside.counts * voxel_ml[n]
    inside, outside, ml = np.cumsum(dense[:, ::-1], axis=1)[:, ::-1][:, at]
    found, matched, false = sums
    return Counts(levels, found, matched, false, inside, outside, None if voxel_ml is None else ml)


def _where_counts_change(pooled: Counts) -> NDArray[np.uint16]:
    """At most ``LEVELS`` levels, the ends among them, between which all counts together change about equally."""
    if pooled.levels.size <= LEVELS:
        return pooled.levels
    change = np.zeros(pooled.levels.size - 1)
    for each in (pooled.found, pooled.false_positives, pooled.inside_voxels, pooled.outside_voxels):
        steps = np.abs(np.diff(each))
        change += steps / max(steps.sum(), 1.0)
    risen = np.concatenate([[0.0], np.cumsum(change)])
    # Where nothing changes the highest level stands for all: it is one that occurs.
    places = np.searchsorted(risen, np.linspace(0.0, risen[-1], LEVELS - 1), side="right") - 1
    return np.asarray(pooled.levels[np.unique([*places, pooled.levels.size - 1])], np.uint16)
