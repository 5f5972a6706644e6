"""Arms drawn as text, one case and patient a drawing, and their comparison."""

from collections.abc import Mapping
from typing import Any

from missrate.compare import compare
from missrate.compare.arms import Given
from missrate.core.case import CaseStatistics
from missrate.core.types import OperatingPoint
from tests.drawn import OVERLAP, case

HALF = OperatingPoint("half", {None: 0.5}, "fixed")
BOTH, LARGE, NONE = "99..9...", "99......", "........"
"""What an arm finds of the lesions "##" and "#": both, the large one, none."""


def arm(*predictions: str, reference: str = "##..#...", **options: Any) -> list[CaseStatistics]:
    """One case, and patient, per prediction."""
    return [case(reference, prediction, f"c{i}", **options) for i, prediction in enumerate(predictions)]


def compared(arms: Mapping[str, Given], against: str = "a", **changes: Any) -> dict[str, Any]:
    """All arms at .5, any overlap, few resamples, unless ``changes`` says otherwise."""
    options: dict[str, Any] = {"matching": OVERLAP, "resamples": 200} | changes
    points = options.pop("points", dict.fromkeys(arms, HALF))
    return compare(arms, points, against=against, **options)
