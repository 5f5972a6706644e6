"""The doctor's warnings: each from a case that was made for it, and none from a sound one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.types import LabelMeaning, Scan
from missrate.prepare import cohort
from missrate.prepare.examine import _grown, examine

MEANING = LabelMeaning(lesion=(2,), organ=(1,))
SHAPE = (14, 12, 9)
GRID = Grid.of(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))


def sound() -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """A body of 40 HU in air, an organ with a lesion of 20 HU less in it."""
    image = np.full(SHAPE, -1000, np.int16)
    image[2:12, 2:10] = 40
    label = np.zeros(SHAPE, np.uint8)
    label[3:10, 3:9, 2:7] = 1
    label[5:8, 5:8, 3:6] = 2
    image[label == 2] = 20
    return image, label


def kinds(image: NDArray[Any], label: NDArray[Any], **how: Any) -> list[str]:
    found = examine(Scan(image, GRID, **how), Crop.whole(label, GRID), MEANING)
    return [warning["kind"] for warning in found.facts["warnings"]]


def test_a_sound_case_has_no_warning_and_is_described() -> None:
    image, label = sound()
    found = examine(Scan(image, GRID), Crop.whole(label, GRID), MEANING)
    assert found.facts["warnings"] == []
    (lesion,) = found.facts["lesions"]
    assert (lesion["voxels"], lesion["volume_ml"], lesion["contrast_hu"]) == (27, 0.054, -20.0)
    assert found.facts["lesion_slices"] == 3
    assert found.facts["label_voxels"] == {"1": 7 * 6 * 5 - 27, "2": 27}
    assert found.facts["organ_hu"] == [40.0, 0.0]
    assert found.label.values_XYZ.shape == (7, 6, 5)


def test_each_fault_has_its_warning() -> None:
    image, label = sound()
    assert kinds(image, np.where(label == 2, 1, label)) == ["no lesion"]
    assert kinds(np.clip(image, 0, 255), label) == ["not HU"]
    assert kinds(image + np.int16(1024), label) == ["not HU"], "the intercept was not applied"
    assert kinds(np.where(image > 0, np.float32(0.5), np.float32(-0.5)), label) == ["not HU"], "normalised"
    assert kinds(image.astype(np.uint8), label, intensity="grey") == ["not HU"]
    assert kinds(np.where(image > 0, image.astype(np.float32), np.float32(-40_000)), label) == ["clipped"]
    tiny = np.where(label == 2, 1, label)
    tiny[5, 5, 4] = 2
    assert kinds(image, tiny) == ["tiny lesion"]
    border = label.copy()
    border[5:8, 5:8, 0:6] = 2
    assert kinds(image, border) == ["lesion at the border"]
    beside = np.where(label == 2, 1, label)
    beside[0:2, 0:2, 3:7] = 2
    assert set(kinds(image, beside)) == {"lesion in air", "lesion outside of the organ"}


def test_a_label_that_was_flipped_lies_in_air() -> None:
    """As NIH's labels do along y: the trap that the named option is for."""
    image = np.full(SHAPE, -1000, np.int16)
    image[:, :5] = 40
    label = np.zeros(SHAPE, np.uint8)
    label[3:6, 1:4, 3:6] = 2
    assert kinds(image, label) == []
    assert kinds(image, label[:, ::-1]) == ["lesion in air"]


def test_one_that_is_unlike_the_others_is_named() -> None:
    def case(name: str, spacing: tuple[float, float, float], codes: str = "LPS") -> dict[str, Any]:
        value = {"case_id": name, "grid": {"shape": [100, 100, 50]}, "spacing_mm": list(spacing)}
        return value | {"source_axcodes": codes, "warnings": []}

    cases = [case(str(n), (0.8, 0.8, 2.5)) for n in range(5)]
    cases += [case("lost", (1.0, 1.0, 1.0))]
    cases += [case("thick", (0.8, 0.8, 7.5)), case("turned", (0.8, 0.8, 2.5), "RAS"), case("wide", (2.0, 2.0, 2.5))]
    cohort.warn(cases)
    found = {c["case_id"]: [w["kind"] for w in c["warnings"]] for c in cases}
    assert found.pop("thick") == ["unusual spacing"]
    assert found.pop("lost") == ["unusual spacing", "lost spacing"]
    assert found.pop("turned") == ["other orientation"]
    assert found.pop("wide") == ["unusual spacing", "unusual field of view"]
    assert not any(found.values())


@pytest.mark.parametrize("steps", [1, 2, 3])
@given(st.integers(0, 999))
def test_growing_is_scipys_dilation(steps: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((6, 7, 5)) < 0.05
    assert (_grown(mask, steps) == ndimage.binary_dilation(mask, iterations=steps)).all()
