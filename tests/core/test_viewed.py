"""Lesion voxels beside a view are those of its label."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from missrate.core.crop import bounding_box
from missrate.core.grid import Grid
from missrate.core.types import LESION
from missrate.core.viewed import ViewedCase, read_view, write_view

LABELS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.sampled_from([0, 1, 2, 255])
)


def viewed(label_XYZ: NDArray[np.uint8]) -> ViewedCase:
    shape = label_XYZ.shape
    box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    return ViewedCase.of(("a", "p"), np.zeros(shape, np.int16), label_XYZ, box, Grid.of(shape, None))


@given(LABELS)
def test_the_places_are_those_of_argwhere(label_XYZ: NDArray[np.uint8]) -> None:
    case = viewed(label_XYZ)
    assert sorted(map(tuple, case.lesion_VX.tolist())) == sorted(map(tuple, np.argwhere(label_XYZ == LESION).tolist()))
    for z in range(label_XYZ.shape[2]):
        assert case.lesion_in(z).tolist() == np.argwhere(label_XYZ[:, :, z] == LESION).tolist()
    assert case.lesion_slices.tolist() == np.flatnonzero((label_XYZ == LESION).any(axis=(0, 1))).tolist()


def test_a_view_comes_back_from_disk(tmp_path: Path) -> None:
    label_XYZ = np.zeros((4, 5, 3), np.uint8)
    label_XYZ[1:3, 2, 1] = LESION
    case = viewed(label_XYZ)
    write_view(tmp_path, case)
    back = read_view(tmp_path, "a")
    assert (back.label_XYZ == label_XYZ).all()
    assert back.lesion_VX.tolist() == [[1, 2, 1], [2, 2, 1]]
    assert back.starts.tolist() == [0, 0, 2, 2]
    assert (back.patient_id, back.box, back.grid) == ("p", case.box, case.grid)


@given(LABELS, st.tuples(st.sampled_from([1, -1]), st.sampled_from([1, -1]), st.sampled_from([1, -1])), st.booleans())
def test_the_box_of_what_is_not_0_however_it_lies_in_memory(
    values: NDArray[np.uint8], steps: tuple[int, int, int], fortran: bool
) -> None:
    values = np.asarray(values, order="F" if fortran else "C")[:: steps[0], :: steps[1], :: steps[2]]
    found = np.argwhere(values)
    expected: tuple[slice, ...] = (slice(0, 1),) * 3
    if len(found):
        expected = tuple(slice(int(a), int(b) + 1) for a, b in zip(found.min(0), found.max(0), strict=True))
    assert bounding_box(values) == bounding_box(values != 0) == expected
