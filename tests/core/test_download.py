"""Files from a server on this machine: whole and verified or not there, and continued after whatever went wrong."""

import errno
import json
import multiprocessing
import os
import random
import socket
import time
from pathlib import Path

import pytest

from missrate.core import download, store
from missrate.core.download import CHUNK, fetch
from missrate.core.errors import ConfigError, DataError, InputError, LockedError, MissrateError, StoreError
from missrate.core.types import BytesProgress
from tests.core.served import served

DATA = random.Random(0).randbytes(3 * CHUNK + 777)


@pytest.fixture(autouse=True)
def _pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES_S", (0.0, 0.0))
    monkeypatch.delenv("http_proxy", raising=False)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("how", [{}, {"etag": None}, {"chunked": True}, {"ranges": False}])
def test_a_file_comes_whole_and_once(how: dict[str, object], digest: bool, tmp_path: Path) -> None:
    target, told = tmp_path / "new" / "a.tar", []
    with served(DATA, **how) as site:
        said = site.digest if digest else None
        for _ in range(2):
            path = fetch(site.url, target, digest=said, offline=False, progress=lambda *step: told.append(step))
            assert path == target and target.read_bytes() == DATA
        assert site.asked == [None]
    assert held(tmp_path / "new") == (["a.tar", "a.tar.ok"] if digest else ["a.tar"])
    of = None if "chunked" in how else len(DATA)
    assert told[0] == ("a.tar", CHUNK, of)
    assert [done for what, done, _ in told if what == "a.tar"][-1] == len(DATA)


def test_an_empty_file(tmp_path: Path) -> None:
    with served(b"") as site:
        assert fetch(site.url, tmp_path / "a", digest=site.digest, offline=False).read_bytes() == b""


@pytest.mark.parametrize(
    ("digest", "how"),
    [
        (False, {}),
        (True, {}),
        (True, {"etag": None}),
        (True, {"etag": 'W/"weak"'}),
        (False, {"etag": None, "modified": "Wed, 01 Jan 2020 00:00:00 GMT"}),
        (True, {"checks": False}),
    ],
)
def test_a_cut_connection_goes_on(digest: bool, how: dict[str, object], tmp_path: Path) -> None:
    with served(DATA, cuts=[CHUNK + 5, 10], **how) as site:
        fetch(site.url, tmp_path / "a", digest=site.digest if digest else None, offline=False)
        assert site.asked == [None, f"bytes={CHUNK + 5}-", f"bytes={CHUNK + 15}-"]
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_later_call_goes_on_and_until_then_nothing_is_there(tmp_path: Path) -> None:
    with served(DATA, cuts=[1000, 0, 0]) as site:
        with pytest.raises(StoreError, match=r"cut.*0\.0 MiB have come, and the same command continues\.$"):
            fetch(site.url, tmp_path / "a", digest=None, offline=False)
        assert held(tmp_path) == ["a.part", "a.part.json"]
        fetch(site.url, tmp_path / "a", digest=None, offline=False)
        assert site.asked[-1] == "bytes=1000-"
    assert (tmp_path / "a").read_bytes() == DATA
    assert held(tmp_path) == ["a"]


