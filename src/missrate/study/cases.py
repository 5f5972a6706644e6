"""Work on many cases without a study: the same task for each, with a bar and the time left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from missrate.engine import Task, run_all
from missrate.study.runner import default_workers

WORTH_A_PROCESS = 10.0
"""Estimated seconds from which on worker processes pay for their start."""


def run_cases(tasks: list[Task], verb: str, workers: int | None) -> None:
    """The first two cases here, since the first one also loads the program; the others wherever that is faster."""
    with _progress(verb, len(tasks)) as advance:
        seconds = 0.0
        for task in tasks[:2]:
            began = time.monotonic()
            task.run(**task.arguments)
            seconds = time.monotonic() - began
            advance()
        rest = tasks[2:]
        many = default_workers() if workers is None else workers
        run_all(rest, many if seconds * len(rest) > WORTH_A_PROCESS else 0, advance)


@contextmanager
def _progress(verb: str, cases: int) -> Iterator[Any]:
    """A bar with the time left on stderr, where a person looks at it."""
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(verb, total=cases)
        yield lambda: bar.advance(task)
