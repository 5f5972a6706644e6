"""What may be named as a source: paths, archives, addresses, tasks of the Decathlon."""

import hashlib
import socket
from pathlib import Path

import numpy as np
import pytest

from missrate.core.errors import ConfigError, DataError, InputError, MissrateError, UnknownNameError
from missrate.readers import _bring, _detect
from missrate.readers._bring import bring, descended
from tests.core.archives.packed import files_of, tarred, zipped
from tests.core.served import served
from tests.readers.written import WRITERS

ONES = np.ones((2, 3, 4), np.uint8)


def of_nifti(folder: Path, layout: str) -> dict[str, bytes]:
    """A small data set of two cases as names and bytes."""
    data = WRITERS["nifti"](folder, "x", ONES).read_bytes()
    return {layout.format(case): data for case in ("a", "b")}


def test_a_plain_path_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "in" / "only" / "one"
    WRITERS["nifti"](source, "a", ONES)
    for path in (tmp_path / "in", source, source / "a.nii.gz"):
        assert bring(path, tmp_path / "larder") == bring(str(path), tmp_path / "larder") == path
    assert not (tmp_path / "larder").exists()
    with pytest.raises(InputError, match="not there"):
        bring(tmp_path / "absent", tmp_path / "larder")


def test_an_archive_on_disk(tmp_path: Path) -> None:
    files = of_nifti(tmp_path, "Task/labelsTr/{}.nii.gz")
    (tmp_path / "t.tar").write_bytes(tarred({**files, "Task/": b"", "._Task": b"?"}))
    root = bring(tmp_path / "t.tar", tmp_path / "larder", offline=True)
    assert root.name == "Task" and root.parent.parent == tmp_path / "larder" / "unpacked"
    assert _detect.detect(root) == "nifti"
    assert [entry.case_id for entry in _detect.source_of(root, None).entries()] == ["a", "b"]


def test_folders_are_passed_by_until_a_reader_finds_cases(tmp_path: Path) -> None:
    """One case alone is not passed by: its image and its mask would be two cases."""
    for name in ("image", "mask"):
        WRITERS["nifti"](tmp_path / "in" / "s" / "t" / "case1", name, ONES)
    (tmp_path / "in" / ".DS_Store").touch()
    (tmp_path / "in" / "s" / "__MACOSX").mkdir()
    assert descended(tmp_path / "in") == tmp_path / "in" / "s" / "t"
    (tmp_path / "in" / "s" / "readme.txt").touch()
    assert descended(tmp_path / "in") == tmp_path / "in" / "s"
    for case in ("a", "b"):
        WRITERS["nifti"](tmp_path / "flat" / "set", case, ONES)
        WRITERS["nifti"](tmp_path / "named" / "labelsTr", case, ONES)
    assert descended(tmp_path / "flat") == tmp_path / "flat" / "set"
    assert descended(tmp_path / "named") == tmp_path / "named"
    (tmp_path / "empty").mkdir()
    assert descended(tmp_path / "empty") == tmp_path / "empty"


@pytest.mark.parametrize("kind", ["md5", "sha256", None])
def test_an_address(kind: str | None, tmp_path: Path) -> None:
    data = zipped(of_nifti(tmp_path, "set/{}.nii.gz"))
    larder = tmp_path / "larder"
    with served(data) as site:
        url = site.url.replace("file.tar", "my%20set.zip?version=2")
        source = f"{url}#{kind}={hashlib.new(kind, data).hexdigest().upper()}" if kind else url
        with pytest.raises(InputError, match="to be used offline"):
            bring(source, larder, offline=True)
        root = bring(source, larder)
        assert bring(source, larder) == bring(source, larder, offline=True) == root
        assert site.asked == [None]
    assert root.name == "set" and root.parent.name.startswith("my_set-")
    assert sorted(files_of(root)) == ["a.nii.gz", "b.nii.gz"]
    assert [path.name for path in (larder / "downloads").glob("*/*.zip")] == ["my_set.zip"]


def test_addresses_with_the_same_last_name_are_kept_apart(tmp_path: Path) -> None:
    with served(zipped({"x": b"1"})) as one, served(zipped({"x": b"2"})) as two:
        roots = [bring(site.url.replace(".tar", ".zip"), tmp_path / "larder") for site in (one, two, one)]
    assert [files_of(root)["x"] for root in roots] == [b"1", b"2", b"1"]


def test_a_page_in_place_of_an_archive(tmp_path: Path) -> None:
    with served(b"<html>please log in</html>") as site, pytest.raises(DataError, match="no archive"):
        bring(site.url, tmp_path / "larder")


def test_a_single_file(tmp_path: Path) -> None:
    data = WRITERS["nifti"](tmp_path, "x", ONES).read_bytes()
    with served(data) as site:
        path = bring(site.url.replace("file.tar", "x.nii.gz"), tmp_path / "larder")
    assert path.name == "x.nii.gz" and path.read_bytes() == data


def test_a_task_of_the_decathlon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tarred(of_nifti(tmp_path, "Task07_Pancreas/labelsTr/{}.nii.gz"))
    with served(data) as site:
        monkeypatch.setattr(_bring, "MIRROR", site.url.rpartition("/")[0])
        with pytest.raises(DataError, match=r"Task07_Pancreas\.tar must have the checksum md5:4f7080cf"):
            bring("msd:Task07_Pancreas", tmp_path / "larder")
        monkeypatch.setitem(_bring.TASKS, "Task07_Pancreas", hashlib.md5(data).hexdigest())
        root = bring("msd:Task07_Pancreas", tmp_path / "larder")
        assert bring("msd:Task07", tmp_path / "larder", offline=True) == root, "the same file, by its short name"
    assert root.name == "Task07_Pancreas" and _detect.detect(root) == "nifti"
    assert (tmp_path / "larder" / "downloads" / "Task07_Pancreas.tar").read_bytes() == data


def test_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name[:6] for name in _bring.TASKS] == [f"Task{n:02}" for n in range(1, 11)]
    assert all(len(digest) == 32 for digest in _bring.TASKS.values())
    assert len(set(_bring.TASKS.values())) == 10


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("msd:Task7", "one of Task01_BrainTumour, .*Task10_Colon. Got 'Task7'"),
        ("msd:Task07_pancreas", "Perhaps 'msd:Task07_Pancreas'"),
        ("msd:task07", "Perhaps 'msd:Task07_Pancreas'"),
        ("msd:Task7", "Perhaps 'msd:Task0[17]_"),
        ("msd:pancreas", "Perhaps 'msd:Task07_Pancreas'"),
        ("msd:Colon ", "Perhaps 'msd:Task10_Colon'"),
        ("msd:", "one of Task01_BrainTumour"),
        ("ftp://host/x.zip", "http:// or https://"),
        ("s3://host/x.zip", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("https://host/x.zip#sha1=00", "md5=HEX or sha256=HEX. Got 'sha1=00'"),
        ("https://host/x.zip#md5=00", "A checksum must be"),
    ],
)
def test_what_cannot_be_named(source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    with pytest.raises(MissrateError, match=said) as refusal:
        bring(source, tmp_path / "larder")
    assert isinstance(refusal.value, UnknownNameError | ConfigError)
    assert not (tmp_path / "larder").exists()
