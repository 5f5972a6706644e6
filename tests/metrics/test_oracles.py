"""Closed forms and plain numpy: the metrics on bodies whose overlap is known, and on random volumes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from missrate.core import catalog
from missrate.core.case import CaseStatistics
from missrate.core.matching import outcome
from missrate.core.quantise import level_of
from missrate.core.types import Matching, Ratio
from tests.drawn import OVERLAP, case, measured

HALF = level_of(0.5)
Mask = NDArray[np.bool_]


def value(name: str, of: CaseStatistics, at: int = HALF) -> Any:
    return catalog.load("metrics", name).measure(of, at, OVERLAP)


def box(*spans: tuple[int, int], shape: tuple[int, int, int] = (20, 20, 20)) -> Mask:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def of_masks(reference: Mask, prediction: Mask) -> CaseStatistics:
    return measured(reference, prediction.astype(np.float64), spacing_mm=(1.0, 1.0, 1.0))


# --- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [0, 1, 3, 6, 7])
def test_a_shifted_box(axis: int, shift: int) -> None:
    # Two boxes of 6 x 4 x 5 voxels (the 6 along the shift), moved by s < 6: they share (6 - s) of 6 layers of 20.
    sides = [(3, 7), (3, 8)]
    spans = [*sides[:axis], (2, 8), *sides[axis:]]
    moved = [*sides[:axis], (2 + shift, 8 + shift), *sides[axis:]]
    one = of_masks(box(*spans), box(*moved))
    shared = max(6 - shift, 0)
    assert value("voxel_miss_rate", one) == Ratio(20 * (6 - shared), 120)
    assert value("voxel_precision", one) == Ratio(20 * shared, 120)
    assert value("dice", one) == Ratio(40 * shared, 240)
    # Wrong on either side are 2 (6 - shared) layers of 20, of 8,000 voxels.
    assert value("voxel_accuracy", one) == Ratio(8000 - 40 * (6 - shared), 8000)
    assert value("false_positive_ml_per_scan", one) == pytest.approx(0.001 * 20 * (6 - shared))
    # Along z each layer is a slice of its own; along x and y every slice shares something or none does.
    slices = 6 if axis == 2 else 5
    missed = 6 - shared if axis == 2 else 5 * (shared == 0)
    assert value("slice_miss_rate", one) == Ratio(missed, slices)
    # Intersection over union (6 - s) / (6 + s); two boxes that only touch share nothing.
    for minimum in (0.1, 0.3, 0.5, 0.99):
        enough = shared > 0 and shared / (12 - shared) >= minimum
        assert outcome(one, HALF, Matching("iou", minimum)).found.tolist() == [enough]
    by_overlap = outcome(one, HALF, OVERLAP)
    assert (by_overlap.found.tolist(), by_overlap.false_positives) == ([shared > 0], int(shared == 0))


def test_half_a_cube() -> None:
    # The prediction is one half of a cube of 8 x 8 x 8: nothing false, half missed, Dice 2 (1/2) / (1 + 1/2), IoU 1/2.
    half = of_masks(box((4, 12), (4, 12), (4, 12)), box((4, 8), (4, 12), (4, 12)))
    assert value("voxel_miss_rate", half) == Ratio(256, 512)
    assert value("voxel_precision", half) == Ratio(256, 256)
    assert value("dice", half).value == pytest.approx(2 / 3)
    found = [outcome(half, HALF, Matching("iou", m)).found.tolist() for m in (0.5, 0.5 + 1e-9)]
    assert found == [[True], [False]]
    # The other way round the half is the reference: all of it is found, at half the precision.
    twice = of_masks(box((4, 8), (4, 12), (4, 12)), box((4, 12), (4, 12), (4, 12)))
    assert value("voxel_miss_rate", twice).value == 0.0
    assert value("voxel_precision", twice).value == 0.5


RADIUS = 20


def ball(centre: float, radius: float = RADIUS) -> Mask:
    x, y, z = np.ogrid[0:81, 0:51, 0:51]
    return np.asarray((x - centre) ** 2 + (y - 25) ** 2 + (z - 25) ** 2 <= radius**2)


@pytest.mark.parametrize("shift", [0, 7, 16, 30, 39])
def test_a_shifted_sphere(shift: int) -> None:
    # Two balls of radius R whose centres are d apart share two caps of height h = R - d / 2, each
    # pi h^2 (3 R - h) / 3. Over 4 pi R^3 / 3 that is 1 - 3 d / (4 R) + d^3 / (16 R^3): recall, precision and Dice.
    one = of_masks(ball(22), ball(22 + shift))
    share = 1.0 - 0.75 * shift / RADIUS + shift**3 / (16 * RADIUS**3)
    assert value("dice", one).value == pytest.approx(share, abs=0.005)
    assert 1.0 - value("voxel_miss_rate", one).value == pytest.approx(share, abs=0.005)
    assert value("voxel_precision", one).value == pytest.approx(share, abs=0.005)
    # Of Dice D the intersection over union is D / (2 - D).
    iou = share / (2.0 - share)
    for minimum in (0.05, 0.1, 0.3, 0.7):
        if abs(iou - minimum) > 0.01:
            assert outcome(one, HALF, Matching("iou", minimum)).found.tolist() == [iou >= minimum]


def test_a_sphere_in_a_sphere() -> None:
    # Radii 10 in 20: an eighth of the volume. Dice 2 r^3 / (r^3 + R^3) = 2/9; all of the prediction is right.
    inner = of_masks(ball(40), ball(40, 10))
    assert value("dice", inner).value == pytest.approx(2 / 9, rel=0.01)
    assert value("voxel_miss_rate", inner).value == pytest.approx(7 / 8, rel=0.01)
    assert value("voxel_precision", inner).value == 1.0
    assert outcome(inner, HALF, Matching("iou", 0.12)).found.tolist() == [True]
    assert outcome(inner, HALF, Matching("iou", 0.13)).found.tolist() == [False]


@pytest.mark.parametrize("k", [1, 25, 50, 99, 100])
def test_a_ramp_misses_what_lies_below_the_threshold(k: int) -> None:
    # Probabilities .01, .02, ..., 1 inside the reference: k - 1 of 100 lie below k / 100.
    ramp = np.arange(1, 101).reshape(100, 1, 1) / 100
    one = measured(np.ones((100, 1, 1)), ramp, floor=0.01)
    assert value("voxel_miss_rate", one, level_of(k / 100)) == Ratio(k - 1, 100)


# --- plain numpy ----------------------------------------------------------------------------------------------------

VOLUMES = st.tuples(*[st.integers(1, 5)] * 3).flatmap(
    lambda shape: st.tuples(
        arrays(bool, shape), arrays(np.float64, shape, elements=st.floats(0.0, 1.0, allow_subnormal=True))
    )
)
THRESHOLDS = st.integers(1000, 10_000).map(lambda k: k / 10_000)


@settings(max_examples=150)
@given(VOLUMES, THRESHOLDS)
def test_voxels_and_slices_agree_with_numpy(volume: tuple[Mask, NDArray[np.float64]], threshold: float) -> None:
    reference, probability = volume
    mask = probability >= threshold
    one, at = measured(reference, probability, spacing_mm=(1.0, 2.0, 5.0)), level_of(threshold)
    hit, false, missed = (int(m.sum()) for m in (mask & reference, mask & ~reference, reference & ~mask))
    assert value("voxel_miss_rate", one, at) == Ratio(missed, hit + missed)
    assert value("voxel_precision", one, at) == Ratio(hit, hit + false)
    assert value("dice", one, at) == Ratio(2 * hit, int(mask.sum()) + int(reference.sum()))
    assert value("voxel_accuracy", one, at) == Ratio(int((mask == reference).sum()), mask.size)
    assert value("false_positive_ml_per_scan", one, at) == pytest.approx(0.01 * false)
    ill = [z for z in range(mask.shape[2]) if reference[:, :, z].any()]
    blind = sum(not (mask & reference)[:, :, z].any() for z in ill)
    silent = sum(not mask[:, :, z].any() for z in ill)
    assert value("slice_miss_rate", one, at) == Ratio(blind, len(ill))
    assert value("slice_miss_rate_any", one, at) == Ratio(silent, len(ill))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_auroc_agrees_with_mann_whitney(ill: list[int], healthy: list[int]) -> None:
    cases = [case("#.", f"{peak}.", f"i{k}") for k, peak in enumerate(ill)]
    cases += [case("..", f".{peak}", f"h{k}") for k, peak in enumerate(healthy)]
    u = stats.mannwhitneyu(ill, healthy, method="asymptotic").statistic
    auroc = catalog.load("metrics", "patient_auroc").measure(cases, HALF, OVERLAP, None)
    assert auroc == pytest.approx(u / (len(ill) * len(healthy)))
