"""New scans through a finished run: probability and mask on each scan's own grid and orientation."""

from pathlib import Path

import nibabel as nib
import numpy as np

from missrate.core import store
from missrate.core.errors import DataError
from missrate.core.grid import from_ras
from missrate.core.lesions import components
from missrate.core.quantise import decode, level_of
from missrate.readers import nifti


def predict_scan(run: Path, scan_path: Path, out: Path, threshold: float) -> str:
    """Writes ``<name>_probability.nii`` and ``<name>_mask.nii``; gives a line that says what was found.

    A scan that cannot be used gives a line with the reason instead.
    """
    from missrate.predict.run2d import load_run, predict_scan

    name = scan_path.name.removesuffix(".gz").removesuffix(".nii")
    try:
        scan = nifti.load_image(str(scan_path))
        if not np.isfinite(scan.values_XYZ).all():
            raise DataError(f"HU must be finite. Got NaN or infinite voxels in {scan_path}.")
    except DataError as error:
        return f"{scan_path}: failed: {error}"
    image_XYZ = np.clip(np.rint(scan.values_XYZ), -32768, 32767).astype(np.int16)
    levels_XYZ = predict_scan(load_run(run), image_XYZ, scan.grid)
    mask_XYZ = levels_XYZ >= level_of(threshold)
    for kind, values in (("probability", decode(levels_XYZ)), ("mask", mask_XYZ.astype(np.uint8))):
        turned, affine = from_ras(values, scan.grid, scan.source_axcodes)
        packed = nib.Nifti1Image(turned, affine).to_bytes()
        store.write_atomic(out / f"{name}_{kind}.nii", packed)
    found = components(mask_XYZ)[1]
    volume_ml = mask_XYZ.sum() * (scan.grid.voxel_ml or 0.0)
    return f"{scan_path}: {found} candidate(s), {volume_ml:.1f} ml at threshold {threshold:g}"
