"""Axes, corners, and resampling with its inverse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from missrate.core.errors import GridError
from missrate.core.grid import Grid, from_ras, require_same, resample, resampling_matrix, to_ras


def test_lps_becomes_ras_and_returns() -> None:
    values = np.arange(24).reshape(2, 3, 4)
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])
    turned, grid = to_ras(values, affine)
    assert (turned == values[::-1, ::-1]).all()
    # Voxel (0, 0, 0) of the file lies at the origin; it is now voxel (1, 2, 0).
    assert np.allclose(grid.matrix @ [1, 2, 0, 1], [0, 0, 0, 1])
    back, back_affine = from_ras(turned, grid, "LPS")
    assert (back == values).all()
    assert np.allclose(back_affine, affine)


def test_permuted_axes() -> None:
    # A ZYX array: the first axis runs superior. to_ras must put it last.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 5.0, 2.0, 1.0, 1.0
    turned, grid = to_ras(np.zeros((7, 8, 9)), affine)
    assert turned.shape == (9, 8, 7)
    assert grid.spacing_mm == (1.0, 2.0, 5.0)
    assert grid.voxel_ml == pytest.approx(0.01)


def test_a_sheared_direction_is_refused() -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(GridError, match="orthogonal"):
        to_ras(np.zeros((3, 3, 3)), affine)


@pytest.mark.parametrize("broken", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1e300, 1e300, 1e300, 1.0])])
def test_a_broken_affine_is_refused(broken: np.ndarray) -> None:
    with pytest.raises(GridError, match="finite and invertible"):
        Grid.of((2, 2, 2), broken)


def test_corners_decide_not_the_origin_alone() -> None:
    a = Grid.of((101, 10, 10), np.diag([1.0, 1.0, 3.0, 1.0]))
    # .0005 mm a voxel adds up to .05 mm at the far corner: the same grid; .002 gives .2 mm: another one.
    same = Grid.of((101, 10, 10), np.diag([1.0005, 1.0, 3.0, 1.0]))
    other = Grid.of((101, 10, 10), np.diag([1.002, 1.0, 3.0, 1.0]))
    require_same(a, same, names=("a", "b"))
    with pytest.raises(GridError, match=r"corners 0\.2 mm apart"):
        require_same(a, other, names=("a", "b"))
    with pytest.raises(GridError, match="same shape"):
        require_same(a, Grid.of((100, 10, 10), np.eye(4)), names=("a", "b"))


@settings(derandomize=True, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40))
def test_resampling_keeps_constants_and_range(size_in: int, size_out: int) -> None:
    weights = resampling_matrix(size_in, size_out)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (weights >= 0).all()


def test_resampling_forth_and_back_keeps_a_smooth_map_in_place() -> None:
    x, y = np.meshgrid(np.arange(60), np.arange(50), indexing="ij")
    bump = np.exp(-((x - 40) ** 2 + (y - 12) ** 2) / 60.0)[:, :, None].astype(np.float32)
    back = resample(resample(bump, (40, 35, 1)), (60, 50, 1))
    assert np.abs(back - bump).max() < 0.06
    assert [int(i) for i in np.unravel_index(back.argmax(), back.shape)] == [40, 12, 0]


def test_shrinking_loses_no_mass() -> None:
    mask = np.zeros((64, 64, 3), np.float32)
    mask[31, 17, 1] = 1.0  # one voxel must not fall between two samples
    assert resample(mask, (16, 16, 3)).max() > 0
