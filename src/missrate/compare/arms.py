"""One arm of a comparison, ready to be measured, and the check that arms can be compared at all.

An arm may come as several seeds: trainings that differ by chance alone. Each is a ``Run``.
Shapes: N cases in the order of their ids, P patients sorted, S seeds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core import catalog, matching
from missrate.core.admissible import level_at
from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError, UnknownNameError, some
from missrate.core.intervals import Range, range_of
from missrate.core.pooling import PerPatient, Term, pooled
from missrate.core.sweep import Sweep, sweep
from missrate.core.types import Matching, OperatingPoint, Ratio

NULL_ARMS = ("nothing", "everything", "location_prior")
"""What one gets without a model: described, never tested, in no family of comparisons and without a rank."""
Given = list[CaseStatistics] | list[list[CaseStatistics]]
"""The cases of one arm, or those of each of its seeds."""
Points = OperatingPoint | list[OperatingPoint]
"""One operating point for all seeds of an arm, or one for each."""
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Value = Ratio | float | None


@dataclass(frozen=True, slots=True)
class Run:
    """The cases of one training in the order of their ids, and the level of each; ``levels`` None: no threshold."""

    name: str
    cases: list[CaseStatistics]
    patients: list[str]  # sorted
    point: OperatingPoint
    levels: list[int] | None
    matching: Matching
    _known: dict[str, Any] = field(default_factory=dict)  # what was asked before

    @staticmethod
    def of(name: str, cases: list[CaseStatistics], point: OperatingPoint, rule: Matching) -> "Run":
        """Sorts the cases; nothing is measured before it is asked for."""
        ordered = sorted(cases, key=lambda case: case.case_id)
        known = [level for level in (level_at(point, case) for case in ordered) if level is not None]
        patients = sorted({case.patient_id for case in ordered})
        return Run(name, ordered, patients, point, known if len(known) == len(ordered) else None, rule)

    @property
    def sweep(self) -> Sweep:
        """All thresholds."""
        result: Sweep = self._once("sweep", lambda: sweep(self.cases, self.matching))
        return result

    @property
    def found(self) -> list[Bools]:
        """Which lesions of each case are found at the run's point, which exists."""
        result: list[Bools] = self._once("found", self._found)
        return result

    def counts_at(self, level: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Found lesions, voxels inside, false positives and voxels outside of every case, (N,) each, at any level."""
        result: tuple[Floats, Floats, Floats, Floats] = self._once(f"counts {level}", lambda: self._counts(level))
        return result

    def values(self, metric: str) -> list[Value]:
        """A case metric of every case at the run's point, which exists; all None where it needs voxels and has none."""
        result: list[Value] = self._once(metric, lambda: self._measured(metric))
        return result

    def misses(self, which: Sequence[Bools] | None = None) -> list[Ratio]:
        """Missed lesions of all lesions, or of those marked in ``which``, case by case."""
        marked = [np.ones(each.size, bool) for each in self.found] if which is None else which
        return [
            Ratio(int((~hit_L & mark_L).sum()), int(mark_L.sum()))
            for hit_L, mark_L in zip(self.found, marked, strict=True)
        ]

    def sums(self, values: Iterable[Value], keep_N: Bools | None = None) -> PerPatient:
        """Numerators and denominators by patient, of all cases or of those kept."""
        kept = [True] * len(self.cases) if keep_N is None else keep_N.tolist()
        terms: list[Term] = [
            (case.patient_id, value if keep else None)
            for case, value, keep in zip(self.cases, values, kept, strict=True)
        ]
        return pooled(terms, self.patients)

    def patient_sums(self, keep_N: Bools | None = None) -> PerPatient:
        """1/1 for a patient of whom no lesion is found, 0/1 when one is, 0/0 without a lesion (in the kept cases)."""
        of_lesions = self.sums(self.misses(), keep_N)
        has_P = of_lesions.denominator > 0
        missed_P = has_P & (of_lesions.numerator == of_lesions.denominator)
        return PerPatient(missed_P.astype(float), has_P.astype(float), int(has_P.sum()), int((~has_P).sum()))

    def point_json(self) -> dict[str, Any]:
        """The operating point as a plain value, its thresholds by fold ("all" without folds)."""
        thresholds = {"all" if fold is None else str(fold): t for fold, t in self.point.thresholds.items()}
        return {"name": self.point.name, "thresholds": thresholds, "chosen_on": self.point.chosen_on}

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _pairs(self) -> Iterable[tuple[CaseStatistics, int]]:
        assert self.levels is not None
        return zip(self.cases, self.levels, strict=True)

    def _found(self) -> list[Bools]:
        return [matching.found(case, level, self.matching) for case, level in self._pairs()]

    def _counts(self, level: int) -> tuple[Floats, Floats, Floats, Floats]:
        rows = []
        for case in self.cases:
            result, voxels = matching.outcome(case, level, self.matching), matching.voxel_counts(case, level)
            rows.append((result.found.sum(), voxels.true_positives, result.false_positives, voxels.false_positives))
        found, inside, false, outside = np.array(rows, np.float64).T
        return found, inside, false, outside

    def _measured(self, metric: str) -> list[Value]:
        if metric == "lesion_miss_rate":
            return list(self.misses())
        module = catalog.load("metrics", metric)
        if getattr(module, "NEEDS", None) == "voxels" and any(case.kind == "points" for case in self.cases):
            return [None] * len(self.cases)
        return [module.measure(case, level, self.matching) for case, level in self._pairs()]


@dataclass(frozen=True, slots=True)
class Arm:
    """One model of a comparison: its runs, one for each seed.

    Arms whose ``trained`` is the same are one training applied in several ways, so a resample draws one seed for all.
    """

    name: str
    runs: list[Run]
    trained: str
    _known: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)

    @staticmethod
    def of(name: str, given: Given, point: Points, rule: Matching, trained: str | None = None) -> "Arm":
        """Raises InputError unless there is one operating point, or one for each seed."""
        seeds = _seeds(given)
        points = point if isinstance(point, list) else [point] * len(seeds)
        if len(points) != len(seeds):
            raise InputError(f"Arm {name} must have one operating point a seed. Got {len(points)} for {len(seeds)}.")
        names = [name] if len(seeds) == 1 else [f"{name} seed {k}" for k in range(1, len(seeds) + 1)]
        rows = zip(names, seeds, points, strict=True)
        return Arm(name, [Run.of(label, cases, each, rule) for label, cases, each in rows], trained or name)

    @property
    def patients(self) -> list[str]:
        """Sorted; the same in every run."""
        return self.runs[0].patients

    @property
    def cases(self) -> list[CaseStatistics]:
        """Those of the first seed: the others have the same references."""
        return self.runs[0].cases

    @property
    def ready(self) -> bool:
        """Every run has a threshold."""
        return all(run.levels is not None for run in self.runs)

    def sums(self, metric: str, keep_N: Bools | None = None) -> tuple[Floats, Floats]:
        """Numerators and denominators of a pooled metric, (S, P) each."""
        if keep_N is None and metric in self._known:
            return self._known[metric]
        of_patients = metric == "patient_miss_rate"
        sums = stacked(
            [run.patient_sums(keep_N) if of_patients else run.sums(run.values(metric), keep_N) for run in self.runs]
        )
        if keep_N is None:
            self._known[metric] = sums
        return sums

    def point_json(self) -> Any:
        """The operating point, or a list of one for each seed."""
        each = [run.point_json() for run in self.runs]
        return each[0] if len(each) == 1 else each


