"""NIfTI files for targets that want them: RAS+, the grid's own affine, equal input gives equal bytes."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from missrate.core import store
from missrate.core.errors import DataError
from missrate.core.grid import Grid


def save(path: Path, values_XYZ: NDArray[np.generic], grid: Grid) -> None:
    """One ``.nii.gz``; a file that is there stays. Raises DataError where nobody knows millimetres."""
    if grid.affine is None:
        raise DataError(f"NIfTI must have millimetres. Got pixels only for {path.name}; perhaps export --to slices.")
    if path.exists():
        return
    image = nib.Nifti1Image(values_XYZ, grid.matrix)
    image.header.set_xyzt_units("mm")
    store.write_atomic(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0), durable=False)
