"""One arm of a comparison, ready to be measured, and the check that arms can be compared at all."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from missrate.core import catalog
from missrate.core.admissible import level_at
from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError
from missrate.core.pooling import Term
from missrate.core.sweep import Sweep, sweep
from missrate.core.types import Matching, OperatingPoint


@dataclass(frozen=True, slots=True)
class Arm:
    """The cases of one arm in the order of their ids, and the level of each; ``levels`` None: it has no threshold."""

    name: str
    cases: list[CaseStatistics]
    patients: list[str]  # sorted
    point: OperatingPoint
    levels: list[int] | None
    sweep: Sweep

    @staticmethod
    def of(name: str, cases: list[CaseStatistics], point: OperatingPoint, matching: Matching) -> "Arm":
        """Sorts the cases and sweeps them once."""
        ordered = sorted(cases, key=lambda case: case.case_id)
        known = [level for level in (level_at(point, case) for case in ordered) if level is not None]
        cohort = sweep(ordered, matching)
        return Arm(name, ordered, cohort.patients, point, known if len(known) == len(ordered) else None, cohort)

    def terms(self, metric: str, matching: Matching) -> list[Term]:
        """A case metric of every case at the arm's point, which exists."""
        assert self.levels is not None
        measure = catalog.load("metrics", metric).measure
        pairs = zip(self.cases, self.levels, strict=True)
        return [(case.patient_id, measure(case, level, matching)) for case, level in pairs]

    def point_json(self) -> dict[str, Any]:
        """The operating point as a plain value, its thresholds by fold ("all" without folds)."""
        thresholds = {"all" if fold is None else str(fold): t for fold, t in self.point.thresholds.items()}
        return {"name": self.point.name, "thresholds": thresholds, "chosen_on": self.point.chosen_on}


def require_same_cases(arms: dict[str, list[CaseStatistics]], against: str) -> None:
    """Raises InputError unless every arm holds each case of ``against`` once, with its patient and its lesions."""
    wanted = {case.case_id: case for case in arms[against]}
    for name, cases in arms.items():
        mine = {case.case_id: case for case in cases}
        if len(mine) < len(cases):
            raise InputError(f"Every case must come once. Got one twice in arm {name}.")
        differ = sorted(mine.keys() ^ wanted.keys())
        if differ:
            raise InputError(f"All arms must hold the same cases. {name} and {against} differ in {_some(differ)}.")
        differ = sorted(key for key in mine if not _same_reference(mine[key], wanted[key]))
        if differ:
            raise InputError(f"All arms must have the same reference. {name} and {against} differ in {_some(differ)}.")


def _same_reference(a: CaseStatistics, b: CaseStatistics) -> bool:
    return (
        a.patient_id == b.patient_id
        and a.voxel_ml == b.voxel_ml
        and np.array_equal(a.slice_voxels, b.slice_voxels)
        and np.array_equal(a.lesions.voxels, b.lesions.voxels)
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
