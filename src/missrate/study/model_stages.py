"""Stages that make predictions: train, and predict by trained, null and foreign arms."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from missrate.core import store
from missrate.core.errors import ConfigError
from missrate.core.recipe import Recipe
from missrate.core.seed import generator
from missrate.engine import Task
from missrate.readers._detect import source_of
from missrate.study import arm_labels, estimate, leak, work
from missrate.study.config import NULL_ARMS, ArmConfig
from missrate.study.layout import Fold, Layout
from missrate.study.sources import fingerprint_of
from missrate.study.stages import Stage, arguments, batched, write_index


def recipe(layout: Layout, arm: ArmConfig) -> Stage:
    """Builds an arm's recipe once, before anything long runs: a model knows only then what it cannot be."""
    value = layout.study.reused(arm) if arm.run else layout.study.recipe(arm)
    out = layout.out / "recipes" / f"{arm.name}.toml"
    name = f"recipe/{arm.name}"
    parent = layout.study.recipe(layout.study.arm(value.init[4:])) if value.init.startswith("arm:") else None
    given = arguments(recipe=value, out=out, parent=parent, offline=layout.offline, folder=layout.folder)
    tasks = [Task(name, work.check_recipe, given)]
    config = value.model_dump(mode="json")
    return Stage(name, (), config, (f"recipes/{arm.name}.toml",), lambda: tasks, lambda: [out])


def train(layout: Layout, arm: ArmConfig, fold: Fold) -> Stage:
    resolved, run, source = layout.study.recipe(arm), layout.run(arm.name, fold), layout.source_of(arm)
    parent = arm.init[4:] if arm.init.startswith("arm:") else None
    parent_run = layout.run(parent, fold) if parent else None
    inputs = [f"recipe/{arm.name}", f"view/{source}", "split", *([layout.train_name(parent, fold)] if parent else [])]

    leaks = arm.split == "slices"

    def tasks() -> list[Task]:
        leading = leak.leading_slices(layout) if leaks else {}
        parts = _training_cases(layout, arm, fold)
        if leaks:
            parts = {"train": [case_id for case_id, slices in leading.items() if slices], "validation": []}
        given = arguments(
            run=run,
            recipe=resolved,
            parts=parts,
            leading=leading,
            provenance=_provenance(layout, source, fold, parts, parent_run),
            views_folder=layout.views(source),
            arm_weights=parent_run and parent_run / "weights.safetensors",
            offline=layout.offline,
            folder=layout.folder,
        )
        return [Task(layout.train_name(arm.name, fold), work.train, given)]

    return Stage(
        name=layout.train_name(arm.name, fold),
        inputs=tuple(inputs),
        config=[
            resolved.model_dump(mode="json"),
            *(["slices"] if leaks else []),
            *([] if arm.train_patients is None else [arm.train_patients]),
        ],
        owns=(str(run.relative_to(layout.out)),),
        tasks=tasks,
        finish=lambda: [run / "weights.safetensors", run / "recipe.toml", run / "provenance.json"],
        estimate=estimate.train(resolved),
    )


def _training_cases(layout: Layout, arm: ArmConfig, fold: Fold) -> dict[str, list[str]]:
    source = layout.source_of(arm)
    if source != layout.study.partition.source:
        cases = store.Prepared(layout.prepared(source)).manifest()["cases"]
        patients, validation = {case["case_id"]: case["patient_id"] for case in cases}, []
    else:
        patients, validation = layout.trained_on(fold), list(layout.cases("validation"))
    return {"train": _of_some(patients, arm, layout.study.partition.seed), "validation": validation}


def _of_some(patients: dict[str, str], arm: ArmConfig, seed: int) -> list[str]:
    """The cases of an arm's training patients: all, or the first so many in an order that the split's seed draws.

    So fewer patients are always among more, and arms of one number have the same ones, whatever their own seeds.
    """
    if arm.train_patients is None:
        return list(patients)
    known = sorted(set(patients.values()))
    if arm.train_patients > len(known):
        raise ConfigError(
            f"train_patients of arm {arm.name!r} must be at most the number of training patients. "
            f"Got {arm.train_patients} of {len(known)}."
        )
    order = generator(seed, "train_patients").permutation(len(known))
    chosen = {known[k] for k in order[: arm.train_patients]}
    return [case_id for case_id, patient in patients.items() if patient in chosen]


def _provenance(
    layout: Layout, source: str, fold: Fold, parts: dict[str, list[str]], parent_run: Path | None
) -> dict[str, Any]:
    """Which patients the weights have seen, by source, those of the parent included."""
    cases = store.Prepared(layout.prepared(source)).manifest()["cases"]
    used = {case_id for ids in parts.values() for case_id in ids}
    seen = {source: sorted({case["patient_id"] for case in cases if case["case_id"] in used})}
    if parent_run is not None:
        for name, patients in store.read_json(parent_run / "provenance.json", store.PROVENANCE)["patients"].items():
            seen[name] = sorted({*patients, *seen.get(name, [])})
    return {
        "patients": seen,
        "fold": fold,
        "split": store.hash_file(layout.split_path),
        "manifest": store.hash_file(layout.prepared(source) / "manifest.json"),
        "parent": parent_run and store.hash_file(parent_run / "weights.safetensors"),
    }


