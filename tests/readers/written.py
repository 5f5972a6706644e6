"""Writers of every format that `evaluate` reads, for tests: the array is XYZ in the order of the file's own axes."""

import gzip
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from scipy.ndimage import find_objects, label

from tests.readers.test_nifti import save


class SegmentArray:
    """Stands in for the class of the same name when a pickle is written."""


class SingleSegment:
    """Likewise."""


@contextmanager
def evalseg_importable() -> Iterator[None]:
    """While it is open, pickles of the two classes name the module that evalseg's files name."""
    module = ModuleType("evalseg.io.segment_array")
    names = {"evalseg": ModuleType("evalseg"), "evalseg.io": ModuleType("evalseg.io"), module.__name__: module}
    for kind in (SegmentArray, SingleSegment):
        kind.__module__ = module.__name__
        setattr(module, kind.__name__, kind)
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def pickled(values: object, protocol: int = 4) -> bytes:
    with evalseg_importable():
        return pickle.dumps(values, protocol)


def thing(kind: type, **state: object) -> Any:
    result = kind()
    result.__dict__.update(state)
    return result


def segment(shape: object, roi: object, data: object, **other: object) -> Any:
    state = {"dtype": np.dtype("u1"), "shape": shape, "voxelsize": np.ones(3, np.int32), "fill_value": 0}
    return thing(SingleSegment, **{**state, "data": data, "roi": roi, **other})


def segment_array(shape: object, segments: object, **other: object) -> Any:
    state = {"dtype": np.dtype("u1"), "shape": shape, "voxelsize": np.array([0.8, 0.8, 2.5]), "fill_value": 0}
    return thing(SegmentArray, **{**state, "roi": (slice(None),) * 3, "segments": segments, **other})


def of_mask(values: np.ndarray) -> Any:
    """As evalseg does it: a box per component, its bounds numpy's integers."""
    parts, _ = label(values != 0, np.ones((3, 3, 3)))
    segments = []
    for number, box in enumerate(find_objects(parts), start=1):
        roi = tuple(slice(np.int64(side.start), np.int64(side.stop)) for side in box)
        segments.append(segment(values.shape, roi, np.where(parts[box] == number, values[box], 0)))
    return segment_array(values.shape, segments)


def nifti(folder: Path, case: str, values: np.ndarray) -> Path:
    return save(folder / f"{case}.nii.gz", values)


def evalseg(folder: Path, case: str, values: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case}.pkl.gz"
    path.write_bytes(gzip.compress(pickled(of_mask(values))))
    return path


def npy(folder: Path, case: str, values: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case}.npy"
    np.save(path, values.T)
    return path


def nnunet_npz(folder: Path, case: str, values: np.ndarray, *, key: str = "probabilities", kind: str = "f4") -> Path:
    """Two channels, background and lesion; and beside them the mask and a pickle that must not be opened."""
    nifti(folder, case, (values > 0.5).astype(np.uint8))
    (folder / f"{case}.pkl").write_bytes(b"cos\nsystem\n(S'touch poisoned'\ntR.")
    channels = np.stack([1 - values, values]).astype(kind)
    path = folder / f"{case}.npz"
    arrays: dict[str, Any] = {key: channels.transpose(0, 3, 2, 1)}
    np.savez_compressed(path, **arrays)
    return path


def candidates(folder: Path, case: str, values: np.ndarray) -> Path:
    """A row per voxel that is not 0."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "candidates.csv"
    text = io.StringIO(path.read_text() if path.exists() else "case_id,score,i,j,k\n")
    text.seek(0, io.SEEK_END)
    for i, j, k in np.argwhere(values):
        text.write(f"{case},{values[i, j, k]},{i},{j},{k}\n")
    path.write_text(text.getvalue())
    return path


WRITERS: dict[str, Callable[[Path, str, np.ndarray], Path]] = {
    "nifti": nifti,
    "evalseg": evalseg,
    "npy": npy,
    "nnunet_npz": nnunet_npz,
    "candidates": candidates,
}
