"""A patch is what lies under it, and air."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from missrate.core.patch import AIR_HU, cut


def test_a_slice_smaller_than_the_patch_has_air_around_it() -> None:
    result = cut(np.ones((2, 2), np.int16), (-1, -2), (4, 4), fill=AIR_HU)
    air = [AIR_HU] * 4
    assert result.tolist() == [air, [AIR_HU, AIR_HU, 1, 1], [AIR_HU, AIR_HU, 1, 1], air]
    assert result.dtype == np.int16


@given(
    start=st.tuples(st.integers(-12, 12), st.integers(-12, 12)),
    patch_px=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_each_pixel_comes_from_its_place(start: tuple[int, int], patch_px: tuple[int, int]) -> None:
    values = np.arange(5 * 6 * 2).reshape(5, 6, 2)
    result = cut(values, start, patch_px, fill=-1)
    padded = np.pad(values, ((12, 20), (12, 20), (0, 0)), constant_values=-1)
    x, y = start[0] + 12, start[1] + 12
    assert np.array_equal(result, padded[x : x + patch_px[0], y : y + patch_px[1]])
    whole = all(a >= 0 and a + n <= m for a, n, m in zip(start, patch_px, values.shape, strict=False))
    assert np.shares_memory(result, values) == whole, "nothing is copied where nothing is filled in"
