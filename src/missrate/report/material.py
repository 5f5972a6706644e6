"""What a study left on disk, read once and laid out for drawing."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from missrate.core import store
from missrate.core.errors import StoreError
from missrate.core.guard import understood
from missrate.core.ladder import SCHEMA as LADDER

Json = dict[str, Any]
Fold = int | None

NULL_ARMS = ("nothing", "everything", "location_prior")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A", "#44337A")
"""Those of Okabe and Ito, told apart with any colour vision, without the yellow; then two more."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
MANY = len(COLOURS)
"""With more arms than this there are no colours to tell them apart: arms are sorted, and the reference stands out."""
PLAIN, REFERENCE = COLOURS[:2]
SWEPT = ("froc_sensitivity", "lesion_average_precision")
NULL_GREY, NULL_DASHES = "#777777", {"nothing": ":", "everything": "--", "location_prior": "-."}


@dataclass(frozen=True, slots=True)
class Style:
    """How one arm looks in every figure and table."""

    colour: str
    marker: str
    line: Any


@dataclass(frozen=True, slots=True)
class Arm:
    """An evaluated arm: its ``summary.json``, its rows of ``lesions.csv``, and its looks."""

    name: str
    null: bool
    summary: Json
    lesions: list[dict[str, str]]
    style: Style
    unequal: str = ""  # what of its budget was another one on purpose, and why

    @property
    def point(self) -> Json:
        """The primary operating point."""
        point: Json = self.summary["operating_point"]
        return point

    def entries(self) -> list[Json]:
        """Every combination of point and rule, the primary one first."""
        return [self.summary, *self.summary["also"]]

    def entry(self, point: str, rule: str = "overlap") -> Json | None:
        """The results at the point of this name under a matching rule; None when there are none."""
        pairs = ((e, e["operating_point"]["name"], e["matching"]["rule"]) for e in self.entries())
        return next((e for e, name, its_rule in pairs if (name, its_rule) == (point, rule)), None)

    def missed(self) -> list[dict[str, str]]:
        """The rows of lesions that are missed at the primary point, largest first."""
        rows = [row for row in self.lesions if row.get(f"found_{self.point['name']}") == "0"]
        return sorted(rows, key=lambda row: (-size(row), row["case_id"], int(row["lesion"])))

    def threshold(self, fold: Fold) -> float | None:
        """The threshold of the primary point in a fold."""
        by_fold: Json = self.point.get("thresholds") or {}
        value: float | None = by_fold.get(str(fold), self.point["threshold"])
        return value


@dataclass(frozen=True, slots=True)
class Run:
    """What a training run says of itself; empty where a file is absent."""

    provenance: Json
    log: list[Json]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that the page is drawn from."""

    study: Json
    arms: list[Arm]
    comparison: Json
    split: Json
    prepared: dict[str, store.Prepared]
    manifests: dict[str, Json]
    refused: dict[str, list[dict[str, str]]]
    runs: dict[str, list[Run]]
    styles: dict[str, Style]
    predictions: dict[str, dict[Fold, Path]]
    hashes: dict[str, str]
    ladder: Json | None
    promises: dict[str, Json]  # the file of each arm's certified point, where the study promises something

    @property
    def many(self) -> bool:
        """Whether there are more arms than can be told apart by colour."""
        return len(self.trained_arms()) > MANY

    @property
    def masks(self) -> bool:
        """Whether no arm, null arms aside, has scores: there is one point and no curve."""
        blocks = [
            block
            for arm in self.trained_arms()
            for name, block in ((n, m.get("cohort")) for n, m in arm.summary["metrics"].items())
            if block is not None and name.startswith(SWEPT)
        ]
        return bool(blocks) and all("needs scores" in block.get("reason", "") for block in blocks)

    @property
    def foreign(self) -> list[str]:
        """The evaluated arms that other people's software predicted."""
        names = {arm.name for arm in self.arms}
        return [arm["name"] for arm in self.study["arms"] if arm["predictions"] and arm["name"] in names]

    @property
    def source(self) -> str:
        """The source whose patients were split and tested."""
        name: str = self.study["split"]["source"]
        return name

    def trained_arms(self) -> list[Arm]:
        """The arms that are no null arms."""
        return [arm for arm in self.arms if not arm.null]

    def lesions(self) -> list[dict[str, str]]:
        """Every lesion once, the smallest first; an arm that lacks a case lacks its lesions."""
        rows = {(row["case_id"], int(row["lesion"])): row for arm in self.arms for row in arm.lesions}
        return [row for _, row in sorted(rows.items(), key=lambda item: (size(item[1]), item[0]))]

    def points(self) -> list[str]:
        """The names of all operating points, those that are primary for some arm first."""
        primary = [arm.point["name"] for arm in self.trained_arms() or self.arms]
        every = [entry["operating_point"]["name"] for arm in self.arms for entry in arm.entries()]
        return list(dict.fromkeys([*primary, *every]))

    def describe(self, case_id: str, lesion: int) -> Json:
        """What ``prepare`` wrote about a lesion (numbered from 1)."""
        described: Json = self.case(case_id)["lesions"][lesion - 1]
        return described

    def contrast(self, case_id: str, lesion: Json) -> str:
        """A lesion's contrast with its unit, which is HU but for exported pictures."""
        if lesion["contrast_hu"] is None:
            return "undefined"
        unit = "grey values" if self.case(case_id).get("intensity") == "grey" else "HU"
        return f"{lesion['contrast_hu']:+.0f} {unit}".replace("-", "−")

    def case(self, case_id: str) -> Json:
        """What ``prepare`` wrote about a case."""
        for case in self.manifests[self.source]["cases"]:
            if case["case_id"] == case_id:
                found: Json = case
                return found
        raise StoreError(f"{case_id} must be in the manifest of {self.source}. Got none; perhaps evaluate again.")


