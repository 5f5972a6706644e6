"""How often the intervals that missrate prints hold what is true: the tables of docs/results/coverage.md.

    python -m benchmarks.coverage rates --run RUN     rates of networks, and of made-up clusters
    python -m benchmarks.coverage differences --run RUN
    python -m benchmarks.coverage cohorts             FROC, average precision, AUROC on LUNA16 (../shared/data/luna16)

RUN is the folder of a finished ``missrate run studies/losses.toml``. Patients are drawn with replacement from a
population whose own value is what must be held; nothing is timed. ``--quick`` takes a tenth of the draws.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from benchmarks.populations import Sums
from benchmarks.rivals import RIVALS

from benchmarks import populations
from missrate.core import intervals
from missrate.core.intervals import AMOUNT, COUNT, SHARE, Interval, Range
from missrate.core.resampling import clopper_pearson
from missrate.core.seeds import seed_difference, seed_ratio
from missrate.core.types import Matching
from missrate.evaluate.blocks import Cohort, block, shelf

SIZES = (10, 20, 40, 85)
SOURCES = ("liver", "pancreas")
RESAMPLES = 1000
RANGES: dict[str, Range] = {"FP per scan": COUNT, "FP ml per scan": AMOUNT}
Held = tuple[bool, float, float]
"""Whether the truth was held, the width, CPU seconds."""
Method = Callable[[Sums], Interval | None]


def ours(drawn: Sums, values: Range) -> Interval | None:
    """What missrate prints of a rate."""
    weights = intervals.patient_weights(drawn.numerator.size, RESAMPLES, 0)
    return intervals.ratio_interval(drawn.numerator, drawn.denominator, weights, values)


def exact(drawn: Sums) -> Interval | None:
    """What missrate prints of patients missed."""
    both = clopper_pearson(int(drawn.numerator.sum()), int(drawn.denominator.sum()))
    return None if both is None else Interval(*both)


def _rival(name: str, drawn: Sums, random: np.random.Generator) -> Interval | None:
    keep = drawn.denominator > 0
    patients = int(keep.sum())
    if patients < 2:
        return None
    weights_BP = random.multinomial(patients, np.full(patients, 1.0 / patients), RESAMPLES).astype(float)
    weights_BP = weights_BP[weights_BP @ drawn.denominator[keep] > 0]
    return Interval(*RIVALS[name](drawn.numerator[keep], drawn.denominator[keep], weights_BP))


def methods(metric: str, random: np.random.Generator) -> dict[str, Method]:
    """Ours and what else there is for this metric."""
    values = RANGES.get(metric, SHARE)
    rivals = RIVALS if values is SHARE else {name: RIVALS[name] for name in ("percentile", "BCa")}
    mine: Method = exact if metric == "patient miss rate" else partial(ours, values=values)
    return {"ours": mine} | {name: partial(_rival, name, random=random) for name in rivals}


def covered(draw: Callable[[], Sums], truth: float, method: Method, draws: int) -> list[Held]:
    """Whether each of some draws' interval holds the truth; a draw without an interval counts as not held."""
    result = []
    for _ in range(draws):
        sums = draw()
        start = process_time()
        interval = method(sums)
        seconds = process_time() - start
        if interval is None:
            result.append((False, np.nan, seconds))
        else:
            held = interval.low - 1e-12 <= truth <= interval.high + 1e-12
            result.append((bool(held), interval.high - interval.low, seconds))
    return result


def _rates_of(task: tuple[str, str, Sums, int, int]) -> list[tuple[str, str, int, str, list[Held]]]:
    source, metric, population, size, draws = task
    rows = []
    for name in methods(metric, np.random.default_rng(0)):
        random = np.random.default_rng(size)
        method = methods(metric, random)[name]
        draw = partial(_some, population, size, random)
        rows.append((source, metric, size, name, covered(draw, population.value, method, draws)))
    return rows


def _some(population: Sums, size: int, random: np.random.Generator) -> Sums:
    return population.drawn(random.integers(0, population.numerator.size, size))


def _clusters_of(task: tuple[float, float, float, int, int]) -> list[tuple[str, str, int, str, list[Held]]]:
    rate, correlation, lesions, size, draws = task
    rows = []
    for name in methods("lesion miss rate", np.random.default_rng(0)):
        random = np.random.default_rng(size)
        method = methods("lesion miss rate", random)[name]
        draw = partial(populations.clusters, rate, correlation, lesions, random, size)
        label = f"rate {rate:g}, correlation {correlation:g}, {lesions:g} lesions a patient"
        rows.append(("clusters", label, size, name, covered(draw, rate, method, draws)))
    return rows


def rates(run: Path, draws: int, every: int) -> None:
    """Tables of coverage, lowest coverage over networks, and width: by source, metric, number of patients, method."""
    tasks = [
        (source, metric, sums, size, draws)
        for source in SOURCES
        for arm in list(populations.networks(run, source).values())[::every]
        for metric, sums in arm.items()
        for size in SIZES
    ]
    made_up = list(product((0.08, 0.3, 0.7), (0.1, 0.3), (1.0, 4.0), SIZES, (4 * draws,)))
    with ProcessPoolExecutor(2) as pool:
        found = [*pool.map(_rates_of, tasks, chunksize=8), *pool.map(_clusters_of, made_up)]
    _table(row for rows in found for row in rows)


def differences(run: Path, draws: int, pairs: int) -> None:
    """The same for the difference of two networks on the same patients."""
    tasks = []
    for source in SOURCES:
        arms = list(populations.networks(run, source).values())
        random = np.random.default_rng(3)
        for _ in range(pairs):
            first, second = random.choice(len(arms), 2, replace=False)
            tasks += [
                (source, metric, arms[first][metric], arms[second][metric], size, draws)
                for metric in arms[first]
                for size in SIZES
            ]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_differences_of, tasks, chunksize=8))
    _table(row for rows in found for row in rows)


