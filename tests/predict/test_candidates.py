"""Candidates of a prediction: two boxes whose sizes, peaks and places are known."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from missrate.core.grid import Grid
from missrate.core.quantise import level_of
from missrate.predict.candidates import candidates, preview, table

SHAPE = (30, 20, 8)
AFFINE = np.diag([2.0, 1.0, 5.0, 1.0])
AFFINE[:3, 3] = (-10.0, 20.0, 100.0)
GRID = Grid.of(SHAPE, AFFINE)


def levels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    made = np.zeros(SHAPE, np.uint16)
    made[2:5, 2:5, 2] = level_of(0.6)  # 9 voxels of 10 cubic millimetres
    made[20:24, 10:12, 5:7] = level_of(0.7)  # 16
    made[21, 10, 5] = level_of(0.9)
    made[10, 10, 3] = level_of(0.4)
    return made


def test_the_strongest_comes_first_with_size_and_peak() -> None:
    found = candidates(levels(), level_of(0.5), GRID)
    assert [each.voxels for each in found] == [16, 9]
    assert [each.peak for each in found] == pytest.approx([0.9, 0.6])
    assert found[1].volume_ml == pytest.approx(0.09)
    assert found[1].centre_XYZ == (3, 3, 2)
    assert len(candidates(levels(), level_of(0.3), GRID)) == 3
    assert candidates(levels(), level_of(0.95), GRID) == []


def test_places_are_those_that_a_viewer_shows() -> None:
    rows = list(csv.DictReader(io.StringIO(table(candidates(levels(), level_of(0.5), GRID), GRID))))
    assert [row["candidate"] for row in rows] == ["1", "2"]
    assert (rows[1]["x_mm"], rows[1]["y_mm"], rows[1]["z_mm"]) == ("-4.0", "23.0", "110.0")


def test_the_picture_shows_anterior_up_and_the_patients_right_on_the_left() -> None:
    image_XYZ = np.full(SHAPE, -1000, np.int16)
    image_XYZ[-3:, -3:, 2] = 1000  # right and anterior, in the second candidate's slice
    found = candidates(levels(), level_of(0.5), GRID)
    seen = np.asarray(Image.open(io.BytesIO(preview(image_XYZ, levels() >= level_of(0.5), found, GRID))))
    width = seen.shape[1] // 2
    assert seen.shape[0] == round(width * 20 / 60)  # 30 columns of 2 mm, 20 rows of 1 mm
    second = seen[:, width:]
    assert second[4, 4].tolist() == [255, 255, 255]
    assert second[4, -4].tolist() == [0, 0, 0]


def test_without_a_candidate_the_middle_slice_is_shown() -> None:
    image_XYZ = np.zeros(SHAPE, np.int16)
    seen = Image.open(io.BytesIO(preview(image_XYZ, np.zeros(SHAPE, bool), [], GRID)))
    assert seen.size[0] == 360
    assert table([], GRID).count("\n") == 1


def test_a_spacing_that_cannot_be_does_not_blow_the_picture_up() -> None:
    thin = Grid.of(SHAPE, np.diag([0.001, 2000.0, 1.0, 1.0]))
    seen = Image.open(io.BytesIO(preview(np.zeros(SHAPE, np.int16), np.zeros(SHAPE, bool), [], thin)))
    assert seen.size == (360, 4 * 360)
