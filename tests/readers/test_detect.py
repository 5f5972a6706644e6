"""Which reader a folder is for."""

from pathlib import Path

import numpy as np
import pytest

from missrate.core.errors import InputError, UnknownNameError
from missrate.readers import _detect
from missrate.readers._files import file_of
from tests.readers.written import WRITERS

ONES = np.ones((2, 3, 4), np.uint8)


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_is_detected(name: str, tmp_path: Path) -> None:
    for case in ("b", "a"):
        path = WRITERS[name](tmp_path, case, ONES)
    (tmp_path / "._b.csv").touch()  # rubbish of archives
    assert _detect.detect(tmp_path) == name
    source = _detect.source_of(tmp_path, None)
    assert source.name == name
    assert [entry.case_id for entry in source.entries()] == ["a", "b"]
    assert source.absent_is_empty is (name == "candidates")
    assert file_of(str(source.entries()[0].label)) == path


@pytest.mark.parametrize("layout", ["labelsTr/{}.nii.gz", "{}/mask.nii.gz", "labels/{}.nii"])
def test_the_labels_of_a_source_of_scans(tmp_path: Path, layout: str) -> None:
    for case in ("a", "b"):
        path = tmp_path / layout.format(case)
        WRITERS["nifti"](path.parent, "x", ONES).rename(path)
    assert _detect.detect(tmp_path) == "nifti"
    assert [entry.case_id for entry in _detect.source_of(tmp_path, None).entries()] == ["a", "b"]


def test_a_table_is_detected_as_a_file_but_not_beside_other_data(tmp_path: Path) -> None:
    table = WRITERS["candidates"](tmp_path, "a", ONES)
    assert _detect.detect(table) == "candidates"
    WRITERS["nifti"](tmp_path, "a", ONES)
    assert _detect.detect(tmp_path) == "nifti"


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not there"):
        _detect.detect(tmp_path / "absent")
    with pytest.raises(InputError, match="empty folder"):
        _detect.detect(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"Got 1 x \.txt\.$"):
        _detect.detect(tmp_path)
    (tmp_path / "deeper").mkdir()
    with pytest.raises(InputError, match=r"Got 1 x \.txt, 1 folders; perhaps look deeper\.$"):
        _detect.detect(tmp_path)
    WRITERS["npy"](tmp_path / "other", "a", ONES)
    with pytest.raises(InputError, match=r"2 folders; perhaps .*/other is meant\.$"):
        _detect.detect(tmp_path)
    WRITERS["npy"](tmp_path, "a", ONES)
    WRITERS["nifti"](tmp_path, "a", ONES)
    with pytest.raises(InputError, match="nifti and npy know: name the reader"):
        _detect.detect(tmp_path)
    assert _detect.source_of(tmp_path, "npy").name == "npy"
    with pytest.raises(UnknownNameError, match="Perhaps 'npy'"):
        _detect.source_of(tmp_path, "numpy")
    with pytest.raises(InputError, match=r"a file notes\.txt"):
        _detect.detect(tmp_path / "notes.txt")
