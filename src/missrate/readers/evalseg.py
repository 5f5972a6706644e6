"""Masks of evalseg (.pkl, .pkl.gz): a box of voxels per component, read without running anything.

A file holds a SegmentArray: shape and voxel size of the whole scan (XYZ, in plane first), and SingleSegments, each the
box around one component. The directions and the origin of the scan were lost when it was written: the grid here knows
its millimetres, but calls the axes of the file right, anterior and superior although they need not be.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from missrate.core.config import Frozen
from missrate.core.crop import Box, Crop, union
from missrate.core.errors import DataError
from missrate.core.foreign import levels_of, numbers_of
from missrate.core.grid import Grid, to_ras
from missrate.core.types import Entry, Map, Prediction, Scan
from missrate.readers import _files, _pickle, nifti

ONLY_VOXEL_SIZE = True
LESION: tuple[int, ...] = (1,)
ORGAN: tuple[int, ...] = ()

ENDINGS = (".pkl", ".pkl.gz")
REFERENCES, IMAGE = nifti.EVALSEG, "#image="
MOST_BYTES = 2**28
MOST_VOXELS = 2**30
"""What a file may hold unzipped, and the scan that it may speak of: 1024 voxels a side."""


class Config(Frozen):
    """``voxel_mm`` states the true voxel size of single cases whose file has a wrong one.

    ``images``: a folder of NIfTI scans with the same ids, below the root or elsewhere; ``images`` beside
    ``GroundTruth`` is found without it.
    """

    images: str | None = None
    voxel_mm: dict[str, tuple[float, float, float]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment: its values, and its place in the whole scan."""

    values_XYZ: NDArray[Any]
    box: Box


def recognises(root: Path) -> bool:
    """Pickles, flat or in ``GroundTruth``, and no files of nnU-Net, which lays its own pickles beside its arrays."""
    root = root / REFERENCES if (root / REFERENCES).is_dir() else root
    return bool(_files.files(root, *ENDINGS)) and not _files.files(root, ".npz", ".nii", ".nii.gz")


def find(root: Path, config: Config) -> list[Entry]:
    """Every file of the folder (of its ``GroundTruth``, where it has one), sorted; the case id is its name.

    Raises DataError when there is none, and for a voxel size of a case that does not exist.
    """
    images = _images(root, config)
    paths = _files.by_id(root / REFERENCES if (root / REFERENCES).is_dir() else root, *ENDINGS)
    unknown = sorted(config.voxel_mm.keys() - paths.keys())
    if unknown:
        raise DataError(f"`voxel_mm` must name cases of {root}. Got {', '.join(unknown)}.")
    cases = sorted(paths.keys() | images.keys())
    return [_entry(c, images.get(c), paths.get(c), config.voxel_mm.get(c)) for c in cases]


def _images(root: Path, config: Config) -> dict[str, Path]:
    """NIfTI scans by id; none where there is no folder of them. Raises DataError for one that was named in vain."""
    if config.images is None:
        return nifti.by_id(root / "images") if (root / REFERENCES).is_dir() else {}
    if not (root / config.images).is_dir():
        raise DataError(f"`images` must be a folder. Got {root / config.images}.")
    return nifti.by_id(root / config.images)


def _entry(case_id: str, image: Path | None, mask: Path | None, voxel_mm: tuple[float, float, float] | None) -> Entry:
    """The mask's location goes on with ``#`` and a voxel size that was stated, and ``#image=`` and its scan."""
    stated = "" if voxel_mm is None else "#" + ",".join(f"{side:.9g}" for side in voxel_mm)
    beside = "" if image is None else f"{IMAGE}{image}"
    return Entry(
        case_id,
        case_id,
        None if image is None else str(image),
        None if mask is None else f"{mask}{stated}{beside}",
    )


def load_image(location: str) -> Scan:
    """The NIfTI scan of a mask. Raises DataError: evalseg itself keeps masks only."""
    if not location.endswith(nifti.ENDINGS):
        raise DataError(f"An evalseg file must serve as a label or a prediction. Got {location} as an image.")
    return nifti.load_image(location)


def load_map(location: str) -> Map:
    """The whole label map; voxels that no segment covers are 0."""
    crop = load_reference(location)
    return Map(crop.full(), crop.grid)


def load_reference(location: str) -> Crop:
    """The label map within the box around all segments. Raises DataError for fractions as for any other damage."""
    location, _, image = location.partition(IMAGE)
    grid, pieces = _decoded(location)
    crop = _pasted(pieces, grid)
    return _on_image(crop, image, location) if image else crop


def geometry(location: str) -> tuple[tuple[int, ...], NDArray[np.float64]] | None:
    """Shape and affine of the scan's own axes, which are those of the mask's file; None without a scan beside it."""
    _, _, image = location.partition(IMAGE)
    return nifti.geometry(image) if image else None


def beside(location: str) -> list[Path]:
    """The scan of a mask, which says how its axes run."""
    _, _, image = location.partition(IMAGE)
    return [Path(image)] if image else []


def _on_image(crop: Crop, image: str, name: str) -> Crop:
    """A mask on the grid of its scan: its axes are those of the scan's file, before that is turned to RAS+.

    Raises DataError for another shape or voxel size.
    """
    shape, affine = nifti.geometry(image)
    if shape != crop.grid.shape:
        raise DataError(f"{name} and its scan must have one shape. Got {crop.grid.shape} and {shape}.")
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.allclose(size, crop.grid.spacing_mm or 0.0, rtol=1e-3):
        raise DataError(
            f"{name} and its scan must have one voxel size. Got {crop.grid.spacing_mm} and {size.round(5).tolist()}; "
            "perhaps say what is right in `voxel_mm`."
        )
    turned, grid = to_ras(crop.full(), affine)
    return Crop.whole(turned, grid)


