"""The folder is the registry."""

from pathlib import Path

import pytest

from missrate.core import catalog
from missrate.core.errors import UnknownNameError


def test_every_member_has_a_description_and_no_part_is_one() -> None:
    for shelf in catalog.SHELVES:
        assert catalog.names(shelf)
        for name in catalog.names(shelf):
            assert not name.startswith("_")
            assert 10 < len(catalog.describe(shelf, name)) <= 118


def test_an_unknown_name_lists_the_known_and_the_near() -> None:
    known = "candidates, dicom, evalseg, msd, nifti, nnunet, nnunet_npz, npy, phantom, slices"
    with pytest.raises(UnknownNameError, match=rf"readers must be one of {known}\. Got 'nifty'\. Perhaps 'nifti'\."):
        catalog.load("readers", "nifty")


def test_a_users_own_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "UNIT, BETTER, LEVEL = 'share', 'lower', 'case'\n\n\ndef measure(case, at, matching): ...\n"
    )
    assert catalog.load("metrics", str(tmp_path / "mine.py")).UNIT == "share"
    with pytest.raises(UnknownNameError, match="must be a readable file"):
        catalog.load("metrics", str(tmp_path / "absent.py"))
