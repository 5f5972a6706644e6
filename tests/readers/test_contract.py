"""What every reader promises, over all members of the shelf."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from missrate.core import catalog
from missrate.core.config import parse
from missrate.core.crop import Crop
from missrate.core.errors import ConfigError, DataError
from missrate.core.grid import require_same
from missrate.core.quantise import TOP
from missrate.core.types import Points, Prediction
from tests.readers.test_nifti import save
from tests.readers.written import WRITERS

ROOTS = {"phantom": None, "nifti": "scans"}
ELSEWHERE = ("dicom", "msd", "nnunet", "slices")
"""These read data of other shapes: tested in files of their own."""
READERS = catalog.names("readers")
MASK = np.zeros((5, 6, 4), np.uint8)
MASK[1:3, 2, 1] = 1
MASK[4, 5, 0] = 1


@pytest.mark.parametrize("name", READERS)
def test_reader(name: str) -> None:
    reader = catalog.load("readers", name)
    assert issubclass(reader.Config, BaseModel)
    assert isinstance(reader.LESION, tuple)
    with pytest.raises(ConfigError, match="unknown key 'no_such_key'"):
        parse(reader.Config, {"no_such_key": 1}, where="options")
    assert name in ROOTS or name in WRITERS or name in ELSEWHERE, "a new reader needs data here"


@pytest.mark.parametrize("name", ROOTS)
def test_reader_of_scans(name: str, tmp_path: Path) -> None:
    reader = catalog.load("readers", name)
    save(tmp_path / "scans" / "images" / "a.nii.gz", np.zeros((5, 6, 4), np.int16))
    save(tmp_path / "scans" / "labels" / "a.nii.gz", np.ones((5, 6, 4), np.uint8))
    root = tmp_path / "scans" if ROOTS[name] else None
    entries = reader.find(root, parse(reader.Config, {}, where="options"))
    assert entries == reader.find(root, parse(reader.Config, {}, where="options"))
    assert len({entry.case_id for entry in entries}) == len(entries) > 0
    scan, label = reader.load_image(entries[0].image), reader.load_map(entries[0].label)
    require_same(scan.grid, label.grid, names=("image", "label"))
    assert scan.values_XYZ.shape == scan.grid.shape
    assert np.issubdtype(label.labels_XYZ.dtype, np.integer)
    assert scan.grid.spacing_mm is not None
    assert (np.diag(scan.grid.matrix)[:3] > 0).all(), "RAS+: every axis runs right, anterior, superior"


def made(name: str, folder: Path) -> tuple[Any, str]:
    """A reader, and the location that it gives of the only case of a folder, which holds MASK."""
    WRITERS[name](folder, "case-1", MASK)
    reader = catalog.load("readers", name)
    role = {"role": "labels"} if "role" in reader.Config.model_fields else {}
    (entry,) = reader.find(folder, reader.Config(**role))
    assert (entry.case_id, entry.patient_id, entry.image) == ("case-1", "case-1", None)
    return reader, str(entry.label)


@pytest.mark.parametrize("name", WRITERS)
def test_reader_of_predictions(name: str, tmp_path: Path) -> None:
    reader, location = made(name, tmp_path / "p")
    assert reader.recognises(tmp_path / "p")
    assert not reader.recognises(tmp_path / "absent")
    assert sorted(other for other in WRITERS if catalog.load("readers", other).recognises(tmp_path / "p")) == [name]
    predicted = reader.load_prediction(location, (1,))
    if isinstance(predicted, Points):
        assert sorted(map(tuple, predicted.position_CX.tolist())) == [(1, 2, 1), (2, 2, 1), (4, 5, 0)]
        assert predicted.level.tolist() == [TOP] * 3
        return
    assert isinstance(predicted, Prediction)
    assert predicted.levels.values_XYZ.dtype == np.uint16
    assert predicted.kind == ("probability" if name == "nnunet_npz" else "mask")
    # The NIfTI files run left, posterior, superior (tests.readers.test_nifti.AFFINE): RAS+ turns two axes.
    expected = MASK[::-1, ::-1] if predicted.levels.grid.affine and name != "evalseg" else MASK
    assert (predicted.levels.full() == expected * np.uint16(TOP)).all()


@pytest.mark.parametrize("name", WRITERS)
def test_a_reference_is_the_label_map(name: str, tmp_path: Path) -> None:
    reader, location = made(name, tmp_path / "p")
    if not hasattr(reader, "load_reference"):
        with pytest.raises(DataError, match="label map"):
            reader.load_map(location)
        return
    crop, label = reader.load_reference(location), reader.load_map(location)
    assert isinstance(crop, Crop)
    assert np.issubdtype(crop.values_XYZ.dtype, np.integer)
    assert (crop.full() == label.labels_XYZ).all()
    assert crop.grid == label.grid
    assert crop.values_XYZ.sum() == MASK.sum()


@pytest.mark.parametrize("name", sorted(WRITERS.keys() - ROOTS.keys()))
def test_a_reader_without_images_says_so(name: str, tmp_path: Path) -> None:
    reader, location = made(name, tmp_path / "p")
    with pytest.raises(DataError, match="as an image"):
        reader.load_image(location)
