"""What the numbers rest on: the flow of cases, the parts, thresholds, budgets, every missed lesion, and the limits."""

from dataclasses import dataclass
from typing import Any

from missrate.core.intervals import FEW_SAID, outwards
from missrate.core.own import short
from missrate.report.material import Arm, Material
from missrate.report.words import (
    Cell,
    Table,
    arm_cell,
    counted,
    listed,
    number_cell,
    optional,
    sentence,
    share,
    text_cell,
    without_undefined,
)

Json = dict[str, Any]
PARTS = ("train", "validation", "calibration", "test")
REALISED = {
    "patient": ("patient_miss_rate", "pooled"),
    "lesion": ("lesion_miss_rate", "case_mean"),
    "voxel": ("voxel_miss_rate", "case_mean"),
}
"""What a certificate bounds, as measured on test patients."""


LESION_HEAD = ["case", "patient", "lesion", "slice", "diameter, mm", "volume, ml", "contrast"]


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
        found = Box(
            len(cases) + len(refused), "cases found", [f"reader {short(material.study['sources'][name]['reader'])}"]
        )
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
    if split["folds"]:
        read = "Patients, never scans or slices, are assigned. Every fold is predicted by models that did not see it."
    elif list(places) == ["test"]:
        read = "Every case is a test case: nothing was trained and no threshold was chosen here."
    else:
        read = "Patients, never scans or slices, are assigned, stratified by lesion volume. "
        if "calibration" in places:
            read += "Calibration patients serve to choose thresholds and nothing else. "
        read += "All results below come from the test patients."
    head = ["fold" if split["folds"] else "part", "patients", "cases", "healthy cases", "lesions", "diameter, mm"]
    return Table(f"Partition of {material.source}", head, rows, read, [])


def problems(material: Material) -> list[str]:
    """Cases without a result, warnings and other remarks; arms of which the same is to be said share a line."""
    said: dict[str, list[str]] = {}
    for arm in material.arms:
        for line in _remarks(arm.summary):
            said.setdefault(line, []).append(arm.name)
    lines = [f"{_whose(names, material)}: {line}" for line, names in said.items()]
    lines += [
        f"{case_id} is compared in no arm: {listed(names, 5)} lack it."
        for case_id, names in material.comparison["left_out"].items()
    ]
    for name, manifest in material.manifests.items():
        kinds: dict[str, list[str]] = {}
        for case in manifest["cases"]:
            for warning in case["warnings"]:
                kinds.setdefault(warning["kind"], []).append(f"{case['case_id']}: {warning['text']}")
        lines += [f"{name}: {kind} ({counted(len(each), 'time')}), {each[0]}" for kind, each in kinds.items()]
        lines += [f"{name}: {note}" for note in manifest["notes"]]
        if manifest["excluded"]:
            lines.append(f"{name}: excluded by the study: {listed(manifest['excluded'], 8)}.")
    return lines


def _remarks(summary: Json) -> list[str]:
    lines = [
        f"no prediction for {case_id}; it is not in this arm's figures." for case_id in summary["missing_predictions"]
    ]
    lines += [f"{row['case_id']} failed: {row['reason']}" for row in summary["failed"]]
    lines += [f"{row['case_id']}: {row['warning']}" for row in summary.get("warnings", [])]
    if extra := summary.get("extra_predictions"):
        lines.append(f"{counted(len(extra), 'prediction')} of no known case, left alone: {listed(extra, 8)}.")
    if raised := summary.get("raised_floors"):
        floors = [f"{case_id} from {floor:.3g}" for case_id, floor in raised.items()]
        lines.append(
            f"{counted(len(raised), 'map')} so noisy that candidates are known only above a raised floor, below which "
            f"no threshold can be certified: {listed(floors, 8)}."
        )
    return lines


def _whose(names: list[str], material: Material) -> str:
    trained = [arm.name for arm in material.trained_arms()]
    if len(names) > 1 and names in (trained, [arm.name for arm in material.arms]):
        return f"all {len(names)} arms" + (" but null arms" if len(names) < len(material.arms) else "")
    return listed(names, 5)


