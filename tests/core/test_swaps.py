"""Many permutation tests at once: each equals the one that is made alone."""

import numpy as np
import pytest

from missrate.core.resampling import label_swap, sign_flip
from missrate.core.swaps import CHUNK, label_swaps, sign_flips

DRAWS = 2 * CHUNK + 100
"""Three chunks, the last of them short."""


def sums(arms: int, patients: int, seed: int = 0) -> np.ndarray:
    """Missed of some lesions; the first arm misses least."""
    random = np.random.default_rng(seed)
    lesions = random.integers(1, 6, patients)
    missed = random.binomial(lesions, np.linspace(0.3, 0.6, arms)[:, None])
    return np.stack([missed, np.broadcast_to(lesions, missed.shape)], axis=2).astype(float)


def test_few_discordant_patients_are_enumerated() -> None:
    data, pairs = sums(3, 10), [(0, 1), (0, 2), (1, 2), (2, 0)]
    found = label_swaps(data, pairs, 0, draws=DRAWS)
    assert found == [label_swap(data[a], data[b], 0) for a, b in pairs]
    assert all(p is not None and p.test.startswith("exact") for p in found)


def test_many_discordant_patients_agree_with_the_test_made_alone() -> None:
    data, pairs = sums(4, 60), [(0, 1), (0, 2), (0, 3), (2, 3)]
    for found, (a, b) in zip(label_swaps(data, pairs, 1, draws=DRAWS), pairs, strict=True):
        alone = label_swap(data[a], data[b], 2, draws=DRAWS)
        assert found is not None and alone is not None
        # Two shares of the same probability: within four standard errors of their difference.
        error = (2 * max(alone.p * (1 - alone.p), 1 / DRAWS) / DRAWS) ** 0.5
        assert found.p == pytest.approx(alone.p, abs=4 * error)
        assert (found.least_p, found.test) == (1 / (DRAWS + 1), alone.test)


def test_denominators_that_differ_are_swapped_too() -> None:
    # Precision: each arm predicts other numbers of voxels.
    random = np.random.default_rng(3)
    data = np.stack([random.integers(0, 9, (2, 40)), random.integers(9, 20, (2, 40))], axis=2).astype(float)
    (found,) = label_swaps(data, [(0, 1)], 0, draws=DRAWS)
    alone = label_swap(data[0], data[1], 9, draws=DRAWS)
    assert found is not None and alone is not None
    assert found.p == pytest.approx(alone.p, abs=0.02)


def test_an_arm_of_0_by_0_has_no_test() -> None:
    data = sums(2, 30)
    data[1] = 0.0
    assert label_swaps(data, [(0, 1)], 0, draws=100) == [None]
    assert label_swaps(data, [], 0, draws=100) == []


def test_sign_flips_agree_with_the_test_made_alone() -> None:
    random = np.random.default_rng(5)
    rows = random.normal([[0.0], [0.3], [1.0]], 1.0, (3, 50))
    rows[1, :5] = np.nan
    few = np.where(np.arange(50) < 10, rows[0], 0.0)
    found = sign_flips(np.stack([*rows, few, np.full(50, np.nan)]), 0, draws=DRAWS)
    for p, row in zip(found[:3], rows, strict=True):
        alone = sign_flip(row[~np.isnan(row)], 8, draws=DRAWS)
        assert p is not None and alone is not None
        assert p.p == pytest.approx(alone.p, abs=0.02)
    assert found[3] == sign_flip(few, 0)
    assert found[4] is None
