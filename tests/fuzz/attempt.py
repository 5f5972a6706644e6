"""One attempt on one hostile input: what came out, and that nothing else happened."""

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from missrate.core.errors import MissrateError

SECONDS = 20.0
LONGEST = 2000
"""Characters of a message: it may name a file and a value, never hold the file."""


class Hung(BaseException):
    """Passes through whatever catches Exception."""


class Fault(AssertionError):
    """An outcome that is neither a value nor one sentence."""


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    def ring(_: int, __: FrameType | None) -> None:
        raise Hung(f"it hung for {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(use: Callable[[], object], outside: Path) -> str:
    """ "read" or "refused". Raises Fault for any other exception, a hang, a message that is no sentence, and traces
    in ``outside``, where hostile names lead and hostile code writes."""
    before = listing(outside)
    result = "read"
    try:
        with in_time(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use()
    except MissrateError as error:
        result = "refused"
        require_sentence(str(error))
    except Hung as error:
        raise Fault(str(error)) from error
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {str(error)[:300]}") from error
    if (after := listing(outside)) != before:
        raise Fault(f"wrote or ran what it must not: {sorted(set(after) ^ set(before))[:5]}")
    return result


def require_sentence(text: str) -> None:
    """Raise Fault for a message that is empty, long, or more than one line."""
    if not text.strip() or len(text) > LONGEST or not text.isprintable():
        raise Fault(f"no sentence of at most {LONGEST} characters: {text[:300]!r} ({len(text)})")


def listing(folder: Path) -> dict[str, int]:
    """Every path below a folder, with its size."""
    return {str(path.relative_to(folder)): path.lstat().st_size for path in folder.rglob("*")}
