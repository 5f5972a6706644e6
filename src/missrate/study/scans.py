"""New scans through a finished run: probability and mask on each scan's own grid and orientation."""

import gzip
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np

from missrate.core import store
from missrate.core.errors import DataError
from missrate.core.grid import from_ras
from missrate.core.lesions import components
from missrate.core.quantise import decode, level_of
from missrate.readers import nifti


def names(scans: list[Path]) -> list[str]:
    """What each scan's outputs are called: its file's name, with its folder's before it where two would be the same."""
    stems = [scan.name.removesuffix(".gz").removesuffix(".nii") for scan in scans]
    often = Counter(stems)
    return [s if often[s] == 1 else f"{scan.resolve().parent.name}_{s}" for s, scan in zip(stems, scans, strict=True)]


def predict_scan(
    run: Path, scan_path: Path, out: Path, *, name: str, threshold: float, chosen: str | None = None
) -> str:
    """Writes ``<name>_probability.nii.gz`` and ``<name>_mask.nii.gz``; gives a line that says what was found.

    ``chosen`` says which operating point the threshold is. Raises DataError for a scan that cannot be used.
    """
    from missrate.predict.run2d import load_run, predict_scan

    scan = nifti.load_image(str(scan_path))
    if not np.isfinite(scan.values_XYZ).all():
        raise DataError(f"HU must be finite. Got NaN or infinite voxels in {scan_path}.")
    image_XYZ = np.clip(np.rint(scan.values_XYZ), -32768, 32767).astype(np.int16)
    levels_XYZ = predict_scan(load_run(run), image_XYZ, scan.grid)
    mask_XYZ = levels_XYZ >= level_of(threshold)
    for kind, values in (("probability", decode(levels_XYZ)), ("mask", mask_XYZ.astype(np.uint8))):
        turned, affine = from_ras(values, scan.grid, scan.source_axcodes)
        packed = gzip.compress(nib.Nifti1Image(turned, affine).to_bytes(), compresslevel=1, mtime=0)
        store.write_atomic(out / f"{name}_{kind}.nii.gz", packed)
    found = components(mask_XYZ)[1]
    volume_ml = mask_XYZ.sum() * (scan.grid.voxel_ml or 0.0)
    return f"{scan_path}: {found} candidate(s), {volume_ml:.1f} ml at threshold {threshold:g}" + (
        f" ({chosen})" if chosen else ""
    )
