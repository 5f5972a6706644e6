"""Evaluation without a study: anybody's predictions against a folder of references."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from missrate.core import foreign, store
from missrate.core import points as point_files
from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop
from missrate.core.documents import Document, ReasonForm
from missrate.core.errors import DataError, InputError, ProvenanceError
from missrate.core.grid import Grid, axcodes
from missrate.core.quantise import level_of
from missrate.core.types import Entry, Matching, OperatingPoint, Points, Prediction, matching_rules
from missrate.engine import Task
from missrate.evaluate import files, statistics, summary, tables
from missrate.prepare.case import load_reference
from missrate.prepare.patients import column, with_patients
from missrate.readers._detect import Source, source_of
from missrate.readers._files import files_of
from missrate.study.cases import run_cases
from missrate.study.sources import LARDER, opened
from missrate.study.work import load_statistics

ABOUT = "missrate/evaluated/1"


class AboutForm(Document):
    """What is noted beside the statistics of a case."""

    warning: str | None
    reference: str
    predictions: str


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
        """The operating point that was chosen elsewhere, then the fixed thresholds."""
        chosen = [] if self.operating_point is None else [point_files.read(self.operating_point)]
        return [*chosen, *(OperatingPoint(f"{t:g}", {None: t}, "fixed") for t in self.thresholds)]

    def declared(self) -> list[int]:
        """The levels of all thresholds."""
        thresholds = {t for point in self.points() for t in point.thresholds.values() if t is not None}
        return sorted(level_of(t) for t in thresholds)


def evaluate(request: Request, *, workers: int | None = None) -> dict[str, Any]:
    """Writes ``statistics/``, ``summary.json``, ``lesions.csv`` and ``cases.csv`` below ``out``; gives the summary.

    Walks the references, never the predictions. A case that fails is named in the summary with its reason and the
    others go on, or with ``stop`` nothing is summarised; predictions of no reference are named. Raises InputError when
    nothing can be evaluated.
    """
    references = _source(request.reference, request.reference_reader)
    predictions = _source(request.predictions, request.prediction_reader)
    found = references.entries()
    entries = with_patients(found, request.patients)
    subgroups = _subgroups(request, found)
    predicted = {entry.case_id: str(entry.label) for entry in predictions.entries()}
    if not predicted.keys() & {entry.case_id for entry in entries} and not predictions.absent_is_empty:
        raise InputError(
            f"Predictions must be named as the references. Got {_some(sorted(predicted))} for "
            f"{_some([entry.case_id for entry in entries])}."
        )
    request.points()  # a point that cannot be read stops before anything is measured
    with store.lock(request.out):
        folder = request.out / "statistics"
        for old in (path for ending in ("npz", "json") for path in folder.glob(f"*.{ending}")):
            old.unlink()  # of an earlier call, perhaps with other inputs
        label = request.lesion_label if request.lesion_label is not None else _first_label(references, entries)
        shared = {"request": request, "readers": (references.name, predictions.name), "label": label}
        counts_anyway = predictions.absent_is_empty or request.missing == "as-misses"
        tasks = [
            Task(entry.case_id, measure, shared | {"entry": entry, "prediction": predicted.get(entry.case_id)})
            for entry in entries
            if entry.case_id in predicted or counts_anyway
        ]
        run_cases(tasks, "evaluate", workers)
        return _finish(request, entries, predicted, predictions, subgroups)


def _source(named: Path, reader: str | None) -> Source:
    """A folder, or an archive, which is unpacked once below the current folder."""
    return source_of(*opened(named, reader or "", data=Path(LARDER)))


def measure(
    request: Request, entry: Entry, prediction: str | None, *, readers: tuple[str, str], label: int | None
) -> None:
    """Statistics of one case, or ``<case>.failed.json`` with the reason. A task."""
    written, name = request.out / "statistics" / entry.case_id, entry.case_id
    references, predictions = (source_of(Path(), reader) for reader in readers)
    about: dict[str, Any] = {"schema": ABOUT, "lesion_label": label, "warning": None}
    try:
        reference = load_reference(references.reader, str(entry.label))
        if request.lesion_label is None and _only_label(reference, name) not in (None, label):
            values = sorted({label or 0, _only_label(reference, name) or 0})
            raise InputError(f"--lesion-label must say which value is the lesion. Got {values} in two references.")
        predicted = _load(request, predictions, prediction, label, reference.grid)
        turned = _axcodes(references, str(entry.label))
        # A reference whose own file says how its axes run lies on a whole grid, whatever its format keeps.
        lossy = _only_voxel_size(predictions) or (_only_voxel_size(references) and turned is None)
        if lossy and turned is None:
            _require_ras(predictions, prediction)
        placed, about["warning"] = foreign.onto(predicted, reference.grid, turned or "RAS", only_voxel_size=lossy)
        measured = _measured(request, entry, _mask(reference, label), placed)
    except DataError as error:
        store.write_json(written.with_name(f"{name}.failed.json"), about | {"case_id": name, "reason": str(error)})
        return
    files.save(written.with_name(f"{name}.npz"), measured)
    inputs = {"reference": _hash(entry.label), "predictions": _hash(prediction)}
    store.write_json(written.with_name(f"{name}.json"), about | inputs)


def _mask(reference: Crop, label: int | None) -> Crop:
    """Where the lesion is; nowhere when the reference is empty."""
    values = reference.values_XYZ
    lesion = np.zeros(values.shape, bool) if label is None else np.asarray(values == label)
    return Crop(lesion, reference.start, reference.grid)


def _measured(request: Request, entry: Entry, mask: Crop, placed: Prediction | Points) -> CaseStatistics:
    who, floor = {"case_id": entry.case_id, "patient_id": entry.patient_id}, level_of(request.floor)
    if isinstance(placed, Points):
        return statistics.measure_points(mask, placed, floor=floor, fold=None, **who)
    surfels = any("surfel" in metric for metric in request.metrics)
    return statistics.measure_case(
        mask, placed, floor=floor, fold=None, declared=request.declared(), distances_at=None, surfels=surfels, **who
    )


def _first_label(references: Source, entries: list[Entry]) -> int | None:
    """The one value of the first reference that is not empty; None when all of them are."""
    for entry in entries:
        try:
            label = _only_label(load_reference(references.reader, str(entry.label)), entry.case_id)
        except InputError as error:
            if not isinstance(error, DataError):  # a damaged file is named when it is measured
                raise
            continue
        if label is not None:
            return label
    return None


def _only_label(reference: Crop, case_id: str) -> int | None:
    """The one value of a map other than 0; None for an empty one. Raises InputError that lists several."""
    highest = int(reference.values_XYZ.max())
    if highest == 0:
        return None
    if not np.isin(reference.values_XYZ, (0, highest)).all():
        values = sorted({int(v) for v in np.unique(reference.values_XYZ)} - {0})
        raise InputError(f"--lesion-label must say which value is the lesion. Got {values} in the reference {case_id}.")
    return highest


def _load(
    request: Request, predictions: Source, location: str | None, label: int | None, grid: Grid
) -> Prediction | Points:
    if location is None:
        none = Points(np.empty((0, 3)), "voxel", np.empty(0, np.uint16))
        return none if predictions.absent_is_empty else statistics.nothing(grid)
    wanted = label if request.prediction_label is None else request.prediction_label
    # Where all references are empty nobody said which value is the lesion: whatever is predicted is a false alarm.
    labels = tuple(range(1, 256)) if wanted is None else (wanted,)
    predicted: Prediction | Points = predictions.reader.load_prediction(location, labels)
    if isinstance(predicted, Prediction) and predicted.kind == "mask" and not predicted.levels.values_XYZ.any():
        _require_label(predictions, location, wanted)
    return predicted


def _require_label(predictions: Source, location: str, label: int | None) -> None:
    """A mask that holds one value, but not ``label``, would be counted as one that found nothing."""
    if label is None or not hasattr(predictions.reader, "load_reference"):
        return
    present = sorted({int(v) for v in np.unique(predictions.reader.load_reference(location).values_XYZ)} - {0})
    if len(present) == 1 and present[0] != label:
        raise DataError(f"{location} must hold label {label}. Got {present}; perhaps give --prediction-label.")


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
    subgroups: dict[str, dict[str, str]],
) -> dict[str, Any]:
    folder = request.out / "statistics"
    rows = [store.read_json(path, ABOUT, ReasonForm) for path in sorted(folder.glob("*.failed.json"))]
    failed = [{key: row[key] for key in ("case_id", "reason")} for row in rows]
    known = {} if not predictions.absent_is_empty else {entry.case_id: "" for entry in entries}
    missing = [entry.case_id for entry in entries if entry.case_id not in predicted | known]
    extra = sorted(predicted.keys() - {entry.case_id for entry in entries})
    cases = load_statistics([folder / f"{entry.case_id}.npz" for entry in entries])
    about = [store.read_json(folder / f"{case.case_id}.json", ABOUT, AboutForm) for case in cases]
    _require_usable(request, entries, cases, failed=failed, missing=missing)
    points, matchings = request.points(), request.matchings()
    _require_other_patients(points, cases)
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
            {"case_id": c.case_id, "warning": a["warning"]} for c, a in zip(cases, about, strict=True) if a["warning"]
        ],
        inputs={kind: _together([row[kind] for row in about]) for kind in ("reference", "predictions")},
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


def _require_other_patients(points: list[OperatingPoint], cases: list[CaseStatistics]) -> None:
    """Raises ProvenanceError for a certified point on the very patients that certified it: they prove nothing new."""
    tested = point_files.hash_of_patients({case.patient_id for case in cases if not case.healthy})
    for point in points:
        if point.certificate is not None and point.certificate.patients == tested:
            raise ProvenanceError(
                f"Operating point {point.name!r} must be tested on other patients. Got those that certified it."
            )


def _subgroups(request: Request, entries: list[Entry]) -> dict[str, dict[str, str]]:
    if request.subgroups and request.patients is None:
        raise InputError("--subgroup must name a column of --patients. Got no --patients.")
    return {name: column(entries, Path(str(request.patients)), name) for name in request.subgroups}


def table(value: dict[str, Any]) -> str:
    """The summary as lines for a terminal: every metric with its n, undefined, and interval."""
    point, rule = value["operating_point"], value["matching"]["rule"]
    head = (
        f"{value['arm']}: {value['cases']} cases, {value['patients']} patients, {value['lesions']} lesions, "
        f"{value['healthy_cases']} healthy; threshold {point['threshold']} ({point['chosen_on']}), match by {rule}"
    )
    lines = [head, f"{'metric':<36} {'average':<10} {'value':>9}  {'95 % interval':<18} {'n':>5} {'undefined':>9}"]
    for name, blocks in value["metrics"].items():
        for average, block in blocks.items():
            if average == "by_diameter_mm":
                lines += [_row(f"{name} {band} mm", "pooled", inner) for band, inner in block.items()]
            else:
                lines.append(_row(name, average, block))
    for column_name, values in value["subgroups"].items():
        for which, part in values.items():
            lines.append(f"{column_name} = {which}: {part['cases']} cases, {part['lesions']} lesions")
            lines += [_row(f"  {name}", average, b) for name, m in part["metrics"].items() for average, b in m.items()]
    if value["cases"] == value["patients"]:
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
    spread = "" if interval is None else f"[{interval[0]:.4g}, {interval[1]:.4g}]"
    row = f"{name:<36} {average:<10} {number:>9}  {spread:<18} {block.get('n', ''):>5} {block.get('undefined', ''):>9}"
    missed = block.get("misses_left_out")
    why = f"  ({block['reason']})" if value is None and "reason" in block else ""
    return row.rstrip() + why + (f"  ({missed} misses left out)" if missed else "")


def _some(names: list[str]) -> str:
    """The first five, and how many there are."""
    return f"{', '.join(names[:5]) or 'none'} ({len(names)} in all)"


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
