"""Stages that make results: evaluate, calibrate, summarise, compare, report."""

from math import isfinite
from pathlib import Path

from missrate import compare as comparing
from missrate.core import own, store
from missrate.core.documents import NoteForm, ReasonForm
from missrate.core.errors import ConfigError
from missrate.core.ladder import SCHEMA as LADDER
from missrate.core.ladder import Rung
from missrate.core.points import SCHEMA as POINT
from missrate.core.types import Entry
from missrate.engine import Task
from missrate.evaluate import blocks, statistics
from missrate.evaluate.summary import ALL
from missrate.prepare.patients import column
from missrate.readers._detect import source_of
from missrate.study import budgets, climb, estimate, leak, work
from missrate.study.config import NULL_ARMS, USUAL
from missrate.study.layout import Fold, Layout
from missrate.study.stages import INDEX, IndexForm, Stage, arguments, batched, write_index


def evaluate(layout: Layout, name: str) -> Stage:
    source, settings = layout.study.partition.source, layout.study.evaluate
    surfels = blocks.needs_surfels(settings.metrics)

    def tasks() -> list[Task]:
        shared = arguments(
            prepared=layout.prepared(source),
            out=layout.statistics(name),
            thresholds=settings.thresholds,
            floor=settings.floor,
            as_misses=settings.missing == "as-misses",
            surfels=surfels,
        )
        return [
            Task(
                f"evaluate {name} {part[0][0]}",
                work.measure_all,
                shared | arguments(cases=dict(part), predictions=layout.predictions(name, fold), fold=fold),
            )
            for fold in layout.folds
            for part in batched(list(layout.predicted(fold).items()))
        ]

    def finish() -> list[Path]:
        return [write_index(layout.statistics(name), [f"{c}.npz" for f in layout.folds for c in layout.predicted(f)])]

    inputs = (f"prepare/{source}", "split", *(layout.predict_name(name, fold) for fold in layout.folds))
    config = settings.model_dump(include={"thresholds", "floor", "missing"})
    config |= {"surfels": surfels, "floors": [statistics.MOST_ACTIVE, statistics.FEW]}
    owns = (str(layout.statistics(name).relative_to(layout.out)),)
    cost = estimate.evaluate(len(layout.entries(source)), name)
    return Stage(f"evaluate/{name}", inputs, config, owns, tasks, finish, cost)


def calibrate(layout: Layout, name: str) -> Stage:
    out = layout.point_files(name)[0]
    target, run = layout.study.evaluate.target, _run_of(layout, name)

    def tasks() -> list[Task]:
        cases = layout.statistics_files(name, "calibration")
        by_fold = layout.folds != [None]
        given = arguments(
            cases=cases,
            out=out,
            target=target,
            matching=layout.matchings[0],
            by_fold=by_fold,
            arm=name,
            run=layout.run(run, None) if run and not by_fold else None,
        )
        return [Task(f"calibrate {name}", work.choose_point, given)]

    config = [target.model_dump(), layout.study.evaluate.least_volume_ml, POINT]
    owns = (str(out.relative_to(layout.out)),)
    trained = [layout.train_name(run, fold) for fold in layout.folds] if run else []
    inputs = (f"evaluate/{name}", "split", *trained)
    return Stage(f"calibrate/{name}", inputs, config, owns, tasks, lambda: [out])


def certify(layout: Layout, name: str) -> Stage:
    """A stage of its own: another promise repeats no comparison of arms."""
    (out,), (stage,) = layout.certified_files(name), layout.certify_stages(name)
    settings, source, run = layout.study.evaluate, layout.study.partition.source, _run_of(layout, name)
    assert settings.certify is not None
    wanted = settings.certify.bounded_by(settings.target)

    def tasks() -> list[Task]:
        given = arguments(
            cases=layout.statistics_files(name, "calibration"),
            out=out,
            wanted=wanted,
            matching=layout.matchings[0],
            arm=name,
            run=layout.run(run, None) if run else None,
            source=source,
        )
        return [Task(f"certify {name}", work.certify_point, given)]

    config = [wanted.model_dump(), layout.study.evaluate.least_volume_ml, POINT]
    inputs = (f"evaluate/{name}", "split", *([layout.train_name(run, None)] if run else []))
    return Stage(stage, inputs, config, (str(out.relative_to(layout.out)),), tasks, lambda: [out])