def values_of(metric: str) -> Range:
    """Return the values that a metric of the shelf can have."""
    return range_of(catalog.load("metrics", metric))


def _seeds(given: Given) -> list[list[CaseStatistics]]:
    several = [each for each in given if isinstance(each, list)]
    return several or [[each for each in given if isinstance(each, CaseStatistics)]]


def stacked(each: Sequence[PerPatient]) -> tuple[Floats, Floats]:
    """Numerators and denominators, (S, P) each."""
    return np.stack([one.numerator for one in each]), np.stack([one.denominator for one in each])


def ready_arms(
    arms: Mapping[str, Given],
    points: Mapping[str, Points],
    against: str,
    rule: Matching,
    trained: Mapping[str, str] | None = None,
) -> dict[str, Arm]:
    """The arms, once they can be compared; ``trained`` as in ``compare``.

    Raises UnknownNameError when ``against`` is no arm or an arm has no point; InputError unless all arms, and all
    seeds of them, hold the same cases with the same reference.
    """
    if against not in arms:
        raise UnknownNameError(f"The reference arm must be one of {', '.join(arms)}. Got {against!r}.")
    without = [name for name in arms if name not in points]
    if without:
        raise UnknownNameError(f"Every arm must have an operating point. Got none for {', '.join(without)}.")
    made = {name: Arm.of(name, given, points[name], rule, (trained or {}).get(name)) for name, given in arms.items()}
    runs = [run for arm in made.values() for run in arm.runs]
    for run in runs:
        _require_same_cases(run, made[against].runs[0])
    return made


def common_cases(arms: Mapping[str, Given]) -> tuple[dict[str, Given], dict[str, list[str]]]:
    """The arms without the cases that some arm lacks, and which arms lack each of these."""
    held = {name: [{case.case_id for case in seed} for seed in _seeds(given)] for name, given in arms.items()}
    every = set().union(*(ids for seeds in held.values() for ids in seeds))
    lacking = {
        case_id: sorted(name for name, seeds in held.items() if any(case_id not in ids for ids in seeds))
        for case_id in sorted(every)
    }
    left_out = {case_id: names for case_id, names in lacking.items() if names}
    kept: dict[str, Given] = {
        name: [[case for case in seed if case.case_id not in left_out] for seed in _seeds(given)]
        for name, given in arms.items()
    }
    return kept, left_out


def _require_same_cases(run: Run, against: Run) -> None:
    wanted = {case.case_id: case for case in against.cases}
    mine = {case.case_id: case for case in run.cases}
    if len(mine) < len(run.cases):
        raise InputError(f"Every case must come once. Got one twice in arm {run.name}.")
    differ = sorted(mine.keys() ^ wanted.keys())
    if differ:
        raise InputError(f"All arms must hold the same cases. {run.name} and {against.name} differ in {some(differ)}.")
    differ = sorted(key for key in mine if not _same_reference(mine[key], wanted[key]))
    if differ:
        names = f"{run.name} and {against.name}"
        raise InputError(f"All arms must have the same reference. {names} differ in {some(differ)}.")


def _same_reference(a: CaseStatistics, b: CaseStatistics) -> bool:
    return (
        a.patient_id == b.patient_id
        and a.voxel_ml == b.voxel_ml
        and a.inside.total == b.inside.total
        and a.outside.total == b.outside.total
        and np.array_equal(a.slice_voxels, b.slice_voxels)
        and np.array_equal(a.lesions.voxels, b.lesions.voxels)
        and np.array_equal(a.lesions.centre_XYZ, b.lesions.centre_XYZ)
    )
