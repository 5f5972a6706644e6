"""Parts of the phantom reader: the canvas, the abdominal wall, spine and ribs, in HU on a millimetre grid.

Legend: XYZ axes run right, anterior, superior (RAS+). "Standard" numbers are mm in a mean body whose middle is 0, and
``Canvas.place`` turns them into this patient's.
"""

from dataclasses import dataclass

import numpy as np

from missrate.readers._phantom_shapes import Array, Point, Region, Space, ellipsoid, soft

HALF_WIDTH_MM, HALF_DEPTH_MM = 111.0, 82.0
AIR_HU, FAT_HU, MUSCLE_HU, SKIN_HU = -1000.0, -102.0, 54.0, 10.0
ROUNDNESS = 2.35
"""The exponent of the body's outline: 2 is an ellipse, more is squarer."""

SPINE_Y_MM = -38.0


@dataclass(frozen=True, slots=True)
class Canvas:
    """The values of one patient while they are painted: HU without noise, float32, changed in place.

    ``cavity_XYZ`` is 1 inside the abdominal wall, but 0 in spine and muscles; organs end there.
    """

    space: Space
    rng: np.random.Generator
    scale: Array  # (3,) this patient's size against the standard body
    shift_mm: Array  # (3,) of the organs against the body's middle
    values_XYZ: Array
    cavity_XYZ: Array

    def place(self, x: float, y: float, z: float, *, jitter_mm: float = 2.0) -> Point:
        """A standard position in this patient, with chance."""
        moved = np.array([x, y, z]) * self.scale + self.shift_mm + self.rng.normal(0.0, jitter_mm, 3)
        return float(moved[0]), float(moved[1]), float(moved[2])

    def size(self, a: float, b: float, c: float, *, spread: float = 0.07) -> Point:
        """Standard radii in this patient, with chance."""
        drawn = np.array([a, b, c]) * self.scale * np.exp(self.rng.normal(0.0, spread, 3))
        return float(drawn[0]), float(drawn[1]), float(drawn[2])

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.rng.uniform(low, high))

    def fill(self, region: Region, value_hu: Array | float) -> None:
        """Lay ``value_hu`` over what is there, in the share that the region has of each voxel."""
        under = self.values_XYZ[region.box]
        under += region.inside_XYZ * (np.asarray(value_hu, np.float32) - under)

    def frame(self, region: Region, value_hu: Array | float) -> None:
        """Like ``fill``, for bone and muscle that reach into the cavity: no organ and no lesion covers them."""
        self.fill(region, value_hu)
        self.cavity_XYZ[region.box] *= 1.0 - region.inside_XYZ

    def organ(self, region: Region, value_hu: Array | float) -> Region:
        """Like ``fill``, but only inside the cavity; gives what was painted."""
        painted = region.within(self.cavity_XYZ)
        self.fill(painted, value_hu)
        return painted


def body(space: Space, rng: np.random.Generator) -> Canvas:
    """A body of skin, subcutaneous fat, muscle wall, visceral fat, spine and ribs; air around it."""
    scale = np.array([rng.uniform(0.93, 1.06), rng.uniform(0.92, 1.08), rng.uniform(0.92, 1.08)], np.float32)
    shift_mm = rng.normal(0.0, (2.0, 2.0, 7.0)).astype(np.float32)
    fat_mm, wall_mm = rng.uniform(7.0, 17.0), rng.uniform(9.0, 12.0)
    inward_XY = _inward_mm(space, scale)
    # fat is thicker behind and at the flanks than in front; the body tapers a little towards its ends
    taper_Z = 5.0 * (1.0 - np.cos(space.z_mm / np.float32(rng.uniform(70.0, 110.0)))) + rng.uniform(0.0, 2.0)
    depth_XYZ = (inward_XY[:, :, None] - taper_Z).astype(np.float32)
    behind_Y = np.clip(-space.y_mm / HALF_DEPTH_MM, 0.0, 1.0)[None, :, None]
    depth_XYZ -= 4.0 * behind_Y
    layers_mm = [-5.0, -4.0, -2.5, -1.5, 0.0, fat_mm - 1, fat_mm + 1, fat_mm + wall_mm - 1, fat_mm + wall_mm + 1]
    layers_hu = [AIR_HU, AIR_HU, SKIN_HU, SKIN_HU, FAT_HU, FAT_HU, MUSCLE_HU, MUSCLE_HU, FAT_HU]
    values_XYZ = np.interp(depth_XYZ, layers_mm, layers_hu).astype(np.float32)
    cavity_XYZ = soft(fat_mm + wall_mm + 1.0 - depth_XYZ, 2.0)
    canvas = Canvas(space, rng, scale, shift_mm, values_XYZ, cavity_XYZ)
    _ribs(canvas, depth_XYZ, fat_mm + 0.5 * wall_mm)
    _back_muscles(canvas)
    _spine(canvas)
    return canvas


def _inward_mm(space: Space, scale: Array) -> Array:
    """The distance (X, Y) inward from the body's outline, by the first-order formula (1 - f) / |grad f|."""
    x = np.abs(space.x_mm)[:, None] / (HALF_WIDTH_MM * scale[0])
    y = np.abs(space.y_mm)[None, :] / (HALF_DEPTH_MM * scale[1])
    f = np.maximum((x**ROUNDNESS + y**ROUNDNESS) ** (1 / ROUNDNESS), 1e-3)
    slope_x = (x / f) ** (ROUNDNESS - 1) / (HALF_WIDTH_MM * scale[0])
    slope_y = (y / f) ** (ROUNDNESS - 1) / (HALF_DEPTH_MM * scale[1])
    inward: Array = ((1.0 - f) / np.hypot(slope_x, slope_y)).astype(np.float32)
    return inward


