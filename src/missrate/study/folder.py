"""Evaluation without a study: anybody's predictions against a folder of references."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from missrate.core import catalog, foreign, own, store
from missrate.core import points as point_files
from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.documents import ReasonForm
from missrate.core.errors import DataError, InputError, some
from missrate.core.grid import Grid, axcodes
from missrate.core.intervals import FEW_SAID, mark
from missrate.core.quantise import level_of
from missrate.core.types import Entry, Matching, OperatingPoint, Points, Prediction, matching_rules
from missrate.engine import Task
from missrate.evaluate import files, statistics, summary, tables
from missrate.evaluate.blocks import shelf
from missrate.prepare.case import load_reference
from missrate.prepare.patients import column, with_patients
from missrate.readers._detect import Source, source_of
from missrate.readers._files import files_of
from missrate.study import folder_labels, folder_point, numbers, reuse
from missrate.study.cases import run_cases
from missrate.study.sources import LARDER, opened
from missrate.study.work import load_statistics

ABOUT = "missrate/evaluated/1"
EVERYTHING = tuple(range(1, 65_536))
"""What is lesion where all references are empty, so that nobody said it: whatever is predicted is a false alarm."""
FIRST = ("voxel_miss_rate", "slice_miss_rate", "lesion_miss_rate", "patient_miss_rate", "voxel_precision",
         "false_positives_per_scan", "false_positive_ml_per_scan", "dice")  # fmt: skip
"""The rows of a table that stand first."""
RESULTS = ("summary.json", "lesions.csv", "cases.csv")


@dataclass(frozen=True, slots=True)
class Request:
    """What ``missrate evaluate --reference ... --predictions ...`` was asked."""

    reference: Path
    predictions: Path
    out: Path
    reference_reader: str | None = None
    prediction_reader: str | None = None
    lesion_label: int | None = None
    prediction_label: int | None = None
    patients: Path | None = None
    subgroups: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = (0.5,)
    operating_point: Path | None = None
    floor: float = 0.01
    least_volume_ml: float = 0.0
    iou_minimum: float = 0.1
    point_rule: bool = False
    metrics: tuple[str, ...] = ()
    tolerances_mm: tuple[float, ...] = (2.0,)
    missing: Literal["fail", "as-misses"] = "fail"
    stop: bool = False  # at the first case that cannot be used, without a summary

    def matchings(self) -> list[Matching]:
        """Any overlap first, then one to one, and by point where that was asked for."""
        return matching_rules(self.least_volume_ml, self.iou_minimum, point=self.point_rule)

    def points(self) -> list[OperatingPoint]:
        """The operating point that was chosen elsewhere, then the fixed thresholds. Raises InputError without one."""
        chosen = [] if self.operating_point is None else [point_files.read(self.operating_point)]
        for point in chosen:
            point_files.only_threshold(point)  # one without a threshold measures nothing
        names = [f"{t:.10g}" for t in self.thresholds]
        if len(set(names)) < len(names):
            raise InputError(f"--threshold must not repeat. Got {', '.join(names)}.")
        return [*chosen, *(OperatingPoint(n, {None: t}, "fixed") for n, t in zip(names, self.thresholds, strict=True))]

    def declared(self) -> list[int]:
        """The levels of all thresholds."""
        thresholds = {t for point in self.points() for t in point.thresholds.values() if t is not None}
        return sorted(level_of(t) for t in thresholds)

    def options(self, entry: Entry, label: int | None) -> dict[str, Any]:
        """What of the request changes the statistics of a case."""
        labels = [label, self.lesion_label, self.prediction_label]
        who = {"case_id": entry.case_id, "patient_id": entry.patient_id}
        return who | {
            "labels": labels,
            "floor": level_of(self.floor),
            "declared": self.declared(),
        }


def evaluate(request: Request, *, workers: int | None = None) -> dict[str, Any]:
    """Writes ``statistics/``, ``summary.json``, ``lesions.csv`` and ``cases.csv`` below ``out``; gives the summary.

    Walks the references, never the predictions. A case whose statistics are in ``out`` already, and of which neither
    files nor options have changed since, is not measured again. A case that fails is named in the summary with its
    reason and the others go on, or with ``stop`` nothing is summarised; predictions of no reference are named. Raises
    InputError when nothing can be evaluated.
    """
    request = replace(request, metrics=tuple(own.pinned(name, Path()) for name in request.metrics))
    # Whatever can be wrong with a request is said before the first case is read.
    chosen = shelf(request.metrics, request.tolerances_mm)
    request.points()
    references = _source(request.reference, request.reference_reader)
    predictions = _source(request.predictions, request.prediction_reader)
    found = references.entries()
    entries = with_patients(found, request.patients)
    subgroups = _subgroups(request, found)
    predicted = {entry.case_id: str(entry.label) for entry in predictions.entries()}
    if not predicted.keys() & {entry.case_id for entry in entries} and not predictions.absent_is_empty:
        raise InputError(
            f"Predictions must be named as the references. Got {some(sorted(predicted))} for "
            f"{some([entry.case_id for entry in entries])}."
        )
    folder_point.require_fit(request, entries)
    with store.lock(request.out):
        folder = request.out / "statistics"
        label = folder_labels.of_references(references, entries, request.lesion_label)
        asked = folder_labels.of_predictions(predictions, label, request.prediction_label)
        wanted = tuple(sorted(asked.lesion)) or EVERYTHING
        surfels = any("surfels" in metric.needs for metric in chosen)
        counts_anyway = predictions.absent_is_empty or request.missing == "as-misses"
        measured = [entry for entry in entries if entry.case_id in predicted or counts_anyway]
        shared = {"request": request, "readers": (references.name, predictions.name), "label": label}
        shared |= {"wanted": wanted, "surfels": surfels}
        keys = {
            entry.case_id: reuse.key(
                (references, predictions),
                (entry.label, predicted.get(entry.case_id)),
                request.options(entry, label) | {"wanted": wanted, "surfels": surfels},
            )
            for entry in measured
        }
        for old in (request.out / name for name in RESULTS):
            old.unlink(
                missing_ok=True
            )  # of an earlier call, perhaps with other inputs; nothing is refused from here on
        kept = reuse.keep(folder, keys, ABOUT)
        tasks = [
            Task(name, measure, shared | {"entry": entry, "prediction": predicted.get(name), "key": keys[name]})
            for name, entry in ((entry.case_id, entry) for entry in measured)
            if name not in kept
        ]
        run_cases(tasks, "evaluate", workers)
        said = _judge(request, asked)
        used = own.identities([*request.metrics, references.name, predictions.name])
        return _finish(request, entries, predicted, predictions, subgroups=subgroups, said=said, used=used)


def _source(named: Path, reader: str | None) -> Source:
    """A folder, or an archive, which is unpacked once below the current folder; so is an own reader looked up."""
    if reader:
        catalog.require_known("readers", reader)
    return source_of(*opened(named, own.pinned(reader or "", Path()), data=Path(LARDER)))


def measure(
    request: Request,
    entry: Entry,
    prediction: str | None,
    *,
    readers: tuple[str, str],
    label: int | None,
    wanted: tuple[int, ...],
    surfels: bool,
    key: str | None,
) -> None:
    """Statistics of one case, or ``<case>.failed.json`` with the reason. A task."""
    written, name = request.out / "statistics" / entry.case_id, entry.case_id
    references, predictions = (source_of(Path(), reader) for reader in readers)
    about: dict[str, Any] = {"schema": ABOUT, "case_id": name, "lesion_label": label, "warning": None, "numbers": None}
    try:
        reference = load_reference(references.reader, str(entry.label))
        if request.lesion_label is None:
            folder_labels.require_same(reference, name, label)
        about["reference_numbers"] = foreign.numbers_of(reference.values_XYZ)
        predicted = _load(predictions, prediction, wanted, reference.grid)
        about["numbers"] = predicted.numbers if isinstance(predicted, Prediction) else None
        turned = _axcodes(references, str(entry.label))
        # A reference whose own file says how its axes run lies on a whole grid, whatever its format keeps.
        lossy = _only_voxel_size(predictions) or (_only_voxel_size(references) and turned is None)
        if lossy and turned is None:
            _require_ras(predictions, prediction)
        placed, about["warning"] = foreign.onto(predicted, reference.grid, turned or "RAS", only_voxel_size=lossy)
        measured = _measured(request, entry, _mask(reference, label), placed, surfels=surfels)
    except DataError as error:
        store.write_json(written.with_name(f"{name}.failed.json"), about | {"reason": str(error)})
        return
    arrays = written.with_name(f"{name}.npz")
    files.save(arrays, measured)
    inputs = {"reference": _hash(entry.label), "predictions": _hash(prediction)}
    # Written last: it says that the case is whole, and what it was measured from.
    whole = {"key": key, "statistics": store.hash_file(arrays)}
    store.write_json(written.with_name(f"{name}.json"), about | inputs | whole)


def _mask(reference: Crop, label: int | None) -> Crop:
    """Where the lesion is; nowhere when the reference is empty."""
    values = reference.values_XYZ
    lesion = np.zeros(values.shape, bool) if label is None else np.asarray(values == label)
    return Crop(lesion, reference.start, reference.grid)


def _measured(
    request: Request, entry: Entry, mask: Crop, placed: Prediction | Points, *, surfels: bool
) -> CaseStatistics:
    who, floor = {"case_id": entry.case_id, "patient_id": entry.patient_id}, level_of(request.floor)
    if isinstance(placed, Points):
        return statistics.measure_points(mask, placed, floor=floor, fold=None, **who)
    return statistics.measure_case(
        mask,
        placed,
        floor=floor,
        fold=None,
        declared=request.declared(),
        distances_at=None,
        surfels=surfels,
        **who,
    )


def _judge(request: Request, asked: numbers.Asked) -> dict[str, str]:
    """What is to be said about the numbers of the predictions, by case; cases whose maps cannot be used have failed.

    Raises DataError where none can be used, see ``numbers.judge``.
    """
    folder = request.out / "statistics"
    about = [store.read_json(path, ABOUT) for path in sorted(folder.glob("*.json"))]
    if asked.as_references:
        asked = asked.with_known(number for row in about for number in row.get("reference_numbers", ()))
    judged = numbers.judge({row["case_id"]: row["numbers"] for row in about}, asked, where=str(request.predictions))
    for row in about:
        if (reason := judged.refused.get(row["case_id"])) is not None:
            for ending in ("npz", "json"):
                (folder / f"{row['case_id']}.{ending}").unlink(missing_ok=True)
            store.write_json(folder / f"{row['case_id']}.failed.json", row | {"reason": reason})
    return judged.warnings


def _load(predictions: Source, location: str | None, wanted: tuple[int, ...], grid: Grid) -> Prediction | Points:
    if location is None:
        none = Points(np.empty((0, 3)), "voxel", np.empty(0, np.uint16))
        return none if predictions.absent_is_empty else statistics.nothing(grid)
    return predictions.reader.load_prediction(location, wanted)  # type: ignore[no-any-return]


def _require_ras(predictions: Source, location: str | None) -> None:
    """A prediction that its reader turned fits no reference of which nobody knows how its axes run."""
    found = predictions.reader.geometry(location) if location and hasattr(predictions.reader, "geometry") else None
    if found is not None and axcodes(found[1]) != "RAS":
        raise DataError(
            f"{location} must run as the reference's file does, which has lost its directions. Got axes "
            f"{axcodes(found[1])}; perhaps lay the scans beside the references, or write the masks as .npy or evalseg."
        )


def _only_voxel_size(source: Source) -> bool:
    return bool(getattr(source.reader, "ONLY_VOXEL_SIZE", False))


def _axcodes(references: Source, location: str) -> str | None:
    """How the axes of the reference's own file run; None where nothing says it."""
    found = references.reader.geometry(location) if hasattr(references.reader, "geometry") else None
    return None if found is None else axcodes(found[1])