def predict(layout: Layout, name: str, fold: Fold) -> Stage:
    stage = _predict_null if name in NULL_ARMS else _predict_arm
    return stage(layout, name, fold)


def _predict_arm(layout: Layout, name: str, fold: Fold) -> Stage:
    arm, folder, source = layout.study.arm(name), layout.predictions(name, fold), layout.study.partition.source
    if arm.predictions is not None:
        return _predict_foreign(layout, arm, fold)
    applied = layout.study.reused(arm) if arm.run else layout.study.recipe(arm)
    trained = arm.run or name
    shared = arguments(run=layout.run(trained, fold), recipe=applied, source=source, views_folder=layout.views(source))

    def tasks() -> list[Task]:
        return [
            Task(f"predict {name} {c}", work.predict, shared | arguments(case_id=c, out=folder / f"{c}.b2nd"))
            for c in layout.predicted(fold)
        ]

    config = applied.model_dump(mode="json", include={"config", "predict", "view"})
    inputs = (f"recipe/{name}", layout.train_name(trained, fold), f"view/{source}", "split")
    return _prediction_stage(layout, name, fold, inputs=inputs, config=config, tasks=tasks, recipe=applied)


def predict_leak(layout: Layout, name: str) -> Stage:
    """The scans of which an arm with split = "slices" was not trained on every slice; for ladders only."""
    arm, folder, source = layout.study.arm(name), layout.predictions(name, None), layout.study.partition.source
    applied = layout.study.reused(arm) if arm.run else layout.study.recipe(arm)
    trained = arm.run or name
    views = layout.views(source)
    shared = arguments(run=layout.run(trained, None), recipe=applied, source=source, views_folder=views, leaks=True)

    def cases() -> list[str]:
        return list(leak.tested(layout))

    def tasks() -> list[Task]:
        return [
            Task(f"predict {name} {c}", work.predict, shared | arguments(case_id=c, out=folder / f"{c}.b2nd"))
            for c in cases()
        ]

    return Stage(
        name=layout.predict_name(name, None),
        inputs=(f"recipe/{name}", layout.train_name(trained, None), f"view/{source}", "split"),
        config=applied.model_dump(mode="json", include={"config", "predict", "view"}),
        owns=(str(folder.relative_to(layout.out)),),
        tasks=tasks,
        finish=lambda: [write_index(folder, [f"{case_id}.b2nd" for case_id in cases()])],
        estimate=estimate.predict(applied),
    )


def _predict_foreign(layout: Layout, arm: ArmConfig, fold: Fold) -> Stage:
    source, folder = layout.study.partition.source, layout.predictions(arm.name, fold)
    path = arm.folder(source)
    if path is None:
        raise ConfigError(f"Arm {arm.name!r} must have predictions of source {source!r}. Got none.")
    origin, asked = source_of(path, arm.reader), arm_labels.asked_of(arm, layout.study.sources[source], path)
    found = {entry.case_id: str(entry.label) for entry in origin.entries()}

    def tasks() -> list[Task]:
        shared = arguments(
            reader=origin.name,
            prepared=layout.prepared(source),
            lesion=tuple(sorted(asked.lesion)),
            out=folder,
        )
        wanted = [(case_id, found[case_id]) for case_id in layout.predicted(fold) if case_id in found]
        return [
            Task(f"predict {arm.name} {part[0][0]}", work.import_predictions, shared | {"predictions": dict(part)})
            for part in batched(wanted)
        ]

    config = [
        origin.name,
        sorted(asked.lesion),
        sorted(asked.known),
        *([case_id, fingerprint_of(place)] for case_id, place in sorted(found.items())),
    ]
    inputs = ("split", f"prepare/{source}")
    stage = _prediction_stage(layout, arm.name, fold, inputs=inputs, config=config, tasks=tasks, recipe=None)
    written = stage.finish

    def finish() -> list[Path]:
        arm_labels.settle(folder, asked, layout.study.sources[source], where=path)
        return written()

    return replace(stage, finish=finish)


def _predict_null(layout: Layout, name: str, fold: Fold) -> Stage:
    source = layout.study.partition.source

    def tasks() -> list[Task]:
        given = arguments(
            arm=name,
            prepared=layout.prepared(source),
            trained_on=layout.trained_on(fold),
            cases=layout.predicted(fold),
            out=layout.predictions(name, fold),
        )
        return [Task(f"predict {name}", work.predict_null, given)]

    return _prediction_stage(
        layout, name, fold, inputs=("split", f"prepare/{source}"), config=name, tasks=tasks, recipe=None
    )


def _prediction_stage(
    layout: Layout,
    name: str,
    fold: Fold,
    *,
    inputs: tuple[str, ...],
    config: object,
    tasks: Callable[[], list[Task]],
    recipe: Recipe | None,
) -> Stage:
    folder = layout.predictions(name, fold)

    def finish() -> list[Path]:
        return [write_index(folder, [f"{case_id}.b2nd" for case_id in layout.predicted(fold)])]

    return Stage(
        name=layout.predict_name(name, fold),
        inputs=inputs,
        config=config,
        owns=(str(folder.relative_to(layout.out)),),
        tasks=tasks,
        finish=finish,
        estimate=estimate.predict(recipe),
    )
