"""Percentiles and shares from small tables: each family by hand, empty masks, and numpy on the expanded distances."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from missrate.core.errors import InputError
from missrate.core.quantise import level_of
from missrate.core.surfaces import (
    Spread,
    SurfaceDistances,
    assd,
    at_level,
    hd95_directed_max,
    hd95_pooled,
    hd95_surfel,
    nsd_surfel,
    nsd_voxel,
)


@dataclass(frozen=True)
class Case:
    """Stands in for ``CaseStatistics``."""

    distances: tuple[SurfaceDistances, ...]
    case_id: str = "liver_012"
    kind: str = "probability"
    voxel_ml: float | None = 0.001


def spread(*pairs: tuple[float, float], without: float = 0.0) -> Spread:
    return Spread(np.array([d for d, _ in pairs], float), np.array([w for _, w in pairs], float), without)


def both(reference: Spread, prediction: Spread) -> SurfaceDistances:
    return SurfaceDistances(level_of(0.5), (reference, prediction), (reference, prediction))


# 20 border voxels of the reference at 0; of the prediction 10 at 0 and 10 at 4 mm.
UNEVEN = both(spread((0.0, 20.0)), spread((0.0, 10.0), (4.0, 10.0)))


def test_each_family_by_hand() -> None:
    # Directed: 0 and, from 20 values of which ten are 4, the one at place .95 * 19 = 18.05: 4.
    assert hd95_directed_max(UNEVEN) == 4.0
    # Pooled: 40 values, place .95 * 39 = 37.05, and the values from place 30 on are 4.
    assert hd95_pooled(UNEVEN) == 4.0
    assert assd(UNEVEN) == (10 * 4.0) / 40
    assert nsd_voxel(UNEVEN, 3.0) == nsd_surfel(UNEVEN, 3.0) == 30 / 40
    assert nsd_voxel(UNEVEN, 4.0) == 1.0
    assert nsd_voxel(UNEVEN, 0.0) == 30 / 40


def test_the_percentile_is_interpolated_by_voxels_and_a_step_by_area() -> None:
    # Ten values 1..10: place .95 * 9 = 8.55, between 9 and 10. By area nine tenths are at most 9, so it takes 10.
    ten = spread(*[(float(k), 1.0) for k in range(1, 11)])
    near = spread((1.0, 1.0))
    assert hd95_directed_max(both(near, ten)) == pytest.approx(9.55)
    assert hd95_surfel(both(near, ten)) == 10.0
    # Eleven values, place .95 * 10 = 9.5: between 9 and 10, counted from 1 twice.
    assert hd95_pooled(both(near, ten)) == pytest.approx(9.5)


def test_by_area_a_share_of_exactly_95_percent_is_enough() -> None:
    assert hd95_surfel(both(spread((1.0, 95.0), (2.0, 5.0)), spread((0.0, 1.0)))) == 1.0
    assert hd95_surfel(both(spread((1.0, 94.0), (2.0, 6.0)), spread((0.0, 1.0)))) == 2.0


EMPTY = spread()
NEAR = [
    # reference, prediction, NSD
    (spread(without=26.0), EMPTY, 0.0),  # total miss
    (EMPTY, spread(without=8.0), 0.0),  # false alarm
    (EMPTY, EMPTY, None),  # nothing there, nothing said
]


@pytest.mark.parametrize(("reference", "prediction", "nsd"), NEAR)
def test_without_a_surface_there_is_no_distance(reference: Spread, prediction: Spread, nsd: float | None) -> None:
    # seg-metrics answers 0.0 for the HD95 of a total miss: perfect. MONAI's nan vanishes from the mean.
    distances = both(reference, prediction)
    for family in (hd95_directed_max, hd95_pooled, hd95_surfel, assd):
        assert family(distances) is None
    for share in (nsd_voxel, nsd_surfel):
        assert share(distances, 1000.0) == nsd


COUNTS = st.dictionaries(st.integers(0, 40), st.integers(1, 30), min_size=1, max_size=12)


@given(COUNTS, COUNTS)
def test_percentiles_are_those_of_numpy_on_all_distances(there: dict[int, int], back: dict[int, int]) -> None:
    lists = [[d * 0.7 for d in sorted(counts) for _ in range(counts[d])] for counts in (there, back)]
    first, second = (spread(*[(d * 0.7, float(counts[d])) for d in sorted(counts)]) for counts in (there, back))
    distances = both(first, second)
    assert hd95_directed_max(distances) == max(np.percentile(values, 95) for values in lists)
    assert hd95_pooled(distances) == np.percentile(lists[0] + lists[1], 95)
    assert assd(distances) == pytest.approx(np.mean(lists[0] + lists[1]))
    # The first of n ascending distances whose count so far reaches .95 n, in whole numbers: 100 i >= 95 n.
    step = [next(d for i, d in enumerate(values, 1) if 100 * i >= 95 * len(values)) for values in lists]
    assert hd95_surfel(distances) == pytest.approx(max(step))
    for tolerance in (0.0, 0.7 * 3, 5.0):
        near = sum(d <= tolerance + 1e-6 for values in lists for d in values)
        assert nsd_voxel(distances, tolerance) == pytest.approx(near / len(lists[0] + lists[1]))


def test_a_tolerance_of_five_voxels_holds_five_voxels_of_a_float32_spacing() -> None:
    # NIfTI keeps .8 as .800000012, so five voxels are 4.00000006 mm.
    five = spread((5 * float(np.float32(0.8)), 1.0))
    assert five.distance_mm[0] > 4.0
    assert nsd_voxel(both(five, five), 4.0) == 1.0
    assert nsd_voxel(both(five, five), 3.999) == 0.0


@pytest.mark.parametrize("tolerance", [-1.0, float("nan")])
def test_a_tolerance_is_at_least_0(tolerance: float) -> None:
    for share in (nsd_voxel, nsd_surfel):
        with pytest.raises(InputError, match="tolerance_mm"):
            share(UNEVEN, tolerance)


def test_areas_that_nobody_asked_for_are_an_error_not_a_number() -> None:
    voxels_only = SurfaceDistances(level_of(0.5), UNEVEN.voxel)
    assert nsd_voxel(voxels_only, 3.0) == 30 / 40
    with pytest.raises(InputError, match="must be asked for"):
        hd95_surfel(voxels_only)
    with pytest.raises(InputError, match="must be asked for"):
        nsd_surfel(voxels_only, 3.0)


def test_distances_are_found_by_their_level() -> None:
    other = SurfaceDistances(level_of(0.25), UNEVEN.voxel)
    case = Case((other, UNEVEN))
    assert at_level(case, level_of(0.5)) is UNEVEN
    assert at_level(case, level_of(0.25)) is other
    with pytest.raises(InputError, match=r"liver_012 were measured \(0.25, 0.5\). Got 0.75; perhaps declare"):
        at_level(case, level_of(0.75))
    with pytest.raises(InputError, match=r"measured \(no threshold\)"):
        at_level(Case(()), level_of(0.5))


def test_without_millimetres_there_are_no_distances() -> None:
    assert at_level(Case((), voxel_ml=None), level_of(0.5)) is None
