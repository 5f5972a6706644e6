"""From two masks to the distances of their surfaces: closed forms, empty masks, and brute force on small masks."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from missrate.core.errors import DataError, GridError, InputError
from missrate.core.surfaces import (
    Pair,
    Spread,
    SurfaceDistances,
    hd95_directed_max,
    hd95_pooled,
    hd95_surfel,
    nsd_surfel,
    nsd_voxel,
)
from missrate.evaluate import distances as room
from missrate.evaluate._surfel_area import areas_mm2
from missrate.evaluate.distances import measure

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
MM: Spacing = (1.0, 1.0, 1.0)
SHAPE = (24, 24, 24)


def box(*spans: tuple[int, int], shape: tuple[int, int, int] = SHAPE) -> Mask:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def ball(radius: float) -> Mask:
    x, y, z = np.ogrid[-14:15, -14:15, -14:15]
    return np.asarray(x * x + y * y + z * z <= radius * radius)


def surfels(distances: SurfaceDistances) -> Pair:
    assert distances.surfel is not None
    return distances.surfel


# --- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [1, 3])
def test_parallel_planes_are_their_shift_apart_in_mm(axis: int, shift: int) -> None:
    # A plate one voxel thick is all border. The trap: a spacing that is ignored gives 1, in the wrong order 2 for 5.
    spacing: Spacing = (2.0, 0.7, 5.0)
    spans = [(4, 14)] * 3
    plate, moved = spans.copy(), spans.copy()
    plate[axis], moved[axis] = (6, 7), (6 + shift, 7 + shift)
    distances = measure(box(*plate), box(*moved), spacing, 1)
    apart = shift * spacing[axis]
    for direction in distances.voxel:
        assert direction.distance_mm.tolist() == [pytest.approx(apart, rel=1e-12)]
        assert direction.weight.tolist() == [100.0]
    assert hd95_directed_max(distances) == hd95_pooled(distances) == pytest.approx(apart)
    assert nsd_voxel(distances, apart) == 1.0
    assert nsd_voxel(distances, apart * 0.999) == 0.0


def test_one_slice_of_5_mm_is_5_and_not_2() -> None:
    distances = measure(box((4, 14), (4, 14), (6, 7)), box((4, 14), (4, 14), (7, 8)), (2.0, 2.0, 5.0), 1)
    assert hd95_directed_max(distances) == 5.0


def test_plates_by_area() -> None:
    # A plate has one layer of surfels above and one below it, equal by symmetry. Two slices on, the facing layers are
    # one slice apart and the outer ones two: half of the area at 5 mm, half at 10.
    plate, moved = box((4, 14), (4, 14), (6, 7)), box((4, 14), (4, 14), (8, 9))
    distances = measure(plate, moved, (2.0, 2.0, 5.0), 1, surfels=True)
    assert [s.distance_mm.tolist() for s in surfels(distances)] == [[5.0, 10.0]] * 2
    assert hd95_surfel(distances) == 10.0
    assert nsd_surfel(distances, 5.0) == pytest.approx(0.5)


def test_half_a_plate_by_hand() -> None:
    # 10 x 10 voxels of 1.5 mm along x; the prediction has the first five columns. Columns 5..9 are 1..5 voxels away.
    distances = measure(box((2, 12), (2, 12), (3, 4)), box((2, 7), (2, 12), (3, 4)), (1.5, 1.0, 1.0), 1)
    there, back = distances.voxel
    assert there.distance_mm.tolist() == [0.0, 1.5, 3.0, 4.5, 6.0, 7.5]
    assert there.weight.tolist() == [50.0, 10.0, 10.0, 10.0, 10.0, 10.0]
    assert (back.distance_mm.tolist(), back.weight.tolist()) == ([0.0], [50.0])
    # Directed place .95 * 99 = 94.05, pooled .95 * 149 = 141.55: both among the last ten.
    assert hd95_directed_max(distances) == hd95_pooled(distances) == 7.5
    assert nsd_voxel(distances, 3.0) == (70 + 50) / 150


def test_the_border_of_a_box_is_its_shell() -> None:
    # 5 x 4 x 3 voxels, of which 3 x 2 x 1 have all six neighbours.
    same = box((2, 7), (2, 6), (2, 5))
    distances = measure(same, same, MM, 1)
    assert [(s.distance_mm.tolist(), s.weight.tolist()) for s in distances.voxel] == [([0.0], [60.0 - 6.0])] * 2


def test_concentric_balls_lie_within_a_tolerance() -> None:
    # Border voxels of a ball of radius r lie at radius (r - 1, r], so those of 10 and 12 are more than 1 mm apart, and
    # at most 3 mm in radius plus half a voxel's diagonal sideways.
    distances = measure(ball(10), ball(12), MM, 1, surfels=True)
    assert nsd_voxel(distances, 1.0) == 0.0
    assert nsd_voxel(distances, 4.0) == nsd_surfel(distances, 4.0) == 1.0
    assert nsd_surfel(distances, 0.9) == 0.0


def test_the_three_families_differ_on_the_same_masks() -> None:
    # Two rods one voxel thick from the same place, 20 and 24 voxels long: all voxels are border.
    rod, longer = box((0, 20), (3, 4), (3, 4)), box((0, 24), (3, 4), (3, 4))
    distances = measure(rod, longer, MM, 1, surfels=True)
    # Directed back: 20 zeros, then 1, 2, 3, 4; place .95 * 23 = 21.85 lies .85 of the way from 2 to 3.
    assert hd95_directed_max(distances) == pytest.approx(2.85)
    # Pooled: 40 zeros, then 1, 2, 3, 4; place .95 * 43 = 40.85 lies .85 of the way from 1 to 2.
    assert hd95_pooled(distances) == pytest.approx(1.85)
    # By area: each plane between two voxels has four strips 1 x sqrt(1/2), each end four triangles of sqrt(3) / 8.
    plane, end = 2.0 * np.sqrt(2.0), np.sqrt(3.0) / 2.0
    there, back = surfels(distances)
    assert there.total == pytest.approx(19 * plane + 2 * end)
    assert back.weight == pytest.approx([20 * plane + end, plane, plane, plane, end])
    # Shares up to 0, 1, 2, 3 mm: .860, .902, .945, .987, so 95 % are reached at 3.
    assert hd95_surfel(distances) == 3.0
    # Within 2 mm all of the rod, and of the longer one all but two voxels, or all but one plane and one end.
    assert nsd_voxel(distances, 2.0) == pytest.approx(42 / 44)
    assert nsd_surfel(distances, 2.0) == pytest.approx((41 * plane + 3 * end) / (42 * plane + 4 * end))


# --- empty masks and edges ------------------------------------------------------------------------------------------

NOTHING, SOMETHING = np.zeros(SHAPE, bool), box((2, 5), (2, 5), (2, 5))


def as_table(direction: Spread) -> tuple[int, float]:
    return direction.distance_mm.size, direction.without


def test_an_empty_mask_keeps_the_weight_of_the_other() -> None:
    # 3 x 3 x 3 voxels, 26 of them border; the area of a box is derived below.
    area = box_area((3, 3, 3), MM)
    missed = measure(SOMETHING, NOTHING, MM, 7, surfels=True)
    assert [as_table(s) for s in missed.voxel] == [(0, 26.0), (0, 0.0)]
    assert [as_table(s) for s in surfels(missed)] == [(0, pytest.approx(area)), (0, 0.0)]
    alarm = measure(NOTHING, SOMETHING, MM, 7, surfels=True)
    assert [as_table(s) for s in alarm.voxel] == [(0, 0.0), (0, 26.0)]
    quiet = measure(NOTHING, NOTHING, MM, 7, surfels=True)
    assert [as_table(s) for s in quiet.voxel + surfels(quiet)] == [(0, 0.0)] * 4
    for distances, nsd in ((missed, 0.0), (alarm, 0.0), (quiet, None)):
        # Not 0, which would be perfect.
        assert hd95_directed_max(distances) is hd95_pooled(distances) is hd95_surfel(distances) is None
        assert nsd_voxel(distances, 99.0) == nsd_surfel(distances, 99.0) == nsd
        assert distances.level == 7


def test_what_lies_beyond_the_edge_is_outside() -> None:
    full = np.ones((4, 4, 4), bool)
    distances = measure(full, full, MM, 1)
    # 64 voxels, 8 of them inside.
    assert distances.voxel[0].weight.tolist() == [56.0]


MASKS = arrays(bool, st.tuples(*[st.integers(1, 5)] * 3))
SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 2.5, 5.0])] * 3)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    first: Mask = draw(MASKS)
    second: Mask = draw(arrays(bool, first.shape))
    return first, second


def tables(distances: SurfaceDistances) -> list[tuple[list[float], list[float], float]]:
    return [
        (s.distance_mm.tolist(), s.weight.round(9).tolist(), round(s.without, 9))
        for s in distances.voxel + surfels(distances)
    ]


@settings(max_examples=50)
@given(pairs(), SPACINGS)
def test_a_crop_gives_what_the_whole_scan_gives(masks: tuple[Mask, Mask], spacing: Spacing) -> None:
    first, second = masks
    crop = tables(measure(first, second, spacing, 1, surfels=True))
    whole = [np.asfortranarray(np.pad(mask, ((3, 1), (0, 2), (1, 4)))) for mask in masks]
    assert tables(measure(whole[0], whole[1], spacing, 1, surfels=True)) == crop
    assert tables(measure(second, first, spacing, 1, surfels=True)) == [crop[1], crop[0], crop[3], crop[2]]


# --- brute force ----------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(pairs(), SPACINGS)
def test_border_voxels_agree_with_a_distance_transform(masks: tuple[Mask, Mask], spacing: Spacing) -> None:
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    distances = measure(masks[0], masks[1], spacing, 1)
    for k, direction in enumerate(distances.voxel):
        source, target = borders[k], borders[1 - k]
        assert direction.total == source.sum()
        expanded = np.repeat(direction.distance_mm, direction.weight.astype(int))
        if target.any():
            to_target = ndimage.distance_transform_edt(~target, sampling=spacing)
            assert expanded == pytest.approx(np.sort(to_target[source]), abs=1e-9)
        else:
            assert direction.without == source.sum()
        # Equal distances stand once.
        assert (np.diff(direction.distance_mm) > 1e-9).all()


def corners_one_by_one(mask: Mask, spacing: Spacing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in mm and areas of all corners between voxels of which some are in the mask and some not."""
    area, padded = areas_mm2(spacing), np.pad(mask, 1)
    places, weights = [], []
    for corner in product(*[range(n + 1) for n in mask.shape]):
        cube = padded[tuple(slice(c, c + 2) for c in corner)].ravel()
        if 0 < cube.sum() < 8:
            places.append([c * side for c, side in zip(corner, spacing, strict=True)])
            weights.append(area[sum(1 << k for k in range(8) if cube[k])])
    return np.array(places).reshape(-1, 3), np.array(weights)


