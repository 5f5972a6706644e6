"""Evaluations side by side: folders that ``missrate evaluate`` wrote, compared on the same patients."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from missrate import compare as comparing
from missrate.compare import Gate, markdown
from missrate.compare.arms import Given, Points
from missrate.core import store
from missrate.core.case import CaseStatistics
from missrate.core.documents import SummaryForm
from missrate.core.errors import InputError
from missrate.core.guard import understood
from missrate.core.points import certificate_of
from missrate.core.quantise import threshold_of
from missrate.core.types import Matching, OperatingPoint
from missrate.evaluate import summary
from missrate.prepare.patients import patients_table, require_once
from missrate.study.work import load_statistics

MOST_VALUES = 20
"""A column with more values is a measurement, not a subgroup."""
NO_VALUE = "unknown"
RULE = ("rule", "minimum", "strict", "connectivity", "least_volume_ml")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What ``missrate compare E1 E2 ...`` was asked.

    An arm is a folder, NAME=FOLDER, or NAME=FOLDER,FOLDER,... with one folder a seed. ``against`` is written likewise,
    or names one of the arms; None: the first arm.
    """

    arms: list[str]
    against: str | None = None
    out: Path | None = None
    pairs: Literal["reference", "all"] = "reference"
    patients: Path | None = None
    columns: tuple[str, ...] = ()
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One folder that ``evaluate`` wrote."""

    folder: Path
    rule: Json
    point: OperatingPoint
    cases: list[CaseStatistics]
    floor: int | None  # above which all candidates are known, but for noisy cases; None for masks

    @staticmethod
    def read(folder: Path) -> "Evaluation":
        """Raises StoreError for a folder without a summary, InputError for one without statistics."""
        about = store.read_json(folder / "summary.json", summary.SCHEMA, SummaryForm)
        cases = load_statistics(sorted((folder / "statistics").glob("*.npz")))
        if not cases:
            raise InputError(f"{folder} must hold the statistics that evaluate wrote. Got none.")
        # Where a case is empty, or lower than the floor everywhere, more is known of it than of the others.
        known = [case for case in cases if case.scored and case.trees[0].level.size]
        floors = [case.floor for case in known if case.case_id not in about["raised_floors"]]
        rule = {key: about["matching"][key] for key in RULE}
        return Evaluation(folder, rule, _point(about["operating_point"]), cases, max(floors, default=None))


def compare(request: Request) -> Json:
    """Paired comparison of arms at their primary points under their primary rule; written to ``out`` if given.

    Raises InputError for less than two arms, and for evaluations made with different rules or floors, of different
    cases or of different references.
    """
    folders, against = _arms(request)
    if len(folders) < 2:
        raise InputError(f"compare must get at least two evaluations. Got {len(folders)}.")
    read = {name: [Evaluation.read(folder) for folder in each] for name, each in folders.items()}
    everything = [each for several in read.values() for each in several]
    _require_alike(everything)
    arms: dict[str, Given] = {name: [each.cases for each in several] for name, several in read.items()}
    points: dict[str, Points] = {name: [each.point for each in several] for name, several in read.items()}
    value = comparing.compare(
        arms,
        points,
        against=against,
        matching=Matching(**everything[0].rule),
        pairs=request.pairs,
        subgroups=_subgroups(request, everything[0].cases),
        gate=request.gate,
    )
    if request.out is not None:
        store.write_json(request.out / "comparison.json", value)
    return value


def comparison_table(value: Json) -> str:
    """What a person reads in the terminal: Markdown."""
    return markdown.table(value)


def written_table(path: Path) -> str:
    """Return ``comparison_table`` of a ``comparison.json``. Raises StoreError for one that missrate did not write."""
    value = store.read_json(path, comparing.SCHEMA)
    with understood(path, "a comparison that missrate wrote"):
        return comparison_table(value)


def undecided(value: Json, *, underpowered: bool = True) -> list[str]:
    """Return the sentences of a gate about arms that it could not judge; ``underpowered``: those with too few patients.

    Without them only arms are left that have no rate at all: those never pass.
    """
    rows = [row for row in value["gate"]["arms"].values() if row["worse"] is None]
    return [row["sentence"] for row in rows if underpowered or "patients_needed" not in row]


def _arms(request: Request) -> tuple[dict[str, list[Path]], str]:
    """The folders of each arm by name, and the name of the reference arm."""
    written = list(dict.fromkeys(request.arms))
    against = written[0] if request.against is None else request.against
    parts = [_parts(text) for text in written]
    known = [_is(against, name, folders) for name, (_, folders) in zip(_names(parts), parts, strict=True)]
    if not any(known):
        another = _parts(against)
        if not all(folder.is_dir() for folder in another[1]):
            raise InputError(f"--against must be one of the evaluations, or a folder. Got {against}.")
        parts, known = [another, *parts], [True]
    names = _names(parts)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Every arm must have its own name. Got {', '.join(twice)} twice.")
    return {name: each for name, (_, each) in zip(names, parts, strict=True)}, names[known.index(True)]


def _parts(text: str) -> tuple[str | None, list[Path]]:
    """NAME=A,B,C as a name and folders. A folder whose own name holds such signs is taken as it is."""
    if Path(text).is_dir() or "=" not in text:
        if "," in text and not Path(text).is_dir():
            raise InputError(f"An arm of several seeds must have a name: NAME=FOLDER,FOLDER. Got {text}.")
        return None, [Path(text)]
    name, rest = text.split("=", 1)
    folders = [Path(rest)] if Path(rest).is_dir() else [Path(each) for each in rest.split(",")]
    if not name or any(str(folder) == "." for folder in folders):
        raise InputError(f"An arm must be a folder or NAME=FOLDER,FOLDER. Got {text}.")
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError(f"Every seed of an arm must be another folder. Got one twice in {text}.")
    return name, folders


def _is(against: str, name: str, folders: list[Path]) -> bool:
    """Whether ``against`` is this arm: its name, or its folders."""
    if against == name:
        return True
    _, wanted = _parts(against)
    return [each.resolve() for each in wanted] == [each.resolve() for each in folders]


def _names(parts: list[tuple[str | None, list[Path]]]) -> list[str]:
    """The name given, or the last part of the path, or the whole path where two share it."""
    last = [name or folders[0].resolve().name for name, folders in parts]
    return [
        text if name or last.count(text) == 1 else str(folders[0])
        for text, (name, folders) in zip(last, parts, strict=True)
    ]


def _require_alike(evaluations: list[Evaluation]) -> None:
    first = evaluations[0]
    for each in evaluations[1:]:
        if each.rule != first.rule:
            raise InputError(
                f"All arms must be evaluated with the same matching rule. Got {_words(first.rule)} in {first.folder} "
                f"and {_words(each.rule)} in {each.folder}."
            )
    scored = [each for each in evaluations if each.floor is not None]
    for each in scored[1:]:
        if each.floor != scored[0].floor:
            low, high = (f"{threshold_of(e.floor or 0):g} in {e.folder}" for e in (scored[0], each))
            raise InputError(
                f"All arms must be evaluated from the same floor upwards. Got {low} and {high}; perhaps evaluate them "
                "again with the lower one as --floor."
            )


def _words(rule: Json) -> str:
    minimum = "" if rule["minimum"] is None else f" >= {rule['minimum']:g}"
    return f"{rule['rule']}{minimum}{' strict' if rule['strict'] else ''} from {rule['least_volume_ml']:g} ml"


def _subgroups(request: Request, cases: list[CaseStatistics]) -> dict[str, dict[str, str]]:
    """The value of each case in each column asked for."""
    if not request.columns:
        return {}
    if request.patients is None:
        raise InputError("--subgroup must come with --patients, the table that has the column. Got no table.")
    rows, key = _table(request.patients, request.columns)
    result: dict[str, dict[str, str]] = {}
    for column in request.columns:
        value_of = {row[key]: (row[column] or "").strip() or NO_VALUE for row in rows}
        of_case = {case.case_id: case.case_id if key == "case_id" else case.patient_id for case in cases}
        result[column] = {case: value_of[row] for case, row in of_case.items() if row in value_of}
        values = len(set(result[column].values()))
        if values > MOST_VALUES:
            raise InputError(
                f"A subgroup column must have at most {MOST_VALUES} values. Got {values} in {column!r}; perhaps "
                "write groups of them into another column."
            )
    return result


def _table(path: Path, columns: tuple[str, ...]) -> tuple[list[dict[str, str]], str]:
    """The rows of a patients table and the column that says of whom they are."""
    rows, names = patients_table(path)
    key = next((name for name in ("case_id", "patient_id") if name in names), None)
    if key is None:
        raise InputError(f"{path} must have a column case_id or patient_id. Got {', '.join(names)}.")
    for column in columns:
        if column not in names:
            raise InputError(f"--subgroup must name a column of {path}: {', '.join(names)}. Got {column!r}.")
    require_once(path, rows, key)
    return rows, key


def _point(value: Json) -> OperatingPoint:
    thresholds: dict[int | None, float | None] = {None: value["threshold"]}
    if "thresholds" in value:
        thresholds = {int(fold): t for fold, t in value["thresholds"].items()}
    promised = value.get("certificate")
    return OperatingPoint(
        value["name"],
        thresholds,
        value["chosen_on"],
        value["target"],
        certificate=None if promised is None else certificate_of(promised, where="The certificate of an evaluation"),
    )
