"""Parts of the phantom reader: the organs of the upper abdomen, painted on a body in HU.

Legend: XYZ axes run right, anterior, superior (RAS+); positions are "standard" mm (see ``_phantom_body``).
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter

from missrate.readers._phantom_body import SPINE_Y_MM, Canvas
from missrate.readers._phantom_shapes import Array, Region, Space, Waves, ellipsoid, tube

GAS_HU, WALL_HU = -950.0, 68.0
MEDULLA_HU = 28.0
"""How much darker a kidney is within its cortex."""


@dataclass(frozen=True, slots=True)
class Organs:
    """Where the organs that may bear a lesion ended up: masks of the whole scan in [0, 1], values in HU."""

    pancreas_XYZ: Array
    liver_XYZ: Array
    kidneys_XYZ: Array
    kept_XYZ: Array  # great vessels and everything outside the cavity: no lesion grows into it
    pancreas_line_mm: Array  # (N, 3) from head to tail, evenly spaced
    pancreas_radius_mm: Array  # (N,)
    pancreas_hu: float
    liver_hu: float
    kidney_hu: float  # of the medulla, so that a lesion is darker than both layers


def organs(canvas: Canvas) -> Organs:
    """Paint all organs from back to front; what comes later covers what came before."""
    line_mm, radius_mm = _pancreas_line(canvas)
    _stomach(canvas)
    _colon(canvas)
    _bowel(canvas)
    _mesenteric_vessels(canvas)
    _duodenum(canvas, line_mm)
    _spleen(canvas)
    liver_hu = canvas.between(102.0, 122.0)
    liver_XYZ = _liver(canvas, liver_hu)
    kidney_hu = canvas.between(165.0, 195.0)
    kidneys_XYZ, sinus_XYZ = _kidneys(canvas, kidney_hu)
    _splenic_vein(canvas, line_mm)
    vessels_XYZ = _great_vessels(canvas)
    pancreas_hu = canvas.between(90.0, 110.0)
    pancreas_XYZ = _pancreas(canvas, line_mm, radius_mm, pancreas_hu, vessels_XYZ).spread(canvas.space.shape)
    kept_XYZ = np.maximum(vessels_XYZ, 1.0 - canvas.cavity_XYZ)
    for later_XYZ in (kidneys_XYZ, vessels_XYZ, pancreas_XYZ):
        liver_XYZ *= 1.0 - later_XYZ
    kidneys_XYZ *= (1.0 - sinus_XYZ) * (1.0 - pancreas_XYZ)
    return Organs(
        pancreas_XYZ,
        liver_XYZ,
        kidneys_XYZ,
        kept_XYZ,
        line_mm,
        radius_mm,
        pancreas_hu,
        liver_hu,
        kidney_hu - MEDULLA_HU,
    )


def textured(
    space: Space, rng: np.random.Generator, region: Region, value_hu: float, *, grain_mm: float, spread_hu: float
) -> Array:
    """``value_hu`` with smooth variation of ``grain_mm``, shaped like the region's box."""
    field = rng.standard_normal(region.inside_XYZ.shape, np.float32)
    smooth = gaussian_filter(field, [min(2.0, grain_mm / step) for step in space.spacing_mm], truncate=2.5)
    spread = float(smooth.std()) if smooth.size else 1.0
    grainy: Array = (value_hu + smooth * np.float32(spread_hu / max(spread, 1e-6))).astype(np.float32)
    return grainy


def _hollow(
    canvas: Canvas, outer: Region, inner: Region, *, content_hu: float, gas_above_mm: float | None = None
) -> None:
    """A wall and what it holds; the patient lies on the back, so gas gathers in front of a level."""
    canvas.organ(outer, WALL_HU)
    held: Array | float = content_hu
    if gas_above_mm is not None:
        y_mm = canvas.space.mesh(inner.box)[1]
        rises = np.clip(0.5 + (y_mm - gas_above_mm) / canvas.space.spacing_mm[1], 0.0, 1.0)
        held = (content_hu + rises * (GAS_HU - content_hu)).astype(np.float32)
    canvas.organ(inner, held)


