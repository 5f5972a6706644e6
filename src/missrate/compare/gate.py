"""The regression gate: does an arm miss more than the reference arm, beyond noise? Yes, no, or cannot tell.

Worse means both: the one-sided lower confidence limit of (arm minus reference) lies above the margin, by the paired
patient bootstrap; and the one-sided label-swap p against "no difference", exact where few patients differ and
Holm-adjusted over the arms, is at most 1 - confidence. The bootstrap alone claims too much on few patients (two
patients who both got worse give an interval without 0), the test alone knows no margin.

Not worse is a claim of its own and needs patients, too: the upper limit, which leaves room for a patient who was not
drawn (`core.intervals`), must exclude an increase of ``detect`` beyond the margin. Whatever is neither is "cannot
tell": a set of four patients who all got worse passes nothing.
"""

from dataclasses import asdict, dataclass
from math import ceil, log2
from typing import Any, Literal, get_args

import numpy as np

from missrate.compare.arms import Arm
from missrate.compare.differences import Sums, over_both, seed_means, swap_test
from missrate.core.errors import InputError
from missrate.core.intervals import Weights, greatest_increase, outwards
from missrate.core.resampling import PValue, draws_for, holm

Level = Literal["voxel", "slice", "lesion", "patient"]
HOW = (
    "worse: the one-sided lower limit of the difference (paired patient bootstrap) lies above the margin, and the "
    "one-sided label-swap p against no difference, Holm-adjusted over the arms, is at most 1 - confidence; not worse: "
    "the one-sided upper limit, with room for a patient who was not drawn, is at most margin + detect; else: cannot "
    "tell"
)
UNITS = {"voxel": "lesion voxels", "slice": "lesion slices", "lesion": "lesions", "patient": "patients with a lesion"}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked: a miss rate, the margin (an absolute rate) that is still allowed, and the confidence.

    ``detect``: an arm passes only if an increase of so much beyond the margin is excluded.
    Raises InputError for another level, a margin outside [0, 1), ``detect`` outside (0, 1], both together of 1 or more,
    or a confidence outside [.5, .999999].
    """

    level: Level = "lesion"
    margin: float = 0.0
    confidence: float = 0.95
    detect: float = 0.2

    def __post_init__(self) -> None:
        if self.level not in get_args(Level):
            raise InputError(f"The level must be one of {', '.join(get_args(Level))}. Got {self.level!r}.")
        if not 0.0 <= self.margin < 1.0:
            raise InputError(f"The margin must be a rate in [0, 1). Got {self.margin:g}; perhaps .02 for 2 points.")
        if not 0.0 < self.detect <= 1.0:
            raise InputError(f"`detect` must be a rate in (0, 1]. Got {self.detect:g}; perhaps .1 for 10 points.")
        if self.margin + self.detect >= 1.0:
            raise InputError(
                "`margin` and `detect` together must lie below 1: no rate can increase by more. "
                f"Got {self.margin:g} and {self.detect:g}."
            )
        if not 0.5 <= self.confidence <= 0.999999:
            raise InputError(f"The confidence must lie in [.5, 1). Got {self.confidence:g}; perhaps .95.")

    @property
    def alpha(self) -> float:
        """1 - confidence, without its rounding."""
        return round(1.0 - self.confidence, 12)


@dataclass(frozen=True, slots=True)
class _Judged:
    """One arm before Holm's adjustment."""

    arm: float
    against: float
    low: float  # one-sided limits of the difference
    high: float
    patients: int  # who contribute
    discordant: int
    test: PValue

    @property
    def difference(self) -> float:
        """Arm minus reference."""
        return self.arm - self.against


def judge(arms: dict[str, Arm], against: str, weights: Weights, asked: Gate, *, seed: int = 0) -> Json:
    """Judge every arm but ``against``: worse True, False or None (cannot tell), and the sentence that says so.

    ``can_fail`` is False where so few patients differ that no data could make the arm fail. The least p of n
    discordant patients is 1 / 2**n: with one arm and a confidence of .95 at least five must differ.
    ``patients_needed`` is a rough number of patients like these with whom it could be told, None where it can.
    """
    names = [name for name in arms if name != against]
    draws = draws_for(len(names), asked.alpha)
    judged = {name: _judge(arms[name], arms[against], weights, asked, seed=seed, draws=draws) for name in names}
    known = {name: each for name, each in judged.items() if each is not None}
    adjusted = dict(zip(known, holm([each.test.p for each in known.values()]), strict=True))
    rows: Json = {}
    for name, each in judged.items():
        if each is None:
            sentence = f"{name} cannot be judged: it or {against} has no threshold, or there is no lesion."
            rows[name] = {"worse": None, "sentence": sentence}
        else:
            rows[name] = _row(name, against, each, adjusted[name], arms=len(known), asked=asked)
    worse = any(row["worse"] for row in rows.values())
    return {**asdict(asked), "against": against, "how": HOW, "worse": worse, "arms": rows}


