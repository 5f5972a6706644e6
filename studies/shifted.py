"""NIfTI scans of which a window at a random place is all that anybody sees: image and label cut alike, by case id.

The scans of the sarcoma set are cropped to the tumour plus 5 cm, so that "in the middle" is an answer. Here each scan
is cut to 60 % along every axis, at a place that depends on its id alone and on no voxel: the tumour may lie anywhere,
be cut by the edge, or be absent. The same window comes back in every process.
"""

import numpy as np
from pydantic import Field

from missrate.core.config import Frozen
from missrate.core.grid import Grid
from missrate.core.seed import generator
from missrate.core.types import Entry, Map, Scan
from missrate.readers import nifti

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()
MARK = "#window="


class Config(Frozen):
    """``share``: how much of each axis is seen. ``seed``: another one gives other windows."""

    share: float = Field(default=0.6, gt=0.0, le=1.0)
    seed: int = 0


def find(root, config):
    """The cases of ``nifti``, each with its window behind the location."""

    def placed(entry):
        mark = f"{MARK}{config.share}:{config.seed}:{entry.case_id}"
        places = (None if place is None else f"{place}{mark}" for place in (entry.image, entry.label))
        return Entry(entry.case_id, entry.patient_id, *places)

    return [placed(entry) for entry in nifti.find(root, nifti.Config())]


def load_image(location):
    """The scan within its window."""
    path, window = _parted(location)
    scan = nifti.load_image(path)
    box, grid = window(scan.values_XYZ.shape, scan.grid)
    return Scan(scan.values_XYZ[box], grid, scan.intensity, scan.source_axcodes)


def load_map(location):
    """The label map within the same window."""
    path, window = _parted(location)
    label = nifti.load_map(path)
    box, grid = window(label.labels_XYZ.shape, label.grid)
    return Map(label.labels_XYZ[box], grid)


def _parted(location):
    path, _, mark = location.partition(MARK)
    share, seed, case_id = mark.split(":", 2)

    def window(shape, grid):
        sizes = [max(1, round(float(share) * n)) for n in shape]
        rng = generator(int(seed), "window", case_id)
        starts = [int(u * (n - size + 1)) for u, n, size in zip(rng.random(3), shape, sizes, strict=True)]
        affine = np.array(grid.affine)
        affine[:3, 3] += affine[:3, :3] @ np.array(starts, float)
        box = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        return box, Grid.of(tuple(sizes), affine)

    return path, window
