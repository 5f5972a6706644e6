"""Populations of patients from which ``benchmarks.coverage`` draws: what is true of them is known.

``clusters``: made up; lesions per patient 1 + negative binomial, each patient's own rate from a beta distribution.
``networks``: the masks of published networks (a finished run of studies/losses.toml), read from its statistics.
``luna``: the candidates of one published detector on 444 chest scans (../shared/data/luna16).
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.matching import outcome, voxel_counts
from missrate.core.quantise import TOP, encode
from missrate.core.types import Matching, Points
from missrate.evaluate import files
from missrate.evaluate.statistics import measure_points
from missrate.metrics import dice, slice_miss_rate

Floats = NDArray[np.float64]
LUNA = Path("../shared/data/luna16")


@dataclass(frozen=True, slots=True)
class Sums:
    """Numerator and denominator of one rate for every patient of a population, (P,) each."""

    numerator: Floats
    denominator: Floats

    @property
    def value(self) -> float:
        """What is true."""
        return float(self.numerator.sum() / self.denominator.sum())

    def drawn(self, chosen: NDArray[np.int64]) -> "Sums":
        """The sums of some patients."""
        return Sums(self.numerator[chosen], self.denominator[chosen])


def clusters(rate: float, correlation: float, lesions: float, random: np.random.Generator, patients: int) -> Sums:
    """Missed lesions and lesions of made-up patients, of whom all but ``rate`` are found on average."""
    shape = 0.7
    extra = lesions - 1.0
    counts = 1 + (random.negative_binomial(shape, shape / (shape + extra), patients) if extra else 0)
    own = (1.0 - correlation) / correlation
    rates = random.beta(rate * own, (1.0 - rate) * own, patients)
    total = np.broadcast_to(counts, patients)
    return Sums(random.binomial(total, rates).astype(float), total.astype(float))


def networks(run: Path, source: str) -> dict[str, dict[str, Sums]]:
    """The sums of every rate that is shown, for every network of one source of a finished run."""
    arms = sorted(p for p in (run / source / "evaluation").iterdir() if p.name != "nothing")
    return {arm.name: _rates([files.load(p) for p in sorted((arm / "statistics").glob("*.npz"))]) for arm in arms}


def _rates(cases: list[CaseStatistics]) -> dict[str, Sums]:
    at, rule = TOP // 2, Matching()
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for case in cases:
        voxels, lesions = voxel_counts(case, at), outcome(case, at, rule)
        missed, count = int((~lesions.found).sum()), lesions.found.size
        slices, overlap = slice_miss_rate.measure(case, at, rule), dice.measure(case, at, rule)
        reference = voxels.true_positives + voxels.false_negatives
        rows["voxel miss rate"].append((voxels.false_negatives, reference))
        rows["voxel miss rate, mean"].append((voxels.false_negatives / reference, 1) if reference else (0, 0))
        rows["slice miss rate"].append((slices.numerator, slices.denominator))
        rows["lesion miss rate"].append((missed, count))
        rows["patient miss rate"].append((missed == count, 1) if count else (0, 0))
        rows["voxel precision"].append((voxels.true_positives, voxels.true_positives + voxels.false_positives))
        rows["lesion precision"].append((lesions.matched, lesions.matched + lesions.false_positives))
        rows["Dice, mean"].append((overlap.value or 0.0, overlap.denominator > 0))
        rows["FP per scan"].append((lesions.false_positives, 1))
        rows["FP ml per scan"].append((voxels.false_positives * (case.voxel_ml or 0.0), 1))
    return {name: Sums(*np.array(row, np.float64).T) for name, row in rows.items()}


def luna(folder: Path = LUNA) -> list[CaseStatistics]:
    """Nodules and scored candidates of every scan; candidates on ignored findings are left out, the best 100 kept."""
    scans = [row[0] for row in _rows(folder / "seriesuids.csv", ",")]
    nodules, ignored = (_places(folder / name) for name in ("annotations.csv", "annotations_excluded.csv"))
    candidates = _places(folder / "dpn26bs32.csv", delimiter="\t")
    return [_scan(name, nodules[name], ignored[name], candidates[name]) for name in scans]


def _scan(name: str, nodules: list[Floats], ignored: list[Floats], candidates: list[Floats]) -> CaseStatistics:
    """Nodule i as voxel (3 i, 0, 0) of a small scan, so that none touch; candidates lie on their voxel, or outside."""
    size = max(3 * len(nodules), 1)
    mask = np.zeros((size, 1, 1), bool)
    mask[: 3 * len(nodules) : 3] = True
    best = sorted(candidates, key=lambda row: -row[3])[:100]
    places, scores = [], []
    for row in best:
        hit = next((i for i, nodule in enumerate(nodules) if _within(row, nodule)), None)
        if hit is None and any(_within(row, each) for each in ignored):
            continue
        places.append([3.0 * hit if hit is not None else -10.0, 0.0, 0.0])
        scores.append(row[3])
    points = Points(np.array(places).reshape(-1, 3), "voxel", encode(np.clip(np.array(scores), 0.0, 1.0)))
    grid = Grid((size, 1, 1), None)
    reference = Crop(mask, (0, 0, 0), grid)
    return measure_points(reference, points, case_id=name, patient_id=name, floor=1)


def _within(candidate: Floats, finding: Floats) -> bool:
    radius = (finding[3] if finding[3] > 0 else 10.0) / 2.0
    return bool(((candidate[:3] - finding[:3]) ** 2).sum() < radius**2)


def _places(path: Path, *, delimiter: str = ",") -> dict[str, list[Floats]]:
    """x, y, z and one more number of every row, by scan; ids may have lost their leading zeros."""
    result: dict[str, list[Floats]] = defaultdict(list)
    for row in _rows(path, delimiter):
        numbers = row[1:5]
        if len(numbers) == 4 and all(map(_is_number, numbers)):
            result[row[0].zfill(5) if row[0].isdigit() else row[0]].append(np.array(numbers, np.float64))
    return result


def _rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from (row for row in csv.reader(file, delimiter=delimiter) if row)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def renamed(cases: list[CaseStatistics], chosen: NDArray[np.int64]) -> list[CaseStatistics]:
    """Some cases, each as a patient of its own: one may be drawn twice."""
    names = [f"{i:05}" for i in range(chosen.size)]
    return [replace(cases[k], case_id=name, patient_id=name) for k, name in zip(chosen.tolist(), names, strict=True)]
