"""A study -> its stages, in an order in which every stage comes after its inputs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from missrate import split as splitting
from missrate.core import catalog, store
from missrate.core.config import parse
from missrate.core.errors import ConfigError, DataError
from missrate.core.recipe import Recipe
from missrate.core.types import Entry, LabelMeaning, Matching
from missrate.engine import Task
from missrate.prepare import manifest
from missrate.readers import nifti
from missrate.study import estimate, work
from missrate.study.config import NULL_ARMS, ArmConfig, SourceConfig, StudyConfig
from missrate.study.stages import Stage

Fold = int | None


def plan(study: StudyConfig, out: Path, *, offline: bool = False) -> list[Stage]:
    """All stages of a study that writes below ``out``. Lists the sources' files, reads no voxel."""
    return _Planner(study, out, offline).stages()


@dataclass
class _Planner:
    study: StudyConfig
    out: Path
    offline: bool
    entries: dict[str, list[Entry]] = field(default_factory=dict)

    def stages(self) -> list[Stage]:
        used = [self.study.split.source, *(arm.source for arm in self.study.arms if arm.source)]
        evaluated = [arm.name for arm in self.study.arms if arm.evaluate]
        arms = [*evaluated, *(NULL_ARMS if self.study.evaluate.null_arms else ())]
        result = [self.prepare(source) for source in dict.fromkeys(used)]
        result.append(self.split())
        result += [self.view(source) for source in dict.fromkeys(used)] if self._trains() else []
        for arm in self.study.arms:
            result += [self.train(arm, fold) for fold in self._training_folds(arm)] if arm.model else []
        for name in arms:
            result += [self.predict(name, fold) for fold in self.folds]
            result.append(self.evaluate(name))
        if self.calibrates:
            result += [self.calibrate(name) for name in arms]
        result += [self.summarise(name) for name in arms]
        return [*result, self.compare(arms), self.report(arms)]

    # What the study means ---------------------------------------------------------------------------------------

    @cached_property
    def folds(self) -> list[Fold]:
        return list(range(self.study.split.folds)) if self.study.split.folds else [None]

    @property
    def calibrates(self) -> bool:
        """With folds the other folds calibrate; without, a calibration part must exist."""
        return self.folds != [None] or bool((self.study.split.parts or {}).get("calibration"))

    def _trains(self) -> bool:
        return any(arm.model for arm in self.study.arms)

    def _training_folds(self, arm: ArmConfig) -> list[Fold]:
        """A run on another source sees none of the split patients, so one run serves all folds."""
        return self.folds if self._source(arm) == self.study.split.source else [None]

    def _source(self, arm: ArmConfig) -> str:
        return arm.source or self.study.split.source

    @property
    def matchings(self) -> list[Matching]:
        least_ml = self.study.evaluate.least_volume_ml
        iou = Matching("iou", self.study.evaluate.iou_minimum, least_volume_ml=least_ml)
        return [Matching("overlap", least_volume_ml=least_ml), iou]

    # Where things lie -------------------------------------------------------------------------------------------

    def prepared(self, source: str) -> Path:
        return self.out / "prepared" / source

    def views(self, source: str) -> Path:
        return self.prepared(source) / "views" / self.study.view.key()

    def run(self, arm: str, fold: Fold) -> Path:
        fold = fold if fold in self._training_folds(self.study.arm(arm)) else None
        return self.out / "runs" / arm / _fold_path(fold) / f"seed{self.study.split.seed}"

    def predictions(self, arm: str, fold: Fold) -> Path:
        return self.out / "predictions" / arm / _fold_path(fold)

    def statistics(self, arm: str) -> Path:
        return self.out / "evaluation" / arm / "statistics"

    # What the split says, once it exists ------------------------------------------------------------------------

    @property
    def split_path(self) -> Path:
        return self.out / "split.json"

    def _split(self) -> dict[str, Any]:
        return splitting.read(self.split_path, self.prepared(self.study.split.source) / "manifest.json")

    def _cases(self, *places: str | int) -> dict[str, str]:
        """Case to patient, of the given parts or folds, in the order of case ids."""
        value = self._split()
        return {c: p for c, p in sorted(value["cases"].items()) if value["patients"][p] in places}

    def trained_on(self, fold: Fold) -> dict[str, str]:
        return self._cases("train") if fold is None else self._cases(*(k for k in self.folds if k not in (fold, None)))

    def predicted(self, fold: Fold) -> dict[str, str]:
        return self._cases("calibration", "test") if fold is None else self._cases(fold)

    def _statistics_files(self, arm: str, part: str) -> list[Path]:
        cases = self._cases(part) if self.folds == [None] else self._cases(*self.folds)  # type: ignore[arg-type]
        return [self.statistics(arm) / f"{case_id}.npz" for case_id in cases]

    # The stages -------------------------------------------------------------------------------------------------

    def prepare(self, source: str) -> Stage:
        config, folder = self.study.sources[source], self.prepared(source)
        meaning, entries = _meaning(config), _find(config)

        def tasks() -> list[Task]:
            return [
                Task(
                    f"prepare {e.case_id}",
                    work.prepare,
                    _args(reader=config.reader, entry=e, meaning=meaning, folder=folder),
                )
                for e in entries
            ]

        files = [[e.case_id, e.patient_id, _fingerprint(e.image), _fingerprint(e.label)] for e in entries]
        return Stage(
            name=f"prepare/{source}",
            inputs=(),
            config={"reader": config.reader, "meaning": meaning.model_dump(), "files": files},
            owns=(f"prepared/{source}",),
            tasks=tasks,
            finish=partial(manifest.finish, folder, source, entries),
            estimate=estimate.prepare(len(entries)),
        )

    def split(self) -> Stage:
        source = self.study.split.source

        def finish() -> list[Path]:
            splitting.split(self.prepared(source) / "manifest.json", self.study.split, self.split_path)
            return [self.split_path]

        config = self.study.split.model_dump()
        return Stage("split", (f"prepare/{source}",), config, ("split.json",), _no_tasks, finish)

    def view(self, source: str) -> Stage:
        prepared, folder = self.prepared(source), self.views(source)

        def cases() -> dict[str, str]:
            return {c["case_id"]: c["patient_id"] for c in store.Prepared(prepared).manifest()["cases"]}

        def tasks() -> list[Task]:
            shared = _args(prepared=prepared, config=self.study.view, folder=folder)
            return [Task(f"view {c}", work.view, shared | _args(case_id=c, patient_id=p)) for c, p in cases().items()]

        def finish() -> list[Path]:
            return [_write_index(folder, [f"{c}.{k}.npy" for c in cases() for k in ("image", "label")])]

        # The view lies inside the prepared folder, so that a stale source takes its views along.
        return Stage(
            name=f"view/{source}",
            inputs=(f"prepare/{source}",),
            config=self.study.view.key(),
            owns=(str(folder.relative_to(self.out)),),
            tasks=tasks,
            finish=finish,
        )

    def train(self, arm: ArmConfig, fold: Fold) -> Stage:
        recipe, run, source = self.study.recipe(arm), self.run(arm.name, fold), self._source(arm)
        parent = arm.init[4:] if arm.init.startswith("arm:") else None
        parent_run = self.run(parent, fold) if parent else None
        inputs = [f"view/{source}", "split", *([self._train_name(parent, fold)] if parent else [])]

        def tasks() -> list[Task]:
            arguments = _args(
                run=run,
                recipe=recipe,
                parts=self._training_cases(source, fold),
                provenance=self._provenance(source, fold, parent_run),
                views_folder=self.views(source),
                arm_weights=parent_run and parent_run / "weights.safetensors",
                offline=self.offline,
            )
            return [Task(self._train_name(arm.name, fold), work.train, arguments)]

        return Stage(
            name=self._train_name(arm.name, fold),
            inputs=tuple(inputs),
            config=recipe.model_dump(mode="json"),
            owns=(str(run.relative_to(self.out)),),
            tasks=tasks,
            finish=lambda: [run / "weights.safetensors", run / "recipe.toml", run / "provenance.json"],
            estimate=estimate.train(recipe),
        )

    def _train_name(self, arm: str, fold: Fold) -> str:
        fold = fold if fold in self._training_folds(self.study.arm(arm)) else None
        return "/".join(["train", arm, *([f"fold{fold}"] if fold is not None else [])])

    def _training_cases(self, source: str, fold: Fold) -> dict[str, list[str]]:
        if source != self.study.split.source:
            cases = store.Prepared(self.prepared(source)).manifest()["cases"]
            return {"train": [case["case_id"] for case in cases], "validation": []}
        return {"train": list(self.trained_on(fold)), "validation": list(self._cases("validation"))}

    def _provenance(self, source: str, fold: Fold, parent_run: Path | None) -> dict[str, Any]:
        """Which patients the weights have seen, by source, those of the parent included."""
        cases = store.Prepared(self.prepared(source)).manifest()["cases"]
        used = {case_id for ids in self._training_cases(source, fold).values() for case_id in ids}
        seen = {source: sorted({case["patient_id"] for case in cases if case["case_id"] in used})}
        if parent_run is not None:
            for name, patients in store.read_json(parent_run / "provenance.json")["patients"].items():
                seen[name] = sorted({*patients, *seen.get(name, [])})
        self._require_no_twins(cases, used, source)
        return {
            "patients": seen,
            "fold": fold,
            "split": store.hash_file(self.split_path),
            "manifest": store.hash_file(self.prepared(source) / "manifest.json"),
            "parent": parent_run and store.hash_file(parent_run / "weights.safetensors"),
        }

    def _require_no_twins(self, cases: list[dict[str, Any]], used: set[str], source: str) -> None:
        """Raises DataError when a scan of another source holds the voxels of a scan that will be tested."""
        if source == self.study.split.source:
            return
        others = store.Prepared(self.prepared(self.study.split.source)).manifest()["cases"]
        tested = {case["image_hash"]: case["case_id"] for case in others}
        for case in cases:
            if case["case_id"] in used and case["image_hash"] in tested:
                raise DataError(
                    f"Sources must not share scans. Got {case['case_id']} of {source} with the voxels of "
                    f"{tested[case['image_hash']]}; remove it from {source}."
                )

    def predict(self, name: str, fold: Fold) -> Stage:
        stage = self._predict_null if name in NULL_ARMS else self._predict_arm
        return stage(name, fold)

    def _predict_arm(self, name: str, fold: Fold) -> Stage:
        arm, folder, source = self.study.arm(name), self.predictions(name, fold), self.study.split.source
        if arm.predictions is not None:
            return self._predict_foreign(arm, fold)
        recipe = self.study.reused(arm) if arm.run else self.study.recipe(arm)
        trained = arm.run or name
        shared = _args(run=self.run(trained, fold), recipe=recipe, source=source, views_folder=self.views(source))

        def tasks() -> list[Task]:
            return [
                Task(f"predict {name} {c}", work.predict, shared | _args(case_id=c, out=folder / f"{c}.b2nd"))
                for c in self.predicted(fold)
            ]

        config = recipe.model_dump(mode="json", include={"config", "predict", "view"})
        inputs = (self._train_name(trained, fold), f"view/{source}", "split")
        return self._prediction_stage(name, fold, inputs=inputs, config=config, tasks=tasks, recipe=recipe)

    def _predict_foreign(self, arm: ArmConfig, fold: Fold) -> Stage:
        assert arm.predictions is not None
        source, folder = self.study.split.source, self.predictions(arm.name, fold)
        entries = nifti.find(arm.predictions, nifti.Config(role="labels"))
        found = {entry.case_id: str(entry.label) for entry in entries}
        lesion = _meaning(self.study.sources[source]).lesion

        def tasks() -> list[Task]:
            shared = _args(prepared=self.prepared(source), lesion=lesion)
            return [
                Task(
                    f"predict {arm.name} {c}",
                    work.import_prediction,
                    shared | _args(prediction=found[c], case_id=c, patient_id=p, out=folder / f"{c}.b2nd"),
                )
                for c, p in self.predicted(fold).items()
                if c in found
            ]

        config = [[case_id, _fingerprint(path)] for case_id, path in sorted(found.items())]
        inputs = ("split", f"prepare/{source}")
        return self._prediction_stage(arm.name, fold, inputs=inputs, config=config, tasks=tasks, recipe=None)

    def _predict_null(self, name: str, fold: Fold) -> Stage:
        source = self.study.split.source

        def tasks() -> list[Task]:
            arguments = _args(
                arm=name,
                prepared=self.prepared(source),
                trained_on=self.trained_on(fold),
                cases=self.predicted(fold),
                out=self.predictions(name, fold),
            )
            return [Task(f"predict {name}", work.predict_null, arguments)]

        return self._prediction_stage(
            name, fold, inputs=("split", f"prepare/{source}"), config=name, tasks=tasks, recipe=None
        )

    def _prediction_stage(
        self,
        name: str,
        fold: Fold,
        *,
        inputs: tuple[str, ...],
        config: object,
        tasks: Callable[[], list[Task]],
        recipe: Recipe | None,
    ) -> Stage:
        folder = self.predictions(name, fold)

        def finish() -> list[Path]:
            return [_write_index(folder, [f"{case_id}.b2nd" for case_id in self.predicted(fold)])]

        return Stage(
            name=self._predict_name(name, fold),
            inputs=inputs,
            config=config,
            owns=(str(folder.relative_to(self.out)),),
            tasks=tasks,
            finish=finish,
            estimate=estimate.predict(recipe),
        )

    def _predict_name(self, name: str, fold: Fold) -> str:
        return "/".join(["predict", name, *([f"fold{fold}"] if fold is not None else [])])

    def evaluate(self, name: str) -> Stage:
        source, settings = self.study.split.source, self.study.evaluate

        def tasks() -> list[Task]:
            shared = _args(
                prepared=self.prepared(source),
                thresholds=settings.thresholds,
                floor=settings.floor,
                as_misses=settings.missing == "as-misses",
            )
            return [
                Task(
                    f"evaluate {name} {c}",
                    work.measure,
                    shared
                    | _args(
                        case_id=c,
                        patient_id=p,
                        fold=fold,
                        prediction=self.predictions(name, fold) / f"{c}.b2nd",
                        out=self.statistics(name) / f"{c}.npz",
                    ),
                )
                for fold in self.folds
                for c, p in self.predicted(fold).items()
            ]

        def finish() -> list[Path]:
            return [_write_index(self.statistics(name), [f"{c}.npz" for f in self.folds for c in self.predicted(f)])]

        inputs = (f"prepare/{source}", "split", *(self._predict_name(name, fold) for fold in self.folds))
        config = settings.model_dump(include={"thresholds", "floor", "missing"})
        owns = (str(self.statistics(name).relative_to(self.out)),)
        return Stage(f"evaluate/{name}", inputs, config, owns, tasks, finish)

    def calibrate(self, name: str) -> Stage:
        out = self._point_files(name)[0]
        target = self.study.evaluate.target

        def tasks() -> list[Task]:
            cases = self._statistics_files(name, "calibration")
            by_fold = self.folds != [None]
            arguments = _args(cases=cases, out=out, target=target, matching=self.matchings[0], by_fold=by_fold)
            return [Task(f"calibrate {name}", work.choose_point, arguments)]

        config = [target.model_dump(), self.study.evaluate.least_volume_ml]
        owns = (str(out.parent.relative_to(self.out)),)
        return Stage(f"calibrate/{name}", (f"evaluate/{name}", "split"), config, owns, tasks, lambda: [out])

    def _point_files(self, name: str) -> list[Path]:
        return [self.out / "calibration" / name / "operating_point.json"] if self.calibrates else []

    def _point_stages(self, name: str) -> list[str]:
        return [f"calibrate/{name}"] if self.calibrates else []

    def summarise(self, name: str) -> Stage:
        folder, settings = self.out / "evaluation" / name, self.study.evaluate

        def tasks() -> list[Task]:
            cases = self._statistics_files(name, "test")
            index = store.read_json(self.statistics(name) / "index.json", work.INDEX)
            wanted = {path.stem for path in cases}
            source_manifest = self.prepared(self.study.split.source) / "manifest.json"
            arguments = _args(
                cases=cases,
                folder=folder,
                points=self._point_files(name),
                fixed=settings.thresholds,
                folds=self.folds,
                arm=name,
                matchings=self.matchings,
                part="test" if self.folds == [None] else "out-of-fold",
                seed=self.study.split.seed,
                missing=sorted(wanted & {Path(file).stem for file in index["absent"]}),
                failed=[],
                inputs={
                    "reference": store.hash_file(source_manifest),
                    "predictions": store.hash_file(self.statistics(name) / "index.json"),
                },
                resamples=settings.resamples,
            )
            return [Task(f"summarise {name}", work.summarise, arguments)]

        files = [folder / file for file in ("summary.json", "lesions.csv", "cases.csv")]
        config = settings.model_dump(exclude={"target", "against", "null_arms"})
        owns = tuple(str(file.relative_to(self.out)) for file in files)
        inputs = (f"evaluate/{name}", "split", *self._point_stages(name))
        return Stage(f"summarise/{name}", inputs, config, owns, tasks, lambda: files)

    def compare(self, arms: list[str]) -> Stage:
        out, settings = self.out / "comparison" / "comparison.json", self.study.evaluate
        against = settings.against or arms[0]

        def tasks() -> list[Task]:
            arguments = _args(
                arms={arm: self._statistics_files(arm, "test") for arm in arms},
                points={arm: self._point_files(arm) for arm in arms},
                out=out,
                folds=self.folds,
                against=against,
                matching=self.matchings[0],
                resamples=settings.resamples,
                seed=self.study.split.seed,
            )
            return [Task("compare", work.compare_arms, arguments)]

        config = [against, settings.resamples, settings.least_volume_ml]
        inputs = ("split", *(f"evaluate/{a}" for a in arms), *(s for a in arms for s in self._point_stages(a)))
        return Stage("compare", inputs, config, ("comparison",), tasks, lambda: [out])

    def report(self, arms: list[str]) -> Stage:
        out = self.out / "report" / "index.html"
        trained = [arm for arm in self.study.arms if arm.model]

        def tasks() -> list[Task]:
            inputs = {
                "study": self.study.model_dump(mode="json"),
                "summaries": {arm: self.out / "evaluation" / arm / "summary.json" for arm in arms},
                "lesions": {arm: self.out / "evaluation" / arm / "lesions.csv" for arm in arms},
                "comparison": self.out / "comparison" / "comparison.json",
                "split": self.split_path,
                "prepared": {source: self.prepared(source) for source in self.study.sources},
                "runs": {arm.name: [self.run(arm.name, f) for f in self._training_folds(arm)] for arm in trained},
                "predictions": {arm: {f: self.predictions(arm, f) for f in self.folds} for arm in arms},
            }
            return [Task("report", work.draw_report, _args(out=out, inputs=inputs))]

        runs = [self._train_name(arm.name, fold) for arm in trained for fold in self._training_folds(arm)]
        inputs = ("compare", *(f"summarise/{arm}" for arm in arms), *runs)
        config = self.study.model_dump(mode="json", include={"report", "arms"})
        return Stage("report", inputs, config, ("report",), tasks, lambda: [out])


