"""A file from the web: fetched in parts that survive a cut connection, verified, and only then there."""

import hashlib
import http.client
import json
import os
import re
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit

from missrate.core import store
from missrate.core.errors import ConfigError, DataError, InputError, StoreError
from missrate.core.types import BytesProgress

DIGEST = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
LENGTH = re.compile("[0-9]{1,18}")
CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
CHUNK = 2**18
MARK = re.compile("[ -~]{1,200}")
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Before each repetition; whoever came at least ``CHUNK`` bytes further has all of them again."""
TIMEOUT_S = 60.0
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request may succeed."""


class _CutError(Exception):
    """A request failed in a way that may pass."""


class _Known(NamedTuple):
    """What a server said of a file: how long it is, and a mark that changes when the file does."""

    size: int | None = None
    mark: str | None = None


def fetch(url: str, target: Path, *, digest: str | None, offline: bool, progress: BytesProgress | None = None) -> Path:
    """``target``, with the bytes of ``url`` (http or https), whose checksum is ``md5:HEX`` or ``sha256:HEX``.

    A file that is there is not fetched again; with a digest it is verified, once for as long as its size and its time
    of change stay. Bytes come to ``target.part``, and a later call goes on where an earlier one stopped, if the server
    can and the file there is still the same. Without a digest the server must say how long the file is.
    Raises ConfigError for a url or a digest that cannot be used; InputError where there is no such file, and when
    ``offline`` (no socket is opened); DataError for a wrong checksum; StoreError when the disk is full, and when the
    connection fails for good (what has come stays for the next call); LockedError while another process fetches there.
    """
    address = _address(url)
    if digest is not None and not DIGEST.fullmatch(digest):
        raise ConfigError(f"A checksum must be md5: or sha256: with its lower-case hex digits. Got {digest!r}.")
    with store.working_on(target):
        if _is_there(target, digest):
            return target
        if offline:
            checked = f" (its checksum {digest})" if digest else ""
            raise InputError(f"{target.name} must lie at {target} to be used offline{checked}. Put {address} there.")
        with store.lock(target.parent):
            if not _is_there(target, digest):
                part = _Part(target, url, resumes_blindly=digest is not None)
                _persist(part, address, progress)
                part.finish(address, digest, progress)
    return target


