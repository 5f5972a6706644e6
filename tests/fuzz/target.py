"""What is damaged, how, and what then reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Form = Literal["bytes", "json", "toml", "zipped json"]


@dataclass(frozen=True)
class Target:
    """A file, how it is damaged, and what reads it: ``use`` gives a value or raises a MissrateError."""

    kind: str
    path: Path
    form: Form
    use: Callable[[], object]


def made(folder: Path) -> Path:
    """The folder, there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
