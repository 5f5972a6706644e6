"""What a model sees, and the way back."""

import numpy as np
import pytest
from pydantic import ValidationError

from missrate.core.grid import Grid
from missrate.core.types import IGNORED, LESION
from missrate.core.view import View


def _scan() -> tuple[np.ndarray, Grid]:
    image = np.full((60, 50, 7), -1000, np.int16)
    image[10:40, 5:45] = 40
    image[50:52, 20:22] = 500  # something beside the body: a smaller component
    return image, Grid.of(image.shape, np.diag([1.0, 1.0, 4.0, 1.0]))


def test_body_box_holds_the_body_and_not_the_table() -> None:
    image, _ = _scan()
    x, y, z = View(crop="body").box(image)
    assert (x.start, x.stop) <= (10, 42)
    assert x.stop >= 40
    assert y.start <= 5
    assert y.stop >= 45
    assert (z.start, z.stop) == (0, 7)


def test_empty_scan_is_seen_whole() -> None:
    assert View(crop="body").box(np.full((8, 9, 3), -1000, np.int16)) == (slice(0, 8), slice(0, 9), slice(0, 3))


@pytest.mark.parametrize("view", [View(), View(crop="body"), View(spacing_mm=2.0, crop="body"), View(spacing_mm=0.7)])
def test_round_trip_keeps_a_blob_in_place(view: View) -> None:
    image, grid = _scan()
    label = np.zeros(image.shape, np.uint8)
    label[30:39, 7:15, 2:5] = LESION  # off-centre in every axis: a transposed or flipped way back would miss it
    box = view.box(image)
    seen = view.apply_label(label, box, grid) == LESION
    back = view.invert(seen.astype(np.float32), box, grid) >= 0.5
    overlap = (back & (label == LESION)).sum()
    assert 2 * overlap / (back.sum() + (label == LESION).sum()) > 0.85
    assert back.shape == image.shape


def test_native_view_changes_nothing() -> None:
    image, grid = _scan()
    assert (View().apply_image(image, grid) == image).all()


def test_ignored_and_lesion_share_a_voxel_lesion_wins() -> None:
    label = np.zeros((4, 4, 1), np.uint8)
    label[:2] = IGNORED
    label[2:] = LESION
    grid = Grid.of((4, 4, 1), np.eye(4))
    seen = View(spacing_mm=4.0).apply_label(label, (slice(0, 4), slice(0, 4), slice(0, 1)), grid)
    assert seen.tolist() == [[[LESION]]]


def test_slab_repeats_the_edge_and_windows() -> None:
    image = np.zeros((2, 2, 3), np.int16)
    image[:, :, 0], image[:, :, 1], image[:, :, 2] = -100, 50, 200
    slab = View(context_slices=3).slab(image, 0)
    assert slab[:, 0, 0].tolist() == [0.0, 0.0, 0.5]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="low < high"):
        View(window_hu=(200.0, -100.0))
    with pytest.raises(ValidationError, match="odd"):
        View(context_slices=2)


def test_a_lesion_smaller_than_half_a_voxel_is_not_taught_as_background() -> None:
    label = np.zeros((20, 20, 3), np.uint8)
    label[13, 6, 1] = LESION
    grid = Grid.of(label.shape, np.eye(4))
    seen = View(spacing_mm=4.0).apply_label(label, (slice(0, 20), slice(0, 20), slice(0, 3)), grid)
    assert np.argwhere(seen == LESION).tolist() == [[3, 1, 1]]
