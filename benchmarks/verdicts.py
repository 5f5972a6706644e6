"""How often the gate and the promises are right: tables of docs/results/coverage.md.

    python -m benchmarks.verdicts gate --run RUN      false alarms, power, and how often it cannot tell
    python -m benchmarks.verdicts promises            over all calibrations, and over those that end in a threshold

RUN is the folder of a finished ``missrate run studies/losses.toml``. ``--quick`` takes a tenth of the draws.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.populations import Sums
from numpy.typing import NDArray

from benchmarks import populations
from missrate.compare import Gate
from missrate.compare.arms import Arm
from missrate.compare.gate import judge
from missrate.core import intervals
from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.guarantee import confident, expected, jumps_of
from missrate.core.quantise import TOP
from missrate.core.types import Matching, OperatingPoint, Points
from missrate.evaluate.statistics import measure_points

Floats = NDArray[np.float64]
HALF = OperatingPoint("half", {None: 0.5}, "fixed")
LEVELS = ("patient", "lesion", "voxel")
RESAMPLES = 1000
SIZES = (10, 20, 40, 85)
SHIFTS = (-1.0, 0.0, 0.1, 0.2, 0.4)


def gate(run: Path, draws: int) -> None:
    """How the gate judges the liver networks: an arm against another training of nearly the same, and made worse.

    The second arm is the first one with each found lesion missed with probability s; with s = -1 two trainings are
    exchanged patient by patient at random instead, so that neither is worse ("no difference").
    """
    arms = populations.networks(run, "liver")
    one, other = arms["DiceCE"]["lesion miss rate"], arms["DiceTopK10"]["lesion miss rate"]
    tasks = [(one, other, size, shift, draws) for size in SIZES for shift in SHIFTS]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_gate_of, tasks))
    print("| patients | second arm | worse (exit 1) | not worse (0) | cannot tell (2) |")
    print("|---|---|---|---|---|")
    for (_, _, size, shift, _), counts in zip(tasks, found, strict=True):
        what = "no difference" if shift < 0 else f"misses {shift:.0%} of what the first finds" if shift else "the same"
        cells = " | ".join(f"{counts[verdict] / draws:.2f}" for verdict in (True, False, None))
        print(f"| {size} | {what} | {cells} |")


def _gate_of(task: tuple[Sums, Sums, int, float, int]) -> dict[bool | None, int]:
    one, other, size, shift, draws = task
    random = np.random.default_rng(size)
    counts: dict[bool | None, int] = {True: 0, False: 0, None: 0}
    ill = np.flatnonzero(one.denominator > 0)
    for _ in range(draws):
        chosen = ill[random.integers(0, ill.size, size)]
        lesions, missed = one.denominator[chosen], one.numerator[chosen]
        if shift < 0.0:
            swapped = random.random(size) < 0.5
            second = other.numerator[chosen]
            missed, worse = np.where(swapped, second, missed), np.where(swapped, missed, second)
        else:
            worse = missed + random.binomial((lesions - missed).astype(int), shift)
        counts[_verdict(lesions, missed, worse)] += 1
    return counts


def _verdict(lesions: Floats, missed: Floats, worse: Floats) -> bool | None:
    """The gate's, from statistics of scans whose lesions are single voxels, found or not."""
    arms = {
        name: Arm.of(name, [_patient(f"{i:04}", int(n), int(m)) for i, (n, m) in enumerate(pairs)], HALF, Matching())
        for name, pairs in (("a", zip(lesions, missed, strict=True)), ("b", zip(lesions, worse, strict=True)))
    }
    weights = intervals.patient_weights(len(lesions), RESAMPLES, 0)
    row: dict[str, Any] = judge(arms, "a", weights, Gate())["arms"]["b"]
    verdict: bool | None = row["worse"]
    return verdict


def _patient(name: str, lesions: int, missed: int) -> CaseStatistics:
    mask = np.zeros((3 * lesions, 1, 1), bool)
    mask[::3] = True
    places = np.array([[3.0 * k, 0.0, 0.0] for k in range(lesions - missed)]).reshape(-1, 3)
    points = Points(places, "voxel", np.full(len(places), TOP, np.uint16))
    reference = Crop(mask, (0, 0, 0), Grid((3 * lesions, 1, 1), None))
    return measure_points(reference, points, case_id=name, patient_id=name)


NEVER = (0.0, 0.03, 0.13)
PATIENTS = (19, 29, 59, 100, 200)
RATES = (0.05, 0.1, 0.2)


def promises(draws: int) -> None:
    """How many calibrations end in a threshold, how many of all and of these break the promise, and the mean miss rate.

    Patients have 1 + negative binomial lesions (a mean of 3) that share a difficulty; a share is found at no threshold.
    """
    tasks = list(product(LEVELS, (False, True), RATES, NEVER, PATIENTS, (draws,)))
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_promises_of, tasks))
    print("Cells: issued; false, of all and of issued; mean miss rate, of all (none: 0) and of issued.")
    print("| level | form | promised | never found |" + "".join(f" n = {n} |" for n in PATIENTS))
    print("|---|---|---|---|" + "---|" * len(PATIENTS))
    cells = ["none" if not row[0] else "; ".join(f"{cell:.3f}" for cell in row if cell is not None) for row in found]
    for first in range(0, len(tasks), len(PATIENTS)):
        level, mean, rate, never, _, _ = tasks[first]
        form, row = "expectation" if mean else "confidence", " | ".join(cells[first : first + len(PATIENTS)])
        print(f"| {level} | {form} | {rate:g} | {never:g} | {row} |")


def _promises_of(task: tuple[str, bool, float, float, int, int]) -> tuple[float | None, ...]:
    level, mean, rate, never, n, draws = task
    random = np.random.default_rng(n)
    risk = _risk(level, never)
    levels = []
    for _ in range(draws):
        patients = [jumps_of(_levels(level, never, random)) for _ in range(n)]
        promise = (
            expected(patients, rate, lowest=1)
            if mean
            else confident(patients, rate, lowest=1, all_or_nothing=level == "patient")
        )
        levels.append(promise.level)
    issued = np.array([risk[each] for each in levels if each is not None])
    false = int((issued > rate).sum())
    of_issued = (false / issued.size, float(issued.mean())) if issued.size else (None, None)
    return issued.size / draws, false / draws, of_issued[0], float(issued.sum()) / draws, of_issued[1]


def _levels(level: str, never: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Up to which level each of a patient's units is found; a patient's own is that of the best."""
    count = 1 + int(random.negative_binomial(0.7, 0.7 / 2.7)) if level != "voxel" else 20
    shared = random.random()
    found = (TOP * (0.7 * shared + 0.3 * random.random(count))).astype(np.int64) + 1
    found = np.zeros(count, np.int64) if random.random() < never else np.minimum(found, TOP)
    return found.max(keepdims=True) if level == "patient" else found


def _risk(level: str, never: float) -> Floats:
    """The miss rate of 40,000 further patients at every level, (TOP + 2,)."""
    random = np.random.default_rng(99)
    lost = np.zeros(TOP + 2)
    for _ in range(40_000):
        found = _levels(level, never, random)
        np.add.at(lost, found + 1, 1.0 / found.size)
    return np.asarray(np.cumsum(lost) / 40_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["gate", "promises"])
    parser.add_argument("--run", type=Path, default=Path("missrate-losses"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    tenth = 10 if given.quick else 1
    if given.what == "gate":
        gate(given.run, 400 // tenth)
    else:
        promises(300 // tenth)


if __name__ == "__main__":
    main()
