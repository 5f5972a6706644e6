"""The file of one case's statistics."""

import zipfile
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from missrate.core.case import CaseStatistics
from missrate.core.errors import StoreError
from missrate.evaluate import files
from tests.drawn import drawn, measured


def drawn_case(**options: Any) -> CaseStatistics:
    return measured(drawn("##../....", "#.../...#"), drawn("95../...3", "2.../...3"), fold=2, **options)


def equal(a: object, b: object) -> bool:
    if is_dataclass(a):
        return type(a) is type(b) and all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray)
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return a == b


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    for name, case in {
        "drawn": drawn_case(),
        "declared below the floor": drawn_case(floor=0.4, declared=(0.1, 0.5)),
        "pixels": drawn_case(spacing_mm=None, binary=True),
        "healthy": measured(np.zeros((2, 2, 2)), np.zeros((2, 2, 2))),
        "full": measured(np.ones((2, 2, 2)), np.ones((2, 2, 2))),
    }.items():
        files.save(tmp_path / name, case)
        assert equal(files.load(tmp_path / name), case), name


def test_equal_statistics_give_equal_bytes_without_a_clock(tmp_path: Path) -> None:
    files.save(tmp_path / "a.npz", drawn_case())
    files.save(tmp_path / "b.npz", drawn_case())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_equal_arrays_are_stored_once(tmp_path: Path) -> None:
    # The distances of a mask at three thresholds are those at one: what is added is a few words of the text.
    masks = drawn("##../....", "#.../...#"), drawn("#.../...#", "#.../...#")
    one, three = (measured(*masks, binary=True, declared=levels) for levels in ((0.5,), (0.3, 0.5, 0.7)))
    assert len(three.distances) == 3
    stored = []
    for case in (one, three):
        files.save(tmp_path / "x.npz", case)
        assert equal(files.load(tmp_path / "x.npz"), case)
        with zipfile.ZipFile(tmp_path / "x.npz") as archive:
            stored.append(archive.read("arrays"))
    assert stored[0] == stored[1]


def test_a_foreign_file_is_an_error_and_pickle_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(StoreError, match="readable statistics file"):
        files.load(path)
    for content in (b"", b"no zip", b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="readable statistics file"):
            files.load(path)
    np.savez(path, plain=np.array({"schema": files.SCHEMA}, dtype=object))
    with pytest.raises(StoreError, match="readable statistics file"):
        files.load(path)
    files.save(path, drawn_case())
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(StoreError, match="readable statistics file"):
            files.load(path)
    path.write_bytes(whole.replace(b"|O", b"|V"))
    assert equal(files.load(path), drawn_case())


def test_another_schema_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SCHEMA", "missrate/statistics/1")
    files.save(tmp_path / "old.npz", drawn_case())
    monkeypatch.undo()
    with pytest.raises(StoreError, match=r"must have schema missrate/statistics/2.*evaluate again"):
        files.load(tmp_path / "old.npz")


def test_every_field_is_stored(tmp_path: Path) -> None:
    # A field added to the type must not be lost on the way: changing any array changes the file.
    case = drawn_case()
    files.save(tmp_path / "a.npz", case)
    changes: list[dict[str, Any]] = []
    for field in fields(CaseStatistics):
        value = getattr(case, field.name)
        if isinstance(value, np.ndarray):
            changes.append({field.name: np.roll(value, 1) + 1})
    tree = case.trees[0]
    changes += [
        {"trees": (replace(tree, **{f.name: np.roll(getattr(tree, f.name), 1) + 1}),)}
        for f in fields(tree)
        if isinstance(getattr(tree, f.name), np.ndarray)
    ]
    for change in changes:
        files.save(tmp_path / "b.npz", replace(case, **change))
        assert (tmp_path / "a.npz").read_bytes() != (tmp_path / "b.npz").read_bytes(), change