def _address(url: str) -> str:
    """The url for messages: without query, which may hold a key."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and not (parts.username or parts.password)
        sound = sound and parts.port != 0 and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError("An address must be http:// or https://, percent-encoded, without a password. Got another.")
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _is_there(target: Path, digest: str | None) -> bool:
    """Whether the file is there, with the right checksum; a note beside it spares reading it again."""
    if not target.is_file() or digest is None:
        return target.is_file()
    note, said = _note(target, digest)
    with suppress(OSError):
        if note.read_text() == said:
            return True
    if _digest_of(target, digest, None) != digest:
        return False
    _remember(target, digest)
    return True


def _note(target: Path, digest: str) -> tuple[Path, str]:
    held = target.stat()
    return target.with_name(f"{target.name}.ok"), f"{digest} {held.st_size} {held.st_mtime_ns}\n"


def _remember(target: Path, digest: str) -> None:
    with suppress(StoreError):  # what cannot be written can be read
        store.write_text(*_note(target, digest))


def _digest_of(path: Path, like: str, progress: BytesProgress | None) -> str:
    kind = like.partition(":")[0]
    value, size = hashlib.new(kind, usedforsecurity=False), path.stat().st_size
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            value.update(data)
            if progress is not None:
                progress(f"{path.stem}: checksum", file.tell(), size)
    return f"{kind}:{value.hexdigest()}"


def _persist(part: "_Part", address: str, progress: BytesProgress | None) -> None:
    """Requests until the whole file has come, or until nothing more comes."""
    tries, most = 0, part.size
    while True:
        try:
            part.receive(address, progress)
            return
        except _CutError as error:
            reason = str(error)
        if part.size >= most + CHUNK:
            tries, most = 0, part.size
        if tries == len(PAUSES_S):
            raise StoreError(
                f"{address} could not be fetched: {reason}. "
                f"{part.size / 2**20:.1f} MiB have come, and the same command continues."
            )
        time.sleep(PAUSES_S[tries])
        tries += 1


class _Part:
    """What has come of a file: ``NAME.part``, and in ``NAME.part.json`` of what it is a part."""

    def __init__(self, target: Path, url: str, *, resumes_blindly: bool) -> None:
        self.target, self.url, self.resumes_blindly = target, url, resumes_blindly
        self.of = hashlib.sha256(url.encode()).hexdigest()  # the address itself may hold a key
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def receive(self, address: str, progress: BytesProgress | None) -> None:
        """One request for what is lacking. Raises _CutError where the next one may go on."""
        known = self._known()
        if self.path.exists() and self.size == known.size:
            return
        with self._asked(known, address) as response:
            if response.status == 206:
                known = self._require_continued(response, known)
            elif response.status == 200:
                known = self._begin(response, address)
            else:
                raise InputError(f"{address} must be a file. Got HTTP {response.status}.")
            if known.size is not None:
                store.require_free(self.path.parent, known.size - self.size)
            self._copy(response, known.size, progress)
        if known.size is not None and self.size != known.size:
            raise _CutError("the connection was cut")

    def finish(self, address: str, digest: str | None, progress: BytesProgress | None) -> None:
        """Verifies the whole and gives it its name; a wrong one is removed."""
        if digest is not None and (got := _digest_of(self.path, digest, progress)) != digest:
            self.discard()
            raise DataError(
                f"{address} must have the checksum {digest}. Got {got}, and nothing was kept; perhaps the file changed."
            )
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)
        if digest is not None:
            _remember(self.target, digest)

    def _known(self) -> _Known:
        """What was said of the file whose first bytes are here; where nobody could tell another file, they go."""
        with suppress(OSError, ValueError, RecursionError):
            match json.loads(self.note.read_bytes()):
                case {"of": self.of, "size": int() | None as size, "mark": str() | None as mark}:
                    if mark is not None or self.resumes_blindly:
                        return _Known(size, mark)
        self.discard()
        return _Known()

    def _asked(self, known: _Known, address: str) -> Any:
        headers = {"User-Agent": "missrate", "Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if known.mark is not None:
                headers["If-Range"] = known.mark
        try:
            return _opener().open(urllib.request.Request(self.url, headers=headers), timeout=TIMEOUT_S)
        except HTTPError as error:
            with error:
                if error.code == 416 and self.size:  # the file there is shorter than what is here
                    self.discard()
                    raise _CutError("the file changed there") from error
                if error.code in PASSING:
                    raise _CutError(f"HTTP {error.code} {error.reason}") from error
                raise InputError(f"{address} must be a file. Got HTTP {error.code} {error.reason}.") from error
        except (OSError, http.client.HTTPException) as error:
            raise _CutError(f"{getattr(error, 'reason', None) or error or type(error).__name__}") from error

    def _require_continued(self, response: Any, known: _Known) -> _Known:
        """That the answer begins where the part ends, and is of the same file."""
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        size = int(match[2]) if match and match[2] != "*" else known.size
        mark = _mark(response)
        moved = match is None or int(match[1]) != self.size
        changed = known.size not in (None, size) or (None not in (known.mark, mark) and known.mark != mark)
        if moved or changed:
            self.discard()
            raise _CutError("the file changed there")
        return known._replace(size=size)

    def _begin(self, response: Any, address: str) -> _Known:
        """A whole file comes: what is here goes."""
        text = response.headers.get("Content-Length", "")
        chunked = "Transfer-Encoding" in response.headers
        known = _Known(int(text) if LENGTH.fullmatch(text) and not chunked else None, _mark(response))
        if known.size is None and not chunked and not self.resumes_blindly:
            raise InputError(f"{address} must come with its length or a checksum (#md5=, #sha256=). Got neither.")
        self.discard()
        store.write_json(self.note, {"of": self.of, "size": known.size, "mark": known.mark})
        return known

    def _copy(self, response: IO[bytes], size: int | None, progress: BytesProgress | None) -> None:
        with self.path.open("ab") as out:
            while True:
                try:
                    data = response.read(CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _CutError("the connection was cut") from error
                if not data:
                    return
                store.require_free(self.path.parent, len(data))
                out.write(data)
                if progress is not None:
                    progress(self.target.name, out.tell(), size)


def _mark(response: Any) -> str | None:
    """What changes when the file does: a strong ETag, or the time of its change."""
    said = (response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
    return next((mark for mark in said if MARK.fullmatch(mark) and not mark.startswith("W/")), None)


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
    """Follows http and https only."""

    def redirect_request(  # noqa: PLR0917
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        _address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """For http and https alone: none of urllib's other kinds, such as ``file:``."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _OnlyWeb(),
    ):
        opener.add_handler(handler)
    return opener
