"""A web server for tests on 127.0.0.1 that knows ranges, and whose faults can be set."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Site:
    """What the server holds and how it answers; ``asked`` has the Range of each request (None: the whole)."""

    data: bytes
    etag: str | None = '"1"'
    modified: str | None = None
    ranges: bool = True
    """Whether parts are given."""
    checks: bool = True
    """Whether If-Range is looked at."""
    marks_parts: bool = True
    """Whether a part comes with the mark of its file."""
    length: bool = True
    chunked: bool = False
    claimed: int = 0
    """By how much the length that is told differs from the truth."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes each of the next answers is cut."""
    codes: list[int] = field(default_factory=list)
    """What the next answers are instead."""
    location: str = ""
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.asked.append(wanted)
        if site.codes:
            self.send_response(site.codes.pop(0))
            if site.location:
                self.send_header("Location", site.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        mark = self.headers.get("If-Range")
        same = mark is None or mark in (site.etag, site.modified) or not site.checks
        begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and site.ranges and same else None  # type: ignore[index]
        self._answer(begin)

    def _answer(self, begin: int | None) -> None:
        site, body = self.site, self.site.data[begin or 0 :]
        if begin is not None and begin >= len(site.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(site.data)}")
        elif begin is not None:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(site.data) - 1}/{len(site.data)}")
        else:
            self.send_response(200)
        for name, value in (("ETag", site.etag), ("Last-Modified", site.modified)):
            if value is not None and (begin is None or site.marks_parts):
                self.send_header(name, value)
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif site.length:
            self.send_header("Content-Length", str(len(body) + site.claimed))
        self.end_headers()
        cut = site.cuts.pop(0) if site.cuts else None
        if site.chunked:
            half = len(body) // 2
            parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
            self.wfile.write(parts if cut is not None else parts + b"0\r\n\r\n")
        else:
            self.wfile.write(body[:cut])


@contextmanager
def served(data: bytes, **how: Any) -> Iterator[Site]:
    site = Site(data, **how)
    handler = type(
        "Handler", (_Handler,), {"site": site, "protocol_version": "HTTP/1.1" if site.chunked else "HTTP/1.0"}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/folder/file.tar"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