def test_progress_gives_new_tries(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(8 * CHUNK)
    with served(data, cuts=[CHUNK] * 7) as site:  # two repetitions are allowed, and six needed
        fetch(site.url, tmp_path / "a", digest=None, offline=False)
    assert (tmp_path / "a").read_bytes() == data


def test_no_marks_and_no_checksum_begin_anew(tmp_path: Path) -> None:
    with served(DATA, etag=None, cuts=[1000]) as site:
        fetch(site.url, tmp_path / "a", digest=None, offline=False)
        assert site.asked == [None, None]


def test_a_server_without_ranges_begins_anew(tmp_path: Path) -> None:
    with served(DATA, ranges=False, cuts=[1000, 2000]) as site:
        fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
        assert site.asked == [None, "bytes=1000-", "bytes=2000-"]


@pytest.mark.parametrize("how", [{}, {"checks": False}, {"marks_parts": False}])
@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("new", [DATA[::-1], DATA + b"more", DATA[:500]])
def test_a_file_that_changed_there_is_never_mixed(
    new: bytes, digest: bool, how: dict[str, object], tmp_path: Path
) -> None:
    with served(DATA, cuts=[1000, 0, 0], **how) as site:
        with pytest.raises(StoreError):
            fetch(site.url, tmp_path / "a", digest=None, offline=False)
        site.data, site.etag = new, '"2"'
        fetch(site.url, tmp_path / "a", digest=site.digest if digest else None, offline=False)
    assert (tmp_path / "a").read_bytes() == new


def test_a_file_that_changed_there_without_a_mark_is_found_by_its_checksum(tmp_path: Path) -> None:
    with served(DATA, etag=None, cuts=[1000, 0, 0]) as site:
        with pytest.raises(StoreError):
            fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
        site.data = DATA[::-1]
        with pytest.raises(DataError, match=r"must have the checksum sha256:.*nothing was kept"):
            fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
        assert held(tmp_path) == []
        fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
    assert (tmp_path / "a").read_bytes() == DATA[::-1]


@pytest.mark.parametrize("note", [None, b"", b"{}", b"[1]", b"\xff", b'{"of": "another", "size": 5, "mark": "x"}'])
def test_a_part_of_nobody_knows_what_is_not_continued(note: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"other bytes")
    if note is not None:
        (tmp_path / "a.part.json").write_bytes(note)
    with served(DATA) as site:
        fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
        assert site.asked == [None]


def test_a_wrong_checksum_keeps_nothing(tmp_path: Path) -> None:
    wrong = "md5:" + "0" * 32
    with served(DATA) as site:
        with pytest.raises(DataError, match=f"checksum {wrong}. Got md5:"):
            fetch(site.url, tmp_path / "a", digest=wrong, offline=False)
        assert held(tmp_path) == []


def test_a_whole_part_is_verified_without_asking(tmp_path: Path) -> None:
    with served(DATA, cuts=[1000, 0, 0]) as site:
        with pytest.raises(StoreError):
            fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
        (tmp_path / "a.part").write_bytes(DATA)
        fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
        assert len(site.asked) == 3


@pytest.mark.parametrize("claimed", [5, -5])
def test_a_wrong_length(claimed: int, tmp_path: Path) -> None:
    said = pytest.raises(MissrateError, match="cut" if claimed > 0 else "checksum")
    with served(DATA, claimed=claimed, ranges=False) as site, said:
        fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
    assert not (tmp_path / "a").exists()


def test_no_length_needs_a_checksum(tmp_path: Path) -> None:
    with served(DATA, length=False) as site:
        with pytest.raises(InputError, match="its length or a checksum"):
            fetch(site.url, tmp_path / "a", digest=None, offline=False)
        fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
    assert (tmp_path / "a").read_bytes() == DATA


def test_chunks_without_an_end_are_no_file(tmp_path: Path) -> None:
    with served(DATA, chunked=True, cuts=[1, 1, 1]) as site, pytest.raises(StoreError, match="cut"):
        fetch(site.url, tmp_path / "a", digest=None, offline=False)
    assert not (tmp_path / "a").exists()


def test_answers_that_pass_and_answers_that_stay(tmp_path: Path) -> None:
    with served(DATA, codes=[503, 429]) as site:
        fetch(site.url, tmp_path / "a", digest=None, offline=False)
        for code in (403, 404, 410, 204):
            site.codes = [code]
            with pytest.raises(InputError, match=f"127.0.0.1.* must be a file. Got HTTP {code}"):
                fetch(site.url + "?key=secret", tmp_path / "b", digest=None, offline=False)
        site.codes = [500] * 9
        with pytest.raises(StoreError, match="HTTP 500"):
            fetch(site.url, tmp_path / "b", digest=None, offline=False)
    assert held(tmp_path) == ["a"]


def test_nobody_answers(tmp_path: Path) -> None:
    with served(DATA) as site:
        url = site.url
    with pytest.raises(StoreError, match=r"refused.*the same command continues"):
        fetch(url, tmp_path / "a", digest=None, offline=False)


def test_redirects_lead_to_the_web_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with served(DATA) as there, served(b"", codes=[302] * 9) as site:
        for location in (f"file://{tmp_path}/secret", "ftp://127.0.0.1/x", "data:,x", "gopher://x", ""):
            site.location = location
            with pytest.raises(InputError):
                fetch(site.url, tmp_path / "a", digest=None, offline=False)
        site.location = there.url
        there.cuts = [1000]
        site.codes = [302, 302]
        fetch(site.url, tmp_path / "a", digest=None, offline=False)
        assert there.asked == [None, "bytes=1000-"]
        site.location, site.codes = site.url, [302] * 99
        with pytest.raises(InputError, match="HTTP 302"):
            fetch(site.url, tmp_path / "b", digest=None, offline=False)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/x",
        "http:///x",
        "https://me:key@host/x",
        "http://h/a b",
        "http://h:x/",
        "http://h/\u00e4",
        "x",
        "http://h/\n",
        "http://[::1/x",
        "HTTP",
        "",
    ],
)
def test_addresses_that_cannot_be_used(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="An address must be http"):
        fetch(url, tmp_path / "a", digest=None, offline=False)


