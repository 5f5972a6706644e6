"""The stages of a study: what each owns on disk, what it needs, and the key that says whether it is still valid.

A stage's key is the hash of its own configuration and of its inputs' outputs, so a change repeats exactly what depends
on it: a new report title nothing but the report, a prepare that gives the same manifest nothing at all. The user's own
files (``core.own``) stand in a configuration by name and hash, so an edited one is such a change; the mark names them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator

from missrate.core import own, store
from missrate.core.config import fingerprint
from missrate.core.documents import Document
from missrate.engine import Task

VERSION = 1
"""Raised when stages of an older program must not be reused."""

Item = TypeVar("Item")


class MarkForm(Document):
    """What the ledger says of a stage. Its key names a folder, and its files lie below the study's."""

    key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    output: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    files: list[str]

    @field_validator("files")
    @classmethod
    def _below(cls, files: list[str]) -> list[str]:
        for name in files:
            way = PurePosixPath(name)
            if (
                way.is_absolute()
                or ".." in way.parts
                or not name.isprintable()
                or max(map(len, (name, *way.parts))) > 255
            ):
                raise ValueError(f"{name!r} leads elsewhere")
        return files


class IndexForm(Document):
    """The files of a stage that leaves many."""

    files: dict[str, str]
    absent: list[str]


State = Literal["done", "stale", "missing"]
MARK = "missrate/stage/1"
INDEX = "missrate/index/1"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stage will cost: CPU seconds of all its tasks, memory of one process, disk of its output."""

    seconds: float = 1.0
    memory_mb: float = 300.0
    disk_mb: float = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """``tasks`` is asked only when the inputs are done; ``finish`` writes and names the files that stand for the stage.

    ``owns`` are the paths (relative to the study's folder) that only this stage writes: they are moved away, never
    deleted, when the stage becomes stale. It waits for those of the stages ``after`` that run as well, though nothing
    that they leave enters its key.
    """

    name: str
    inputs: tuple[str, ...]
    config: Any
    owns: tuple[str, ...]
    tasks: Callable[[], list[Task]]
    finish: Callable[[], list[Path]]
    estimate: Estimate = field(default_factory=Estimate)
    after: tuple[str, ...] = ()

    @property
    def room(self) -> str:
        """The verb that this stage belongs to."""
        return self.name.split("/", maxsplit=1)[0].split("@")[0]

    def at(self, place: str) -> "Stage":
        """The same stage in the folder ``place`` of a larger study."""
        return replace(
            self,
            name=f"{self.name}@{place}",
            inputs=tuple(f"{name}@{place}" for name in self.inputs),
            after=tuple(f"{name}@{place}" for name in self.after),
            owns=tuple(f"{place}/{path}" for path in self.owns),
        )


class Ledger:
    """What the study's folder says about each stage: a mark per stage under ``stages/``."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def path(self, stage: Stage) -> Path:
        return self.out / "stages" / f"{stage.name.replace('/', '--')}.json"

    def mark(self, stage: Stage) -> dict[str, Any] | None:
        """The mark as written, or None."""
        path = self.path(stage)
        return store.read_json(path, MARK, MarkForm) if path.exists() else None

    def key(self, stage: Stage, outputs: dict[str, str]) -> str:
        """``outputs`` holds the output hash of every finished stage."""
        inputs = {name: outputs[name] for name in stage.inputs}
        return fingerprint({"version": VERSION, "stage": stage.name, "config": stage.config, "inputs": inputs})

    def state(self, stage: Stage, outputs: dict[str, str]) -> State:
        """ "done" only when the key fits, the work was finished, and what it stands for is still there."""
        mark = self.mark(stage)
        if mark is None:
            return "missing"
        if any(name not in outputs for name in stage.inputs) or mark["key"] != self.key(stage, outputs):
            return "stale"
        if mark["output"] is None or not all((self.out / name).exists() for name in mark["files"]):
            return "missing"
        return "done"

    def begin(self, stage: Stage, key: str) -> bool:
        """Clears the way: partial work of the same key stays, anything else moves to ``stale/``.

        Gives whether the stage begins anew, instead of going on where an earlier call was stopped.
        """
        mark = self.mark(stage)
        if mark is None or mark["key"] != key:
            self._move_away(stage, "unmarked" if mark is None else mark["key"][:12])
            self._write(stage, key, output=None, files=[])
        return mark is None or mark["key"] != key or mark["output"] is not None

    def end(self, stage: Stage, key: str, files: list[Path]) -> str:
        """Records the finished stage and gives its output hash."""
        output = fingerprint([[path.name, store.hash_file(path)] for path in files])
        self._write(stage, key, output=output, files=[str(path.relative_to(self.out)) for path in files])
        return output

    def intact(self, stage: Stage) -> bool:
        """Whether the files that stand for a finished stage still have the hash with which it finished."""
        mark = self.mark(stage)
        assert mark is not None
        files = [self.out / name for name in mark["files"]]
        output: str = mark["output"]
        return fingerprint([[path.name, store.hash_file(path)] for path in files]) == output

    def _move_away(self, stage: Stage, name: str) -> None:
        for owned in (self.out / path for path in stage.owns):
            if not owned.exists():
                continue
            places = (self.out / "stale" / (name if n == 1 else f"{name}-{n}") for n in count(1))
            target = next(
                p / owned.relative_to(self.out) for p in places if not (p / owned.relative_to(self.out)).exists()
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            owned.rename(target)

    def _write(self, stage: Stage, key: str, *, output: str | None, files: list[str]) -> None:
        value: dict[str, Any] = {"schema": MARK, "stage": stage.name, "key": key, "output": output, "files": files}
        if members := own.identities(stage.config):
            value["own_files"] = members
        store.write_json(self.path(stage), value)


def arguments(**values: object) -> dict[str, Any]:
    """The keyword arguments of a task."""
    return values


def batched(items: Sequence[Item], size: int = 8) -> list[list[Item]]:
    """A few cases for each task: starting one costs as much as a small case."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def write_index(folder: Path, names: list[str]) -> Path:
    """``index.json``: the hash of every file of a stage that leaves many, and the ones that are absent."""
    paths = [folder / name for name in names]
    value = {
        "schema": INDEX,
        "files": {path.name: store.hash_file(path) for path in paths if path.exists()},
        "absent": sorted(path.name for path in paths if not path.exists()),
    }
    store.write_json(folder / "index.json", value)
    return folder / "index.json"
