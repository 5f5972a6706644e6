"""Components and their sizes, by hand."""

import numpy as np
import pytest

from missrate.core.grid import Grid
from missrate.core.lesions import components, diameter_mm, measure


def test_two_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert components(mask)[1] == 1
    mask[1, 1, 1] = False
    mask[2, 2, 2] = True
    assert components(mask)[1] == 2


def test_empty() -> None:
    labels, count = components(np.zeros((3, 4, 5), bool))
    assert count == 0
    assert not labels.any()
    assert measure(labels, count, Grid.of((3, 4, 5), np.eye(4))).voxels.shape == (0,)


def test_volume_and_diameter_by_hand() -> None:
    # 2 x 3 x 1 voxels of 1 x 1 x 5 mm = 30 mm3 = .03 ml; d = (6 * 30 / pi) ** (1/3) = 3.855 mm
    mask = np.zeros((5, 6, 4), bool)
    mask[1:3, 2:5, 2] = True
    found = measure(*components(mask), Grid.of(mask.shape, np.diag([1.0, 1.0, 5.0, 1.0])))
    assert found.volume_ml[0] == pytest.approx(0.03)
    assert found.diameter_mm[0] == pytest.approx(3.855, abs=1e-3)
    assert found.centre_XYZ[0].tolist() in ([1, 3, 2], [2, 3, 2])


def test_pixels_only_has_no_millimetres() -> None:
    mask = np.ones((2, 2, 2), bool)
    found = measure(*components(mask), Grid.of(mask.shape, None))
    assert np.isnan(found.volume_ml).all()
    assert found.voxels.tolist() == [8]


def test_ten_millimetres_is_half_a_millilitre() -> None:
    assert diameter_mm(np.array([4 / 3 * np.pi * 125 / 1000]))[0] == pytest.approx(10.0)