def _finish(
    request: Request,
    entries: list[Entry],
    predicted: dict[str, str],
    predictions: Source,
    *,
    subgroups: dict[str, dict[str, str]],
    said: dict[str, str],
    used: dict[str, str],
) -> dict[str, Any]:
    """Writes and gives the summary; ``used`` are the own files that took part, with their hashes."""
    folder = request.out / "statistics"
    rows = [store.read_json(path, ABOUT, ReasonForm) for path in sorted(folder.glob("*.failed.json"))]
    failed = [{key: row[key] for key in ("case_id", "reason")} for row in rows]
    known = {} if not predictions.absent_is_empty else {entry.case_id: "" for entry in entries}
    missing = [entry.case_id for entry in entries if entry.case_id not in predicted | known]
    extra = sorted(predicted.keys() - {entry.case_id for entry in entries})
    cases = load_statistics([folder / f"{entry.case_id}.npz" for entry in entries])
    about = [store.read_json(folder / f"{case.case_id}.json", ABOUT, reuse.AboutForm) for case in cases]
    _require_usable(request, entries, cases, failed=failed, missing=missing)
    points, matchings = request.points(), request.matchings()
    notes = [*folder_point.notes(request, cases), *said.items()]
    value = summary.summarise(
        cases,
        arm=request.predictions.resolve().name,
        points=points,
        matchings=matchings,
        part="all",
        seed=None,
        missing=missing,
        failed=failed,
        extra=extra,
        warnings=[
            *({"case_id": row["case_id"], "warning": row["warning"]} for row in about if row["warning"]),
            *({"case_id": case_id, "warning": text} for case_id, text in notes),
        ],
        inputs={kind: _together([row[kind] for row in about]) for kind in ("reference", "predictions")} | used,
        floor=request.floor,
        metrics=request.metrics,
        tolerances_mm=request.tolerances_mm,
        subgroups=subgroups,
    )
    store.write_text(request.out / "lesions.csv", tables.lesions_csv(cases, points, matchings[0]))
    store.write_text(request.out / "cases.csv", tables.cases_csv(cases, points, matchings[0]))
    store.write_json(request.out / "summary.json", value)
    return value