@settings(max_examples=100)
@given(pairs(), SPACINGS)
def test_surfels_agree_with_a_loop_over_all_corners(masks: tuple[Mask, Mask], spacing: Spacing) -> None:
    (first, first_area), (second, second_area) = (corners_one_by_one(mask, spacing) for mask in masks)
    there, back = surfels(measure(masks[0], masks[1], spacing, 1, surfels=True))
    assert [there.total, back.total] == pytest.approx([first_area.sum(), second_area.sum()])
    if not first.size or not second.size:
        return
    apart = cdist(first, second)
    for direction, nearest, area in ((there, apart.min(axis=1), first_area), (back, apart.min(axis=0), second_area)):
        for distance in (0.0, *spacing, 4.0):
            assert direction.within(distance) == pytest.approx(area[nearest <= distance + 1e-6].sum())


# --- areas ----------------------------------------------------------------------------------------------------------


def box_area(voxels: tuple[int, int, int], spacing: Spacing) -> float:
    """The surface of a box between voxel centres: flat faces, bevelled edges, one triangle on each corner.

    From outer voxel centre to outer voxel centre it is n - 1 voxels long. The four edges along an axis are bevelled
    from half a voxel on one side to half a voxel on the other; a corner is cut at half a voxel on all three edges.
    """
    (a, b, c), (x, y, z) = (n - 1 for n in voxels), spacing
    faces = 2.0 * (a * x * b * y + b * y * c * z + c * z * a * x)
    edges = 4.0 * (a * x * np.hypot(y, z) + b * y * np.hypot(z, x) + c * z * np.hypot(x, y)) / 2.0
    corners = 8.0 * np.sqrt((x * y) ** 2 + (y * z) ** 2 + (z * x) ** 2) / 8.0
    return float(faces + edges + corners)


