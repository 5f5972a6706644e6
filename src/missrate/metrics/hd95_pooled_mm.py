"""How far apart the two borders lie for all but 5 % of both together (medpy)."""

from missrate.core.intervals import AMOUNT
from missrate.core.surfaces import HasDistances, at_level, hd95_pooled
from missrate.core.types import Matching

UNIT = "mm"
RANGE = AMOUNT
BETTER = "lower"
LEVEL = "case"
NEEDS = "distances"
DEFAULT = False


def measure(case: HasDistances, at: int, matching: Matching) -> float | None:
    """The 95th percentile of the border voxels' distances of both directions together at level ``at``.

    None and errors as in ``hd95_directed_max_mm``.
    """
    distances = at_level(case, at)
    return None if distances is None else hd95_pooled(distances)
