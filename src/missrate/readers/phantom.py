"""Synthetic abdominal CT, made from a seed: pancreas lesions (target) or liver and kidney lesions (source).

A location such as ``phantom:target:0:128:3:1`` holds everything that determines a case: cohort, seed, pixels per side,
index and 1 for diseased. The same location gives the same bits in any process. The phantoms look like CT, but they are
drawn, not measured: they serve demonstrations and tests, and no result on them says anything about patients.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter

from missrate.core.config import Frozen
from missrate.core.errors import DataError
from missrate.core.grid import Grid
from missrate.core.seed import generator
from missrate.core.types import Entry, Map, Scan
from missrate.readers._phantom_body import body
from missrate.readers._phantom_lesions import paint_lesions
from missrate.readers._phantom_organs import organs
from missrate.readers._phantom_shapes import Array, Space

LESION: tuple[int, ...] = (2,)
ORGAN: tuple[int, ...] = (1,)
"""What the numbers in a phantom's map mean; the organ is the pancreas (target) or the liver (source)."""

Cohort = Literal["target", "source"]
LEAST_PX = 48
PIXEL_AT_128_MM = (2.0, 2.3)
SLICE_MM = (2.5, 7.0)
EXTENT_MM = (125.0, 170.0)
SLICES = (24, 60)
NOISE_HU: dict[Cohort, tuple[float, float]] = {"target": (9.0, 14.0), "source": (15.0, 20.0)}


class Config(Frozen):
    """``lesion_share``: the share of patients with lesions; the others are healthy. ``size_px``: pixels per side."""

    cohort: Cohort = "target"
    patients: int = Field(default=32, ge=1)
    seed: int = 0
    size_px: int = Field(default=128, ge=LEAST_PX)
    lesion_share: float = Field(default=0.6, ge=0.0, le=1.0)


@dataclass(frozen=True, slots=True)
class _Place:
    """A location, taken apart."""

    cohort: Cohort
    seed: int
    size_px: int
    index: int
    diseased: bool

    def __str__(self) -> str:
        return f"phantom:{self.cohort}:{self.seed}:{self.size_px}:{self.index}:{int(self.diseased)}"


def find(root: Path | None, config: Config) -> list[Entry]:  # noqa: ARG001 (phantoms lie in no folder)
    """One case for each patient, ordered by index; exactly round(lesion_share x patients) of them are diseased."""
    order = generator(config.seed, "phantom", config.cohort, "diseased").permutation(config.patients)
    diseased = {int(i) for i in order[: round(config.lesion_share * config.patients)]}
    entries = []
    for index in range(config.patients):
        place = str(_Place(config.cohort, config.seed, config.size_px, index, index in diseased))
        entries.append(Entry(f"{config.cohort}_{index:03d}", f"{config.cohort}_p{index:03d}", image=place, label=place))
    return entries


def load_image(location: str) -> Scan:
    """The scan: int16 HU in [-1024, 1500], XYZ in RAS+, size_px x size_px x 24..60 voxels.

    Raises DataError for a location that ``find`` does not give.
    """
    image_XYZ, _, grid = _case(_parse(location))
    return Scan(image_XYZ.copy(), grid, intensity="hu", source_axcodes="RAS")


def load_map(location: str) -> Map:
    """The map on the same grid: uint8, 0 background, 1 organ, 2 lesion; a healthy patient has no 2.

    Raises DataError for a location that ``find`` does not give.
    """
    _, labels_XYZ, grid = _case(_parse(location))
    return Map(labels_XYZ.copy(), grid)


def _parse(location: str) -> _Place:
    word, *parts = location.split(":")
    try:
        cohort, seed, size_px, index, diseased = parts
        place = _Place(cast(Cohort, cohort), int(seed), int(size_px), int(index), diseased == "1")
    except ValueError:
        place = None
    known = place is not None and place.cohort in get_args(Cohort) and place.size_px >= LEAST_PX
    if place is None or word != "phantom" or not known or str(place) != location or place.index < 0:
        raise DataError(
            "A phantom's location must be phantom:COHORT:SEED:SIZE_PX:INDEX:DISEASED, such as "
            f"phantom:target:0:128:3:1. Got {location!r}."
        )
    return place


@lru_cache(maxsize=2)  # the image and then the map of a case are one generation
def _case(place: _Place) -> tuple[NDArray[np.int16], NDArray[np.uint8], Grid]:
    """Image, map and grid. Lesions and noise have their own streams: without disease all else stays as it is."""
    rng = generator(place.seed, "phantom", place.cohort, place.index)
    space, grid = _space(rng, place.size_px)
    canvas = body(space, rng)
    painted = organs(canvas)
    organ_XYZ = painted.pancreas_XYZ if place.cohort == "target" else painted.liver_XYZ
    labels_XYZ = (organ_XYZ >= 0.5).astype(np.uint8)
    if place.diseased:
        own = generator(place.seed, "phantom", place.cohort, place.index, "lesions")
        labels_XYZ[paint_lesions(canvas, painted, own, cohort=place.cohort) >= 0.5] = 2
    noise = generator(place.seed, "phantom", place.cohort, place.index, "noise")
    return _acquire(canvas.values_XYZ, space, noise, cohort=place.cohort), labels_XYZ, grid


def _space(rng: np.random.Generator, size_px: int) -> tuple[Space, Grid]:
    """A grid of constant field of view whose number of slices follows from their thickness and the scan's extent."""
    pixel_mm = float(rng.uniform(*PIXEL_AT_128_MM)) * 128 / size_px
    slice_mm = float(np.exp(rng.uniform(*np.log(SLICE_MM))))
    slices = int(np.clip(round(float(rng.uniform(*EXTENT_MM)) / slice_mm), *SLICES))
    shape, spacing_mm = (size_px, size_px, slices), (pixel_mm, pixel_mm, slice_mm)
    affine = np.diag([*spacing_mm, 1.0])
    centre_mm = rng.uniform((-15.0, -15.0, -900.0), (15.0, 15.0, -300.0))
    affine[:3, 3] = (centre_mm - 0.5 * (np.array(shape) - 1) * spacing_mm).round(3)
    return Space.centred(shape, spacing_mm), Grid.of(shape, affine)


def _acquire(values_XYZ: Array, space: Space, rng: np.random.Generator, *, cohort: Cohort) -> NDArray[np.int16]:
    """What the scanner makes of it: blur, correlated noise, and in the source cohort another HU scale. int16 HU."""
    pixel_mm, _, slice_mm = space.spacing_mm
    kernel_mm = float(rng.uniform(1.0, 1.5))
    sharp = (kernel_mm / pixel_mm, kernel_mm / pixel_mm, min(0.4, 1.0 / slice_mm))
    image_XYZ = gaussian_filter(values_XYZ, sharp, truncate=3.0, mode="nearest")
    noise_XYZ = rng.standard_normal(values_XYZ.shape, np.float32)
    grain = (1.2 / pixel_mm, 1.2 / pixel_mm, 0.0)
    noise_XYZ = gaussian_filter(noise_XYZ, grain, truncate=3.0, mode="wrap")
    image_XYZ += noise_XYZ * np.float32(float(rng.uniform(*NOISE_HU[cohort])) / float(noise_XYZ.std()))
    if cohort == "source":
        image_XYZ *= np.float32(rng.uniform(0.95, 0.99))
        image_XYZ += np.float32(rng.uniform(-12.0, -4.0))
    return np.clip(np.rint(image_XYZ), -1024, 1500).astype(np.int16)
