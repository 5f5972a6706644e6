"""Files cut short, and with flipped bits: one sentence or the same array, never another exception, never a pickle."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from missrate.core import catalog
from missrate.core.errors import DataError
from missrate.core.types import Points, Prediction
from tests.readers.test_nifti import AFFINE
from tests.readers.written import WRITERS

RNG = np.random.default_rng(0)
VALUES = np.where(RNG.random((7, 6, 5)) < 0.2, RNG.random((7, 6, 5)), 0).astype(np.float32)
MASK = (VALUES > 0.1).astype(np.uint8)
CHECKED = ("nifti", "evalseg", "nnunet_npz", "npz")
"""Formats with a checksum over all that matters."""


def written(name: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    if name == "npz":
        np.savez_compressed(folder / "a.npz", MASK.T)
        return folder / "a.npz"
    if name == "nii":
        nib.Nifti1Image(MASK, AFFINE).to_filename(folder / "a.nii")
        return folder / "a.nii"
    return WRITERS[name](folder, "a", VALUES if name in ("nnunet_npz", "candidates") else MASK)


def loaded(name: str, path: Path) -> Prediction | Points:
    reader = catalog.load("readers", {"npz": "npy", "nii": "nifti"}.get(name, name))
    value = reader.load_prediction(f"{path}#a" if name == "candidates" else str(path), (1,))
    assert isinstance(value, Prediction | Points)
    return value


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, bytes, Prediction | Points]]:
    result = {}
    for name in [*WRITERS, "npz", "nii"]:
        path = written(name, tmp_path_factory.mktemp("sound") / name)
        result[name] = path, path.read_bytes(), loaded(name, path)
    return result


Sound = dict[str, tuple[Path, bytes, Prediction | Points]]


@pytest.mark.parametrize("name", [*CHECKED, "npy", "nii"])  # a table cut at the end of a line is a table
def test_cut_short(name: str, sound: Sound) -> None:
    path, data, _ = sound[name]
    for keep in range(len(data)):
        path.write_bytes(data[:keep])
        with pytest.raises(DataError, match=path.name):
            loaded(name, path)
    path.write_bytes(data)


@pytest.mark.parametrize("name", [*WRITERS, "npz", "nii"])
@given(flips=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 7)), min_size=1, max_size=3))
def test_flipped_bits(name: str, sound: Sound, flips: list[tuple[int, int]]) -> None:
    path, data, expected = sound[name]
    broken = bytearray(data)
    for at, bit in flips:
        # Half of the flips strike the first bytes, where headers are.
        broken[at % (len(data) if at % 2 else min(len(data), 360))] ^= 1 << bit
    path.write_bytes(broken)
    try:
        value = loaded(name, path)
    except DataError:
        return
    finally:
        path.write_bytes(data)
    if name in CHECKED:
        assert isinstance(value, Prediction) and isinstance(expected, Prediction)
        assert (value.levels.full() == expected.levels.full()).all()


@pytest.mark.parametrize("name", ["evalseg", "npy", "nifti"])
@given(data=st.binary(max_size=400))
def test_any_bytes(name: str, sound: Sound, data: bytes) -> None:
    path, good, _ = sound[name]
    path.write_bytes(data)
    try:
        with pytest.raises(DataError):
            loaded(name, path)
    finally:
        path.write_bytes(good)