def _judge(arm: Arm, against: Arm, weights: Weights, asked: Gate, *, seed: int, draws: int) -> _Judged | None:
    if not (arm.ready and against.ready):
        return None
    metric = f"{asked.level}_miss_rate"
    sums = arm.sums(metric), against.sums(metric)
    mine, theirs = over_both((arm, against), sums, metric, weights, seed=seed)
    test = swap_test(sums, seed, draws, one_sided=True)
    if mine.estimate is None or theirs.estimate is None or mine.drawn is None or theirs.drawn is None or test is None:
        return None
    low = float(np.quantile(mine.drawn.ratio_b - theirs.drawn.ratio_b, asked.alpha))
    high = greatest_increase(mine.drawn, theirs.drawn, weights, mine.values, asked.confidence)
    patients = min(mine.patients, theirs.patients)
    return _Judged(mine.estimate, theirs.estimate, low, high, patients, _discordant(*sums), test)


def _discordant(mine: Sums, theirs: Sums) -> int:
    return int((seed_means(mine) != seed_means(theirs)).any(axis=1).sum())


def _row(name: str, against: str, each: _Judged, p_holm: float, *, arms: int, asked: Gate) -> Json:
    worse: bool | None = each.low > asked.margin and p_holm <= asked.alpha
    can_fail = each.test.least_p * arms <= asked.alpha
    if not worse and each.high > asked.margin + asked.detect:
        worse = None
    needed = _patients_needed(each, arms, asked) if worse is None else None
    return {
        "worse": worse,
        "can_fail": can_fail,
        "arm": each.arm,
        "against": each.against,
        "difference": each.difference,
        "lower_limit": each.low,
        "upper_limit": each.high,
        "patients": each.patients,
        "discordant_patients": each.discordant,
        "patients_needed": needed,
        "p": each.test.p,
        "least_p": each.test.least_p,
        "p_holm": p_holm,
        "test": each.test.test,
        "sentence": _sentence(name, against, each, p_holm, worse=worse, needed=needed, can_fail=can_fail, asked=asked),
    }


def _patients_needed(each: _Judged, arms: int, asked: Gate) -> int:
    """Return about how many patients like these would tell, were the difference what it is here.

    A limit comes nearer with the square root of their number. An increase beyond what passes must become significant:
    the lower limit must rise above the margin, and enough patients must differ for the least p. One that passes must
    have its upper limit come down. Twice as many as there are where the difference lies just at the border.
    """
    most = asked.margin + asked.detect
    if each.difference < most:
        times = ((each.high - each.difference) / (most - each.difference)) ** 2
    else:
        times = (max(each.difference - each.low, 0.0) / (each.difference - asked.margin)) ** 2
        must_differ = ceil(log2(arms / asked.alpha) - 1e-9)
        times = max(times, must_differ / max(each.discordant, 1))
    return max(ceil(each.patients * min(times, 1e6)), each.patients + 1)


def _points(rate: float) -> str:
    """A difference of rates in percentage points."""
    return f"{100 * rate:+.1f}"


def _sentence(
    name: str,
    against: str,
    each: _Judged,
    p_holm: float,
    *,
    worse: bool | None,
    needed: int | None,
    can_fail: bool,
    asked: Gate,
) -> str:
    verdict = "cannot tell" if worse is None else "worse" if worse else "not worse"
    low, high = outwards(each.low, 3, upper=False), outwards(each.high, 3, upper=True)
    most = f"{round(100 * (asked.margin + asked.detect), 9):g} points"
    allowed = f"{round(100 * asked.margin, 9):+g}"
    text = (
        f"{name}: {verdict}. It misses {each.arm:.1%} of the {UNITS[asked.level]}, {against} {each.against:.1%}: "
        f"{_points(each.difference)} points, where {allowed} are allowed. With {asked.confidence:g} confidence the "
        f"difference is at least {_points(low)} points (bootstrap over patients; p = {p_holm:.3g}, one-sided label "
        f"swap, Holm), and at most {_points(high)} if a patient who is not here were missed by {name} alone."
    )
    if worse is False:
        return f"{text} An increase of more than {most} is excluded."
    if worse:
        return text
    few = "" if can_fail else f", and with {each.discordant} patients who differ no test could show it"
    return (
        f"{text} These {each.patients} patients do not exclude an increase of {most}{few}: "
        f"about {needed} like them would be needed."
    )