def _kidneys(canvas: Canvas, cortex_hu: float) -> tuple[Array, Array]:
    """Both kidneys with bright cortex, darker medulla, sinus fat and pelvis; gives the masks of kidneys and sinus."""
    whole_XYZ, sinus_XYZ = (np.zeros(canvas.space.shape, np.float32) for _ in range(2))
    for side, z in ((1.0, -22.0), (-1.0, -12.0)):
        x_mm, y_mm, z_mm = canvas.place(side * 54.0, -33.0, z, jitter_mm=3.0)
        a, b, c = canvas.size(21.0, 17.5, 46.0)
        waves = Waves.draw(canvas.rng, 0.05, 35.0)
        outline = ellipsoid(canvas.space, (x_mm, y_mm, z_mm), (a, b, c), turn=side * 0.6, waves=waves)
        kidney = canvas.organ(outline, cortex_hu)
        inward_mm = x_mm - side * 3.0
        radii = (a * 0.66, b * 0.64, c * 0.74)
        medulla = ellipsoid(canvas.space, (inward_mm, y_mm + 1.0, z_mm), radii, turn=side * 0.6, waves=waves)
        canvas.organ(medulla, cortex_hu - MEDULLA_HU)
        sinus_mm = (x_mm - side * 0.46 * a, y_mm + 0.35 * b, z_mm)
        sinus = ellipsoid(canvas.space, sinus_mm, (0.52 * a, 0.36 * b, 0.48 * c), turn=side * 0.6)
        canvas.organ(sinus, -70.0)
        pelvis = ellipsoid(canvas.space, sinus_mm, (0.34 * a, 0.22 * b, canvas.between(0.2, 0.36) * c), turn=side * 0.6)
        canvas.organ(pelvis, canvas.between(0.0, 30.0))
        whole_XYZ += kidney.spread(whole_XYZ.shape)
        sinus_XYZ += sinus.spread(sinus_XYZ.shape)
    return whole_XYZ, sinus_XYZ


def _spleen(canvas: Canvas) -> None:
    centre = canvas.place(-76.0, -20.0, 28.0, jitter_mm=3.0)
    radii = canvas.size(17.0, 36.0, 40.0, spread=0.12)
    shape = ellipsoid(canvas.space, centre, radii, turn=0.4, waves=Waves.draw(canvas.rng, 0.08, 45.0))
    canvas.organ(
        shape, textured(canvas.space, canvas.rng, shape, canvas.between(118.0, 136.0), grain_mm=3.0, spread_hu=3.0)
    )


def _liver(canvas: Canvas, value_hu: float) -> Array:
    """Two lobes, branching vessels and the gallbladder; gives the liver's mask without the gallbladder."""
    space, shape = canvas.space, canvas.space.shape
    lobes_XYZ = np.zeros(shape, np.float32)
    for x, y, z, radii, turn in (
        (66.0, 2.0, 32.0, (46.0, 58.0, 72.0), 0.15),
        (30.0, 34.0, 48.0, (50.0, 26.0, 38.0), -0.15),
        (-6.0, 44.0, 54.0, (36.0, 15.0, 24.0), 0.0),
    ):
        centre, size = canvas.place(x, y, z, jitter_mm=3.0), canvas.size(*radii)
        lobe = ellipsoid(space, centre, size, turn=turn, waves=Waves.draw(canvas.rng, 0.07, 55.0))
        np.maximum(lobes_XYZ[lobe.box], lobe.inside_XYZ, out=lobes_XYZ[lobe.box])
    found = np.nonzero(lobes_XYZ.any(axis=(1, 2)))[0]
    box = (slice(int(found[0]), int(found[-1]) + 1), slice(0, shape[1]), slice(0, shape[2]))
    whole = Region(box, lobes_XYZ[box])
    liver = canvas.organ(whole, textured(canvas.space, canvas.rng, whole, value_hu, grain_mm=3.5, spread_hu=3.0))
    _liver_vessels(canvas, lobes_XYZ, value_hu)
    gallbladder = ellipsoid(
        space, canvas.place(44.0, 30.0, -8.0, jitter_mm=4.0), canvas.size(12.0, 15.0, 20.0, spread=0.2), turn=0.5
    )
    canvas.organ(gallbladder, canvas.between(2.0, 18.0))
    return liver.minus(gallbladder.spread(shape)).spread(shape)


def _liver_vessels(canvas: Canvas, lobes_XYZ: Array, value_hu: float) -> None:
    """Portal branches that fan out from the hilum, a little brighter than the liver."""
    hilum = np.array(canvas.place(36.0, 8.0, 22.0), np.float32)
    brighter_hu = value_hu + canvas.between(25.0, 45.0)
    for _ in range(6):
        end = np.array(canvas.place(*canvas.rng.uniform((35, -30, 10), (95, 45, 70))), np.float32)
        bend = 0.5 * (hilum + end) + canvas.rng.normal(0.0, 7.0, 3).astype(np.float32)
        branch = tube(canvas.space, np.stack([hilum, bend, end]), np.array([4.0, 2.8, 1.2], np.float32))
        canvas.organ(branch.within(lobes_XYZ), brighter_hu)


