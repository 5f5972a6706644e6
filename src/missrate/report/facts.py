"""What the numbers rest on: the flow of cases, the parts, thresholds, budgets, every missed lesion, and the limits."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from missrate.report.material import Arm, Material
from missrate.report.words import (
    Cell,
    Table,
    arm_cell,
    number_cell,
    optional,
    sentence,
    text_cell,
)

Json = dict[str, Any]
PARTS = ("train", "validation", "calibration", "test")


@dataclass(frozen=True, slots=True)
class Box:
    """One box of the flow of cases: a count, what it counts, and smaller lines."""

    count: int
    words: str
    lines: list[str]


def flow(material: Material) -> list[tuple[str, list[Box]]]:
    """For each source the boxes found, refused, used."""
    rows = []
    for name, manifest in material.manifests.items():
        cases, refused = manifest["cases"], material.refused[name]
        reasons = [f"{row['case_id']}: {row['reason']}" for row in refused]
        found = Box(len(cases) + len(refused), "cases found", [f"reader {material.study['sources'][name]['reader']}"])
        used = Box(len(cases), "cases used", _burden(cases))
        rows.append((name, [found, Box(len(refused), "refused", reasons or ["none"]), used]))
    return rows


def parts(material: Material) -> Table:
    """Patients, cases and lesions of each part or fold."""
    manifest, split = material.manifests[material.source], material.split
    places = range(split["folds"]) if split["folds"] else [p for p in PARTS if p in set(split["patients"].values())]
    rows = []
    for place in places:
        cases = [case for case in manifest["cases"] if split["patients"].get(case["patient_id"]) == place]
        lesions = [lesion for case in cases for lesion in case["lesions"]]
        sizes = [lesion["diameter_mm"] for lesion in lesions if lesion["diameter_mm"] is not None]
        spread = f"{min(sizes):.0f} to {max(sizes):.0f}" if sizes else "undefined (all)"
        counts = [len({case["patient_id"] for case in cases}), len(cases), sum(not c["lesions"] for c in cases)]
        name = text_cell(f"fold {place}" if split["folds"] else place)
        rows.append([name, *(Cell(str(count)) for count in (*counts, len(lesions))), Cell(spread)])
    read = (
        "Patients, never scans or slices, are assigned, stratified by lesion volume. Calibration patients serve to "
        "choose thresholds and nothing else; all results below come from the test patients. "
        if not split["folds"]
        else "Patients, never scans or slices, are assigned. Every fold is predicted by models that did not see it. "
    )
    head = ["fold" if split["folds"] else "part", "patients", "cases", "healthy cases", "lesions", "diameter, mm"]
    return Table(f"Partition of {material.source}", head, rows, read.strip(), [])


def problems(material: Material) -> list[str]:
    """Cases without a result, by arm, and warnings of prepared cases."""
    lines = []
    for arm in material.arms:
        for case_id in arm.summary["missing_predictions"]:
            lines.append(f"{arm.name}: no prediction for {case_id}; it is not in this arm's figures.")
        lines += [f"{arm.name}: {row['case_id']} failed: {row['reason']}" for row in arm.summary["failed"]]
    for name, manifest in material.manifests.items():
        warnings = Counter(w for case in manifest["cases"] for w in case.get("warnings", []))
        lines += [
            f"{name}: {warning} ({count} of {len(manifest['cases'])} cases)" for warning, count in warnings.items()
        ]
    return lines


def points(material: Material) -> Table:
    """Every operating point of every arm."""
    rows = []
    for arm in material.arms:
        seen: dict[str, Json] = {}
        for entry in arm.entries():
            seen.setdefault(entry["operating_point"]["name"], entry)
        for name, entry in seen.items():
            point = entry["operating_point"]
            primary = " (primary)" if name == arm.point["name"] else ""
            threshold = "none admissible" if entry.get("reason") else _thresholds(point)
            certified = "certified" if point["certified"] else "not certified"
            chosen = "fixed in advance" if point["chosen_on"] == "fixed" else point["chosen_on"]
            rest = (chosen, sentence(point["target"] or "none"), certified)
            rows.append([arm_cell(arm), text_cell(name + primary), text_cell(threshold), *map(text_cell, rest)])
    read = (
        "A voxel belongs to a candidate when its probability is at least the threshold. The same threshold means "
        "different things for different arms, so each arm gets its own from calibration patients, under the same "
        "target. “Not certified”: nobody promises that the target holds for new patients."
    )
    head = ["arm", "operating point", "threshold", "chosen on", "target on those patients", "guarantee"]
    return Table("Operating points", head, rows, read, [])


def budgets(material: Material) -> Table:
    """What each trained arm was given."""
    rows = []
    for arm in material.study["arms"]:
        train = material.study["budget"] | arm["train"]
        name = Cell(
            arm["name"], () if arm["evaluate"] else ("not evaluated",), "arm", style=material.styles.get(arm["name"])
        )
        if not arm["model"]:
            rows.append([name, text_cell(f"uses the run of {arm['run'] or arm['predictions']}", span=8)])
            continue
        runs = material.runs.get(arm["name"], [])
        own = [
            ", ".join(sorted({str(run.provenance.get(k) or "not recorded") for run in runs}))
            for k in ("device", "precision")
        ]
        loss = (arm["loss"] or {}).get("name", "model's own")
        numbers = (train["steps"], total_steps(material.study, arm["name"]), train["batch"], len(runs))
        told = (arm["model"], loss, _initial(arm["init"]), *own)
        cells = [*map(text_cell, told[:3]), *map(number_cell, numbers), *map(text_cell, told[3:])]
        rows.append([name, *cells])
    read = (
        "Steps are optimiser steps. Total steps count the pretraining that an arm begins from: compare a "
        "pretrained arm also with one from random weights that trained as long in total. The last weights are "
        "used; none were selected."
    )
    head = ["arm", "model", "loss", "initial weights", "steps", "total steps", "batch", "runs", "device", "precision"]
    return Table("Budgets", head, rows, read, [])


def total_steps(study: Json, name: str) -> int:
    """The steps of an arm's own training and of every arm that its initial weights come from."""
    arm = next(arm for arm in study["arms"] if arm["name"] == name)
    own = int((study["budget"] | arm["train"])["steps"])
    return own + (total_steps(study, arm["init"][4:]) if arm["init"].startswith("arm:") else 0)


