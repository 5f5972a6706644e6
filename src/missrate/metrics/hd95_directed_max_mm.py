"""How far apart the two borders lie for all but 5 %: the greater direction (MONAI, MetricsReloaded)."""

from missrate.core.intervals import AMOUNT
from missrate.core.surfaces import HasDistances, at_level, hd95_directed_max
from missrate.core.types import Matching

UNIT = "mm"
RANGE = AMOUNT
BETTER = "lower"
LEVEL = "case"
NEEDS = "distances"


def measure(case: HasDistances, at: int, matching: Matching) -> float | None:
    """The greater of the two directed 95th percentiles of the border voxels' distances at level ``at``.

    None when either mask is empty: a total miss has no distance, so a mean of these leaves the misses out and must
    stand beside their number. None also where the scan knows pixels only. Raises InputError as ``surfaces.at_level``.
    The matching rule plays no part.
    """
    distances = at_level(case, at)
    return None if distances is None else hd95_directed_max(distances)
