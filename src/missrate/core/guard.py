"""Where foreign bytes are taken apart: whatever goes wrong there becomes one sentence about the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from missrate.core.errors import ConfigError, MissrateError, StoreError


@contextmanager
def understood(path: Path, what: str, *, kind: type[MissrateError] = StoreError, perhaps: str = "") -> Iterator[None]:
    """Raise ``kind``, which says that ``path`` must be ``what``, for every fault of the block.

    For blocks that do nothing but take a file apart: libraries raise dozens of kinds for what is damaged or hostile
    (``zlib.error``, ``TokenError``, ``RecursionError``, ``MemoryError`` for a size that nobody has), and each list of
    them that was written down lacked some. ``perhaps`` is what to do, after the reason. A MissrateError passes.
    """
    try:
        yield
    except MissrateError:
        raise
    except OSError as error:
        raise kind(f"{path} must be {what}. Got: {error.strerror or told(error)}.") from error
    except Exception as error:
        hint = f"; {perhaps}" if perhaps else ""
        raise kind(f"{path} must be {what}. Got: {told(error)}{hint}.") from error


@contextmanager
def reachable(where: str) -> Iterator[None]:
    """Raise ConfigError for a name that no file can have: one that is too long, or holds a character 0.

    ``where`` names the place in the user's words. Everything else passes.
    """
    try:
        yield
    except MissrateError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "null" not in str(error):
            raise
        raise ConfigError(f"{where} must name files that can be looked for. Got: {told(error)}.") from error


def told(error: BaseException) -> str:
    """Return the first line of what an exception says, without its full stop, or the exception's name."""
    if isinstance(error, MemoryError):
        return "more than fits into memory"
    if isinstance(error, RecursionError):
        return "too many levels within each other"
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r} in it" if error.args else "a part that lacks"
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".:") if lines else type(error).__name__
