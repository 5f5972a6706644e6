"""Progress on stderr: a bar with the time left on a terminal, a line per finished stage elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from missrate.core.types import BytesProgress
from missrate.study.pace import Pace, Stages, left
from missrate.study.runner import Event, Watch
from missrate.study.stages import Stage


@contextmanager
def watcher(stages: list[Stage]) -> Iterator[Watch]:
    """What the runner calls with every event while a study runs."""
    if sys.stderr.isatty():
        with _bar() as progress:
            yield on_terminal(progress, len(stages))
    else:
        yield in_lines(len(stages))


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
def slices_told(
    what: str, step: float = 10.0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Tells of slices that are done: a bar on a terminal, elsewhere a line every few seconds, and the time left."""
    pace, told, last = Pace(), clock(), (0, 0.0)

    def remaining(done: int, of: int) -> str:
        nonlocal last
        if last[0] and done > last[0]:  # the first slices waited for the model to be loaded
            pace.add(done - last[0], clock() - last[1])
        last = done, clock()
        return left(pace.seconds_for(of - done))

    if sys.stderr.isatty():
        with _bar() as progress:
            bar = progress.add_task(what, total=1.0)
            yield lambda done, of: progress.update(
                bar, completed=done / of, description=f"{what}  slice {done} of {of}  {remaining(done, of)}"
            )
        return

    def tell(done: int, of: int) -> None:
        nonlocal told
        words = ", ".join(part for part in (f"{what}: slice {done} of {of}", remaining(done, of)) if part)
        if clock() - told >= step:
            told = clock()
            sys.stderr.write(f"{words}\n")
            sys.stderr.flush()

    yield tell


def _bar() -> Progress:
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(*columns, console=Console(stderr=True))


def on_terminal(progress: Progress, count: int, clock: Callable[[], float] = time.monotonic) -> Watch:
    """A bar of the stages that are done, and beside it those under way, each with its own time left."""
    known, ended = Stages(), 0
    bar = progress.add_task("starting", total=float(count))

    def watch(event: Event) -> None:
        nonlocal ended
        ended += event.kind in ("kept", "ended")
        known.learn(event, clock())
        if event.kind == "failed":
            progress.console.print(f"failed  {event.stage}: {event.detail}", markup=False)
        text = "; ".join([f"{ended}/{count} stages", *known.told(clock())])
        progress.update(bar, completed=float(ended), description=text)

    return watch


def in_lines(count: int, step: float = 30.0, clock: Callable[[], float] = time.monotonic) -> Watch:
    """A line for each stage that ends, and every ``step`` seconds one for those under way."""
    known, ended, told = Stages(), 0, clock()

    def watch(event: Event) -> None:
        nonlocal ended, told
        ended += event.kind in ("kept", "ended")
        known.learn(event, clock())
        lines = []
        if event.kind in ("kept", "ended", "failed"):
            lines.append(f"[{ended}/{count}] {event.kind:<6} {event.stage} {event.detail}".rstrip())
        elif clock() - told >= step:
            lines += [f"[{ended}/{count}] runs   {line}" for line in known.told(clock())]
        if lines:
            told = clock()
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()

    return watch
