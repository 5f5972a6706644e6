"""What the workers run: each function is one task, takes plain values, and leaves files. Rooms meet here."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from missrate import calibrate, compare, engine
from missrate.core import catalog, foreign, store
from missrate.core import points as point_files
from missrate.core.admissible import level_at
from missrate.core.case import CaseStatistics
from missrate.core.crop import Crop, union
from missrate.core.errors import DataError, InputError, ProvenanceError, StoreError
from missrate.core.grid import Grid
from missrate.core.quantise import level_of, threshold_of
from missrate.core.recipe import Recipe
from missrate.core.types import IGNORED, LESION, Entry, LabelMeaning, Matching, OperatingPoint, Prediction
from missrate.core.view import View
from missrate.core.viewed import read_view
from missrate.evaluate import files, statistics, summary, tables
from missrate.prepare import case as prepare_case
from missrate.prepare import views
from missrate.study.numbers import NUMBERS

UNEQUAL = "Its differences from other arms are of the budget as well."


def prepare(
    reader: str,
    entry: Entry,
    meaning: LabelMeaning,
    folder: Path,
    *,
    images: bool,
    keep: prepare_case.Keep = "volumes",
) -> None:
    """Checks one case and stores it, or a picture of it."""
    prepare_case.prepare_case(catalog.load("readers", reader), entry, meaning, folder, images=images, keep=keep)


def view(prepared: Path, case_id: str, patient_id: str, config: View, folder: Path) -> None:
    """Materialises one case of a view. Raises DataError, with its name, for a case that cannot be."""
    try:
        views.materialise(store.Prepared(prepared), case_id, patient_id, view=config, folder=folder)
    except DataError as error:
        raise DataError(f"{case_id}: {error}") from error


def check_recipe(recipe: Recipe, out: Path, *, parent: Recipe | None, offline: bool, folder: Path) -> None:
    """Writes the resolved recipe of an arm, once it could be built; raises as ``try_recipe``."""
    try_recipe(recipe, parent=parent, offline=offline, folder=folder)
    store.write_text(out, recipe.to_toml())


def try_recipe(recipe: Recipe, *, parent: Recipe | None, offline: bool, folder: Path, fetch: bool = True) -> None:
    """Builds what an arm will be trained with: model, loss, optimiser, initial weights; what users wrote takes a step.

    ``parent`` is the recipe of the arm that ``init`` names: of its weights only names and shapes are known yet. Without
    ``fetch`` weights that would have to be downloaded are believed to fit. Raises ConfigError and UnknownNameError.
    """
    from missrate.models import _initial
    from missrate.models._build import build_model, try_step
    from missrate.train.optimise import build_optimiser

    model = build_model(recipe)
    build_optimiser(model, recipe.train)
    if parent is not None:
        _initial.require_fit(model, recipe.init, build_model(parent))
    elif fetch or offline or not _initial.to_be_fetched(recipe.init):
        _initial.initialise(model, recipe.init, arm_weights=None, offline=offline, folder=folder)
    if recipe.own_files():
        try_step(recipe, model)


def train(
    run: Path,
    recipe: Recipe,
    parts: dict[str, list[str]],
    provenance: dict[str, Any],
    *,
    views_folder: Path,
    arm_weights: Path | None,
    offline: bool,
    folder: Path,
    leading: dict[str, int],
) -> None:
    """Trains one arm of one fold; ``parts`` gives the case ids of train and validation.

    Of a case in ``leading`` only so many slices are seen: see ``leak``.
    """
    from missrate.train.loop import train as run_training

    cases, validation = ([read_view(views_folder, c) for c in parts[part]] for part in ("train", "validation"))
    cases = [case.leading(leading[case.case_id]) if case.case_id in leading else case for case in cases]
    run_training(
        run,
        recipe,
        cases,
        validation,
        provenance=provenance,
        arm_weights=arm_weights,
        offline=offline,
        folder=folder,
        progress=engine.advance,
    )


def predict(
    run: Path, recipe: Recipe, case_id: str, *, source: str, views_folder: Path, out: Path, leaks: bool = False
) -> None:
    """One case through one run. Raises ProvenanceError for a patient that the run, or one that it began from, saw.

    With ``leaks`` that is the point, and the predictions serve a ladder only.
    """
    from missrate.predict.run2d import predict_case

    patient = read_view(views_folder, case_id).patient_id
    if not leaks and patient in seen_by(run, source):
        raise ProvenanceError(f"{run} must not have seen the patients that it is tested on. Got {patient} in both.")
    try:
        predict_case(run, views_folder, case_id, out, recipe=recipe)
    except DataError as error:
        store.write_json(out.with_suffix(".failed.json"), {"case_id": case_id, "reason": str(error)})


def seen_by(run: Path, source: str) -> list[str]:
    """Return the patients of ``source`` that the weights of a run have seen. Raises StoreError."""
    seen: dict[str, list[str]] = store.read_json(run / "provenance.json", store.PROVENANCE)["patients"]
    return seen.get(source, [])


def import_predictions(
    reader: str, predictions: dict[str, str], prepared: Path, *, lesion: tuple[int, ...], out: Path
) -> None:
    """Cases that other software predicted, onto the prepared grid; what does not fit is named, never resampled."""
    shelf, data = catalog.load("readers", reader), store.Prepared(prepared)
    for done, (case_id, location) in enumerate(predictions.items(), start=1):
        engine.advance(done, len(predictions))
        target = out / f"{case_id}.b2nd"
        if target.exists():
            continue
        try:
            predicted = shelf.load_prediction(location, lesion)
            if not isinstance(predicted, Prediction):
                raise DataError("A study's predictions must be maps. Got a table of candidates; use missrate evaluate.")
            facts = store.read_json(data.case_folder(case_id) / "case.json", store.CASE)
            grid = store.grid_from_json(facts["grid"])
            turned = facts.get("source_axcodes") or "RAS"
            lossy = getattr(shelf, "ONLY_VOXEL_SIZE", False)
            placed, warning = foreign.onto(predicted, grid, turned, only_voxel_size=lossy)
            assert isinstance(placed, Prediction)
            held = {"case_id": case_id, "numbers": predicted.numbers}
            store.write_json(target.with_name(f"{case_id}{NUMBERS}"), held)
            if warning:
                store.write_json(target.with_suffix(".warning.json"), {"case_id": case_id, "warning": warning})
            store.write_prediction(target, placed)
        except DataError as error:
            store.write_json(target.with_suffix(".failed.json"), {"case_id": case_id, "reason": str(error)})


def predict_null(arm: str, prepared: Path, trained_on: dict[str, str], cases: dict[str, str], out: Path) -> None:
    """A null arm on all cases of one fold; both dictionaries map case to patient."""
    from missrate.predict import null

    data = store.Prepared(prepared)
    prior = None
    if arm == "location_prior":
        prior = null.fit_prior(data.load(case_id, patient).label_XYZ for case_id, patient in trained_on.items())
    for done, case_id in enumerate(cases, start=1):
        engine.advance(done, len(cases))
        target = out / f"{case_id}.b2nd"
        if not target.exists():
            grid = data.load_label(case_id).grid
            kind: Literal["mask", "probability"] = "probability" if arm == "location_prior" else "mask"
            store.write_prediction(target, Prediction(Crop.whole(null.predict_null(arm, grid, prior), grid), kind))


def measure_all(
    prepared: Path,
    cases: dict[str, str],
    *,
    predictions: Path,
    out: Path,
    **settings: Any,
) -> None:
    """``measure`` for several cases (case to patient), one after the other."""
    for done, (case_id, patient_id) in enumerate(cases.items(), start=1):
        prediction, written = predictions / f"{case_id}.b2nd", out / f"{case_id}.npz"
        measure(prepared, case_id, patient_id, prediction=prediction, out=written, **settings)
        engine.advance(done, len(cases))


def measure(
    prepared: Path,
    case_id: str,
    patient_id: str,
    *,
    fold: int | None,
    prediction: Path,
    out: Path,
    thresholds: tuple[float, ...],
    floor: float,
    as_misses: bool,
    surfels: bool = False,
) -> None:
    """Statistics of one case; a case without a prediction leaves none unless it counts ``as_misses``."""
    if out.exists() or not (prediction.exists() or as_misses):
        return
    label = store.Prepared(prepared).load_label(case_id)
    found = predicted(prediction, label.grid)
    measured = statistics.measure_case(
        Crop(label.values_XYZ == LESION, label.start, label.grid),
        without_ignored(found, label),
        case_id=case_id,
        patient_id=patient_id,
        fold=fold,
        floor=level_of(floor),
        declared=[level_of(t) for t in thresholds],
        surfels=surfels,
    )
    files.save(out, measured)


def predicted(path: Path, grid: Grid) -> Prediction:
    """What the file holds; without one, nothing was found."""
    if not path.exists():
        return statistics.nothing(grid)
    found = store.read_prediction(path)
    if found.levels.grid != grid:
        raise ProvenanceError(f"{path} must lie on the grid of its scan. Got another; predict again.")
    return found


def without_ignored(prediction: Prediction, label: Crop) -> Prediction:
    """Nobody knows what ignored voxels are: no prediction there is right or wrong."""
    if not (label.values_XYZ == IGNORED).any():
        return prediction
    box = union(prediction.levels.box, label.box)
    levels_XYZ = np.where(label.within(box) == IGNORED, np.uint16(0), prediction.levels.within(box))
    x, y, z = (span.start for span in box)
    return Prediction(Crop(levels_XYZ, (x, y, z), label.grid), prediction.kind)


def choose_point(
    cases: list[Path],
    out: Path,
    target: calibrate.Target,
    *,
    matching: Matching,
    by_fold: bool,
    arm: str,
    run: Path | None,
) -> None:
    """Writes ``operating_point.json`` of one arm; ``run`` is None where it has none, or one for each fold."""
    loaded = load_statistics(cases)
    choose = calibrate.choose_by_fold if by_fold else calibrate.choose
    about = _about(loaded, matching, arm, run)
    point_files.write(out, choose(loaded, matching, target=target, name="calibrated"), **about)


def _about(loaded: list[CaseStatistics], matching: Matching, arm: str, run: Path | None) -> dict[str, Any]:
    """Whose point it is, so that no other run is given it, and by which rule and on how many it was chosen."""
    rule = {"rule": matching.rule, "least_volume_ml": matching.least_volume_ml}
    weights = store.hash_file(run / "weights.safetensors") if run else None
    patients = [(case.patient_id, case.case_id) for case in loaded]
    return {"n": len(loaded), "matching": rule, "arm": arm, "weights": weights, "patients": patients}


def certify_point(
    cases: list[Path],
    out: Path,
    wanted: calibrate.Certify,
    *,
    matching: Matching,
    arm: str,
    run: Path | None,
    source: str,
) -> None:
    """Writes ``certified.json`` of one arm; what cannot be certified has no threshold there, and the reason.

    ``run`` is None where the arm has none. Missing statistics are such a reason: who
    could not be predicted would silently be left out of the promise.
    """
    loaded = load_statistics(cases)
    try:
        absent = [path.stem for path in cases if not path.exists()]
        if absent:
            raise InputError(f"Every calibration case must have a prediction. Got none for {', '.join(absent[:5])}.")
        seen = seen_by(run, source) if run else None
        point = calibrate.certify(loaded, matching, wanted, seen=seen, name="certified")
        price = calibrate.prices(loaded, matching, wanted)
    except (InputError, ProvenanceError) as error:
        point, price = OperatingPoint("certified", {None: None}, "calibration", str(wanted), reason=str(error)), []
    point_files.write(out, point, price=price, **_about(loaded, matching, arm, run))


def summarise(
    cases: list[Path],
    folder: Path,
    points: list[Path],
    *,
    fixed: tuple[float, ...],
    folds: list[int | None],
    **about: Any,
) -> None:
    """Writes ``summary.json``, ``lesions.csv`` and ``cases.csv`` of one arm."""
    loaded = load_statistics(cases)
    ordered = answerable(order_points(points, fixed, folds), loaded)
    value = summary.summarise(loaded, points=ordered, **about)
    matching = about["matchings"][0]
    store.write_text(folder / "lesions.csv", tables.lesions_csv(loaded, ordered, matching))
    store.write_text(folder / "cases.csv", tables.cases_csv(loaded, ordered, matching))
    store.write_json(folder / "summary.json", value)


def compare_arms(
    arms: dict[str, list[list[Path]]],
    points: dict[str, list[list[Path]]],
    out: Path,
    *,
    fixed: tuple[float, ...],
    folds: list[int | None],
    unequal: dict[str, str] | None = None,
    **about: Any,
) -> None:
    """Writes ``comparison.json`` over all arms; of each the statistics, and the points, of every seed.

    ``unequal``: the arms with another budget on purpose, and what it is. The answer names them.
    """
    loaded = {arm: [load_statistics(paths) for paths in each] for arm, each in arms.items()}
    primary = {
        arm: _common_point(
            [
                answerable(order_points(own, fixed, folds), cases)
                for own, cases in zip(points[arm], loaded[arm], strict=True)
            ]
        )
        for arm in arms
    }
    value = compare.compare(loaded, primary, leave_out=True, **about)
    if unequal:
        told = [f"{arm} had another budget on purpose: {what}. {UNEQUAL}" for arm, what in unequal.items()]
        value |= {"unequal": unequal, "answer": [*value["answer"], *told]}
    store.write_json(out, value)


def _common_point(seeds: list[list[OperatingPoint]]) -> list[OperatingPoint]:
    """Of each seed the point of one name: the first that has its thresholds in every seed, or else the first."""
    by_name = [{point.name: point for point in each} for each in seeds]
    whole = (p.name for p in seeds[0] if all(None not in own[p.name].thresholds.values() for own in by_name))
    name = next(whole, seeds[0][0].name)
    return [own[name] for own in by_name]


def draw_report(out: Path, inputs: dict[str, Any]) -> None:
    """Writes the report."""
    from missrate.report import page

    page.write(out, **inputs)


def order_points(paths: list[Path], fixed: tuple[float, ...], folds: list[int | None]) -> list[OperatingPoint]:
    """The calibrated points, the fixed ones, the certified ones, and last those without a threshold somewhere."""
    chosen = [point_files.read(path) for path in paths]
    plain = [OperatingPoint(f"{t:g}", dict.fromkeys(folds, t), "fixed") for t in fixed]
    certified = [p for p in chosen if p.certified]
    return _whole_first([*(p for p in chosen if p not in certified), *plain, *certified])


def _whole_first(points: list[OperatingPoint]) -> list[OperatingPoint]:
    return sorted(points, key=lambda point: None in point.thresholds.values())


def answerable(points: list[OperatingPoint], cases: list[CaseStatistics]) -> list[OperatingPoint]:
    """The points, those without a threshold last: one that lies below what is known of a case's candidates has none.

    Scans that are tested may be noisier than those of the calibration, and a promise for voxels may lie anywhere.
    """
    return _whole_first([_known(point, cases) for point in points])


def _known(point: OperatingPoint, cases: list[CaseStatistics]) -> OperatingPoint:
    asked = [(case, level_at(point, case)) for case in cases]
    low = [case for case, level in asked if level is not None and not case.knows(level)]
    if not low:
        return point
    floor = max(case.floor for case in low)
    thresholds = ", ".join(f"{t:g}" for t in sorted({t for t in point.thresholds.values() if t is not None}))
    reason = (
        f"chosen at {thresholds}, but candidates are known from {threshold_of(floor):g} upwards only in "
        f"{len(low)} of {len(cases)} scans, such as {low[0].case_id}: they are noisier"
    )
    return replace(point, thresholds=dict.fromkeys(point.thresholds), reason=reason)


def load_statistics(paths: list[Path]) -> list[CaseStatistics]:
    """Statistics in the order of their paths; those of failed cases are absent.

    A map of whole numbers among probabilities (nothing found at all, say) is one of them, not a mask. Raises StoreError
    for files that are not those which the stage that wrote them named in its index.
    """
    _require_indexed(paths)
    cases = [files.load(path) for path in paths if path.exists()]
    if any(case.kind == "probability" for case in cases):
        return [replace(case, kind="probability") if case.kind == "mask" else case for case in cases]
    return cases


def _require_indexed(paths: list[Path]) -> None:
    """A file that is gone, or another one in its place, would change every number without a word."""
    for folder in {path.parent for path in paths}:
        if not (folder / "index.json").exists():
            continue
        known = store.read_json(folder / "index.json", "missrate/index/1")["files"]
        for path in (path for path in paths if path.parent == folder and path.name in known):
            if not path.exists() or store.hash_file(path) != known[path.name]:
                found = "another file" if path.exists() else "none"
                raise StoreError(
                    f"{path} must be the file that was measured. Got {found}; perhaps remove {folder.name}/index.json, "
                    "and run again."
                )