@pytest.mark.parametrize("voxels", [(1, 1, 1), (3, 1, 2), (4, 5, 6)])
@pytest.mark.parametrize("spacing", [MM, (0.7, 1.3, 5.0)])
def test_the_area_of_a_box(voxels: tuple[int, int, int], spacing: Spacing) -> None:
    mask = np.ones(voxels, bool)
    assert surfels(measure(mask, mask, spacing, 1, surfels=True))[0].total == pytest.approx(box_area(voxels, spacing))


def code_of(*corners: tuple[int, int, int]) -> int:
    return sum(1 << (4 * x + 2 * y + z) for x, y, z in corners)


def test_bent_and_ambiguous_cubes_by_hand() -> None:
    area = areas_mm2(MM)
    assert area[0] == area[255] == 0.0
    triangle = np.sqrt(3.0) / 8.0
    # Opposite corners of a face or of the cube: two triangles, whether they are in the mask or all others are.
    for pair in (code_of((0, 0, 0), (0, 1, 1)), code_of((0, 0, 0), (1, 1, 1))):
        assert area[pair] == area[255 - pair] == pytest.approx(2.0 * triangle)
    # Three corners round a fourth of a face: half of the face, flat, and three triangles of the plane x + y + z = 3/2.
    assert area[code_of((0, 0, 0), (1, 0, 0), (0, 1, 0))] == pytest.approx(0.5 + 3.0 * triangle)
    # A corner and its three neighbours: the hexagon of the plane x + y + z = 3/2, of side sqrt(1/2).
    hexagon = 1.5 * np.sqrt(3.0) / 2.0
    assert area[code_of((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))] == pytest.approx(hexagon)
    # Every other corner: four triangles.
    assert area[code_of((0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1))] == pytest.approx(4.0 * triangle)


