"""Share of both surfaces that lies within a tolerance of the other one, by area (surface Dice)."""

from missrate.core.surfaces import HasDistances, at_level, nsd_surfel
from missrate.core.types import Matching

UNIT = "share of surface area"
BETTER = "higher"
LEVEL = "case"
NEEDS = "surfels"
DEFAULT = False
PARAMETER = "tolerance_mm"


def measure(case: HasDistances, at: int, matching: Matching, tolerance_mm: float) -> float | None:
    """Area of both surfaces within ``tolerance_mm`` of the other one / all of it, at level ``at``.

    None, 0 and errors as in ``nsd_voxel``; raises InputError also when distances by area were not asked for.
    """
    distances = at_level(case, at)
    return None if distances is None else nsd_surfel(distances, tolerance_mm)