def points(material: Material) -> Table:
    """Every operating point of every arm."""
    by_arm = {arm.name: [[text_cell(text) for text in row] for row in _points(arm)] for arm in material.arms}
    for cells, arm in zip(by_arm.values(), material.arms, strict=True):
        for row, entry in zip(cells, _by_point(arm).values(), strict=True):
            row[-1] = _guarantee(entry)
    rows: list[list[Cell]]
    if len(by_arm) > 1 and all(cells == next(iter(by_arm.values())) for cells in by_arm.values()):
        rows = [[Cell(f"all {len(by_arm)} arms", kind="arm"), *cells] for cells in next(iter(by_arm.values()))]
    else:
        rows = [[arm_cell(arm), *cells] for arm in material.arms for cells in by_arm[arm.name]]
    read = (
        "A voxel belongs to a candidate when its probability is at least the threshold. "
        + (
            "The predictions are masks: whoever made them chose the threshold, and any threshold here gives the same. "
            if material.masks
            else "The same threshold means different things for different arms. "
        )
        + (
            "Each arm got its own from calibration patients, under the same target. "
            if any(arm.point["chosen_on"] != "fixed" for arm in material.arms)
            else ""
        )
        + "“Not certified”: nobody promises that a target holds for new patients."
    )
    head = ["arm", "operating point", "threshold", "chosen on", "target on those patients", "guarantee"]
    return Table("Operating points", head, rows, read, [])


def _by_point(arm: Arm) -> dict[str, Json]:
    seen: dict[str, Json] = {}
    for entry in arm.entries():
        seen.setdefault(entry["operating_point"]["name"], entry)
    return seen


def _points(arm: Arm) -> list[list[str]]:
    """Name, threshold, where it was chosen, its target, and a place for the guarantee."""
    rows = []
    for name, entry in _by_point(arm).items():
        point = entry["operating_point"]
        primary = " (primary)" if name == arm.point["name"] else ""
        # No threshold below a certificate has a reason of its own.
        absent = "none admissible" if "admissible" in entry.get("reason", "") else sentence(entry.get("reason", ""))
        chosen = "fixed in advance" if point["chosen_on"] == "fixed" else point["chosen_on"]
        threshold = absent if entry.get("reason") else _thresholds(point)
        rows.append([name + primary, threshold, chosen, sentence(point["target"] or "none"), ""])
    return rows


def _guarantee(entry: Json) -> Cell:
    """The promise of a certificate, and what happened on the test patients."""
    point = entry["operating_point"]
    certificate = point.get("certificate")
    if not certificate:
        return text_cell("certified" if point["certified"] else "not certified")
    metric, average = REALISED[certificate["level"]]
    realised = entry["metrics"].get(metric, {}).get(average, {})
    lines = [f"concluded from {certificate['n']} calibration patients with a lesion"]
    if "never_found" in certificate:
        lines.append(
            f"{certificate['never_found']} of them are found at no threshold (of all patients at most "
            f"{share(outwards(certificate['never_found_at_most'], 3, upper=True))})"
        )
    if certificate.get("empty"):
        lines.insert(0, f"an empty promise: {certificate['empty']}")
    if realised.get("value") is not None:
        spread = "" if realised["ci95"] is None else f" ({share(realised['ci95'][0])}–{share(realised['ci95'][1])})"
        lines.append(f"here, on test patients: {sentence(metric)} {share(realised['value'])}{spread}")
    return Cell(f"certified: {sentence(certificate['bound'])}", tuple(lines), "text")


def budgets(material: Material) -> Table:
    """What each trained arm was given; no rows where nothing was trained."""
    rows, again = [], [arm.get("repeats") for arm in material.study["arms"]]
    once = [arm for arm in material.study["arms"] if not arm.get("repeats")]
    for arm in once if any(arm["model"] for arm in once) else []:
        train = material.study["budget"] | arm["train"]
        below = [] if arm["evaluate"] else ["not evaluated"]
        below += [f"unequal: {arm['unequal']}"] if arm.get("unequal") else []
        name = Cell(arm["name"], tuple(below), "arm", style=material.styles.get(arm["name"]))
        if not arm["model"]:
            rows.append(
                [name, text_cell(f"uses the run of {arm['run']}" if arm["run"] else "predicted elsewhere", span=9)]
            )
            continue
        runs = material.runs.get(arm["name"], [])
        own = [
            ", ".join(sorted({str(run.provenance.get(k) or "not recorded") for run in runs}))
            for k in ("device", "precision")
        ]
        loss = (arm["loss"] or {}).get("name", "model's own")
        numbers = (
            train["steps"],
            total_steps(material.study, arm["name"]),
            train["batch"],
            len(runs) * (1 + again.count(arm["name"])),
        )
        told = (short(arm["model"]), short(loss), _initial(arm["init"]), *own)
        cells = [*map(text_cell, told[:3]), *map(number_cell, numbers), *map(text_cell, told[3:])]
        rows.append([name, *cells])
    read = (
        "Steps are optimiser steps. Total steps count the pretraining that an arm begins from: compare a "
        "pretrained arm also with one from random weights that trained as long in total. The last weights are "
        "used; none were selected."
    )
    if any(arm.get("unequal") for arm in once):
        read += " An unequal budget was given on purpose, for the reason below the arm's name."
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
        fold = int(row["fold"]) if row["fold"] else None
        threshold = arm.threshold(fold)
        scores = [f"{float(row['peak_probability']):.3f}", "none" if threshold is None else f"{threshold:.3g}"]
        rows.append([*_lesion(material, row), *([] if material.masks else map(Cell, scores))])
    head = [*LESION_HEAD, *([] if material.masks else ["highest probability", "threshold"])]
    title = f"{arm.name}: {len(rows)} of {len(arm.lesions)} lesions missed"
    return without_undefined(Table(title, head, rows, "", []))


