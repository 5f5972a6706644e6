"""Which way is up, what an outline is, and which misses are shown."""

import base64
import io
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from missrate.core.types import LESION
from missrate.report import material, pictures
from missrate.report.material import Arm, Style
from missrate.report.raster import outline, png


def test_the_patients_right_is_on_the_left_and_anterior_is_up() -> None:
    volume_XYZ = np.zeros((4, 3, 2), int)  # RAS+: x grows to the right, y to the front
    volume_XYZ[3, 2, 1] = 1  # most right, most anterior
    volume_XYZ[0, 2, 1] = 2  # most left, most anterior
    volume_XYZ[3, 0, 1] = 3  # most right, most posterior
    picture_YX = pictures.axial(volume_XYZ, 1)
    assert picture_YX.shape == (3, 4)
    assert picture_YX[0, 0] == 1
    assert picture_YX[0, -1] == 2
    assert picture_YX[-1, 0] == 3
    assert pictures.axial(volume_XYZ, 0).sum() == 0


def test_png_is_what_went_in() -> None:
    grey_YX = np.arange(7 * 5, dtype=np.uint8).reshape(7, 5) * 7
    data = base64.b64decode(png(grey_YX).removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), grey_YX)


def test_outline_of_two_pixels_in_mm() -> None:
    mask_YX = np.zeros((3, 4), bool)
    mask_YX[1, 1:3] = True
    assert outline(mask_YX, (2.0, 0.5)) == "M0.5 2L1.5 2L1.5 4L0.5 4Z"
    assert outline(np.zeros((3, 4), bool), (1.0, 1.0)) == ""


@given(arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))))
@settings(max_examples=50, deadline=None)
def test_outline_encloses_exactly_the_mask(mask_YX: Any) -> None:
    """The signed area of the loops is the area of the mask, and a ray crosses them an odd number of times inside."""
    loops = [
        np.array(re.findall(r"[\d.]+", loop), float).reshape(-1, 2) for loop in outline(mask_YX, (1, 1)).split("Z")
    ]
    edges = [(a, b) for loop in loops if loop.size for a, b in zip(loop, np.roll(loop, -1, axis=0), strict=True)]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in edges) / 2
    assert area == pytest.approx(mask_YX.sum())
    for y, x in np.ndindex(mask_YX.shape):
        crossed = [
            a for a, b in edges if a[0] == b[0] < x + 0.5 and min(a[1], b[1]) < y + 0.5 < max(a[1], b[1])
        ]  # upright edges to the left
        assert (len(crossed) % 2 == 1) == mask_YX[y, x]


def arm(name: str, misses: list[tuple[str, float]]) -> Arm:
    rows = [
        {
            "case_id": patient,
            "patient_id": patient,
            "lesion": str(i),
            "voxels": "1",
            "volume_ml": str(ml),
            "found_p": "0",
        }
        for i, (patient, ml) in enumerate(misses, 1)
    ]
    point = {"name": "p", "threshold": 0.5}
    return Arm(name, False, {"operating_point": point, "also": []}, rows, Style("#000000", "o", "-"))


def test_choice_goes_round_arms_and_patients_largest_first() -> None:
    arms = [arm("a", [("p1", 9.0), ("p1", 8.0), ("p2", 1.0)]), arm("b", [("p1", 7.0), ("p3", 2.0)])]
    chosen = [(arm.name, row["patient_id"], float(row["volume_ml"])) for arm, row in pictures.choose(arms, 10)]
    assert chosen == [("a", "p1", 9.0), ("b", "p3", 2.0), ("a", "p2", 1.0), ("b", "p1", 7.0), ("a", "p1", 8.0)]
    assert pictures.choose(arms, 2) == pictures.choose(arms, 10)[:2]
    assert pictures.choose(arms, 0) == []


def test_pictures_show_the_lesion_that_was_missed(inputs: dict[str, Any]) -> None:
    study = material.read(**inputs)
    shown = pictures.missed(study)
    assert len(shown) == 6 <= sum(len(arm.missed()) for arm in study.trained_arms())
    assert max(Counter(picture.title for picture in shown).values()) <= 3
    for picture in shown:
        assert not picture.arm.null
        assert picture.overview is not None and picture.overview.png and picture.detail.png
        assert picture.detail.reference and picture.overview.reference and picture.overview.frame
        assert any("HU" in line for line in picture.lines) and any("threshold" in line for line in picture.lines)


def test_detail_lies_around_the_centre_in_every_corner(inputs: dict[str, Any]) -> None:
    """The centre of each missed lesion lies in its detail: what is drawn there is the reference of that slice."""
    study = material.read(**inputs)
    arm, row = pictures.choose(study.trained_arms(), 1)[0]
    scan = study.prepared["target"].load(row["case_id"], row["patient_id"])
    x, y, z = (int(row[f"centre_{axis}"]) for axis in "xyz")
    assert scan.label_XYZ[x, y, z] == LESION
    picture_YX = pictures.axial(scan.label_XYZ, z)
    assert picture_YX[scan.label_XYZ.shape[1] - 1 - y, scan.label_XYZ.shape[0] - 1 - x] == LESION
    panel = next(p for p in pictures.missed(study) if p.title == arm.name).overview
    assert scan.grid.spacing_mm is not None and panel is not None
    assert panel.width <= scan.grid.shape[0] * scan.grid.spacing_mm[0] + 1e-6
    assert panel.height <= scan.grid.shape[1] * scan.grid.spacing_mm[1] + 1e-6