def _stomach(canvas: Canvas) -> None:
    x, y, z = canvas.place(-38.0, 28.0, 34.0, jitter_mm=4.0)
    a, b, c = canvas.size(33.0, 20.0, 36.0, spread=0.1)
    waves, turn = Waves.draw(canvas.rng, 0.07, 45.0), canvas.between(-0.3, 0.1)
    outer = ellipsoid(canvas.space, (x, y, z), (a, b, c), turn=turn, waves=waves)
    inner = ellipsoid(canvas.space, (x, y, z), (a - 4.5, b - 4.5, c - 4.5), turn=turn, waves=waves)
    content_hu = float(canvas.rng.choice([20.0, 45.0, 180.0]))
    _hollow(canvas, outer, inner, content_hu=content_hu, gas_above_mm=y + canvas.between(0.0, 0.8) * b)


def _colon(canvas: Canvas) -> None:
    """The ascending and descending colon at the flanks and the transverse colon in front."""
    heights = np.linspace(-105.0, 5.0, 6)
    right = [canvas.place(82.0, -4.0, z, jitter_mm=2.5) for z in heights - 12.0]
    left = [canvas.place(-84.0, -12.0, z, jitter_mm=2.5) for z in heights]
    across = [canvas.place(x, 50.0, -26.0 + 0.003 * x * x, jitter_mm=3.5) for x in np.linspace(74.0, -74.0, 8)]
    for points in (right, left, across):
        line_mm = np.array(points, np.float32)
        radius_mm = canvas.rng.uniform(9.5, 13.5, len(points)).astype(np.float32)
        outer, inner = tube(canvas.space, line_mm, radius_mm), tube(canvas.space, line_mm, radius_mm - 2.6)
        level_mm = float(line_mm[:, 1].mean()) + canvas.between(-3.0, 8.0)
        _hollow(canvas, outer, inner, content_hu=canvas.between(10.0, 70.0), gas_above_mm=level_mm)


def _bowel(canvas: Canvas) -> None:
    """Loops of small bowel below the stomach: fluid, contrast or gas."""
    for _ in range(int(canvas.rng.integers(18, 27))):
        start = np.array(canvas.place(*canvas.rng.uniform((-66, 4, -88), (66, 44, -14))), np.float32)
        steps = canvas.rng.normal(0.0, (11.0, 7.0, 9.0), (3, 3)).astype(np.float32)
        line_mm = np.concatenate([start[None], start + np.cumsum(steps, axis=0)])
        radius_mm = np.full(4, canvas.between(6.0, 9.5), np.float32)
        outer, inner = tube(canvas.space, line_mm, radius_mm), tube(canvas.space, line_mm, radius_mm - 2.4)
        kind = canvas.between(0.0, 1.0)
        content_hu = canvas.between(180.0, 330.0) if kind < 0.25 else canvas.between(10.0, 60.0)
        level_mm = float(start[1]) + canvas.between(-1.0, 5.0) if kind > 0.75 else None
        _hollow(canvas, outer, inner, content_hu=content_hu, gas_above_mm=level_mm)


def _mesenteric_vessels(canvas: Canvas) -> None:
    """Thin vessels from the mesenteric root out to the loops, and its two trunks."""
    root = np.array(canvas.place(2.0, 6.0, -16.0), np.float32)
    for _ in range(10):
        end = np.array(canvas.place(*canvas.rng.uniform((-60, 15, -85), (60, 45, -10))), np.float32)
        bend = 0.5 * (root + end) + canvas.rng.normal(0.0, 6.0, 3).astype(np.float32)
        canvas.organ(tube(canvas.space, np.stack([root, bend, end]), np.array([3.0, 2.0, 1.2], np.float32)), 135.0)
    for x, radius, value_hu in ((-3.0, 3.8, 160.0), (10.0, 5.6, 145.0)):
        points = [canvas.place(x, 1.0 + 0.06 * (-10 - z), z, jitter_mm=1.0) for z in (-5.0, -35.0, -65.0, -100.0)]
        trunk = tube(canvas.space, np.array(points, np.float32), np.full(4, radius, np.float32))
        canvas.organ(trunk, value_hu)