def missed_by(material: Material) -> Table:
    """Of many arms: every lesion that some of them miss, once, with how many miss it; null arms left out."""
    arms = material.trained_arms()
    by_lesion: dict[tuple[str, str], list[str]] = {}
    for arm in arms:
        for row in arm.missed():
            by_lesion.setdefault((row["case_id"], row["lesion"]), []).append(arm.name)
    rows = []
    every = material.lesions()
    for row in reversed(every):
        if names := by_lesion.get((row["case_id"], row["lesion"])):
            others = [arm.name for arm in arms if arm.name not in names]
            who = f"all but {', '.join(others)}" if 0 < len(others) < 4 else listed(names, 6) if others else "all"
            rows.append([*_lesion(material, row), Cell(str(len(names))), text_cell(who)])
    title = f"{len(rows)} of {len(every)} lesions are missed by at least one of {len(arms)} arms"
    return without_undefined(Table(title, [*LESION_HEAD, "missed by", "of these arms"], rows, "", []))


def _lesion(material: Material, row: dict[str, str]) -> list[Cell]:
    """What describes a lesion in a table, as ``LESION_HEAD`` names it."""
    about = material.describe(row["case_id"], int(row["lesion"]))
    sizes = [Cell(optional(value)) for value in (about["diameter_mm"], about["volume_ml"])]
    contrast = Cell("undefined", ("no image",), "undefined")
    if about["contrast_hu"] is not None:
        contrast = Cell(material.contrast(row["case_id"], about))
    elif material.case(row["case_id"]).get("image_hash"):
        contrast = Cell("undefined", (), "undefined")
    who = [text_cell(row["case_id"]), text_cell(row["patient_id"])]
    return [*who, Cell(row["lesion"]), Cell(str(int(row["centre_z"]) + 1)), *sizes, contrast]


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
    if material.runs:
        lines.append(_seeds_said(material))
    if material.foreign:
        lines.append(
            f"{len(material.foreign)} arms are predictions that were made elsewhere. Which patients their networks "
            "were trained on is not known here: if some of these are among them, what they miss is understated. Each "
            "is one training; another seed might rank otherwise."
        )
    if material.masks:
        lines.append(
            "The predictions are masks without scores: their makers chose the threshold, arms cannot be brought to "
            "equal cost, and a miss rate is to be read with the false positives that it was paid with."
        )
    if not any(case.get("image_hash") for case in material.manifests[material.source]["cases"]):
        lines.append("There are no images here, only labels: nobody can look up why a lesion was missed.")
    if any(arm.point["chosen_on"] != "fixed" for arm in material.arms):
        lines.append(
            "Thresholds were chosen on few calibration patients and are not certified: on new patients false positives "
            "may exceed the target."
        )
    lines.append(f"{FEW_SAID[:1]} beside an interval: {FEW_SAID[2:]}.")
    lines.append(
        "A reference drawn by people misses lesions too; a finding that it lacks counts here as a false positive."
    )
    lines.append(
        "To be added by the authors, since no file says it: dates and places of the scans, who was eligible, who drew "
        "the reference and how, and what the models are meant for."
    )
    return lines


def _seeds_said(material: Material) -> str:
    count = max(material.comparison["seeds"].values(), default=1)
    if count > 1:
        return (
            f"Every arm that is trained here was trained {count} times: differences, ranks and the table of seeds hold "
            "all of them, while tables at an operating point, curves, ladders, promises and pictures show the first."
        )
    every = [run.provenance.get("seed") for runs in material.runs.values() for run in runs]
    seeds = sorted({int(material.split["seed"]) if seed is None else int(seed) for seed in every})
    return (
        f"One seed ({', '.join(map(str, seeds))}) trained every arm once per fold: the intervals hold the spread "
        "between patients, not the spread between trainings."
    )


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
