"""Where a study's files lie and what its split says: the one place that stages ask."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from missrate import split as splitting
from missrate.core.types import Entry, Matching, matching_rules
from missrate.study import sources
from missrate.study.config import ArmConfig, StudyConfig

Fold = int | None
"""None where a study has parts instead of folds."""


@dataclass
class Layout:
    """``out`` is the study's folder, ``folder`` that of its file.

    What depends on the split may be asked once the split exists.
    """

    study: StudyConfig
    out: Path
    offline: bool = False
    folder: Path = Path()
    _entries: dict[str, list[Entry]] = field(default_factory=dict)

    def entries(self, source: str) -> list[Entry]:
        """Every case of a source, listed once. Raises DataError and ConfigError."""
        if source not in self._entries:
            self._entries[source] = sources.find(self.study.sources[source], images=self.study.trains)
        return self._entries[source]

    @cached_property
    def folds(self) -> list[Fold]:
        return list(range(self.study.partition.folds)) if self.study.partition.folds else [None]

    @property
    def calibrates(self) -> bool:
        """Whether there are operating points."""
        return self.study.calibrates

    def training_folds(self, arm: ArmConfig) -> list[Fold]:
        """A run on another source sees none of the split patients, so one run serves all folds; a leak has no folds."""
        own = self.source_of(arm) == self.study.partition.source and arm.split == "patients"
        return self.folds if own else [None]

    def source_of(self, arm: ArmConfig) -> str:
        return arm.source or self.study.partition.source

    def leaks(self, name: str) -> bool:
        """Whether the arm was trained, on purpose, on slices of patients that it is tested on."""
        return any(arm.name in (name, self._trained(name)) and arm.split == "slices" for arm in self.study.arms)

    def _trained(self, name: str) -> str | None:
        return next((arm.run for arm in self.study.arms if arm.name == name), None)

    @property
    def matchings(self) -> list[Matching]:
        settings = self.study.evaluate
        return matching_rules(settings.least_volume_ml, settings.iou_minimum, point=settings.point_rule)

    def prepared(self, source: str) -> Path:
        return self.out / "prepared" / source

    def views(self, source: str) -> Path:
        return self.prepared(source) / "views" / self.study.view.key()

    def run(self, arm: str, fold: Fold) -> Path:
        config = self.study.arm(arm)
        fold = fold if fold in self.training_folds(config) else None
        seed = self.study.partition.seed if config.seed is None else config.seed
        return self.out / "runs" / arm / _fold_path(fold) / f"seed{seed}"

    def predictions(self, arm: str, fold: Fold) -> Path:
        return self.out / "predictions" / arm / _fold_path(fold)

    def statistics(self, arm: str) -> Path:
        return self.out / "evaluation" / arm / "statistics"

    @property
    def split_path(self) -> Path:
        return self.out / "split.json"

    def _split(self) -> dict[str, Any]:
        return splitting.read(self.split_path, self.prepared(self.study.partition.source) / "manifest.json")

    def cases(self, *places: str | int) -> dict[str, str]:
        """Case to patient, of the given parts or folds, in the order of case ids."""
        value = self._split()
        return {c: p for c, p in sorted(value["cases"].items()) if value["patients"][p] in places}

    def trained_on(self, fold: Fold) -> dict[str, str]:
        return self.cases("train") if fold is None else self.cases(*(k for k in self.folds if k not in (fold, None)))

    def predicted(self, fold: Fold) -> dict[str, str]:
        return self.cases("calibration", "test") if fold is None else self.cases(fold)

    def statistics_files(self, arm: str, part: str) -> list[Path]:
        cases = self.cases(part) if self.folds == [None] else self.cases(*self.folds)  # type: ignore[arg-type]
        return [self.statistics(arm) / f"{case_id}.npz" for case_id in cases]

    def train_name(self, arm: str, fold: Fold) -> str:
        fold = fold if fold in self.training_folds(self.study.arm(arm)) else None
        return "/".join(["train", arm, *([f"fold{fold}"] if fold is not None else [])])

    def predict_name(self, name: str, fold: Fold) -> str:
        return "/".join(["predict", name, *([f"fold{fold}"] if fold is not None else [])])

    def point_files(self, name: str) -> list[Path]:
        return [self.out / "calibration" / name / "operating_point.json"] if self.calibrates else []

    def certified_files(self, name: str) -> list[Path]:
        return [self.out / "calibration" / name / "certified.json"] if self.study.evaluate.certify else []

    def certify_stages(self, name: str) -> list[str]:
        return [f"calibrate/{name}/certified"] if self.study.evaluate.certify else []

    def point_stages(self, name: str) -> list[str]:
        return [f"calibrate/{name}"] if self.calibrates else []


def _fold_path(fold: Fold) -> str:
    return "all" if fold is None else f"fold{fold}"