def _great_vessels(canvas: Canvas) -> Array:
    """Aorta and vena cava in front of the spine; gives their mask."""
    whole_XYZ = np.zeros(canvas.space.shape, np.float32)
    for x, ahead, radius, value_hu in (
        (-8.0, 24.5, canvas.between(8.0, 10.0), canvas.between(155.0, 182.0)),
        (17.0, 24.0, canvas.between(8.5, 10.5), canvas.between(138.0, 165.0)),
    ):
        points = [canvas.place(x, SPINE_Y_MM + ahead, z, jitter_mm=0.8) for z in (-130.0, -50.0, 30.0, 130.0)]
        line_mm = np.array(points, np.float32)
        line_mm[:, 1] -= canvas.shift_mm[1]
        vessel = tube(canvas.space, line_mm, np.full(4, radius, np.float32))
        canvas.fill(vessel, value_hu)
        whole_XYZ[vessel.box] = np.maximum(whole_XYZ[vessel.box], vessel.inside_XYZ)
    return whole_XYZ


def _pancreas_line(canvas: Canvas) -> tuple[Array, Array]:
    """The centre line (24, 3) from head to tail in mm, evenly spaced, and the radius (24,) along it."""
    standard = ((32.0, 3.0, -30.0), (27.0, 10.0, -12.0), (6.0, 16.0, -4.0), (-24.0, 11.0, 6.0), (-58.0, -10.0, 16.0))
    knots = np.array([canvas.place(*point, jitter_mm=2.8) for point in standard])
    fine = CubicSpline(np.linspace(0.0, 1.0, len(knots)), knots)(np.linspace(0.0, 1.0, 200))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    even = np.linspace(0.0, along[-1], 24)
    line_mm = np.stack([np.interp(even, along, fine[:, axis]) for axis in range(3)], axis=1)
    head, neck, trunk, tail = np.array([12.5, 7.5, 9.5, 7.0]) * np.exp(canvas.rng.normal(0.0, 0.1, 4))
    radius_mm = np.interp(np.linspace(0, 1, 24), [0.0, 0.18, 0.4, 0.65, 1.0], [head, head, neck, trunk, tail])
    return line_mm.astype(np.float32), radius_mm.astype(np.float32)


def _duodenum(canvas: Canvas, line_mm: Array) -> None:
    """A loop around the right side of the pancreatic head."""
    head = line_mm[3]
    path = ((4.0, 8.0, 22.0), (20.0, 2.0, 12.0), (22.0, -4.0, -12.0), (12.0, -8.0, -30.0), (-14.0, -12.0, -34.0))
    points = np.array([head + np.array(step) for step in path], np.float32)
    points += canvas.rng.normal(0.0, 1.5, points.shape).astype(np.float32)
    radius_mm = canvas.rng.uniform(8.0, 10.5, len(path)).astype(np.float32)
    outer, inner = tube(canvas.space, points, radius_mm), tube(canvas.space, points, radius_mm - 3.0)
    content_hu = float(canvas.rng.choice([15.0, 30.0, 220.0]))
    level_mm = float(head[1]) + 4.0 if canvas.between(0.0, 1.0) < 0.3 else None
    _hollow(canvas, outer, inner, content_hu=content_hu, gas_above_mm=level_mm)


def _splenic_vein(canvas: Canvas, line_mm: Array) -> None:
    """Along the back of the pancreas from the spleen to the portal vein, and on into the liver."""
    behind = line_mm[10:] + np.array([0.0, -8.0, 2.0], np.float32)
    portal = np.array([canvas.place(20.0, 8.0, 8.0), canvas.place(36.0, 8.0, 24.0)], np.float32)
    points = np.concatenate([behind[::-1], portal])
    canvas.organ(tube(canvas.space, points, np.full(len(points), 4.2, np.float32)), 148.0)


def _pancreas(canvas: Canvas, line_mm: Array, radius_mm: Array, value_hu: float, vessels_XYZ: Array) -> Region:
    """A lobulated, textured gland, with or without a wide duct; the duct is drawn independently of any lesion."""
    region = tube(canvas.space, line_mm, radius_mm)
    waves = Waves.draw(canvas.rng, 1.0, 9.0)
    lobules = 1.0 + 0.35 * waves.at(*canvas.space.mesh(region.box))
    edge = 4.0 * region.inside_XYZ * (1.0 - region.inside_XYZ)
    inside_XYZ = np.clip(region.inside_XYZ * (1.0 - edge * (1.0 - lobules)), 0.0, 1.0).astype(np.float32)
    gland = Region(region.box, inside_XYZ).minus(vessels_XYZ).within(canvas.cavity_XYZ)
    canvas.fill(gland, textured(canvas.space, canvas.rng, gland, value_hu, grain_mm=3.0, spread_hu=7.0))
    if canvas.between(0.0, 1.0) < 0.4:
        start = int(canvas.rng.integers(3, 9))
        width_mm = np.full(24 - start, canvas.between(1.0, 2.4), np.float32)
        canvas.organ(tube(canvas.space, line_mm[start:], width_mm), 18.0)
    return gland
