"""How far two surfaces lie apart, from small tables of distances: HD95 and NSD in each family, without voxels.

Tools that share these names differ on the same masks, so each function names its family. "Reference" and "prediction"
always come in this order, and D is the number of distinct distances of a direction.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import InputError
from missrate.core.quantise import threshold_of

_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """The distances from one surface to the nearest place of the other, and how much of the surface lies that far.

    ``without`` is the weight of a surface that has no other to be near to: then D = 0. An empty surface has D = 0 and
    ``without`` = 0.
    """

    distance_mm: NDArray[np.float64]  # (D,) ascending, distinct
    weight: NDArray[np.float64]  # (D,) border voxels, or area in mm2
    without: float = 0.0

    @property
    def total(self) -> float:
        """The weight of the whole surface."""
        return float(self.weight.sum()) + self.without

    def within(self, tolerance_mm: float) -> float:
        """The weight of what lies at most ``tolerance_mm`` away."""
        # The factor lets five voxels of .8 mm, which a NIfTI header keeps as .800000012, be 4 mm.
        return float(self.weight[self.distance_mm <= tolerance_mm * (1.0 + 1e-6)].sum())


Pair = tuple[Spread, Spread]
"""From the reference to the prediction, and back."""


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """One case at the mask ``levels >= level``. ``surfel`` is None where areas were not asked for.

    voxel   weights count border voxels: voxels of a mask with one of their six neighbours outside of it
    surfel  weights are mm2 of the surface between voxel centres (DeepMind's surface-distance)
    """

    level: int
    voxel: Pair
    surfel: Pair | None = None


class HasDistances(Protocol):
    """What of ``CaseStatistics`` is read here."""

    @property
    def case_id(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def voxel_ml(self) -> float | None: ...

    @property
    def distances(self) -> tuple[SurfaceDistances, ...]: ...


def at_level(case: HasDistances, level: int) -> SurfaceDistances | None:
    """The distances of ``case`` at ``level``; None where the grid knows no millimetres.

    A mask is the same at every threshold. Raises InputError when they were not measured at this level.
    """
    if case.voxel_ml is None:
        return None
    for distances in case.distances:
        if distances.level == level or case.kind == "mask":
            return distances
    measured = ", ".join(f"{threshold_of(d.level):g}" for d in case.distances) or "no threshold"
    raise InputError(
        f"A threshold must be one at which the distances of case {case.case_id} were measured ({measured}). "
        f"Got {threshold_of(level):g}; perhaps declare this threshold before the scans are measured."
    )


def surfels_of(distances: SurfaceDistances) -> Pair:
    """The area-weighted distances. Raises InputError where they were not asked for."""
    if distances.surfel is None:
        raise InputError(
            f"Distances by area must be asked for before the scans are measured. Got border voxels only at threshold "
            f'{threshold_of(distances.level):g}; perhaps the metric must say NEEDS = "surfels", or be one by voxels.'
        )
    return distances.surfel


def hd95_directed_max(distances: SurfaceDistances) -> float | None:
    """The greater of the two directed 95th percentiles in mm, interpolated (MONAI, MetricsReloaded).

    None when either mask is empty.
    """
    if _any_empty(distances.voxel):
        return None
    return max(_interpolated(_expanded(spread)) for spread in distances.voxel)


def hd95_pooled(distances: SurfaceDistances) -> float | None:
    """The 95th percentile in mm of both directions together, interpolated (medpy); None when either mask is empty."""
    if _any_empty(distances.voxel):
        return None
    return _interpolated(np.concatenate([_expanded(spread) for spread in distances.voxel]))


def hd95_surfel(distances: SurfaceDistances) -> float | None:
    """The greater of the two least distances in mm that 95 % of a surface's area keep (surface-distance).

    None when either mask is empty; raises InputError as ``surfels_of``.
    """
    pair = surfels_of(distances)
    return None if _any_empty(pair) else max(_kept(spread) for spread in pair)


def nsd_voxel(distances: SurfaceDistances, tolerance_mm: float) -> float | None:
    """Border voxels of both masks within ``tolerance_mm`` of the other's border / all border voxels of both.

    One empty mask gives 0, two give None. Raises InputError for a tolerance below 0. As MONAI and MetricsReloaded.
    """
    return _share_within(distances.voxel, tolerance_mm)


def nsd_surfel(distances: SurfaceDistances, tolerance_mm: float) -> float | None:
    """The same by area (surface-distance: "surface Dice"). Raises InputError also as ``surfels_of``."""
    return _share_within(surfels_of(distances), tolerance_mm)


def assd(distances: SurfaceDistances) -> float | None:
    """The mean in mm over the border voxels of both masks together (MONAI, MetricsReloaded); None as for HD95.

    Not the mean of the two directed means, which medpy calls by this name.
    """
    if _any_empty(distances.voxel):
        return None
    total = sum(spread.total for spread in distances.voxel)
    return sum(float(spread.distance_mm @ spread.weight) for spread in distances.voxel) / total


def _any_empty(pair: Pair) -> bool:
    return any(spread.distance_mm.size == 0 for spread in pair)


def _expanded(spread: Spread) -> NDArray[np.float64]:
    return np.repeat(spread.distance_mm, spread.weight.astype(np.int64))


def _interpolated(distance_mm: NDArray[np.float64]) -> float:
    return float(np.percentile(distance_mm, 100.0 * _SHARE))


def _kept(spread: Spread) -> float:
    share = np.cumsum(spread.weight) / spread.weight.sum()
    # A share that rounding left just below 1 would point behind the last distance.
    index = min(int(np.searchsorted(share, _SHARE)), share.size - 1)
    return float(spread.distance_mm[index])


def _share_within(pair: Pair, tolerance_mm: float) -> float | None:
    if not tolerance_mm >= 0.0:
        raise InputError(f"`tolerance_mm` must be at least 0. Got {tolerance_mm}.")
    total = sum(spread.total for spread in pair)
    return None if total == 0.0 else sum(spread.within(tolerance_mm) for spread in pair) / total