def summarise(layout: Layout, name: str) -> Stage:
    folder, settings = layout.out / "evaluation" / name, layout.study.evaluate

    def tasks() -> list[Task]:
        cases = layout.statistics_files(name, "test")
        index = store.read_json(layout.statistics(name) / "index.json", INDEX, IndexForm)
        wanted = {path.stem for path in cases}
        source_manifest = layout.prepared(layout.study.partition.source) / "manifest.json"
        given = arguments(
            cases=cases,
            folder=folder,
            points=[*layout.point_files(name), *layout.certified_files(name)],
            fixed=settings.thresholds,
            folds=layout.folds,
            arm=name,
            matchings=layout.matchings,
            part="test" if layout.folds == [None] else "out-of-fold",
            seed=layout.study.partition.seed,
            missing=sorted(wanted & {Path(file).stem for file in index["absent"]}),
            failed=_said(layout, name, "failed", wanted),
            warnings=_said(layout, name, "warning", wanted),
            inputs={
                "reference": store.hash_file(source_manifest),
                "predictions": store.hash_file(layout.statistics(name) / "index.json"),
                **own.identities(settings.metrics),
            },
            resamples=settings.resamples,
            floor=settings.floor,
            metrics=settings.metrics,
            tolerances_mm=settings.tolerances_mm,
            subgroups=_subgroups(layout, wanted),
            extra=_extra(layout, name),
        )
        return [Task(f"summarise {name}", work.summarise, given)]

    files = [folder / file for file in ("summary.json", "lesions.csv", "cases.csv")]
    config = settings.model_dump(exclude={"target", "certify", "against", "null_arms"})
    owns = tuple(str(file.relative_to(layout.out)) for file in files)
    inputs = (f"evaluate/{name}", "split", *layout.point_stages(name), *layout.certify_stages(name))
    return Stage(f"summarise/{name}", inputs, config, owns, tasks, lambda: files)


def compare(layout: Layout, arms: list[str]) -> Stage:
    out, settings = layout.out / "comparison" / "comparison.json", layout.study.evaluate
    against, unequal = settings.against or arms[0], budgets.unequal(layout.study)

    def tasks() -> list[Task]:
        given = arguments(
            arms={arm: [layout.statistics_files(one, "test") for one in layout.study.repeats(arm)] for arm in arms},
            trained={arm: run for arm in arms if (run := _run_of(layout, arm)) is not None},
            points={arm: [layout.point_files(one) for one in layout.study.repeats(arm)] for arm in arms},
            out=out,
            fixed=settings.thresholds,
            folds=layout.folds,
            against=against,
            matching=layout.matchings[0],
            resamples=settings.resamples,
            seed=layout.study.partition.seed,
            fp_per_scan=_bounds(settings.target.false_positives_per_scan, USUAL.false_positives_per_scan),
            fp_ml_per_scan=_bounds(settings.target.false_positive_ml_per_scan, USUAL.false_positive_ml_per_scan),
            subgroups=_subgroups(layout, {path.stem for path in layout.statistics_files(against, "test")}),
            unequal=unequal,
        )
        return [Task("compare", work.compare_arms, given)]

    config = [comparing.SCHEMA, against, settings.resamples, settings.least_volume_ml, settings.target.model_dump()]
    config += [list(settings.subgroups), list(settings.thresholds), *([unequal] if unequal else [])]
    every = [one for arm in arms for one in layout.study.repeats(arm)]
    inputs = ("split", *(f"evaluate/{a}" for a in every), *(s for a in every for s in layout.point_stages(a)))
    return Stage("compare", inputs, config, ("comparison",), tasks, lambda: [out])


def ladder(layout: Layout) -> Stage:
    """One stage for all rungs: they share cases and cost seconds."""
    out, source, rungs = layout.out / "ladder" / "ladder.json", layout.study.partition.source, layout.study.ladder
    settings = layout.study.evaluate
    calibrated = [rung.arm for rung in rungs if rung.threshold == "calibrated"]

    def predictions(rung: Rung) -> tuple[dict[str, Path], dict[str, int]]:
        if layout.leaks(rung.arm):
            first = leak.tested(layout)
            return {c: layout.predictions(rung.arm, None) / f"{c}.b2nd" for c in first}, first
        tested = set(layout.cases("test") if layout.folds == [None] else folds())
        found = {
            c: layout.predictions(rung.arm, fold) / f"{c}.b2nd"
            for fold in layout.folds
            for c in layout.predicted(fold)
            if c in tested
        }
        return found, {}

    def folds() -> dict[str, Fold]:
        return {case_id: fold for fold in layout.folds for case_id in layout.predicted(fold)}

    def tasks() -> list[Task]:
        manifest = store.Prepared(layout.prepared(source)).manifest()["cases"]
        given = arguments(
            rungs=[(rung, *predictions(rung)) for rung in rungs],
            prepared=layout.prepared(source),
            cases={case["case_id"]: case["patient_id"] for case in manifest},
            points={arm: layout.point_files(arm)[0] for arm in calibrated},
            folds=dict.fromkeys((case["case_id"] for case in manifest), None) | folds(),
            as_misses=settings.missing == "as-misses",
            resamples=settings.resamples,
            seed=layout.study.partition.seed,
            out=out,
        )
        return [Task("ladder", climb.climb, given)]

    arms = dict.fromkeys(rung.arm for rung in rungs)
    folds_of = {arm: [None] if layout.leaks(arm) else layout.folds for arm in arms}
    inputs = (
        "split",
        f"prepare/{source}",
        *(layout.predict_name(arm, fold) for arm in arms for fold in folds_of[arm]),
        *(stage for arm in dict.fromkeys(calibrated) for stage in layout.point_stages(arm)),
    )
    config = [LADDER, settings.missing, settings.resamples, *(rung.model_dump(mode="json") for rung in rungs)]
    return Stage("ladder", inputs, config, ("ladder",), tasks, lambda: [out])


