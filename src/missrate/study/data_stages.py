"""Stages that make data: prepare, split, view."""

import json
import logging
from pathlib import Path
from typing import Any

from missrate import split as splitting
from missrate.core import store
from missrate.core.errors import DataError
from missrate.engine import Task
from missrate.prepare import manifest, twins
from missrate.study import estimate, sources, work
from missrate.study.layout import Layout
from missrate.study.stages import Stage, arguments, write_index

logger = logging.getLogger(__name__)


def prepare(layout: Layout, source: str) -> Stage:
    config, folder = layout.study.sources[source], layout.prepared(source)
    images = layout.study.trains
    meaning, entries = sources.meaning_of(config), layout.entries(source)
    if said := sources.said_of(config):
        logger.warning("[sources.%s] %s", source, said)

    def tasks() -> list[Task]:
        shared = arguments(reader=config.reader, meaning=meaning, folder=folder, images=images)
        return [Task(f"prepare {e.case_id}", work.prepare, shared | arguments(entry=e)) for e in entries]

    def finish() -> list[Path]:
        notes = sources.notes(config, images=images) + ((said,) if said else ())
        return manifest.finish(folder, source, entries, excluded=config.exclude, notes=notes)

    files = [
        [e.case_id, e.patient_id, sources.fingerprint_of(e.image), sources.fingerprint_of(e.label)] for e in entries
    ]
    return Stage(
        name=f"prepare/{source}",
        inputs=(),
        config={
            "reader": config.reader,
            "meaning": meaning.model_dump(),
            "images": images,
            "excluded": config.exclude,
            "files": files,
            "schema": [store.CASE, store.MANIFEST],
        },
        owns=(f"prepared/{source}",),
        tasks=tasks,
        finish=finish,
        estimate=estimate.prepare(len(entries)),
    )


def split(layout: Layout, used: list[str]) -> Stage:
    """``used``: the tested source and all that something is trained on; none may show a tested patient."""
    source, partition = layout.study.partition.source, layout.study.partition

    def finish() -> list[Path]:
        cases = {name: store.Prepared(layout.prepared(name)).manifest()["cases"] for name in used}
        for name in used:
            if name != source:
                _require_no_twins(cases[name], cases[source], name)
        splitting.split(layout.prepared(source) / "manifest.json", partition, layout.split_path)
        return [layout.split_path]

    file = None if partition.file is None else store.hash_file(partition.file)
    config = partition.model_dump(mode="json", exclude={"file"}) | {"file": file}
    return Stage("split", tuple(f"prepare/{name}" for name in used), config, ("split.json",), _no_tasks, finish)


def _require_no_twins(trained: list[dict[str, Any]], tested: list[dict[str, Any]], name: str) -> None:
    """Raises DataError when a scan of a source for training holds the voxels of one that will be tested."""
    shared = twins.across(trained, tested)
    if shared:
        case_id, twin = next(iter(shared.items()))
        raise DataError(
            f"Sources must not share patients. Got {len(shared)} scans of {name} whose patients are tested, such as "
            f"{case_id} (tested: {twin}); perhaps say under [sources.{name}]: exclude = {json.dumps(list(shared))}"
        )


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