def size(row: dict[str, str]) -> float:
    """A lesion's millilitres, or its voxels where the scans know no millimetres."""
    return float(row["volume_ml"] or row["voxels"])


def read(
    *,
    study: Json,
    summaries: dict[str, Path],
    lesions: dict[str, Path],
    comparison: Path,
    split: Path,
    prepared: dict[str, Path],
    runs: dict[str, list[Path]],
    predictions: dict[str, dict[Fold, Path]],
    ladder: Path | None = None,
    promises: dict[str, Path] | None = None,
) -> Material:
    """Reads all files. Of an arm with several seeds the first one's curves stand for it.

    A source that no arm used has no folder and is left out. Raises StoreError.
    """
    used = {name: store.Prepared(path) for name, path in prepared.items() if (path / "manifest.json").exists()}
    compared = _first_seeds(store.read_json(comparison))
    styles = _styles([*summaries, *(name for name in runs if name not in summaries)], compared["against"])
    unequal = compared.get("unequal", {})
    arms = [
        Arm(name, name in NULL_ARMS, store.read_json(path), _rows(lesions[name]), styles[name], unequal.get(name, ""))
        for name, path in summaries.items()
    ]
    return Material(
        study=study,
        arms=sorted(arms, key=_least_missed) if sum(not arm.null for arm in arms) > MANY else arms,
        comparison=compared,
        split=store.read_json(split, store.SPLIT),
        prepared=used,
        manifests={name: data.manifest() for name, data in used.items()},
        refused={name: _rows(data.folder / "refused.csv") for name, data in used.items()},
        runs={name: [_run(folder) for folder in folders] for name, folders in runs.items()},
        styles=styles,
        predictions=predictions,
        hashes={"split.json": store.hash_file(split), "comparison.json": store.hash_file(comparison)}
        | {f"evaluation/{name}/summary.json": store.hash_file(path) for name, path in summaries.items()},
        ladder=None if ladder is None else store.read_json(ladder, LADDER),
        promises={name: store.read_json(path) for name, path in (promises or {}).items()},
    )


def _first_seeds(comparison: Json) -> Json:
    """What belongs to one training stands under the arm's own name, too."""
    for arm, seeds in comparison["seeds"].items():
        found = comparison["matched"]
        tables = [found[key] for key in ("by_false_positives_per_scan", "by_false_positive_ml_per_scan")]
        tables += [found["by_lesion_miss_rate"]["arms"], *(comparison[k] for k in ("works", "works_because", "curves"))]
        for held in tables:
            if seeds > 1 and f"{arm} seed 1" in held:
                held[arm] = held[f"{arm} seed 1"]
    return comparison


def _styles(names: list[str], against: str) -> dict[str, Style]:
    styles = {name: Style(NULL_GREY, ".", NULL_DASHES[name]) for name in names if name in NULL_ARMS}
    others = [name for name in names if name not in NULL_ARMS]
    for index, name in enumerate(others):
        if len(others) > MANY:  # colours that come again would say that two arms belong together
            styles[name] = Style(REFERENCE, "D", "-") if name == against else Style(PLAIN, "o", "-")
        else:
            styles[name] = Style(COLOURS[index], MARKERS[index], "-")
    return styles


def _least_missed(arm: Arm) -> tuple[bool, float, float, str]:
    """Null arms last; then by lesion miss rate, of equals by voxel miss rate; undefined ones after all others."""
    blocks = [
        arm.summary["metrics"].get(name, {}).get("pooled", {}) for name in ("lesion_miss_rate", "voxel_miss_rate")
    ]
    lesion, voxel = (math.inf if block.get("value") is None else block["value"] for block in blocks)
    return arm.null, lesion, voxel, arm.name


def _rows(path: Path) -> list[dict[str, str]]:
    with understood(path, "a readable table that missrate wrote"), path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _run(folder: Path) -> Run:
    provenance = folder / "provenance.json"
    log = folder / "log.jsonl"
    with understood(log, "lines of JSON"):
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        rows = [json.loads(line) for line in lines if line.strip()]
    return Run(store.read_json(provenance) if provenance.exists() else {}, rows)