def load_prediction(location: str, labels: tuple[int, ...]) -> Prediction:
    """The levels within the box around all segments; always a mask."""
    grid, pieces = _decoded(location.partition(IMAGE)[0])
    # Piece by piece: the box around them may be most of a scan, the pieces are little.
    levels = [Piece(levels_of(piece.values_XYZ, labels, name=location)[0], piece.box) for piece in pieces]
    numbers = sorted({number for piece in pieces for number in numbers_of(piece.values_XYZ)})
    return Prediction(_pasted(levels, grid), "mask", tuple(numbers))


def _decoded(location: str) -> tuple[Grid, list[Piece]]:
    path, _, stated = location.partition("#")
    thing = _pickle.loads(_files.read(Path(path), MOST_BYTES), name=path)
    try:
        grid, pieces = _grid_and_pieces(thing)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if stated:
        grid = Grid.of(grid.shape, np.diag([*map(float, stated.split(",")), 1.0]))
    return grid, pieces


def _grid_and_pieces(thing: object) -> tuple[Grid, list[Piece]]:
    state = _state(thing, "SegmentArray")
    shape = _shape(state.get("shape"))
    grid = Grid.of(shape, np.diag([*_voxelsize(state.get("voxelsize")), 1.0]))
    _require_zero_fill(state)
    segments = state.get("segments")
    if type(segments) is not list:
        raise DataError(f"`segments` must be a list. Got {type(segments).__name__}.")
    pieces = [_piece(segment, shape) for segment in segments]
    kinds = {str(piece.values_XYZ.dtype) for piece in pieces}
    if len(kinds) > 1:
        raise DataError(f"The segments of a mask must be of one number type. Got {', '.join(sorted(kinds))}.")
    return grid, pieces


def _pasted(pieces: list[Piece], grid: Grid) -> Crop:
    """All pieces in the box around them; the boxes of two components may overlap, so only what is not 0 is laid in."""
    if not pieces:
        return Crop(np.zeros((1, 1, 1), np.uint16), (0, 0, 0), grid)
    around = pieces[0].box
    for piece in pieces[1:]:
        around = union(around, piece.box)
    result = np.zeros(tuple(side.stop - side.start for side in around), pieces[0].values_XYZ.dtype)
    for piece in pieces:
        place = tuple(slice(s.start - a.start, s.stop - a.start) for s, a in zip(piece.box, around, strict=True))
        np.copyto(result[place], piece.values_XYZ, where=piece.values_XYZ != 0)
    return Crop(result, (around[0].start, around[1].start, around[2].start), grid)


def _piece(segment: object, shape: tuple[int, int, int]) -> Piece:
    state = _state(segment, "SingleSegment")
    _require_zero_fill(state)
    if _shape(state.get("shape")) != shape:
        raise DataError(f"A segment must be of the whole scan {shape}. Got one of {state['shape']}.")
    box = _box(state.get("roi"), shape)
    data = state.get("data")
    if type(data) is not _pickle.Array or data.values is None:
        raise DataError(f"The data of a segment must be an array. Got {type(data).__name__}.")
    if data.values.shape != tuple(side.stop - side.start for side in box):
        raise DataError(f"The data of a segment must fill its box {box}. Got shape {data.values.shape}.")
    return Piece(_whole(data.values), box)


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind != "f":
        return values
    if not (np.abs(values) < 2**31).all() or (values != np.rint(values)).any():
        raise DataError("A mask must hold whole numbers. Got fractions or NaN.")
    return values.astype(np.int32)


def _state(thing: object, kind: str) -> Mapping[str, object]:
    if type(thing) is not _pickle.Thing or thing.kind != kind or thing.state is None:
        raise DataError(f"An evalseg file must be a SegmentArray of SingleSegments. Got {type(thing).__name__}.")
    return thing.state


def _shape(shape: object) -> tuple[int, int, int]:
    if type(shape) is not tuple or len(shape) != 3 or any(type(n) is not int or n < 1 for n in shape):
        raise DataError(f"`shape` must be three positive whole numbers. Got {type(shape).__name__}.")
    if math.prod(shape) > MOST_VOXELS:
        raise DataError(f"A scan must have at most {MOST_VOXELS} voxels. Got more.")
    return shape[0], shape[1], shape[2]


def _voxelsize(value: object) -> tuple[float, float, float]:
    if type(value) is _pickle.Array and value.values is not None:
        value = tuple(value.values.ravel().tolist())
    if type(value) is tuple and len(value) == 3 and all(type(v) in (int, float) and 0 < v < 1e6 for v in value):
        return float(value[0]), float(value[1]), float(value[2])
    raise DataError("`voxelsize` must be three positive numbers (mm). Got something else.")


def _box(roi: object, shape: tuple[int, int, int]) -> Box:
    if type(roi) is not tuple or len(roi) != 3:
        raise DataError(f"`roi` must be three slices. Got {type(roi).__name__}.")
    for side, size in zip(roi, shape, strict=True):
        plain = type(side) is slice and type(side.start) is int and type(side.stop) is int and side.step in (None, 1)
        if not plain or not 0 <= side.start < side.stop <= size:
            raise DataError(f"`roi` must be three plain slices within {shape}. Got another one.")
    return roi[0], roi[1], roi[2]


def _require_zero_fill(state: Mapping[str, object]) -> None:
    fill = state.get("fill_value")
    if type(fill) not in (int, float, bool) or fill != 0:
        raise DataError("`fill_value` must be 0, the background. Got something else; write the mask again with 0.")