def _args(**arguments: object) -> dict[str, Any]:
    return arguments


def _no_tasks() -> list[Task]:
    return []


def _fold_path(fold: Fold) -> str:
    return "all" if fold is None else f"fold{fold}"


def _meaning(config: SourceConfig) -> LabelMeaning:
    """What the study says, or else what the reader knows. Raises ConfigError when neither names a lesion."""
    reader = catalog.load("readers", config.reader)
    meaning = config.labels or LabelMeaning(lesion=reader.LESION, organ=reader.ORGAN)
    if not meaning.lesion:
        raise ConfigError("labels.lesion must name the values that are lesions, such as [1]. Got none.")
    return meaning


def _find(config: SourceConfig) -> list[Entry]:
    reader = catalog.load("readers", config.reader)
    options = parse(reader.Config, config.options, where=f"options of reader {config.reader}")
    return manifest.with_patients(reader.find(config.path, options), config.patients)


def _fingerprint(location: str | None) -> object:
    """A location, and for a file its size and time of change, so that a file changed in place is noticed."""
    if location is None or not (path := Path(location)).is_file():
        return location
    status = path.stat()
    return [location, status.st_size, status.st_mtime_ns]


def _write_index(folder: Path, names: list[str]) -> Path:
    """``index.json``: the hash of every file of a stage that leaves many, and the ones that are absent."""
    paths = [folder / name for name in names]
    value = {
        "schema": work.INDEX,
        "files": {path.name: store.hash_file(path) for path in paths if path.exists()},
        "absent": sorted(path.name for path in paths if not path.exists()),
    }
    store.write_json(folder / "index.json", value)
    return folder / "index.json"