def missed(material: Material, arm: Arm) -> Table:
    """Every lesion that the arm misses at its primary point."""
    rows = []
    for row in arm.missed():
        about = material.describe(row["case_id"], int(row["lesion"]))
        fold = int(row["fold"]) if row["fold"] else None
        threshold = arm.threshold(fold)
        who = [text_cell(row["case_id"]), text_cell(row["patient_id"])]
        sizes = [optional(about["diameter_mm"]), optional(about["volume_ml"])]
        contrast = "undefined" if about["contrast_hu"] is None else f"{about['contrast_hu']:+.0f}".replace("-", "−")
        scores = [f"{float(row['peak_probability']):.3f}", "none" if threshold is None else f"{threshold:.3g}"]
        cells = [row["lesion"], str(int(row["centre_z"]) + 1), *sizes, contrast, *scores]
        rows.append([*who, *map(Cell, cells)])
    head = [
        "case",
        "patient",
        "lesion",
        "slice",
        "diameter, mm",
        "volume, ml",
        "contrast, HU",
        "highest probability",
        "threshold",
    ]
    return Table(f"{arm.name}: {len(rows)} of {len(arm.lesions)} lesions missed", head, rows, "", [])


def limits(material: Material) -> list[str]:
    """What this study cannot say, in sentences."""
    summary = material.arms[0].summary
    readers = {material.study["sources"][name]["reader"] for name in (material.source,)}
    lines = [
        f"Results rest on {summary['patients']} patients with {summary['lesions']} lesions "
        f"({summary['healthy_cases']} healthy cases). Differences that this many patients cannot show may still exist."
    ]
    if "phantom" in readers:
        lines.append("The cohort is synthetic: drawn, not measured. No figure here says anything about patients.")
    else:
        lines.append(f"All patients come from one source ({material.source}); other hospitals and scanners may differ.")
    lines.append(
        f"One seed ({material.split['seed']}) split the patients and trained every arm once per fold: the intervals "
        "hold the spread between patients, not the spread between trainings."
    )
    if any(arm.point["chosen_on"] != "fixed" for arm in material.arms):
        lines.append(
            "Thresholds were chosen on few calibration patients and are not certified: on new patients false positives "
            "may exceed the target."
        )
    lines.append(
        "A reference drawn by people misses lesions too; a finding that it lacks counts here as a false positive."
    )
    lines.append(
        "To be added by the authors, since no file says it: dates and places of the scans, who was eligible, who drew "
        "the reference and how, and what the models are meant for."
    )
    return lines


def _burden(cases: list[Json]) -> list[str]:
    patients = len({case["patient_id"] for case in cases})
    lesions = sum(len(case["lesions"]) for case in cases)
    return [f"{patients} patients", f"{lesions} lesions", f"{sum(not case['lesions'] for case in cases)} healthy cases"]


def _thresholds(point: Json) -> str:
    by_fold: Json = point.get("thresholds") or {}
    if not by_fold:
        return f"{point['threshold']:.4g}"
    if len(set(by_fold.values())) == 1:
        return f"{next(iter(by_fold.values())):.4g} in every fold"
    return ", ".join(f"fold {fold}: {value:.4g}" for fold, value in sorted(by_fold.items()))


def _initial(init: str) -> str:
    kind, _, what = init.partition(":")
    return {"random": "random", "arm": f"arm {what}", "backbone": f"backbone {what}", "full": f"all layers {what}"}[
        kind
    ]