def test_an_area_knows_no_side_no_direction_and_no_order_of_axes() -> None:
    area, turned_area = areas_mm2((0.7, 1.3, 5.0)), areas_mm2((5.0, 0.7, 1.3))
    bit = 1 << np.arange(8)
    for code in range(1, 255):
        cube = np.array([bool(code >> k & 1) for k in range(8)]).reshape(2, 2, 2)
        mirrored = [int(bit @ np.flip(cube, axis).ravel()) for axis in range(3)]
        assert area[[255 - code, *mirrored]] == pytest.approx(area[code])
        assert turned_area[int(bit @ cube.transpose(2, 0, 1).ravel())] == pytest.approx(area[code])
        assert area[code] > 0.0
    assert areas_mm2((1.4, 2.6, 10.0)) == pytest.approx(4.0 * area)


# --- refused input --------------------------------------------------------------------------------------------------


def test_two_shapes_numbers_and_no_spacing_are_refused() -> None:
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(GridError, match="one shape"):
        measure(mask, mask[:1], MM, 1)
    with pytest.raises(GridError, match="three axes"):
        measure(mask[0], mask[0], MM, 1)
    with pytest.raises(DataError, match="boolean"):
        measure(mask, mask.astype(np.uint8), MM, 1)
    for spacing in ((1.0, 0.0, 1.0), (1.0, 1.0, float("nan")), (1.0, 1.0)):
        with pytest.raises(InputError, match="spacing_mm"):
            measure(mask, mask, spacing, 1)  # type: ignore[arg-type]


@settings(max_examples=40)
@given(arrays(bool, (4, 5, 3)), arrays(bool, (4, 5, 3)), st.sampled_from(["C", "F"]))
def test_masks_looked_at_as_whole_arrays_have_the_same_distances(reference: Mask, prediction: Mask, order: str) -> None:
    spacing: Spacing = (1.0, 2.0, 0.7)
    first, second = (np.asarray(mask, order=order) for mask in (reference, prediction))  # type: ignore[call-overload]
    sparse = measure(first, second, spacing, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "DENSE", -1)
        dense = measure(first, second, spacing, 1)
    for one, other in zip(sparse.voxel, dense.voxel, strict=True):
        assert np.array_equal(one.distance_mm, other.distance_mm)
        assert np.array_equal(one.weight, other.weight)
        assert one.without == other.without


# --- a mask that fills the scan -------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.tuples(*[st.integers(1, 7)] * 3).flatmap(lambda shape: arrays(bool, shape)), st.booleans())
def test_a_mask_that_fills_the_scan_has_the_distances_of_any_other(mask: Mask, turned: bool) -> None:
    # Sides whose squares are exact, so that every way of adding them up gives the same distance.
    spacing, full = (0.5, 1.25, 3.0), np.ones(mask.shape, bool)
    reference, prediction = (full, mask) if turned else (mask, full)
    cheap = measure(reference, prediction, spacing, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "has_numba", lambda: False)
        general = measure(reference, prediction, spacing, 1)
    for one, other in zip(cheap.voxel, general.voxel, strict=True):
        np.testing.assert_array_equal(one.distance_mm, other.distance_mm)
        np.testing.assert_array_equal(one.weight, other.weight)
        assert one.without == other.without


def test_from_one_voxel_to_the_faces_around_it_by_hand() -> None:
    # 3 x 3 x 3 with the middle: 6 faces at 1, 12 edges at sqrt 2, 8 corners at sqrt 3; back it is 1.
    middle = box((1, 2), (1, 2), (1, 2), shape=(3, 3, 3))
    there, back = measure(middle, np.ones((3, 3, 3), bool), MM, 1).voxel
    assert (there.distance_mm.tolist(), there.weight.tolist()) == ([1.0], [1.0])
    assert back.distance_mm.tolist() == [1.0, round(2**0.5, 9), round(3**0.5, 9)]
    assert back.weight.tolist() == [6.0, 12.0, 8.0]