def _require_usable(
    request: Request,
    entries: list[Entry],
    cases: list[CaseStatistics],
    *,
    failed: list[dict[str, str]],
    missing: list[str],
) -> None:
    absent = [] if request.missing == "as-misses" else missing
    if request.stop and (failed or absent):
        reasons = [f"{row['case_id']}: {row['reason']}" for row in failed]
        reasons += [f"{case_id}: no prediction" for case_id in absent]
        raise DataError(f"Every case must be usable (--stop). Got {len(reasons)} that are not: {'; '.join(reasons)}")
    if not cases:
        reason = "; ".join(row["reason"] for row in failed[:2]) or "no prediction at all"
        raise DataError(f"At least one case must be usable. Got 0 of {len(entries)}: {reason}")


def _subgroups(request: Request, entries: list[Entry]) -> dict[str, dict[str, str]]:
    if request.subgroups and request.patients is None:
        raise InputError("--subgroup must name a column of --patients. Got no --patients.")
    return {name: column(entries, Path(str(request.patients)), name) for name in request.subgroups}


def table(value: dict[str, Any], *, patients_given: bool = False) -> str:
    """The summary as lines for a terminal: every metric with its n, undefined, and interval.

    ``patients_given``: somebody said whose each case is.
    """
    point, rule = value["operating_point"], value["matching"]["rule"]
    head = (
        f"{value['arm']}: {value['cases']} cases, {value['patients']} patients, {value['lesions']} lesions, "
        f"{value['healthy_cases']} healthy; threshold {point['threshold']} ({point['chosen_on']}), match by {rule}"
    )
    lines = [head, f"{'metric':<36} {'average':<10} {'value':>9}  {'95 % interval':<18} {'n':>5} {'undefined':>9}"]
    for name in [*(name for name in FIRST if name in value["metrics"]), *sorted(value["metrics"].keys() - {*FIRST})]:
        for average, block in value["metrics"][name].items():
            if average == "by_diameter_mm":
                lines += [_row(f"{name} {band} mm", "pooled", inner) for band, inner in block.items()]
            else:
                lines.append(_row(name, average, block))
    for column_name, values in value["subgroups"].items():
        for which, part in values.items():
            lines.append(f"{column_name} = {which}: {part['cases']} cases, {part['lesions']} lesions")
            lines += [_row(f"  {name}", average, b) for name, m in part["metrics"].items() for average, b in m.items()]
    if any("*" in line for line in lines[2:]):
        lines.append(FEW_SAID)
    if value["cases"] == value["patients"] and not patients_given:
        lines.append("each case counts as a patient of its own (say otherwise with --patients)")
    for case, threshold in value["raised_floors"].items():
        lines.append(f"noisy: {case}: candidates are known from {threshold:.3g} upwards only")
    lines += [f"warning: {row['case_id']}: {row['warning']}" for row in value["warnings"]]
    lines += [f"missing prediction: {case}" for case in value["missing_predictions"]]
    lines += [f"prediction without a reference: {case}" for case in value["extra_predictions"]]
    lines += [f"failed: {case['case_id']}: {case['reason']}" for case in value["failed"]]
    return "\n".join(lines)


def _row(name: str, average: str, block: dict[str, Any]) -> str:
    value, interval = block.get("value"), block.get("ci95")
    number = "undefined" if value is None else f"{value:.4g}"
    spread = "" if interval is None else f"[{interval[0]:.4g}, {interval[1]:.4g}]{mark(block)}"
    row = f"{name:<36} {average:<10} {number:>9}  {spread:<18} {block.get('n', ''):>5} {block.get('undefined', ''):>9}"
    missed = block.get("misses_left_out")
    why = f"  ({block['reason']})" if value is None and "reason" in block else ""
    return row.rstrip() + why + (f"  ({missed} misses left out)" if missed else "")


def _hash(location: str | None) -> str:
    """Of the bytes behind a location; of one that names no file (a series, with its state) of the location itself."""
    if location is None:
        return "none"
    paths = files_of(location)
    if not paths:
        return "sha256:" + hashlib.sha256(location.encode()).hexdigest()
    return store.hash_file(paths[0]) if len(paths) == 1 else store.hash_files(paths)


def _together(hashes: list[str]) -> str:
    return "sha256:" + hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
