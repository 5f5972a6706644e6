"""How far apart the two surfaces lie for all but 5 % of the area: the greater direction (surface-distance)."""

from missrate.core.intervals import AMOUNT
from missrate.core.surfaces import HasDistances, at_level, hd95_surfel
from missrate.core.types import Matching

UNIT = "mm"
RANGE = AMOUNT
BETTER = "lower"
LEVEL = "case"
NEEDS = "surfels"
DEFAULT = False


def measure(case: HasDistances, at: int, matching: Matching) -> float | None:
    """The greater of the two distances that 95 % of a surface's area keep at level ``at``.

    None and errors as in ``hd95_directed_max_mm``; raises InputError also when distances by area were not asked for.
    """
    distances = at_level(case, at)
    return None if distances is None else hd95_surfel(distances)
