"""A random slice and a random patch of a stored scan, beside other ways to keep it.

Usage: python -m benchmarks.access. The scan: 512 x 512 x 100 voxels of int16, real CT of 20 slices five times over.
Prints a Markdown table of CPU milliseconds, medians of 100, one thread, files warm.
"""

import gzip
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import alone

SERIES = alone.DATA.parents[1] / "totalsegmentator-example" / "dicom"
PATCH = (128, 128, 32)
TIMES = 100
Box = tuple[slice, slice, slice]


def scan() -> NDArray[np.int16]:
    """The scan XYZ."""
    from missrate.readers import dicom

    (entry,) = dicom.find(SERIES, dicom.Config())
    values = dicom.load_image(str(entry.image)).values_XYZ
    return np.concatenate([values] * 5, axis=2).astype(np.int16)


def ours(folder: Path, values: NDArray[np.int16]) -> tuple[Path, Callable[[Box], Any]]:
    from missrate.core import store
    from missrate.core.grid import Grid

    path = folder / "image.b2nd"
    store.write_image(path, values, Grid.of(values.shape, None))
    image = store.Image(path)
    return path, image.box


def view(folder: Path, values: NDArray[np.int16]) -> tuple[Path, Callable[[Box], Any]]:
    path = folder / "image.npy"
    np.save(path, np.asfortranarray(values))
    mapped = np.load(path, mmap_mode="r")
    return path, lambda box: np.array(mapped[box])


def nifti(folder: Path, values: NDArray[np.int16]) -> tuple[Path, Callable[[Box], Any]]:
    import nibabel as nib

    path = folder / "image.nii.gz"
    path.write_bytes(gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes(), 6))
    return path, lambda box: np.asarray(nib.load(path).dataobj[box])


def main() -> None:
    """Prints the table."""
    values, rng = scan(), np.random.default_rng(0)
    print(f"\n{alone.machine()}\n\n| kept as | MB | a slice, ms | a patch of {PATCH}, ms |\n|---|---|---|---|")
    for name, keep in (("store: zstd tiles", ours), ("view: mapped .npy", view), (".nii.gz by nibabel", nifti)):
        with tempfile.TemporaryDirectory() as folder:
            path, take = keep(Path(folder), values)
            times = TIMES if keep is not nifti else 5
            figures = []
            for size in ((values.shape[0], values.shape[1], 1), PATCH):
                each = []
                for _ in range(times):
                    start = [int(rng.integers(n - s + 1)) for n, s in zip(values.shape, size, strict=True)]
                    x, y, z = (slice(a, a + s) for a, s in zip(start, size, strict=True))
                    began = time.process_time()
                    take((x, y, z))
                    each.append(1000 * (time.process_time() - began))
                figures.append(statistics.median(each))
            print(f"| {name} | {path.stat().st_size / 2**20:.1f} | {figures[0]:.2f} | {figures[1]:.2f} |")


if __name__ == "__main__":
    main()