def _ribs(canvas: Canvas, depth_XYZ: Array, middle_mm: float) -> None:
    """Oblique ribs within the wall: all at once, as a height that repeats every ``pitch_mm``."""
    space = canvas.space
    wall_XYZ = np.nonzero(np.abs(depth_XYZ - middle_mm) < 8.0)
    x, y, z = (axis[index] for axis, index in zip(space.axes_mm, wall_XYZ, strict=True))
    across_mm = depth_XYZ[wall_XYZ] - middle_mm
    angle = np.arctan2(np.abs(x), -y * np.float32(HALF_WIDTH_MM / HALF_DEPTH_MM))  # 0 behind, pi in front
    pitch_mm, drop_mm = canvas.between(26.0, 31.0), canvas.between(20.0, 30.0)
    turns = (z + np.float32(drop_mm) * angle + np.float32(canvas.between(0.0, pitch_mm))) / np.float32(pitch_mm)
    height_mm = np.abs(turns - np.round(turns)) * np.float32(pitch_mm)
    # lower ribs end sooner; in front is cartilage, which looks like the wall
    ends_at = np.clip(1.95 + z / 110.0, 1.1, 2.35)
    share = soft(np.abs(across_mm) - 3.9, 2.0) * soft(height_mm - 6.5, space.spacing_mm[2])
    share *= soft(angle - ends_at, 0.05) * soft(0.35 - angle, 0.05)
    marrow = soft(np.abs(across_mm) - 1.6, 1.5)
    bone_hu = 480.0 - 200.0 * marrow
    under = canvas.values_XYZ[wall_XYZ]
    canvas.values_XYZ[wall_XYZ] = under + share * (bone_hu - under)


def _back_muscles(canvas: Canvas) -> None:
    """The muscles beside the spine, and psoas, which thickens downward."""
    space, low, high = canvas.space, float(canvas.space.z_mm[0]), float(canvas.space.z_mm[-1])
    sx, sy, _ = (float(s) for s in canvas.scale)
    for side in (-1.0, 1.0):
        centre = (side * 25.0 * sx, (SPINE_Y_MM - 23.0) * sy, 0.0)
        canvas.frame(ellipsoid(space, centre, (22.0 * sx, 12.5 * sy, 900.0), turn=side * 0.25), MUSCLE_HU + 3.0)
        centre = (side * 28.0 * sx, (SPINE_Y_MM + 4.0) * sy, low - 10.0)
        radii = (15.0 * sx, 14.0 * sy, 0.75 * (high - low))
        canvas.frame(ellipsoid(space, centre, radii), MUSCLE_HU + 3.0)


def _spine(canvas: Canvas) -> None:
    """Vertebrae with a bright rim, discs between them, the canal, and processes that come and go with height."""
    space = canvas.space
    sx, sy, sz = (float(s) for s in canvas.scale)
    pitch_mm = 34.0 * sz
    turns_Z = (space.z_mm + canvas.between(0.0, pitch_mm)) / np.float32(pitch_mm)
    apart_mm = np.abs(turns_Z - np.round(turns_Z)) * np.float32(pitch_mm)
    vertebra_Z = soft(0.5 * pitch_mm - 3.5 - apart_mm, space.spacing_mm[2])[None, None, :]
    vertebra_Z = 1.0 - vertebra_Z  # the disc is where the height is far from a vertebra's middle
    process_Z = soft(apart_mm - 7.0, space.spacing_mm[2] + 4.0)[None, None, :]
    spongy_hu, rim_hu = canvas.between(190.0, 260.0), canvas.between(380.0, 470.0)
    middle = (0.0, SPINE_Y_MM * sy, 0.0)
    outer = ellipsoid(space, middle, (19.5 * sx, 15.5 * sy, 900.0))
    inner = ellipsoid(space, middle, (16.5 * sx, 12.5 * sy, 900.0))
    canvas.frame(outer, 95.0)
    canvas.fill(Region(outer.box, outer.inside_XYZ * vertebra_Z), rim_hu)
    canvas.fill(Region(inner.box, inner.inside_XYZ * vertebra_Z), spongy_hu)
    for x, y, a, b, turn in (
        (0.0, -33.0, 3.0, 12.0, 0.0),
        (15.0, -20.0, 17.0, 3.6, -0.25),
        (-15.0, -20.0, 17.0, 3.6, 0.25),
    ):
        part = ellipsoid(space, (x * sx, (SPINE_Y_MM + y) * sy, 0.0), (a * sx, b * sy, 900.0), turn=turn)
        canvas.fill(Region(part.box, part.inside_XYZ * process_Z), rim_hu - 60.0)
    ring = ellipsoid(space, (0.0, (SPINE_Y_MM - 20.5) * sy, 0.0), (11.5 * sx, 9.5 * sy, 900.0))
    canal = ellipsoid(space, (0.0, (SPINE_Y_MM - 20.5) * sy, 0.0), (8.5 * sx, 7.0 * sy, 900.0))
    canvas.fill(Region(ring.box, ring.inside_XYZ * process_Z), rim_hu - 40.0)
    canvas.fill(canal, 25.0)
