"""Parts of the phantom reader: hypodense lesions, in the pancreas (target) or in liver and kidneys (source).

Legend: XYZ axes run right, anterior, superior (RAS+).
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter

from missrate.readers._phantom_body import Canvas
from missrate.readers._phantom_organs import Organs, textured
from missrate.readers._phantom_shapes import Array, Point, Region, Space, Waves, blob

DIAMETER_MM = (6.0, 28.0)
DARKER_HU = (15.0, 60.0)
LEAST_VOXELS = 4
TRIES = 20


@dataclass(frozen=True, slots=True)
class Site:
    """A place for a lesion and the value of the organ around it."""

    centre_mm: Point
    organ_hu: float


def paint_lesions(canvas: Canvas, organs: Organs, rng: np.random.Generator, *, cohort: str) -> Array:
    """Paint the lesions of one diseased patient; gives their mask in [0, 1], of which >= .5 is labelled.

    At least one lesion, each of at least LEAST_VOXELS labelled voxels; no two touch, so each is one component.
    """
    wanted = int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]) if cohort == "target" else rng.integers(2, 6))
    lesions_XYZ = np.zeros(canvas.space.shape, np.float32)
    painted = 0
    for _ in range(wanted * TRIES):
        site = _pancreas_site(organs, rng) if cohort == "target" else _other_site(canvas.space, organs, rng)
        region = _lesion(canvas.space, site, organs, rng)
        if region is None or _touches(region, lesions_XYZ):
            continue
        value_hu = site.organ_hu - float(rng.uniform(*DARKER_HU))
        # grainy like the gland (.93 of its spread under the noise), so that smoothness gives no lesion away
        canvas.fill(region, textured(canvas.space, rng, region, value_hu, grain_mm=3.0, spread_hu=5.0))
        lesions_XYZ[region.box] = np.maximum(lesions_XYZ[region.box], region.inside_XYZ)
        painted += 1
        if painted == wanted:
            break
    assert painted, "no room for a lesion: the organ is missing from the scan"
    return lesions_XYZ


def _pancreas_site(organs: Organs, rng: np.random.Generator) -> Site:
    """Uniform along the gland's length, from its middle to its edge."""
    at = int(rng.integers(0, len(organs.pancreas_line_mm)))
    direction = rng.normal(0.0, 1.0, 3)
    direction *= rng.uniform(0.0, 0.9) * organs.pancreas_radius_mm[at] / np.linalg.norm(direction)
    x, y, z = organs.pancreas_line_mm[at] + direction
    return Site((float(x), float(y), float(z)), organs.pancreas_hu)


def _other_site(space: Space, organs: Organs, rng: np.random.Generator) -> Site:
    """A voxel well inside the liver or a kidney, uniformly."""
    in_liver = rng.uniform() < 0.7
    mask_XYZ = organs.liver_XYZ if in_liver else organs.kidneys_XYZ
    voxels = np.flatnonzero(mask_XYZ > 0.95)
    if not voxels.size:  # a short scan may hold no kidney
        in_liver, voxels = True, np.flatnonzero(organs.liver_XYZ > 0.95)
    x, y, z = np.unravel_index(int(voxels[rng.integers(voxels.size)]), space.shape)
    centre = (float(space.x_mm[x]), float(space.y_mm[y]), float(space.z_mm[z]))
    return Site(centre, organs.liver_hu if in_liver else organs.kidney_hu)


def _lesion(space: Space, site: Site, organs: Organs, rng: np.random.Generator) -> Region | None:
    """A slightly irregular ellipsoid outside the great vessels; None where there is no room for its diameter."""
    diameter_mm = float(np.exp(rng.uniform(*np.log(DIAMETER_MM))))
    ratios = np.exp(rng.normal(0.0, 0.12, 3))
    radii_mm = 0.5 * diameter_mm * ratios / np.cbrt(ratios.prod())
    turn, waves = float(rng.uniform(0.0, np.pi)), Waves.draw(rng, 0.08, 1.2 * diameter_mm)
    x, y, z = site.centre_mm
    if diameter_mm < 2.0 * space.spacing_mm[2]:
        # a lesion thinner than two slices that lies between them would reach half of neither, and have no label
        z = float(space.z_mm[np.argmin(np.abs(space.z_mm - z))])
    for _ in range(TRIES):
        a, b, c = (float(r) for r in radii_mm)
        region = blob(space, (x, y, z), (a, b, c), turn=turn, waves=waves)
        whole = float(region.inside_XYZ.sum())
        region = region.minus(organs.kept_XYZ)
        if whole == 0.0 or float(region.inside_XYZ.sum()) < 0.6 * whole:
            return None
        if int((region.inside_XYZ >= 0.5).sum()) >= LEAST_VOXELS:
            return region
        radii_mm = radii_mm * 1.08
    return None


def _touches(region: Region, lesions_XYZ: Array) -> bool:
    """Whether a voxel of the region would be a neighbour (26) of a lesion that is already there."""
    x, y, z = region.box
    around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in (x, y, z))
    near_XYZ = maximum_filter((lesions_XYZ[around] > 0.0).astype(np.uint8), 3)
    inner = tuple(
        slice(p.start - a.start, p.start - a.start + p.stop - p.start) for p, a in zip(region.box, around, strict=True)
    )
    return bool((near_XYZ[inner].astype(bool) & (region.inside_XYZ > 0.0)).any())
