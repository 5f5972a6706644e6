"""Progress on stderr: a bar with the time left on a terminal, a line per finished stage elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from missrate.core.types import BytesProgress
from missrate.study.runner import Clock, Event, Watch
from missrate.study.stages import Stage


@contextmanager
def watcher(stages: list[Stage]) -> Iterator[Watch]:
    """What the runner calls with every event while a study runs."""
    if sys.stderr.isatty():
        with _bar() as progress:
            yield _on_terminal(progress, len(stages))
    else:
        yield _in_lines(len(stages))


def bytes_told(step: float = 5.0) -> BytesProgress:
    """Tells of bytes that are fetched or unpacked: a line every few seconds, and nothing of what takes no time."""
    told = time.monotonic()

    def tell(what: str, done: int, of: int | None) -> None:
        nonlocal told
        if time.monotonic() - told < step:
            return
        told = time.monotonic()
        share = f" of {of / 2**20:.0f}" if of else ""
        sys.stderr.write(f"{what}: {done / 2**20:.0f}{share} MiB\n")
        sys.stderr.flush()

    return tell


@contextmanager
def slices_told(what: str, step: float = 10.0) -> Iterator[Callable[[int, int], None]]:
    """Tells of slices that are done: a bar on a terminal, elsewhere a line every few seconds, and the time left."""
    began = told = time.monotonic()

    def remaining(done: int, of: int) -> str:
        return left((time.monotonic() - began) * (of - done) / done) if done else ""

    if sys.stderr.isatty():
        with _bar() as progress:
            bar = progress.add_task(what, total=1.0)
            yield lambda done, of: progress.update(
                bar, completed=done / of, description=f"{what}  slice {done} of {of}  {remaining(done, of)}"
            )
        return

    def tell(done: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told >= step:
            told = time.monotonic()
            sys.stderr.write(f"{what}: slice {done} of {of}, {remaining(done, of)}\n")
            sys.stderr.flush()

    yield tell


def left(seconds: float | None) -> str:
    """ "12 min left", or nothing while nobody can tell."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


def _bar() -> Progress:
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(*columns, console=Console(stderr=True))


def _on_terminal(progress: Progress, count: int) -> Watch:
    clock, ended = Clock(), 0
    bar = progress.add_task("starting", total=1.0)

    def watch(event: Event) -> None:
        nonlocal ended
        ended += event.kind in ("kept", "ended")
        if event.kind == "failed":
            progress.console.print(f"failed  {event.stage}: {event.detail}", markup=False)
        text = f"{ended}/{count} stages  {event.stage} {event.detail}  {left(clock.seconds_left(event.done))}"
        progress.update(bar, completed=event.done, description=text)

    return watch


def _in_lines(count: int) -> Watch:
    clock, ended = Clock(), 0

    def watch(event: Event) -> None:
        nonlocal ended
        ended += event.kind in ("kept", "ended")
        if event.kind in ("kept", "ended", "failed"):
            remaining = left(clock.seconds_left(event.done))
            line = f"[{ended}/{count}] {event.kind:<6} {event.stage} {event.detail} {remaining}".rstrip()
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    return watch
