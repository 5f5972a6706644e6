"""The regression gate: does an arm miss more than the reference arm, beyond noise?

Worse means both: the one-sided lower confidence limit of (arm minus reference) lies above the margin, by the paired
patient bootstrap; and the one-sided label-swap p against "no difference", exact where few patients differ and
Holm-adjusted over the arms, is at most 1 - confidence. The bootstrap alone claims too much on few patients (two
patients who both got worse give an interval without 0), the test alone knows no margin.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from missrate.compare.arms import Arm
from missrate.compare.differences import Sums, seed_means, swap_test
from missrate.core.errors import InputError
from missrate.core.resampling import PValue, beyond, draws_for, holm
from missrate.core.seeds import seed_difference, seed_ratio

Level = Literal["voxel", "slice", "lesion", "patient"]
HOW = (
    "worse: the one-sided lower limit of the difference (paired patient bootstrap) lies above the margin, and the "
    "one-sided label-swap p against no difference, Holm-adjusted over the arms, is at most 1 - confidence"
)
UNITS = {"voxel": "lesion voxels", "slice": "lesion slices", "lesion": "lesions", "patient": "patients with a lesion"}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked: a miss rate, the margin (an absolute rate) that is still allowed, and the confidence.

    Raises InputError for another level, a margin outside [0, 1) or a confidence outside [.5, 1).
    """

    level: Level = "lesion"
    margin: float = 0.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.level not in get_args(Level):
            raise InputError(f"The level must be one of {', '.join(get_args(Level))}. Got {self.level!r}.")
        if not 0.0 <= self.margin < 1.0:
            raise InputError(f"The margin must be a rate in [0, 1). Got {self.margin:g}; perhaps .02 for 2 points.")
        if not 0.5 <= self.confidence < 1.0:
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
    low: float
    above: bool  # the lower limit lies above the margin
    discordant: int
    test: PValue


def judge(arms: dict[str, Arm], against: str, weights_BP: NDArray[np.float64], asked: Gate, *, seed: int = 0) -> Json:
    """Every arm but ``against``: worse True or False, and the sentence that says so; None where a rate is undefined.

    ``can_fail`` is False where so few patients differ that no data could make the arm fail. The least p of n
    discordant patients is 1 / 2**n: with one arm and a confidence of .95 at least five must differ.
    """
    names = [name for name in arms if name != against]
    draws = draws_for(len(names), asked.alpha)
    judged = {name: _judge(arms[name], arms[against], weights_BP, asked, seed=seed, draws=draws) for name in names}
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


def _judge(
    arm: Arm, against: Arm, weights_BP: NDArray[np.float64], asked: Gate, *, seed: int, draws: int
) -> _Judged | None:
    if not (arm.ready and against.ready):
        return None
    sums = arm.sums(f"{asked.level}_miss_rate"), against.sums(f"{asked.level}_miss_rate")
    mine, theirs = (
        seed_ratio(*each, weights_BP, seed, arm=who.trained) for each, who in zip(sums, (arm, against), strict=True)
    )
    test = swap_test(sums, seed, draws, one_sided=True)
    limit = beyond(seed_difference(mine, theirs).draws_B, asked.margin, asked.confidence)
    if mine.estimate is None or theirs.estimate is None or test is None or limit is None:
        return None
    return _Judged(mine.estimate, theirs.estimate, limit.low, limit.beyond, _discordant(*sums), test)


def _discordant(mine: Sums, theirs: Sums) -> int:
    return int((seed_means(mine) != seed_means(theirs)).any(axis=1).sum())


def _row(name: str, against: str, each: _Judged, p_holm: float, *, arms: int, asked: Gate) -> Json:
    worse = each.above and p_holm <= asked.alpha
    can_fail = each.test.least_p * arms <= asked.alpha
    return {
        "worse": worse,
        "can_fail": can_fail,
        "arm": each.arm,
        "against": each.against,
        "difference": each.arm - each.against,
        "lower_limit": each.low,
        "discordant_patients": each.discordant,
        "p": each.test.p,
        "least_p": each.test.least_p,
        "p_holm": p_holm,
        "test": each.test.test,
        "sentence": _sentence(name, against, each, p_holm, worse=worse, can_fail=can_fail, asked=asked),
    }


def _sentence(
    name: str, against: str, each: _Judged, p_holm: float, *, worse: bool, can_fail: bool, asked: Gate
) -> str:
    verdict = "worse" if worse else "not worse beyond noise"
    text = (
        f"{name}: {verdict}. It misses {each.arm:.1%} of the {UNITS[asked.level]}, {against} {each.against:.1%}; the "
        f"difference {each.arm - each.against:+.1%} is at least {each.low:+.1%} with {asked.confidence:.4g} confidence "
        f"(margin {asked.margin:+.1%}), p = {p_holm:.3g} (one-sided label swap, Holm)."
    )
    if can_fail:
        return text
    return f"{text} This gate can never fail with {each.discordant} discordant patients: more patients are needed."
