"""Own files: members of a shelf that the user wrote. A name that ends in .py is a file, and its identity is its bytes.

A study or a command line says ``./my_metric.py``. It is pinned once, to ``/PLACE/my_metric.py#sha256=HEX``: where the
file lies, and what it held. Who loads it later gets those bytes or an error, so a file that is edited is another member
and never the old one under its name. Keys, recipes and results hold the identity, ``my_metric.py#sha256=HEX``, without
the place: a study may be moved, and a run holds copies of its own files beside its weights.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

from missrate.core.errors import ConfigError, UnknownNameError

OWN = re.compile(r"(?P<path>.+\.py)(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?", re.DOTALL)
SHOWN = 12
"""Digits of a hash that tell files apart to a reader."""


def is_own(name: str) -> bool:
    """Return whether a member is named by a file instead of by its name on the shelf."""
    return OWN.fullmatch(name) is not None


def pinned(name: str, folder: Path) -> str:
    """Return an own file below ``folder`` as its absolute path and hash; any other name as it is.

    Raises UnknownNameError where no such file can be read, ConfigError where ``name`` states another hash.
    """
    found = OWN.fullmatch(name)
    if found is None:
        return name
    path = (folder / found["path"]).resolve()
    sha256 = hashlib.sha256(_bytes(path)).hexdigest()
    if found["sha256"] not in (None, sha256):
        raise ConfigError(f"{path} must have the SHA-256 {found['sha256']}. Got {sha256}.")
    return f"{path}#sha256={sha256}"


def placed(name: str, folder: Path) -> str:
    """Return the own file of the same name and hash right in ``folder``; any other name as it is."""
    return str(folder.resolve() / identity(name)) if is_own(name) else name


def identity(name: str) -> str:
    """Return a pinned name without its place; any other name as it is."""
    found = OWN.fullmatch(name)
    return name if found is None else Path(found["path"]).name + name[len(found["path"]) :]


def stem(name: str) -> str:
    """Return what a member is called in results: the name on the shelf, or that of the file without its ending."""
    found = OWN.fullmatch(name)
    return name if found is None else Path(found["path"]).stem


def short(name: str) -> str:
    """Return a member's name for people: of an own file its name and the beginning of its hash."""
    found = OWN.fullmatch(name)
    if found is None:
        return name
    return Path(found["path"]).name + (f" (sha256 {found['sha256'][:SHOWN]})" if found["sha256"] else "")


def path_of(name: str) -> Path:
    """Return where an own file lies, as its name says it."""
    found = OWN.fullmatch(name)
    assert found is not None
    return Path(found["path"])


def sha256_of(name: str) -> str | None:
    """Return the hash that a pinned name states; None for any other name."""
    found = OWN.fullmatch(name)
    return None if found is None else found["sha256"]


def read(name: str) -> bytes:
    """Return the bytes of a pinned file. Raises ConfigError when they are not those that were pinned."""
    content, wanted = _bytes(path_of(name)), sha256_of(name)
    found = hashlib.sha256(content).hexdigest()
    if wanted is None or found != wanted.lower():
        raise ConfigError(
            f"{path_of(name)} must be the file that was named, with the SHA-256 {wanted}. Got {found}; perhaps it was "
            "changed meanwhile: run the same command again."
        )
    return content


def without_places(value: Any) -> Any:
    """Return a plain value (dictionaries, lists, tuples and what they hold) with the identity of each own file."""
    if isinstance(value, str):
        return identity(value) if "#sha256=" in value else value
    if isinstance(value, dict):
        return {without_places(key): without_places(inner) for key, inner in value.items()}
    return [without_places(inner) for inner in value] if isinstance(value, list | tuple) else value


def identities(value: Any) -> dict[str, str]:
    """Return the own files that a plain value names: file name to ``sha256:HEX``, sorted; empty where it names none.

    Of two files with one name both stand there, the second under its name with the beginning of its hash.
    """
    result: dict[str, str] = {}
    for name in sorted(set(_pinned_in(value))):
        file = path_of(name).name
        result[short(name) if file in result else file] = f"sha256:{sha256_of(name)}"
    return result


def _pinned_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [identity(value)] if "#sha256=" in value and is_own(value) else []
    if isinstance(value, dict):
        return [name for item in value.items() for part in item for name in _pinned_in(part)]
    return [name for part in value for name in _pinned_in(part)] if isinstance(value, list | tuple) else []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnknownNameError(
            f"A name that ends in .py must be a readable file. Got {path}: {error.strerror or error}."
        ) from error