@pytest.mark.usefixtures("no_network")
def test_checksums_that_cannot_be_used(tmp_path: Path) -> None:
    for digest in ("", "md5", "md5:00", "sha1:" + "0" * 40, "md5:" + "G" * 32):
        with pytest.raises(ConfigError, match="A checksum must be"):
            fetch("http://host/a", tmp_path / "a", digest=digest, offline=False)


@pytest.mark.usefixtures("no_network")
def test_offline_opens_no_socket(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"must lie at {tmp_path}/a to be used offline. Put http://host/a there"):
        fetch("http://host/a", tmp_path / "a", digest=None, offline=True)
    (tmp_path / "a").write_bytes(b"by hand")
    assert fetch("http://host/a", tmp_path / "a", digest=None, offline=True) == tmp_path / "a"
    other = "md5:" + "0" * 32
    with pytest.raises(InputError, match="its checksum md5"):
        fetch("http://host/a", tmp_path / "a", digest=other, offline=True)


def test_what_is_there_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    digest_of = download._digest_of

    def counted(path: Path, like: str, progress: BytesProgress | None) -> str:
        read.append(path)
        return digest_of(path, like, progress)

    monkeypatch.setattr(download, "_digest_of", counted)
    target = tmp_path / "a"
    target.write_bytes(DATA)  # laid there by hand
    with served(DATA) as site:
        for _ in range(3):
            fetch(site.url, target, digest=site.digest, offline=True)
        assert read == [target]
        target.write_bytes(DATA[::-1])
        with pytest.raises(InputError):
            fetch(site.url, target, digest=site.digest, offline=True)
        assert target.read_bytes() == DATA[::-1] and read == [target, target]
        fetch(site.url, target, digest=site.digest, offline=False)
        assert target.read_bytes() == DATA and site.asked == [None]


def test_a_disk_that_is_or_becomes_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(DATA) as site:
        with monkeypatch.context() as patch:
            patch.setattr(store, "LEFT_FREE", 2**60)
            with pytest.raises(StoreError, match="GiB free"):
                fetch(site.url, tmp_path / "a", digest=None, offline=False)
            assert not (tmp_path / "a.part").exists()
        with monkeypatch.context() as patch:

            def full(_: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(os, "fsync", full)
            with pytest.raises(StoreError, match="No space left on device"):
                fetch(site.url, tmp_path / "a", digest=None, offline=False)
        assert not (tmp_path / "a").exists()
        fetch(site.url, tmp_path / "a", digest=None, offline=False)
    assert (tmp_path / "a").read_bytes() == DATA


def _slowly(url: str, target: Path) -> None:
    fetch(url, target, digest=None, offline=False, progress=lambda *_: time.sleep(30))


def test_killed_in_the_middle_goes_on_and_a_second_process_is_refused(tmp_path: Path) -> None:
    with served(DATA) as site:
        holder = multiprocessing.get_context("spawn").Process(target=_slowly, args=(site.url, tmp_path / "a"))
        holder.start()
        while not (tmp_path / "a.part").exists() or (tmp_path / "a.part").stat().st_size == 0:
            time.sleep(0.05)
        with pytest.raises(LockedError):
            fetch(site.url, tmp_path / "a", digest=None, offline=False)
        holder.kill()
        holder.join()
        size = (tmp_path / "a.part").stat().st_size
        fetch(site.url, tmp_path / "a", digest=None, offline=False)
        assert site.asked == [None, f"bytes={size}-"] and 0 < size < len(DATA)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_mark_that_no_request_can_repeat(tmp_path: Path) -> None:
    with served(DATA, etag='"a\r\n b\u00e9"', cuts=[1000]) as site:
        fetch(site.url, tmp_path / "a", digest=site.digest, offline=False)
        assert site.asked == [None, "bytes=1000-"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with served(DATA) as site, pytest.raises(StoreError, match="file"):
        fetch(site.url, tmp_path / "file" / "a", digest=None, offline=False)


def test_no_key_of_an_address_is_written_or_said(tmp_path: Path) -> None:
    with served(DATA, cuts=[1000, 0, 0]) as site, pytest.raises(StoreError) as refusal:
        fetch(f"{site.url}?key=secret", tmp_path / "a", digest=None, offline=False)
    assert "secret" not in str(refusal.value)
    assert sorted(json.loads((tmp_path / "a.part.json").read_text())) == ["mark", "of", "size"]
    assert b"secret" not in (tmp_path / "a.part.json").read_bytes()
