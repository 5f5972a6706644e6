"""Stages that make data: prepare, split, view."""

from functools import partial
from pathlib import Path

from missrate import split as splitting
from missrate.core import catalog, store
from missrate.core.config import parse
from missrate.core.errors import ConfigError
from missrate.core.types import Entry, LabelMeaning
from missrate.engine import Task
from missrate.prepare import manifest
from missrate.readers._files import file_of
from missrate.study import estimate, work
from missrate.study.config import SourceConfig
from missrate.study.layout import Layout
from missrate.study.stages import Stage, arguments, write_index


def prepare(layout: Layout, source: str) -> Stage:
    config, folder = layout.study.sources[source], layout.prepared(source)
    meaning, entries = meaning_of(config), _find(config, labels_only=not layout.study.trains)

    def tasks() -> list[Task]:
        return [
            Task(
                f"prepare {e.case_id}",
                work.prepare,
                arguments(
                    reader=config.reader, entry=e, meaning=meaning, folder=folder, labels_only=not layout.study.trains
                ),
            )
            for e in entries
        ]

    files = [[e.case_id, e.patient_id, fingerprint_of(e.image), fingerprint_of(e.label)] for e in entries]
    return Stage(
        name=f"prepare/{source}",
        inputs=(),
        config={
            "reader": config.reader,
            "meaning": meaning.model_dump(),
            "labels_only": not layout.study.trains,
            "files": files,
        },
        owns=(f"prepared/{source}",),
        tasks=tasks,
        finish=partial(manifest.finish, folder, source, entries),
        estimate=estimate.prepare(len(entries)),
    )


def split(layout: Layout) -> Stage:
    source = layout.study.partition.source

    def finish() -> list[Path]:
        splitting.split(layout.prepared(source) / "manifest.json", layout.study.partition, layout.split_path)
        return [layout.split_path]

    config = layout.study.partition.model_dump()
    return Stage("split", (f"prepare/{source}",), config, ("split.json",), _no_tasks, finish)


def view(layout: Layout, source: str) -> Stage:
    prepared, folder = layout.prepared(source), layout.views(source)

    def cases() -> dict[str, str]:
        return {c["case_id"]: c["patient_id"] for c in store.Prepared(prepared).manifest()["cases"]}

    def tasks() -> list[Task]:
        shared = arguments(prepared=prepared, config=layout.study.view, folder=folder)
        return [Task(f"view {c}", work.view, shared | arguments(case_id=c, patient_id=p)) for c, p in cases().items()]

    def finish() -> list[Path]:
        return [write_index(folder, [f"{c}.{k}.npy" for c in cases() for k in ("image", "label")])]

    # The view lies inside the prepared folder, so that a stale source takes its views along.
    return Stage(
        name=f"view/{source}",
        inputs=(f"prepare/{source}",),
        config=layout.study.view.key(),
        owns=(str(folder.relative_to(layout.out)),),
        tasks=tasks,
        finish=finish,
    )


def _no_tasks() -> list[Task]:
    return []


def meaning_of(config: SourceConfig) -> LabelMeaning:
    """What the study says, or else what the reader knows. Raises ConfigError when neither names a lesion."""
    reader = catalog.load("readers", config.reader)
    meaning = config.labels or LabelMeaning(lesion=reader.LESION, organ=reader.ORGAN)
    if not meaning.lesion:
        raise ConfigError("labels.lesion must name the values that are lesions, such as [1]. Got none.")
    return meaning


def _find(config: SourceConfig, *, labels_only: bool) -> list[Entry]:
    reader = catalog.load("readers", config.reader)
    given = dict(config.options)
    if labels_only and "role" in reader.Config.model_fields:  # where nothing is trained, a flat folder holds labels
        given.setdefault("role", "labels")
    options = parse(reader.Config, given, where=f"options of reader {config.reader}")
    return manifest.with_patients(reader.find(config.path, options), config.patients)


def fingerprint_of(location: str | None) -> object:
    """A location, and for a file its size and time of change, so that a file changed in place is noticed."""
    if location is None or not (path := file_of(location)).is_file():
        return location
    status = path.stat()
    return [location, status.st_size, status.st_mtime_ns]