def _differences_of(
    task: tuple[str, str, Sums, Sums, int, int],
) -> list[tuple[str, str, int, str, list[Held]]]:
    source, metric, first, second, size, draws = task
    truth = first.value - second.value
    values, random = RANGES.get(metric, SHARE), np.random.default_rng(size)
    mine: list[Held] = []
    plain: list[Held] = []
    for _ in range(draws):
        chosen = random.integers(0, first.numerator.size, size)
        both = [each.drawn(chosen) for each in (first, second)]
        start = process_time()
        weights = intervals.patient_weights(size, RESAMPLES, 0)
        one, other = (
            seed_ratio(each.numerator[None], each.denominator[None], weights, 0, arm="", values=values) for each in both
        )
        interval = seed_difference(one, other, weights).interval
        mine.append(_held(interval, truth, process_time() - start))
        start = process_time()
        weights_BP = random.multinomial(size, np.full(size, 1.0 / size), RESAMPLES).astype(float)
        plain.append(_held(_percentile_of(both, weights_BP), truth, process_time() - start))
    return [(source, metric, size, "ours", mine), (source, metric, size, "percentile", plain)]


def _percentile_of(both: list[Sums], weights_BP: Any) -> Interval | None:
    below = [weights_BP @ each.denominator for each in both]
    good = (below[0] > 0) & (below[1] > 0)
    if not good.any():
        return None
    one, other = ((weights_BP @ each.numerator)[good] / b[good] for each, b in zip(both, below, strict=True))
    low, high = np.quantile(one - other, (0.025, 0.975))
    return Interval(float(low), float(high))


def _held(interval: Interval | None, truth: float, seconds: float) -> Held:
    if interval is None:
        return False, np.nan, seconds
    return interval.low - 1e-12 <= truth <= interval.high + 1e-12, interval.high - interval.low, seconds


COHORT = ("froc_sensitivity", "lesion_average_precision", "froc_sensitivity_by_score", "patient_auroc")


def cohorts(draws: int) -> None:
    """FROC, average precision and AUROC of one detector: all 444 scans are the population."""
    cases = populations.luna()
    chosen = [metric for metric in shelf() if metric.name in COHORT]
    whole = Cohort.of(cases, 1, 0)
    truth = {metric.name: block(whole, metric, [1] * len(cases), Matching())["cohort"]["value"] for metric in chosen}
    print({name: round(value, 4) for name, value in truth.items()})
    with ProcessPoolExecutor(2) as pool:
        tasks = [(cases, truth, size, draws // 2, half) for size in SIZES for half in range(2)]
        found = list(pool.map(_cohort_of, tasks))
    rows: dict[tuple[str, int], list[Held]] = defaultdict(list)
    for part in found:
        for _, metric, size, _, held in part:
            rows[metric, size] += held
    _table(("luna16", metric, size, "ours", held) for (metric, size), held in rows.items())


def _cohort_of(task: Any) -> list[tuple[str, str, int, str, list[Held]]]:
    cases, truth, size, draws, half = task
    random = np.random.default_rng((size, half))
    metrics = [metric for metric in shelf() if metric.name in COHORT]
    rows: dict[str, list[Held]] = defaultdict(list)
    for _ in range(draws):
        some = populations.renamed(cases, random.integers(0, len(cases), size))
        cohort = Cohort.of(some, 400, 0)
        for metric in metrics:
            start = process_time()
            found = block(cohort, metric, [1] * size, Matching())["cohort"]
            limits = None if found["ci95"] is None else Interval(*found["ci95"])
            rows[metric.name].append(_held(limits, truth[metric.name], process_time() - start))
    return [("luna16", name, size, "ours", held) for name, held in rows.items()]


def _table(rows: Iterator[tuple[str, str, int, str, list[Held]]]) -> None:
    """Coverage as mean (lowest), and the mean width, one row a source, metric and method."""
    cells: dict[tuple[str, str, str], dict[int, list[list[Held]]]] = defaultdict(lambda: defaultdict(list))
    for source, metric, size, method, held in rows:
        cells[source, metric, method][size].append(held)
    print("| source | what | interval |" + "".join(f" n = {size} |" for size in SIZES))
    print("|---|---|---|" + "---|" * len(SIZES))
    for (source, metric, method), by_size in cells.items():
        print(f"| {source} | {metric} | {method} |" + "".join(f" {_cell(by_size[size])} |" for size in SIZES))


def _cell(each: list[list[Held]]) -> str:
    shares = [float(np.mean([held for held, _, _ in draws])) for draws in each]
    width = float(np.nanmean([width for draws in each for _, width, _ in draws]))
    nothing = float(np.mean([not width > 1e-12 for draws in each for _, width, _ in draws]))
    lowest = f" ({min(shares):.2f})" if len(shares) > 1 else ""
    empty = f", {nothing:.0%} without width" if nothing > 0.005 else ""
    return f"{np.mean(shares):.3f}{lowest}; {width:.3g}{empty}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rates", "differences", "cohorts"])
    parser.add_argument("--run", type=Path, default=Path("missrate-losses"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    tenth = 10 if given.quick else 1
    if given.what == "rates":
        rates(given.run, 200 // tenth, every=6)
    elif given.what == "differences":
        differences(given.run, 150 // tenth, pairs=8)
    else:
        cohorts(300 // tenth)


if __name__ == "__main__":
    main()
