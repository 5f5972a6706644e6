"""The rungs of a ladder: the same predictions, evaluated step by step from a faulty protocol to a correct one."""

from typing import Literal

from pydantic import Field, field_validator

from missrate.core.config import Frozen

SCHEMA = "missrate/ladder/1"
METRICS = ("accuracy", "precision", "recall", "miss_rate")


class Rung(Frozen):
    """One way to evaluate one arm; all counts are pixels of axial slices on the scan's own grid.

    ``threshold``: a number, or the arm's calibrated one. ``largest_share``: a slice of which more than this share is
    predicted counts as empty. ``slices``: all, or only those with a lesion in the reference. ``average``: the counts of
    all slices together, or the mean of the slices' own rates, without those that are 0/0.
    """

    name: str = Field(min_length=1)
    arm: str
    threshold: float | Literal["calibrated"] = 0.5
    largest_share: float | None = Field(default=None, gt=0, lt=1)
    slices: Literal["all", "with_lesion"] = "all"
    average: Literal["pooled", "slices"] = "pooled"

    @field_validator("threshold")
    @classmethod
    def _in_range(cls, threshold: float | str) -> float | str:
        if isinstance(threshold, float) and not 0.0 < threshold <= 1.0:
            raise ValueError("must lie in (0, 1], or be 'calibrated'")
        return threshold
