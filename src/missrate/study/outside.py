"""``missrate export``: a prepared source in the layout of another tool."""

from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from missrate import split as splitting
from missrate.core import store
from missrate.core.errors import ConfigError, DataError, InputError, StoreError
from missrate.engine import Task
from missrate.export.about import About, Target
from missrate.study.cases import run_cases

Json = dict[str, Any]
EXPORT = "missrate/export/1"


def export(
    prepared: Path,
    out: Path,
    target: Target,
    *,
    split: Path | None = None,
    window_hu: tuple[float, float] = (-100.0, 200.0),
    workers: int | None = None,
) -> Json:
    """Writes every case of ``prepared`` below ``out``; gives what is said at the end. Resumes where it was stopped.

    Raises InputError for a folder that is not prepared data with images, and for an ``out`` that holds something else.
    """
    if target not in get_args(Target):
        raise ConfigError(f"--to must be one of {', '.join(get_args(Target))}. Got {target!r}.")
    if window_hu[0] >= window_hu[1]:
        raise ConfigError(f"--window must be low,high with low < high. Got {window_hu}.")
    manifest = store.Prepared(prepared).manifest()
    if not all(case["image_hash"] for case in manifest["cases"]):
        raise InputError(f"{prepared} must hold images. Got labels alone; perhaps the study trains nothing.")
    about = _about(prepared, manifest, target, split, window_hu)
    with store.lock(_fresh(out, prepared, about)):
        module = import_module(f"missrate.export.{target}")
        rows = [(case["case_id"], case["patient_id"]) for case in manifest["cases"]]
        shared = {"prepared": prepared, "out": out, "about": about}
        tasks = [Task(c, _write, shared | {"case_id": c, "patient_id": p}) for c, p in rows]
        run_cases(tasks, "export", workers)
        module.finish(out, manifest["cases"], about)
    cases = manifest["cases"]
    return {
        "schema": EXPORT,
        "target": target,
        "out": str(out),
        "cases": len(cases),
        "lesions": sum(len(case["lesions"]) for case in cases),
        "slices": sum(case["grid"]["shape"][2] for case in cases),
        "lesion_slices": sum(case["lesion_slices"] for case in cases),
        "labels": about.names(),
    }


def told(value: Json) -> str:
    """What a person reads."""
    labels = ", ".join(f"{number} {name}" for name, number in value["labels"].items())
    return (
        f"{value['cases']} cases, {value['lesions']} lesions, {value['slices']} slices of which "
        f"{value['lesion_slices']} show one, as {value['target']} in {value['out']}. Labels: {labels}."
    )


def _about(prepared: Path, manifest: Json, target: Target, split: Path | None, window: tuple[float, float]) -> About:
    if not manifest["cases"]:
        raise InputError(f"{prepared} must hold at least one case. Got none.")
    first = manifest["cases"][0]["case_id"]
    meaning, name = store.Prepared(prepared).meaning(first), str(manifest["source"])
    if split is None:
        return About(name, target, meaning, window)
    value = splitting.read(split, prepared / "manifest.json")
    absent = sorted({case["case_id"] for case in manifest["cases"]} - value["cases"].keys())
    if absent:
        raise InputError(f"{split} must name every case of {prepared}. Got none for {', '.join(absent[:5])}.")
    parts = {case: value["patients"][patient] for case, patient in value["cases"].items()}
    return About(name, target, meaning, window, parts, value["folds"])


def _fresh(out: Path, prepared: Path, about: About) -> Path:
    """``out``, empty or with a begun export of the very same. Raises InputError."""
    if out.resolve().is_relative_to(prepared.resolve()):
        raise InputError(f"An export must lie outside of the prepared data. Got {out} within {prepared}.")
    key = {"schema": EXPORT, "key": repr((store.hash_file(prepared / "manifest.json"), about))}
    begun = out / "export.json"
    try:
        same = begun.exists() and store.read_json(begun) == key
    except StoreError:
        same = False
    if out.exists() and not same and any(path.name != ".lock" for path in out.iterdir()):
        raise InputError(f"--out must be an empty folder, or an export of the same that was begun. Got {out}.")
    store.write_json(begun, key)
    return out


def _write(prepared: Path, case_id: str, patient_id: str, out: Path, about: About) -> None:
    """One case. A task."""
    module = import_module(f"missrate.export.{about.target}")
    try:
        module.write(store.Prepared(prepared).load(case_id, patient_id), out, about)
    except DataError as error:
        raise DataError(f"{case_id}: {error}") from error
