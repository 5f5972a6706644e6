"""New scans through a finished run: probability and mask on each scan's own grid and orientation."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from missrate.core import store
from missrate.core.errors import DataError, InputError
from missrate.core.grid import Grid, from_ras
from missrate.core.quantise import decode, level_of
from missrate.core.view import View
from missrate.prepare.examine import not_hu
from missrate.readers import nifti

Z_CHUNK = 32
HEADER_BYTES = 352


def names(scans: list[Path]) -> list[str]:
    """What each scan's outputs are called: its file's name, after as many of its folders as tell it from all others.

    Raises InputError for scans that none tell apart.
    """
    ways = [[*scan.resolve().parent.parts[1:], scan.name.removesuffix(".gz").removesuffix(".nii")] for scan in scans]
    kept = [1] * len(scans)
    while True:
        found = ["_".join(way[-parts:]) for way, parts in zip(ways, kept, strict=True)]
        same = [k for k, name in enumerate(found) if found.count(name) > 1]
        if not same:
            return found
        if all(kept[k] >= len(ways[k]) for k in same):
            raise InputError(f"Scans must differ in name or folder. Got {scans[same[0]]} and {scans[same[1]]}.")
        kept = [parts + (k in same) for k, parts in enumerate(kept)]


def predict_scan(
    run: Path,
    scan_path: Path,
    out: Path,
    *,
    name: str,
    threshold: float,
    chosen: str | None = None,
    least_volume_ml: float = 0.0,
    trust_code: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Writes ``<name>_probability.nii.gz``, ``_mask.nii.gz``, ``_candidates.csv`` and ``_preview.png``.

    Gives a line that says what was found, and why the values can hardly be HU where they cannot.

    ``chosen`` says which operating point the threshold is, and candidates below ``least_volume_ml`` do not exist for
    it; the mask holds all that is marked. ``progress(done, of)`` is told of slices. Raises DataError
    for a scan that cannot be used.
    """
    from missrate.predict import candidates
    from missrate.predict.run2d import load_run, predict_scan

    scan = nifti.load_image(str(scan_path))
    loaded = load_run(run, trust_code=trust_code)
    level, image_XYZ = level_of(threshold), _hu(scan.values_XYZ, scan_path)
    doubt = not_hu(scan.intensity, float(scan.values_XYZ.min()), float(scan.values_XYZ.max()))
    done, depth = 0, _depth(loaded.recipe.view, scan.grid)

    def advance(slices: int) -> None:
        nonlocal done
        done += slices
        if progress is not None:
            progress(done, depth)

    levels_XYZ = predict_scan(loaded, image_XYZ, scan.grid, advance)
    mask_XYZ = levels_XYZ >= level
    for kind, values, dtype in (("probability", levels_XYZ, np.float32), ("mask", mask_XYZ, np.uint8)):
        turned, affine = from_ras(values, scan.grid, scan.source_axcodes)
        _write(out / f"{name}_{kind}.nii.gz", turned, affine, dtype)
    found = candidates.candidates(levels_XYZ, level, scan.grid, least_volume_ml)
    store.write_text(out / f"{name}_candidates.csv", candidates.table(found, scan.grid))
    store.write_atomic(out / f"{name}_preview.png", candidates.preview(image_XYZ, mask_XYZ, found, scan.grid))
    volume_ml = np.count_nonzero(mask_XYZ) * (scan.grid.voxel_ml or 0.0)
    least = f" of at least {least_volume_ml:g} ml" if least_volume_ml else ""
    told = f"{scan_path}: {len(found)} candidate(s){least}, {volume_ml:.1f} ml marked at threshold {threshold:g}"
    return told + (f" ({chosen})" if chosen else "") + (f"; warning: {doubt}" if doubt else "")


def _depth(view: View, grid: Grid) -> int:
    """The slices that the model will see."""
    return int(view.shape((slice(0, 1), slice(0, 1), slice(0, grid.shape[2])), grid)[2])


def _hu(values_XYZ: NDArray[Any], path: Path) -> NDArray[np.int16]:
    """Whole HU, a few slices at a time. Raises DataError for NaN and infinite voxels."""
    if values_XYZ.dtype == np.int16:
        return values_XYZ
    image_XYZ = np.empty(values_XYZ.shape, np.int16)
    for first in range(0, values_XYZ.shape[2], Z_CHUNK):
        part = values_XYZ[:, :, first : first + Z_CHUNK]
        if not np.isfinite(part).all():
            raise DataError(f"HU must be finite. Got NaN or infinite voxels in {path}.")
        image_XYZ[:, :, first : first + Z_CHUNK] = np.clip(np.rint(part), -32768, 32767)
    return image_XYZ


def _write(path: Path, values: NDArray[Any], affine: NDArray[np.float64], dtype: type[np.generic]) -> None:
    """A .nii.gz whole or not at all, packed slice by slice: levels become probabilities, a mask 0 and 1."""
    store.write_atomic(path, _packed(values, affine, np.dtype(dtype)))


def _packed(values: NDArray[Any], affine: NDArray[np.float64], dtype: np.dtype[Any]) -> Iterator[bytes]:
    header = nib.Nifti1Image(np.broadcast_to(np.zeros(1, dtype), values.shape), affine).header
    header.set_data_offset(HEADER_BYTES)
    header.set_slope_inter(1.0, 0.0)
    packer = zlib.compressobj(1, wbits=31)  # gzip, without a time: equal values, equal bytes
    yield packer.compress(header.binaryblock.ljust(HEADER_BYTES, b"\0"))
    for index in range(values.shape[2]):
        plane = values[:, :, index]
        plane = plane if values.dtype == np.bool_ else decode(plane)
        yield packer.compress(plane.astype(dtype).tobytes(order="F"))
    yield packer.flush()
