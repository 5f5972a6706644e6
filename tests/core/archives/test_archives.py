"""Archives that are as they should be: whole, kept, one inside another, and beside other files."""

import multiprocessing
import os
import re
import time
from pathlib import Path

import pytest

from missrate.core import archives
from missrate.core.archives import unpacked
from missrate.core.errors import DataError, InputError, LockedError
from tests.core.archives.packed import FILES, KINDS, files_of, tarred, tree, zipped

LONG = "\u00e4" * 120


def saved(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_comes_out_as_it_went_in_and_is_kept(name: str, tmp_path: Path) -> None:
    archive, into = saved(tmp_path / "in" / name, KINDS[name](FILES)), tmp_path / "into"
    told: list[tuple[str, int, int | None]] = []
    root = unpacked(archive, into, progress=lambda *step: told.append(step))
    assert files_of(root) == FILES
    assert root.parent == into
    assert re.fullmatch(re.escape(name).split("\\.")[0] + "-[0-9a-f]{8}", root.name)
    assert [p.name for p in into.iterdir() if p.name != ".lock"] == [root.name]
    assert {what for what, _, _ in told} == {str(archive)}
    assert all(0 < done <= of == archive.stat().st_size for _, done, of in told if of is not None)
    (root / "mark").touch()
    assert unpacked(archive, into) == root and (root / "mark").exists()


def test_what_is_no_archive_comes_back_as_it_is(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.pkl.gz", "a.npz", "a.tar.txt", "zip", "._a.zip", "b/.DS_Store", "__MACOSX/x.zip"):
        saved(tmp_path / "in" / name, b"PK\3\4")
    (tmp_path / "in" / "folder.zip").mkdir()
    assert unpacked(tmp_path / "in", tmp_path / "into") == tmp_path / "in"
    assert unpacked(tmp_path / "in" / "a.nii.gz", tmp_path / "into") == tmp_path / "in" / "a.nii.gz"
    assert not (tmp_path / "into").exists()
    with pytest.raises(InputError, match="not there"):
        unpacked(tmp_path / "absent", tmp_path / "into")


def test_another_archive_of_the_same_name_is_another_folder(tmp_path: Path) -> None:
    one = saved(tmp_path / "1" / "a.zip", zipped({"x": b"1"}))
    two = saved(tmp_path / "2" / "a.zip", zipped({"x": b"2"}))
    for archive in (one, two):  # as many sets write them: of one size and one time
        os.utime(archive, ns=(10**18, 10**18))
    assert one.stat().st_size == two.stat().st_size
    first, second = unpacked(one, tmp_path / "into"), unpacked(two, tmp_path / "into")
    assert (files_of(first), files_of(second)) == ({"x": b"1"}, {"x": b"2"})
    saved(one, zipped({"x": b"changed"}))
    assert files_of(unpacked(one, tmp_path / "into")) == {"x": b"changed"}
    assert files_of(first) == {"x": b"1"}


def test_a_name_of_two_hundred_letters(tmp_path: Path) -> None:
    root = unpacked(saved(tmp_path / f"{LONG}.tar.gz", tarred({"x": b"1"}, "w:gz")), tmp_path / "into")
    assert files_of(root) == {"x": b"1"}


def test_rubbish_of_a_mac_is_left_out_and_empty_folders_stay(tmp_path: Path) -> None:
    files = {
        "./a/b.txt": b"1",
        "./": b"",
        "a/c/": b"",
        "__MACOSX/a/._b.txt": b"?",
        "a/._b.txt": b"?",
        "a/.DS_Store": b"?",
    }
    for name in ("zip", "tar"):
        archive = saved(tmp_path / f"x.{name}", (zipped if name == "zip" else tarred)(files))
        assert tree(unpacked(archive, tmp_path / "into")) == {"a": None, "a/b.txt": b"1", "a/c": None}


def test_archives_inside_archives(tmp_path: Path) -> None:
    inner = tarred({"deep.zip": zipped({"1.txt": b"1"}), "d/2.txt": b"2"}, "w:gz")
    outer = {"s/data.tar.gz": inner, "s/data.zip": zipped({"3.txt": b"3"}), "s/x.zip": zipped({}), "s/X/4.txt": b"4"}
    root = unpacked(saved(tmp_path / "o.zip", zipped(outer)), tmp_path / "into")
    # The second that is called data, and the one beside a folder of its name, keep their whole names.
    assert tree(root) == {
        "s": None,
        "s/data": None,
        "s/data/deep": None,
        "s/data/deep/1.txt": b"1",
        "s/data/d": None,
        "s/data/d/2.txt": b"2",
        "s/data.zip": None,
        "s/data.zip/3.txt": b"3",
        "s/x.zip": None,
        "s/X": None,
        "s/X/4.txt": b"4",
    }


def test_a_folder_beside_archives_is_mirrored_and_not_written_to(tmp_path: Path) -> None:
    source, into = tmp_path / "in", tmp_path / "into"
    saved(source / "dicom" / "1" / "slice", b"1")
    saved(source / "._dicom", b"?")
    saved(source / "labels.zip", zipped({"l/1.nii": b"label"}))
    saved(source / "more" / "labels.tar", tarred({"2.nii": b"other"}))
    (source / "linked").symlink_to(saved(tmp_path / "elsewhere" / "9" / "slice", b"9").parent)
    (source / "dicom" / "circle").symlink_to(source)
    before = [(str(p), p.lstat().st_mtime_ns) for p in [source, *sorted(source.rglob("*"))]]
    source.chmod(0o555)
    root = unpacked(source, into)
    expected = {
        "dicom/1/slice": b"1",
        "labels/l/1.nii": b"label",
        "linked/slice": b"9",
        "more/labels/2.nii": b"other",
    }
    assert files_of(root) == expected
    assert all(path.is_symlink() and path.resolve().is_file() for path in root.rglob("*") if path.is_file())
    assert not any(path.is_symlink() for path in root.rglob("*") if path.is_dir())
    assert [(str(p), p.lstat().st_mtime_ns) for p in [source, *sorted(source.rglob("*"))]] == before
    source.chmod(0o755)
    assert unpacked(source, into) == root
    # A file more is a mirror more, and nothing is unpacked again.
    for folder in into.iterdir():
        if folder.name.startswith("labels-"):
            (folder / "mark").touch()
    saved(source / "dicom" / "1" / "other", b"2")
    marks = {"labels/mark": b"", "more/labels/mark": b""}
    assert files_of(unpacked(source, into)) == {**expected, "dicom/1/other": b"2", **marks}
    assert files_of(root) == expected


def test_what_is_ours_is_no_data(tmp_path: Path) -> None:
    saved(tmp_path / "a.zip", zipped({"x": b"1"}))
    saved(tmp_path / "ours" / "downloads" / "b.zip", b"none")
    into = tmp_path / "ours" / "unpacked"
    for _ in range(2):
        assert files_of(unpacked(tmp_path, into, ours=tmp_path / "ours")) == {"a/x": b"1"}


def test_a_folder_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    for name in ("a.zip", "b", "c", "d"):
        saved(tmp_path / "in" / name, zipped({}))
    with pytest.raises(DataError, match="at most 3 files"):
        unpacked(tmp_path / "in", tmp_path / "into")


def test_an_unreadable_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refused)
    with pytest.raises(DataError, match=r"readable folder\. Got: Permission denied"):
        unpacked(tmp_path, tmp_path / "into")


def _slowly(archive: Path, into: Path) -> None:
    def wait(what: str, done: int, of: int | None) -> None:
        (into / "begun").touch()
        time.sleep(30)

    unpacked(archive, into, progress=wait)


def test_killed_in_the_middle_begins_anew_and_a_second_process_is_refused(tmp_path: Path) -> None:
    archive, into = saved(tmp_path / "a.zip", zipped(FILES)), tmp_path / "into"
    holder = multiprocessing.get_context("spawn").Process(target=_slowly, args=(archive, into))
    holder.start()
    while not (into / "begun").exists():
        time.sleep(0.05)
    (part,) = into.glob(".*.part")
    assert any(path.is_file() for path in part.rglob("*"))
    with pytest.raises(LockedError):
        unpacked(archive, into)
    holder.kill()
    holder.join()
    assert part.exists()
    assert files_of(unpacked(archive, into)) == FILES
    assert not part.exists()
