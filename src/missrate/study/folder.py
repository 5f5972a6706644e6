"""Evaluation without a study: anybody's predictions against a folder of references."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from missrate.core import store
from missrate.core.crop import Crop
from missrate.core.errors import DataError, InputError
from missrate.core.foreign import levels_of
from missrate.core.grid import require_same
from missrate.core.quantise import level_of
from missrate.core.types import Entry, Matching, OperatingPoint, Prediction
from missrate.engine import Task, run_all
from missrate.evaluate import files, statistics, summary, tables
from missrate.prepare.manifest import with_patients
from missrate.readers import nifti
from missrate.study.runner import default_workers
from missrate.study.work import load_statistics

MATCHINGS = [Matching("overlap"), Matching("iou", 0.1)]
FLOOR = 0.01


@dataclass(frozen=True, slots=True)
class Request:
    """What ``missrate evaluate --reference ... --predictions ...`` was asked."""

    reference: Path
    predictions: Path
    out: Path
    lesion_label: int | None = None
    prediction_label: int | None = None
    patients: Path | None = None
    thresholds: tuple[float, ...] = (0.5,)
    missing: Literal["fail", "as-misses"] = "fail"


def evaluate(request: Request, *, workers: int | None = None) -> dict[str, Any]:
    """Writes ``statistics/``, ``summary.json``, ``lesions.csv`` and ``cases.csv`` below ``out``; gives the summary.

    Walks the references, never the predictions. A case that fails is named in the summary with its reason and the
    others go on. Raises InputError when nothing can be evaluated, and for predictions of cases that no reference has.
    """
    references = _entries(request.reference)
    predicted = {entry.case_id: entry.label for entry in _entries(request.predictions)}
    extra = sorted(predicted.keys() - {entry.case_id for entry in references})
    if extra:
        raise InputError(f"Every prediction must have a reference. Got none for {_some(extra)}.")
    entries = with_patients(references, request.patients)
    lesion = _lesion_label(references, request.lesion_label)
    with store.lock(request.out):
        for ending in ("npz", "failed.json"):  # of an earlier call, perhaps with other inputs
            for old in (request.out / "statistics").glob(f"*.{ending}"):
                old.unlink()
        _measure_all(request, entries, predicted, lesion, default_workers() if workers is None else workers)
        return _finish(request, entries, predicted)


def measure(request: Request, entry: Entry, prediction: str | None, lesion: int) -> None:
    """Statistics of one case, or ``<case>.failed.json`` with the reason. A task."""
    folder = request.out / "statistics"
    try:
        reference = nifti.load_map(str(entry.label))
        if prediction is None:
            levels_XYZ, binary = np.zeros(reference.grid.shape, np.uint16), True
        else:
            foreign = nifti.load_image(prediction)
            require_same(reference.grid, foreign.grid, names=("reference", "prediction"))
            label = lesion if request.prediction_label is None else request.prediction_label
            levels_XYZ, binary = levels_of(foreign.values_XYZ, (label,), name=prediction)
            _require_label(foreign.values_XYZ, label, binary, prediction)
        measured = statistics.measure_case(
            Crop.whole(np.asarray(reference.labels_XYZ == lesion), reference.grid),
            Prediction(Crop.whole(levels_XYZ, reference.grid), "mask" if binary else "probability"),
            case_id=entry.case_id,
            patient_id=entry.patient_id,
            fold=None,
            declared=[level_of(t) for t in request.thresholds],
            floor=level_of(FLOOR),
        )
    except DataError as error:
        store.write_json(folder / f"{entry.case_id}.failed.json", {"case_id": entry.case_id, "reason": str(error)})
        return
    files.save(folder / f"{entry.case_id}.npz", measured)


def table(value: dict[str, Any]) -> str:
    """The summary as lines for a terminal: every metric with its n, undefined, and interval."""
    point, rule = value["operating_point"], value["matching"]["rule"]
    head = (
        f"{value['arm']}: {value['cases']} cases, {value['patients']} patients, {value['lesions']} lesions, "
        f"{value['healthy_cases']} healthy; threshold {point['threshold']} ({point['chosen_on']}), match by {rule}"
    )
    lines = [head, f"{'metric':<32} {'average':<10} {'value':>8}  {'95 % interval':<18} {'n':>5} {'undefined':>9}"]
    for name, blocks in value["metrics"].items():
        for average, block in blocks.items():
            if average == "by_diameter_mm":
                lines += [_row(f"{name} {band} mm", "pooled", inner) for band, inner in block.items()]
            else:
                lines.append(_row(name, average, block))
    lines += [f"missing prediction: {case}" for case in value["missing_predictions"]]
    lines += [f"failed: {case['case_id']}: {case['reason']}" for case in value["failed"]]
    return "\n".join(lines)


def _row(name: str, average: str, block: dict[str, Any]) -> str:
    value, interval = block.get("value"), block.get("ci95")
    number = "undefined" if value is None else f"{value:.4g}"
    spread = "" if interval is None else f"[{interval[0]:.4g}, {interval[1]:.4g}]"
    return f"{name:<32} {average:<10} {number:>9} {spread:<18} {block.get('n', ''):>5} {block.get('undefined', ''):>9}"


def _entries(folder: Path) -> list[Entry]:
    return nifti.find(folder, nifti.Config(role="labels"))


def _lesion_label(references: list[Entry], wanted: int | None) -> int:
    """The label asked for, or the only non-zero one of all references. Raises InputError that lists them otherwise."""
    if wanted is not None:
        return wanted
    values: set[int] = set()
    for entry in references:
        try:
            values |= {int(v) for v in np.unique(nifti.load_map(str(entry.label)).labels_XYZ)} - {0}
        except DataError:
            continue  # named when it is measured
    if len(values) != 1:
        raise InputError(f"--lesion-label must say which value is the lesion. Got {sorted(values)} in the references.")
    return values.pop()


def _require_label(values: np.ndarray[Any, Any], label: int, binary: bool, name: str) -> None:
    """A mask that holds something, but never ``label``, would be counted as one that found nothing."""
    present = set(np.unique(values)[:10].tolist()) - {0} if binary else set()
    if present and label not in present and len(present) == 1:
        raise DataError(f"{name} must hold label {label}. Got {sorted(present)}; perhaps give --prediction-label.")


def _measure_all(
    request: Request, entries: list[Entry], predicted: dict[str, str | None], lesion: int, workers: int
) -> None:
    tasks = []
    for entry in entries:
        if entry.case_id in predicted or request.missing == "as-misses":
            shared = {"request": request, "lesion": lesion}
            case = {"entry": entry, "prediction": predicted.get(entry.case_id)}
            tasks.append(Task(entry.case_id, measure, shared | case))
    run_all(tasks, 0 if len(tasks) < 2 * workers else workers)


def _finish(request: Request, entries: list[Entry], predicted: dict[str, str | None]) -> dict[str, Any]:
    folder = request.out / "statistics"
    failed = [store.read_json(path) for path in sorted(folder.glob("*.failed.json"))]
    cases = load_statistics([folder / f"{entry.case_id}.npz" for entry in entries])
    if not cases:
        reasons = "; ".join(row["reason"] for row in failed[:2]) or "no prediction at all"
        raise DataError(f"At least one case must be usable. Got 0 of {len(entries)}: {reasons}")
    points = [OperatingPoint(f"{t:g}", {None: t}, "fixed") for t in request.thresholds]
    value = summary.summarise(
        cases,
        arm=request.predictions.resolve().name,
        points=points,
        matchings=MATCHINGS,
        part="all",
        seed=None,
        missing=[entry.case_id for entry in entries if entry.case_id not in predicted],
        failed=failed,
        inputs={
            "reference": _hash_of([Path(str(e.label)) for e in entries]),
            "predictions": _hash_of([Path(str(p)) for p in predicted.values()]),
        },
    )
    store.write_text(request.out / "lesions.csv", tables.lesions_csv(cases, points, MATCHINGS[0]))
    store.write_text(request.out / "cases.csv", tables.cases_csv(cases, points, MATCHINGS[0]))
    store.write_json(request.out / "summary.json", value)
    return value


def _some(names: list[str]) -> str:
    """The first five, and how many there are."""
    return f"{', '.join(names[:5])} ({len(names)} in all)"


def _hash_of(paths: list[Path]) -> str:
    lines = sorted(f"{path.name} {store.hash_file(path)}" for path in paths)
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
