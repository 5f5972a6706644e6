"""What every reader promises, over all members of the shelf."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from missrate.core import catalog
from missrate.core.config import parse
from missrate.core.errors import ConfigError
from missrate.core.grid import require_same
from tests.readers.test_nifti import save

ROOTS = {"phantom": None, "nifti": "scans"}


@pytest.mark.parametrize("name", catalog.names("readers"))
def test_reader(name: str, tmp_path: Path) -> None:
    reader = catalog.load("readers", name)
    assert issubclass(reader.Config, BaseModel)
    assert isinstance(reader.LESION, tuple)
    with pytest.raises(ConfigError, match="unknown key 'no_such_key'"):
        parse(reader.Config, {"no_such_key": 1}, where="options")
    assert name in ROOTS, "a new reader needs data here"
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
