"""Seeded volumes to measure on: a float32 probability and a uint8 reference, as a network and a reader leave them.

``clean``: a dozen lesions of 3 to 40 mm (32 in the smaller volume) as smooth blobs; the prediction is their softened,
displaced likeness, without two of them and with ten false alarms. About 1.4 % of the voxels are .01 or more and all
others exactly 0. ``noisy``: the same and noise up to .1 everywhere, as an untrained network leaves it.
Arrays are XYZ, axial slices last.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPACING_MM = (0.8, 0.8, 2.5)
KINDS = ("clean", "noisy")
FLOOR, NOISE = 0.01, 0.1
PATIENTS, LEVELS = 300, 1024


@dataclass(frozen=True, slots=True)
class Size:
    """A grid, its largest lesion, and the width of its predictions' logistic border that makes 1.4 % active."""

    shape: tuple[int, int, int]
    largest_mm: float
    softness_mm: float


SIZES = {"256x256x64": Size((256, 256, 64), 32.0, 0.65), "512x512x100": Size((512, 512, 100), 40.0, 2.6)}


@dataclass(frozen=True, slots=True)
class Case:
    """What every task is given: a reference (0, 1) and a prediction on one grid."""

    reference_XYZ: NDArray[np.uint8]
    probability_XYZ: NDArray[np.float32]
    spacing_mm: tuple[float, float, float] = SPACING_MM


@dataclass(frozen=True, slots=True)
class Patients:
    """What the bootstrap is given: voxels of each patient at or above each of K levels, inside and outside lesions."""

    inside_PK: NDArray[np.float64]
    outside_PK: NDArray[np.float64]
    reference_P: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Blob:
    centre_mm: NDArray[np.float64]
    radius_mm: float
    waves: NDArray[np.float64]  # (3, 4): a direction and a phase each


def make(size: Size, kind: str, seed: int = 0) -> Case:
    """The volume of this size, kind (one of KINDS) and seed."""
    random = np.random.default_rng(seed)
    lesions = _blobs(np.geomspace(3.0, size.largest_mm, 12) / 2, size, random)
    alarms = _blobs(np.geomspace(2.0, 8.0, 10), size, random)
    reference_XYZ = np.zeros(size.shape, np.uint8)
    probability_XYZ = np.zeros(size.shape, np.float32)
    for k, blob in enumerate(lesions):
        box, beyond_mm = _beyond(blob, size, 0.0)
        reference_XYZ[box] |= beyond_mm <= 0.0
        moved = _Blob(blob.centre_mm + random.uniform(-0.2, 0.2, 3) * blob.radius_mm, blob.radius_mm, blob.waves)
        if k not in (1, 5):
            _predict(probability_XYZ, moved, size, float(random.uniform(0.6, 1.0)))
    for blob in alarms:
        _predict(probability_XYZ, blob, size, float(random.uniform(0.3, 0.9)))
    if kind == "noisy":
        np.maximum(probability_XYZ, random.random(size.shape, np.float32) * np.float32(NOISE), out=probability_XYZ)
    return Case(reference_XYZ, probability_XYZ)


def patients(seed: int = 0) -> Patients:
    """Counts of PATIENTS patients on LEVELS levels, non-increasing in the level; a fifth of them are healthy."""
    random = np.random.default_rng(seed)
    reference_P = np.where(random.random(PATIENTS) < 0.2, 0.0, np.round(random.lognormal(8.0, 1.5, PATIENTS)))
    kept_K = 1.0 - np.linspace(0.0, 1.0, LEVELS) ** random.uniform(0.5, 4.0, (PATIENTS, 1))
    false_P = np.round(random.lognormal(8.0, 1.0, (PATIENTS, 1)))
    return Patients(np.floor(kept_K * reference_P[:, None]), np.floor(kept_K**3 * false_P), reference_P)


def save(case: Case, folder: Path) -> None:
    """Two plain files, so that whoever measures memory holds the arrays and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "reference.npy", case.reference_XYZ)
    np.save(folder / "probability.npy", case.probability_XYZ)


def load(folder: Path) -> Case:
    """What ``save`` wrote."""
    return Case(np.load(folder / "reference.npy"), np.load(folder / "probability.npy"))


def _blobs(radii_mm: NDArray[np.float64], size: Size, random: np.random.Generator) -> list[_Blob]:
    extent_mm = np.array(size.shape) * SPACING_MM
    return [
        _Blob(random.uniform(np.minimum(1.3 * r, extent_mm / 2), extent_mm - 1.3 * r), r, random.uniform(-3, 3, (3, 4)))
        for r in map(float, radii_mm)
    ]


def _beyond(blob: _Blob, size: Size, margin_mm: float) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """The box around a blob and how far beyond its wavy border each voxel of the box lies, in mm."""
    reach_mm = 1.4 * blob.radius_mm + 1.4 * margin_mm + 1.0
    low = np.maximum(np.floor((blob.centre_mm - reach_mm) / SPACING_MM), 0).astype(int)
    high = np.minimum(np.ceil((blob.centre_mm + reach_mm) / SPACING_MM) + 1, size.shape).astype(int)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    axes = [np.arange(a, b) * mm for a, b, mm in zip(low, high, SPACING_MM, strict=True)]
    away = [grid - c for grid, c in zip(np.meshgrid(*axes, indexing="ij"), blob.centre_mm, strict=True)]
    wave = sum(np.sin((w[0] * away[0] + w[1] * away[1] + w[2] * away[2]) / blob.radius_mm + w[3]) for w in blob.waves)
    distance_mm = np.sqrt(sum(a * a for a in away)) * (1.0 + 0.08 * wave)
    return box, distance_mm - blob.radius_mm


def _predict(probability_XYZ: NDArray[np.float32], blob: _Blob, size: Size, peak: float) -> None:
    """Draws a blob with a logistic border; what falls below the floor stays 0."""
    box, beyond_mm = _beyond(blob, size, size.softness_mm * 4.6)
    drawn = (peak / (1.0 + np.exp(beyond_mm / size.softness_mm))).astype(np.float32)
    drawn[drawn < FLOOR] = 0.0
    np.maximum(probability_XYZ[box], drawn, out=probability_XYZ[box])