def report(layout: Layout, arms: list[str]) -> Stage:
    out = layout.out / "report" / "index.html"
    trained = [arm for arm in layout.study.arms if arm.model and arm.repeats is None]

    def tasks() -> list[Task]:
        inputs = {
            "study": own.without_places(layout.study.model_dump(mode="json")),
            "summaries": {arm: layout.out / "evaluation" / arm / "summary.json" for arm in arms},
            "lesions": {arm: layout.out / "evaluation" / arm / "lesions.csv" for arm in arms},
            "comparison": layout.out / "comparison" / "comparison.json",
            "ladder": layout.out / "ladder" / "ladder.json" if layout.study.ladder else None,
            "promises": {arm: path for arm in arms for path in layout.certified_files(arm)},
            "split": layout.split_path,
            "prepared": {source: layout.prepared(source) for source in layout.study.sources},
            "runs": {arm.name: [layout.run(arm.name, f) for f in layout.training_folds(arm)] for arm in trained},
            "predictions": {arm: {f: layout.predictions(arm, f) for f in layout.folds} for arm in arms},
        }
        return [Task("report", work.draw_report, arguments(out=out, inputs=inputs))]

    runs = [layout.train_name(arm.name, fold) for arm in trained for fold in layout.training_folds(arm)]
    promised = [stage for arm in arms for stage in layout.certify_stages(arm)]
    ladder = ["ladder"] if layout.study.ladder else []
    inputs = ("compare", *(f"summarise/{arm}" for arm in arms), *promised, *runs, *ladder)
    config = layout.study.model_dump(mode="json", include={"report", "arms"})
    return Stage("report", inputs, config, ("report",), tasks, lambda: [out])


def _run_of(layout: Layout, name: str) -> str | None:
    """The arm whose training knows which patients it saw; None for null arms and folders of predictions."""
    arm = None if name in NULL_ARMS else layout.study.arm(name)
    return None if arm is None or arm.predictions is not None else arm.run or name


def _bounds(target: float, usual: float) -> tuple[float, ...]:
    """Where arms are compared at matched false positives: the target itself first, a quarter of it, four times it.

    A target without a bound matches nothing: then at the ``usual`` one.
    """
    bound = target if isfinite(target) else usual
    return bound, bound / 4, bound * 4


def _said(layout: Layout, name: str, what: str, wanted: set[str]) -> list[dict[str, str]]:
    """What the predict stage noted of an arm's cases: those that failed, each with its reason, or warnings."""
    paths = [path for fold in layout.folds for path in sorted(layout.predictions(name, fold).glob(f"*.{what}.json"))]
    rows: list[dict[str, str]] = [
        store.read_json(path, None, ReasonForm if what == "failed" else NoteForm) for path in paths
    ]
    return [row for row in rows if row["case_id"] in wanted or row["case_id"] == ALL]


def _subgroups(layout: Layout, cases: set[str]) -> dict[str, dict[str, str]]:
    """What the source's table of patients says of each case, for each column that is asked for."""
    source = layout.study.sources[layout.study.partition.source]
    entries = [Entry(case_id, case_id, None, None) for case_id in sorted(cases)]
    if layout.study.evaluate.subgroups and source.patients is None:
        raise ConfigError("[evaluate] subgroups must be columns of the source's `patients` table. Got no table.")
    return {name: column(entries, Path(str(source.patients)), name) for name in layout.study.evaluate.subgroups}


def _extra(layout: Layout, name: str) -> list[str]:
    """Predictions of a foreign arm for cases that the source does not have."""
    source = layout.study.partition.source
    path = None if name in NULL_ARMS else layout.study.arm(name).folder(source)
    if path is None:
        return []
    predicted = {entry.case_id for entry in source_of(path, layout.study.arm(name).reader).entries()}
    manifest = store.Prepared(layout.prepared(source)).manifest()
    return sorted(predicted - {case["case_id"] for case in manifest["cases"]})
