"""What would fail in a study, found before anything long runs.

A study that was read and planned has known names, own files that are there, and sources and predictions that could be
listed. What remains takes a second look: programs, metrics, tables, cases that nobody predicted; and for ``--dry-run``
also splits of too few patients and recipes that cannot be built (``run`` builds them in its first stages).
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from missrate import split as splitting
from missrate.core.config import fingerprint
from missrate.core.errors import ConfigError, InputError, MissrateError, some
from missrate.core.recipe import Recipe
from missrate.core.types import Entry
from missrate.evaluate.blocks import shelf
from missrate.prepare.patients import column
from missrate.readers._detect import source_of
from missrate.study import sources, work
from missrate.study.config import ArmConfig, StudyConfig
from missrate.study.stages import Stage

TRAINING = ("torch", "torchvision", "lightning", "safetensors")


def require_sound(study: StudyConfig, stages: list[Stage]) -> None:
    """Raise ConfigError with every fault that is certain and seen in a moment; ``stages`` are those that would run."""
    _raise([fault for check in _certain(study, stages) if (fault := _fault(check))])


def require_whole(study: StudyConfig, stages: list[Stage]) -> None:
    """Raise ConfigError with every fault of the study; ``stages`` are those that would run.

    Builds every recipe that was not built before and downloads nothing: weights of torchvision that are not there yet
    are believed to fit.
    """
    checks = [*_certain(study, stages), *_splits(study), *_recipes(stages)]
    _raise([fault for check in checks if (fault := _fault(check))])


def _raise(faults: list[str]) -> None:
    if faults:
        head = f"{len(faults)} things would fail: " if len(faults) > 1 else ""
        raise ConfigError(head + " ".join(dict.fromkeys(faults)))


def _fault(check: Callable[[], None]) -> str | None:
    try:
        check()
    except MissrateError as error:
        return str(error)
    return None


def _certain(study: StudyConfig, stages: list[Stage]) -> Iterator[Callable[[], None]]:
    if any(stage.room == "recipe" for stage in stages):
        yield _programs
    yield lambda: _metrics(study)
    for name in [study.split.source] if study.split else study.sources:
        yield lambda name=name: _tested(study, name)  # type: ignore[misc]


def _programs() -> None:
    absent = [name for name in TRAINING if find_spec(name) is None]
    if absent:
        raise InputError(f"Training must have {', '.join(absent)}. Got none; perhaps pip install 'missrate[train]'.")


def _metrics(study: StudyConfig) -> None:
    shelf(study.evaluate.metrics, study.evaluate.tolerances_mm)


def _tested(study: StudyConfig, name: str) -> None:
    """Subgroups are columns of the source's table, and every arm of predictions knows some of its cases."""
    source, foreign = study.sources[name], [arm for arm in study.arms if arm.predictions is not None]
    if not (study.evaluate.subgroups or foreign):
        return
    entries = sources.find(source, images=study.trains)
    if study.evaluate.subgroups and source.patients is None:
        raise ConfigError(f"[evaluate] subgroups must be columns of [sources.{name}] patients. Got no table.")
    for each in study.evaluate.subgroups:
        column(entries, Path(str(source.patients)), each)
    for arm in foreign if study.evaluate.missing == "fail" else []:
        _predicted(arm, name, entries)


def _predicted(arm: ArmConfig, name: str, entries: list[Entry]) -> None:
    folder = arm.folder(name)
    if folder is None:
        raise ConfigError(f"Arm {arm.name!r} must have predictions of source {name!r}. Got none.")
    predicted = {entry.case_id for entry in source_of(folder, arm.reader).entries()}
    if not predicted & {entry.case_id for entry in entries}:
        raise ConfigError(
            f"Predictions of arm {arm.name!r} must be named as the cases of {name}. Got {some(sorted(predicted))} for "
            f"{some(sorted(entry.case_id for entry in entries))}."
        )


def _splits(study: StudyConfig) -> Iterator[Callable[[], None]]:
    """Whether the patients suffice, should none be refused."""
    if study.split is not None:
        entries = sources.find(study.sources[study.partition.source], images=study.trains)
        yield lambda: splitting.require_enough(study.partition, len({entry.patient_id for entry in entries}))


def _recipes(stages: list[Stage]) -> Iterator[Callable[[], None]]:
    """Each kind of recipe once: another name or seed builds no other model."""
    seen = set()
    for task in (task for stage in stages if stage.room == "recipe" for task in stage.tasks()):
        given = {key: value for key, value in task.arguments.items() if key != "out"}
        kind = fingerprint([_anonymous(given["recipe"]), given["parent"] and _anonymous(given["parent"])])
        if kind not in seen:
            seen.add(kind)
            yield lambda given=given: work.try_recipe(**given, fetch=False)  # type: ignore[misc]


def _anonymous(recipe: Recipe) -> dict[str, object]:
    return recipe.model_dump(mode="json", exclude={"arm", "seed"})
