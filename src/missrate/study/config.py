"""A study as the user writes it, and the checks that need the whole of it."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from missrate import split as splitting
from missrate.calibrate import Certify, Target
from missrate.core.config import Frozen, override, parse, read_toml
from missrate.core.errors import ConfigError
from missrate.core.guard import reachable
from missrate.core.ladder import Rung
from missrate.core.recipe import PredictConfig, Recipe, TrainConfig
from missrate.core.types import SAFE_ID, LabelMeaning
from missrate.core.view import View
from missrate.split import SplitConfig
from missrate.study import budgets, members
from missrate.study.sources import LARDER, SourceConfig, anchored

NULL_ARMS = ("nothing", "everything", "location_prior")


class ArmConfig(Frozen):
    """One model of a study: trained here, or another arm's run applied differently, or a folder of predictions.

    ``predictions`` is one folder, or one for each source. Where its last part is "*" every folder there is an arm, and
    the "*" in ``name`` becomes the folder's name. ``reader`` names their format, which otherwise is recognised, and
    ``labels`` what their numbers mean, where that is not what the source's mean or their ``dataset.json`` says.
    ``view``: what differs from the study's in how HU become a model's image. ``split`` "slices" is a fault on purpose,
    see ``leak``. ``train_patients``: how many of the training patients it is trained on (all): the same ones in every
    arm, and among those of every larger number. ``unequal``: why it is trained with another budget than the others, on
    purpose. ``seeds``: with how many of the study's seeds it is trained (all). ``seed`` and ``repeats`` are set where a
    study has ``seeds``: this arm is that one, trained again.
    """

    name: str
    model: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] | None = None
    init: str = "random"
    source: str | None = None
    seed: int | None = None
    repeats: str | None = None
    split: Literal["patients", "slices"] = "patients"
    view: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    train_patients: int | None = Field(default=None, ge=1)
    seeds: int | None = Field(default=None, ge=1)
    predict: PredictConfig = PredictConfig()
    run: str | None = None
    predictions: Path | dict[str, Path] | None = None
    reader: str | None = None
    labels: LabelMeaning | None = None
    evaluate: bool = True
    unequal: str | None = Field(default=None, min_length=1)

    @field_validator("name")
    @classmethod
    def _safe_name(cls, name: str) -> str:
        if not SAFE_ID.fullmatch(name.replace("*", "x")) or name in NULL_ARMS:
            raise ValueError(f"must be letters, digits, '.', '_' or '-', and none of {', '.join(NULL_ARMS)}")
        return name

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for value in (self.model, self.run, self.predictions)) != 1:
            raise ValueError("must have exactly one of model, run, predictions")
        if self.model is None:
            own = {"loss", "init", "source", "train", "train_patients", "view", "split", "unequal"}
            stated = sorted(
                key
                for key in own
                if getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True)
            )
            if stated:
                raise ValueError(f"{', '.join(stated)} must be said of an arm with a model: nothing is trained here")
        if self.labels is not None and self.predictions is None:
            raise ValueError("labels must be said of an arm with predictions: others are read by the source's")
        if "*" in self.name and self.predictions is None:
            raise ValueError("a name with * must have predictions whose last part is *")
        return self

    def folder(self, source: str) -> Path | None:
        """Where its predictions of one source lie."""
        return self.predictions.get(source) if isinstance(self.predictions, dict) else self.predictions


USUAL = Target(false_positives_per_scan=2.0, false_positive_ml_per_scan=20.0)
"""What a threshold may cost where a study does not say it."""


class EvaluateConfig(Frozen):
    """``against`` is the reference arm of all comparisons (default: the first evaluated arm).

    ``null_arms``: all that can be had, none, or those named. ``metrics`` beyond the usual ones; ``subgroups`` are
    columns of the source's ``patients`` table.
    """

    target: Target = USUAL
    certify: Certify | None = None
    thresholds: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(0.5,), min_length=1)
    iou_minimum: float = Field(default=0.1, gt=0, le=1)
    point_rule: bool = False
    least_volume_ml: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    floor: float = Field(default=0.01, gt=0, le=1)
    against: str | None = None
    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    null_arms: bool | tuple[Literal["nothing", "everything", "location_prior"], ...] = True
    metrics: tuple[str, ...] = ()
    tolerances_mm: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = (2.0,)
    subgroups: tuple[str, ...] = ()
    missing: Literal["fail", "as-misses"] = "fail"


class ReportConfig(Frozen):
    """What only the report needs; a change here repeats nothing else."""

    title: str = "Which model misses fewer lesions?"
    missed_lesions: int = Field(default=24, ge=0)
    note: str = ""


class StudyConfig(Frozen):
    """A whole study. ``models`` holds, for each model, the config that all of its arms share.

    Without ``split`` nothing is trained, and every case of every source is tested. Every arm is trained once for each
    of ``seeds`` (none: the split's own), all on one split.
    """

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    sources: dict[str, SourceConfig] = Field(min_length=1)
    split: SplitConfig | None = None
    view: View = View()
    budget: TrainConfig = TrainConfig()
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    arms: tuple[ArmConfig, ...] = Field(min_length=1)
    evaluate: EvaluateConfig = EvaluateConfig()
    ladder: tuple[Rung, ...] = ()
    report: ReportConfig = ReportConfig()

    @field_validator("sources")
    @classmethod
    def _safe_names(cls, sources: dict[str, SourceConfig]) -> dict[str, SourceConfig]:
        """A source's name becomes that of a folder, as an arm's does."""
        for name in sources:
            if not SAFE_ID.fullmatch(name):
                raise ValueError(f"names must be letters, digits, '.', '_' or '-', not {name!r}")
        return sources

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            raise ValueError(f"arms must have different names, got {', '.join(names)}")
        trained = [arm.name for arm in self.arms if arm.model]
        tested = [self.split.source] if self.split else []
        _require("source", [*tested, *(arm.source for arm in self.arms if arm.source)], list(self.sources))
        self._require_training_patients()
        for index, arm in enumerate(self.arms):
            if arm.init.startswith("arm:"):  # only earlier ones, so that no arm can start from itself
                _require("init = arm:", [arm.init[4:]], [a.name for a in self.arms[:index] if a.model])
        _require("run =", [a.run for a in self.arms if a.run], trained)
        evaluated = [arm.name for arm in self.arms if arm.evaluate]
        if not any("*" in name for name in names):  # otherwise when its folders are known
            _require("[evaluate] against", [self.evaluate.against] if self.evaluate.against else [], evaluated)
        if not evaluated:
            raise ValueError("at least one arm must be evaluated")
        _require("arm of a rung", [rung.arm for rung in self.ladder], [*names, *self.null_arms()])
        self._require_organs()
        self._require_no_leak_in_tables()
        self._require_one_run_to_begin_from()
        if self.evaluate.certify and not (self.split and (self.split.parts or {}).get("calibration")):
            raise ValueError("[evaluate] certify must have a calibration part; out-of-fold maps are never certified")
        return self

    def _require_organs(self) -> None:
        for arm in self.arms:
            name = arm.source or (self.split.source if self.split else "")
            labels = self.sources[name].labels if arm.model and name else None
            wanted = (self.models.get(arm.model or "", {}) | arm.config).get("organ")
            if wanted and isinstance(labels, LabelMeaning) and not labels.organ:
                raise ValueError(f"{arm.name} learns the organ (organ = true), and labels of {name} name none")

    def _require_no_leak_in_tables(self) -> None:
        leaky = {arm.name for arm in self.arms if arm.split == "slices"}
        leaky |= {arm.name for arm in self.arms if arm.run in leaky}
        wrong = [arm.name for arm in self.arms if arm.name in leaky and (arm.evaluate or arm.source)]
        if wrong:
            raise ValueError(
                f'an arm with split = "slices" is tested on patients that it saw: {wrong[0]} must have '
                "evaluate = false, no source, and serve a ladder only"
            )
        if leaky and self.view.slice_mm is not None:
            raise ValueError('an arm with split = "slices" must see the scan\'s own slices: leave [view] slice_mm out')
        for arm in self.arms:
            parent = next((one for one in self.arms if f"arm:{one.name}" == arm.init), None)
            if arm.split == "slices" and arm.train_patients is not None:
                raise ValueError(f'{arm.name} must not have train_patients with split = "slices"')
            if arm.split == "slices" and parent is not None and parent.source in (None, self.partition.source):
                raise ValueError(f"{arm.name} must begin from weights of another source: {parent.name} saw this one")
            if arm.init.removeprefix("arm:") in leaky:
                raise ValueError(f"{arm.name} must not begin from {arm.init[4:]}, which saw tested patients")
        for rung in self.ladder:
            shown = {arm.name for arm in self.arms if arm.evaluate} | leaky | set(NULL_ARMS)
            if rung.arm not in shown:
                raise ValueError(f"rung {rung.name!r} must be of an evaluated arm, and {rung.arm!r} is none")
            if rung.threshold == "calibrated" and rung.arm in leaky:
                raise ValueError(f"rung {rung.name!r}: an arm that saw tested patients has no calibrated threshold")
            if rung.threshold == "calibrated" and not self.calibrates:
                raise ValueError(f"rung {rung.name!r} must have a number as threshold: no part is called calibration")

    def _require_one_run_to_begin_from(self) -> None:
        if self.split is None or self.split.folds is None:
            return
        own = {arm.name for arm in self.arms if arm.model and arm.source in (None, self.split.source)}
        for arm in self.arms:
            if arm.model and arm.name not in own and arm.init.removeprefix("arm:") in own:
                raise ValueError(
                    f"{arm.name} is trained once, on {arm.source}, and must not begin from {arm.init[4:]}, which is "
                    f"trained anew for each fold of {self.split.source}"
                )

    def _require_training_patients(self) -> None:
        if self.trains and (self.split is None or (self.split.parts is not None and not self.split.parts.get("train"))):
            raise ValueError("a study that trains must have [split] with folds, or with parts that name train")

    @property
    def trains(self) -> bool:
        """Whether any arm is trained here; otherwise sources need no images."""
        return any(arm.model is not None for arm in self.arms)

    @property
    def calibrates(self) -> bool:
        """With folds the other folds calibrate; without, a calibration part must exist."""
        split = self.split
        return split is not None and (split.folds is not None or bool((split.parts or {}).get("calibration")))

    @property
    def partition(self) -> SplitConfig:
        """How the tested source is split; only of a study ``of`` one source, where there is no [split]."""
        assert self.split is not None
        return self.split

    def of(self, source: str) -> "StudyConfig":
        """The study of one source, all of whose cases are tested."""
        whole = SplitConfig(source=source, parts={"test": 1.0})
        return self.model_copy(update={"sources": {source: self.sources[source]}, "split": whole})

    def null_arms(self) -> tuple[str, ...]:
        """Those that are asked for; without training patients there is no location prior."""
        if isinstance(self.evaluate.null_arms, tuple):
            return self.evaluate.null_arms
        known = NULL_ARMS if self.trains else NULL_ARMS[:2]
        return known if self.evaluate.null_arms else ()

    def arm(self, name: str) -> ArmConfig:
        """The arm of this name; it exists."""
        return next(arm for arm in self.arms if arm.name == name)

    def recipe(self, arm: ArmConfig) -> Recipe:
        """The resolved recipe of a trained arm: the budget, with the arm's own deviations."""
        assert arm.model is not None
        where = f"train of arm {arm.name!r}"
        train = parse(TrainConfig, self.budget.model_dump(exclude_unset=True) | arm.train, where=where)
        values = arm.model_dump(include={"model", "loss", "init", "predict"})
        config = self.models.get(arm.model, {}) | arm.config
        seed = self.partition.seed if arm.seed is None else arm.seed
        values |= {"arm": arm.name, "config": config, "seed": seed}
        return parse(Recipe, values | {"view": self._view(arm), "train": train}, where=f"arm {arm.name!r}")

    def _view(self, arm: ArmConfig) -> View:
        """The study's view with the arm's own encoding. Raises ConfigError where it would need other voxels."""
        view = parse(View, self.view.model_dump() | arm.view, where=f"view of arm {arm.name!r}")
        if view.key() != self.view.key():
            raise ConfigError(
                f"view of arm {arm.name!r} must keep the study's spacing_mm, slice_mm and crop, so that arms see the "
                f"same voxels. Got {', '.join(arm.view)}."
            )
        return view

    def repeats(self, name: str) -> list[str]:
        """The arm of this name and those that are it, trained again with another seed."""
        return [name, *(arm.name for arm in self.arms if arm.repeats == name)]

    def reused(self, arm: ArmConfig) -> Recipe:
        """The recipe with which an arm applies another arm's run: that run's, with this arm's config and predict."""
        assert arm.run is not None
        base = self.recipe(self.arm(arm.run))
        return base.model_copy(update={"config": base.config | arm.config, "predict": arm.predict})


@reachable("A study")
def read_study(path: Path, assignments: list[str], *, offline: bool = False) -> StudyConfig:
    """The checked study; its own files are pinned. Raises ConfigError or UnknownNameError, before anything runs."""
    study = parse(StudyConfig, override(read_toml(path), assignments), where=path.name)
    folder = path.resolve().parent
    study = members.pinned(study, folder)
    if study.split is not None:
        study = study.model_copy(update={"split": splitting.resolved(study.split, folder)})
    sources = {
        name: anchored(source, folder, data=folder / LARDER, offline=offline) for name, source in study.sources.items()
    }
    arms = tuple(each for arm in study.arms for each in _expanded(arm, folder, list(study.sources)))
    arms = _seeded(arms, study.seeds)
    study = study.model_copy(update={"sources": sources, "arms": arms})
    if study.split is None and len(sources) == 1:
        study = study.of(next(iter(sources)))
    parse(StudyConfig, study.model_dump(), where=path.name)  # the names of arms that were found must differ, too
    budgets.require_equal(study)
    return study


def _expanded(arm: ArmConfig, folder: Path, sources: list[str]) -> list[ArmConfig]:
    """The arm with its folders anchored, or one arm for each folder that its "*" stands for."""
    if arm.predictions is None:
        return [arm]
    given = arm.predictions if isinstance(arm.predictions, dict) else dict.fromkeys(sources, arm.predictions)
    paths = {source: folder / path for source, path in given.items()}
    _known_sources(arm.name, list(paths), sources)
    if all(path.name != "*" for path in paths.values()):
        return [arm.model_copy(update={"predictions": paths})]
    found = {source: _folders(path.parent) if path.name == "*" else [] for source, path in paths.items()}
    names = sorted({name for each in found.values() for name in each})
    if not names:
        raise ConfigError(f"predictions of arm {arm.name!r} must name folders. Got none at {given}.")
    return [
        arm.model_copy(
            update={
                "name": arm.name.replace("*", name) if "*" in arm.name else f"{arm.name}-{name}",
                "predictions": {s: p.parent / name if p.name == "*" else p for s, p in paths.items()},
            }
        )
        for name in names
    ]


def _seeded(arms: tuple[ArmConfig, ...], seeds: tuple[int, ...]) -> tuple[ArmConfig, ...]:
    """Every arm with the first seed, and after them all a copy for each further one that begins from its own kind.

    Not of predictions, and not of what saw tested patients: a ladder takes one training. Of an arm that has fewer
    ``seeds``, or whose weights come from one that has, there are fewer copies.
    """
    by_hand = [arm.name for arm in arms if arm.seed is not None or arm.repeats is not None]
    if by_hand:
        raise ConfigError(f"seeds must stand at the top of the study. Got seed or repeats in arm {by_hand[0]!r}.")
    for arm in arms:
        if arm.seeds is not None and arm.seeds > len(seeds):
            raise ConfigError(
                f"seeds of arm {arm.name!r} must be at most the number of the study's seeds. "
                f"Got {arm.seeds} of {len(seeds)}."
            )
    if not seeds:
        return arms
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must differ. Got {', '.join(map(str, seeds))}.")
    fixed = {arm.name for arm in arms if arm.predictions is not None or arm.split == "slices"}
    fixed |= {arm.name for arm in arms if arm.run in fixed}
    result = [arm.model_copy(update={"seed": None if arm.predictions else seeds[0]}) for arm in arms]
    counts = _trainings(arms, len(seeds))
    for number, seed in enumerate(seeds[1:], start=1):
        for arm in (arm for arm in arms if arm.name not in fixed and number < counts[arm.name]):
            changes = {"name": f"{arm.name}-seed{seed}", "seed": seed, "repeats": arm.name}
            if arm.init.startswith("arm:"):
                changes["init"] = f"{arm.init}-seed{seed}"
            if arm.run is not None:
                changes["run"] = f"{arm.run}-seed{seed}"
            result.append(arm.model_copy(update=changes))
    return tuple(result)


def _trainings(arms: tuple[ArmConfig, ...], most: int) -> dict[str, int]:
    """With how many seeds each arm exists: no more than the arm whose weights it begins from, or applies."""
    by_name = {arm.name: arm for arm in arms}

    def count(arm: ArmConfig) -> int:
        parent = arm.run or (arm.init[4:] if arm.init.startswith("arm:") else None)
        known = count(by_name[parent]) if parent in by_name else most
        if arm.seeds is not None and arm.seeds > known:
            raise ConfigError(
                f"seeds of arm {arm.name!r} must be at most those of {parent}, whose weights it takes. "
                f"Got {arm.seeds} of {known}."
            )
        return min(arm.seeds or most, known)

    return {arm.name: count(arm) for arm in arms}


def _known_sources(arm: str, used: list[str], known: list[str]) -> None:
    unknown = [name for name in used if name not in known]
    if unknown:
        raise ConfigError(f"predictions of arm {arm!r} must be of {', '.join(known)}. Got {', '.join(unknown)}.")


def _folders(parent: Path) -> list[str]:
    if not parent.is_dir():
        raise ConfigError(f"Predictions must lie in a folder. Got {parent}, which is none.")
    return [path.name for path in parent.iterdir() if path.is_dir() and SAFE_ID.fullmatch(path.name)]


def _require(what: str, used: list[str], known: list[str]) -> None:
    for name in used:
        if name not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}, not {name!r}")
