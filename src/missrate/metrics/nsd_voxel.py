"""Share of both borders that lies within a tolerance of the other one, by voxels (normalised surface distance)."""

from missrate.core.surfaces import HasDistances, at_level, nsd_voxel
from missrate.core.types import Matching

UNIT = "share of border voxels"
BETTER = "higher"
LEVEL = "case"
NEEDS = "distances"
PARAMETER = "tolerance_mm"


def measure(case: HasDistances, at: int, matching: Matching, tolerance_mm: float) -> float | None:
    """Border voxels of both masks within ``tolerance_mm`` of the other border / all of them, at level ``at``.

    0 for a total miss and for a false alarm in a healthy scan, None for two empty masks and where the scan knows pixels
    only. Raises InputError as ``surfaces.at_level`` and for a tolerance below 0. The matching rule plays no part.
    """
    distances = at_level(case, at)
    return None if distances is None else nsd_voxel(distances, tolerance_mm)
