"""TOML to frozen typed values; an unknown key is an error that names the near one."""

import copy
import difflib
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from missrate.core.errors import ConfigError
from missrate.core.guard import told, understood
from missrate.core.own import without_places


class Frozen(BaseModel):
    """The base of every configuration: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Config = TypeVar("Config", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """The parsed file. Raises ConfigError when it is absent or not TOML."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"Settings must be a readable file. Got {str(path)!r}: {told(error)}.") from error
    with understood(path, "TOML in UTF-8", kind=ConfigError):
        return tomllib.loads(data.decode("utf-8-sig"))


def parse(kind: type[Config], values: dict[str, Any], *, where: str) -> Config:
    """``values`` as ``kind``; ``where`` names the place in the user's words, such as "[split] of sts.toml".

    Raises ConfigError with every fault, each as what it must be, what it was, and perhaps the near name.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(kind, fault, where) for fault in error.errors())) from error


def override(values: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """A copy of ``values`` with ``a.b=3`` applied; the right side is TOML, or else a plain string."""
    result = copy.deepcopy(values)
    for assignment in assignments:
        key, found, text = assignment.partition("=")
        if not found:
            raise ConfigError(f"--set must look like budget.steps=500. Got {assignment!r}.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # a number may have too many digits, too
            value = text
        *parents, last = key.strip().split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {key}: {parent!r} is not a table.")
        place[last] = value
    return result


def fingerprint(value: object) -> str:
    """SHA-256 of a value's canonical JSON: equal values give equal hashes, whatever the order of their keys.

    Own files (see ``core.own``) count by name and hash, wherever they lie.
    """
    text = json.dumps(without_places(value), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _sentence(kind: type[BaseModel], fault: Any, where: str) -> str:
    place = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("function-"))
    if fault["type"] == "extra_forbidden":
        known = _known_keys(kind, fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        perhaps = f" Perhaps {near[0]!r}." if near else ""
        return f"{where}: unknown key {place!r}; it must be one of {', '.join(known)}.{perhaps}"
    if fault["type"] == "missing":
        return f"{where}: {place!r} must be given"
    got = "" if isinstance(fault["input"], dict) else f" Got {fault['input']!r}."
    at = f"{where}: {place}" if place else where
    return f"{at}: {fault['msg'].removeprefix('Value error, ')}.{got}".replace("..", ".")


def _known_keys(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        if isinstance(part, str) and part in kind.model_fields:
            nested = _model_inside(kind.model_fields[part].annotation)
            if nested is not None:
                kind = nested
    return sorted(kind.model_fields)


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_inside(inner)
        if found is not None:
            return found
    return None
