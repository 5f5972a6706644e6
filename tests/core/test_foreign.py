"""Masks and probabilities of other software as levels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.foreign import levels_of, levels_of_probability, onto
from missrate.core.grid import Grid
from missrate.core.quantise import TOP, encode
from missrate.core.types import Prediction

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@given(hnp.arrays(st.sampled_from(["u1", "i2", ">i4", "i8", "f4", "?"]), SHAPES, elements=st.integers(0, 1)))
def test_whole_numbers_are_a_mask_in_any_type_and_layout(values: np.ndarray) -> None:
    for laid in (values, np.asfortranarray(values), values[::-1] if values.ndim else values):
        levels, mask = levels_of(laid, (1,), name="a")
        assert mask
        assert levels.dtype == np.uint16
        assert (levels == laid.astype(int) * TOP).all()
        assert not levels_of(laid, (300,), name="a")[0].any()


def test_several_labels_are_lesion() -> None:
    for kind in (np.uint8, np.int64, np.float32):
        assert levels_of(np.arange(4, dtype=kind), (1, 3), name="a")[0].tolist() == [0, TOP, 0, TOP]


@given(hnp.arrays(st.sampled_from(["f2", "f4", "f8"]), SHAPES, elements={"min_value": 0, "max_value": 1}))
def test_fractions_are_probabilities_in_any_layout(values: np.ndarray) -> None:
    whole = bool((values == np.rint(values)).all())
    for laid in (values, np.asfortranarray(values), values.T):
        assert levels_of(laid, (1,), name="a")[1] is whole
        assert (levels_of(laid, (1,), name="a")[0] == encode(laid)).all()
        assert (levels_of_probability(laid, name="a") == encode(laid)).all()


@pytest.mark.parametrize(
    ("value", "sentence"), [(np.nan, "finite"), (np.inf, "finite"), (1.5, "perhaps these are logits"), (-0.1, "0, 1")]
)
def test_what_is_no_probability_names_the_file(value: float, sentence: str) -> None:
    values = np.full((3, 3, 3), 0.5, np.float32)
    values[2, 2, 2] = value
    with pytest.raises(DataError, match=f"{sentence}.*") as raised:
        levels_of(values, (1,), name="case.nii")
    assert "case.nii" in str(raised.value)


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="real numbers"):
        levels_of(np.zeros(3, np.complex64), (1,), name="a")
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        levels_of_probability(np.array([2.0]), name="a")


def test_a_mask_that_knows_only_its_voxel_size_has_the_axes_of_the_references_file() -> None:
    """The reference's file runs left, posterior, superior and was turned; so is the mask of the same array."""
    values = np.zeros((4, 3, 2), np.uint16)
    values[0, 1, 1] = TOP
    reference = Grid.of((4, 3, 2), np.diag([0.8, 0.8, 2.5, 1.0]))
    own = Grid.of((4, 3, 2), np.diag([0.8, 0.8, 2.5, 1.0]))
    placed, warning = onto(Prediction(Crop.whole(values, own), "mask"), reference, "LPS", only_voxel_size=True)
    assert warning is None
    assert isinstance(placed, Prediction)
    assert (placed.levels.full() == values[::-1, ::-1]).all()
    turned = Grid.of((3, 4, 2), np.diag([0.7, 0.8, 2.5, 1.0]))
    mixed = Grid.of((4, 3, 2), np.diag([0.8, 0.7, 2.5, 1.0]))
    placed, warning = onto(Prediction(Crop.whole(values, mixed), "mask"), turned, "PRS", only_voxel_size=True)
    assert warning is None, "sizes go along with their axes"
    assert isinstance(placed, Prediction)
    assert placed.levels.full().shape == (3, 4, 2)


def test_a_map_that_exceeds_one_by_rounding_is_a_map_of_probabilities() -> None:
    values = np.array([0.0, 0.25, 1.0 + 2.0**-23], np.float32)
    levels, mask = levels_of(values, (1,), name="a")
    assert (levels.tolist(), mask) == ([0, 15_000, 60_000], False)
    with pytest.raises(DataError, match="perhaps these are logits"):
        levels_of(np.array([0.25, 1.001], np.float32), (1,), name="a")
