"""``missrate new``: looks at a source and writes a commented study for it that runs on this machine."""

import importlib.util
import json
import os
import shlex
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from missrate.core import own, store
from missrate.core.errors import InputError
from missrate.study import estimate, intake
from missrate.study.runner import default_workers
from missrate.study.sources import SourceConfig

Json = dict[str, Any]
LOOKED_AT = 24
HOURS = 1.0
"""What a first study may take here, roughly; its budget follows."""
SIDE_PX = 160
ARMS = 3
"""Trained arms of the draft: one that pretrains, scratch, pretrained and U-Net, of which three are alike in steps."""


def write(named: str, name: str, source: SourceConfig, out: Path, *, workers: int | None = None) -> str:
    """Writes the study to ``out``, which must not exist; gives what the user reads. Raises InputError."""
    if out.exists():
        raise InputError(f"A new study must not overwrite one. Got {out}; perhaps say --out.")
    with tempfile.TemporaryDirectory(prefix="missrate-") as folder:
        found = intake.check(source, name, Path(folder), workers=workers, most=LOOKED_AT)
    seen = found["overview"]
    if seen["patients"] < 2 or not seen["lesions"]:
        raise InputError(
            f"A study must have at least two patients, and a lesion. Got {seen['patients']} and {seen['lesions']} "
            f"lesions{_why(found['refused'])}; see missrate check {named}."
        )
    body = (
        _training(name, seen, found["patients_in_all"], organ=bool(found["labels"].get("organ")))
        if found["images"]
        else _predictions(named, name, source, out)
    )
    text = "\n".join([_head(named, found, out), _source(named, name, source, found, out), body])
    store.write_text(out, text)
    told = [f"{out}: {seen['cases']} cases looked at, {len(found['refused'])} refused"]
    told += [line for line in (found["labels_said"], *found["notes"]) if line]
    checked = " ".join(["missrate check", shlex.quote(named), *_said(source, found)])
    return "\n".join([*told, f"Next: {checked}, then missrate run {out} --dry-run"])


def _said(source: SourceConfig, found: Json) -> list[str]:
    """The words of a command line that say the same of a source as was said here."""
    options = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in source.options.items()
    ]
    words = [word for option in options for word in ("--option", shlex.quote(option))]
    if source.labels is not None:
        words += [f"--{kind} {value}" for kind, values in found["labels"].items() for value in values]
    if source.patients is not None:
        words.append(f"--patients {shlex.quote(str(source.patients))}")
    return words


def _why(refused: list[dict[str, str]]) -> str:
    """Why so few are left, where cases were refused."""
    return f" ({len(refused)} refused, such as {refused[0]['case_id']}: {refused[0]['reason']})" if refused else ""


def _head(named: str, found: Json, out: Path) -> str:
    seen = found["overview"]
    slices, share = seen["slices"], seen["lesion_slice_share"]
    more = f" ({found['not_looked_at']} more not yet)" if found["not_looked_at"] else ""
    lines = [
        f"A study of {named}, drafted by `missrate new`: change what you like.",
        f"Looked at: {seen['cases']} cases{more}, {seen['lesions']} lesions, "
        f"{slices[0]:.0f} to {slices[4]:.0f} slices a scan, {100 * share:.3g} % of them with a lesion.",
        *(f"Refused: {row['case_id']}: {row['reason']}" for row in found["refused"][:5]),
        f"missrate run {out.name} --dry-run    lists the stages and what they would cost",
        f"missrate run {out.name}              runs them; stopped at any moment, the same command carries on",
    ]
    return "\n".join(f"# {line}" for line in lines) + "\n"


def _source(named: str, name: str, source: SourceConfig, found: Json, out: Path) -> str:
    labels = {key: values for key, values in found["labels"].items() if values}
    toml = ", ".join(f"{key} = {json.dumps(values)}" for key, values in labels.items())
    reader = str(own.path_of(source.reader)) if own.is_own(source.reader) else source.reader
    lines = [
        f"[sources.{name}]",
        f"reader = {json.dumps(reader)}",
        f"path = {json.dumps(_from(out, named))}",
        f"{f'labels = {{ {toml} }}':<35} # {found['labels_said'] or 'as you said'}",
    ]
    if source.patients is None:
        lines.append('# patients = "patients.csv"      # case_id,patient_id: when patients have several scans')
    else:
        lines.append(f"patients = {json.dumps(_from(out, str(source.patients)))}")
    if source.options:
        options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in source.options.items())
        lines.append(f"options = {{ {options} }}")
    return "\n".join(lines) + "\n"


def _from(out: Path, named: str) -> str:
    """A path that the study file will understand; addresses and named downloads stay as they are."""
    if not Path(named).exists():
        return named
    return named if Path(named).is_absolute() else os.path.relpath(named, out.parent)


def _training(name: str, seen: Json, patients: int, *, organ: bool) -> str:
    pixel = seen["spacing_mm"]["x"]
    spacing, patch = _sampling(seen)
    calibrated = seen["intensities"] == ["hu"]
    window = "[-100, 200]" if calibrated else "[0, 255]"
    steps = _steps(patch, folds=1 if patients >= 40 else min(5, patients))
    split = (
        "parts = { train = 0.6, calibration = 0.2, test = 0.2 }      # of patients; or: folds = 5"
        if patients >= 40
        else f"folds = {min(5, patients)}                       # every patient is tested once; few patients need it"
    )
    view = [f"window_hu = {window}            # what becomes 0..1"]
    if spacing is not None:
        view.append(
            f"spacing_mm = {spacing:g}                # pixels that models see; the median here is {pixel[2]:.3g}"
        )
        view += ['crop = "body"                   # the box around the patient'] if calibrated else []
    small = "" if _gpu() else SMALL
    volume = "20.0 }" if pixel else "inf }     # without millimetres there are no volumes"
    given = {"name": name, "split": split, "view": "\n".join(view), "small": small, "volume": volume}
    given |= dict(zip(("phantom", "pretrain", "pretrained"), _pretrained(calibrated=calibrated), strict=True))
    return BODY.format(steps=steps, patch=patch, insertion=INSERTION if organ else "", **given)


def _gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _pretrained(*, calibrated: bool) -> tuple[str, str, str]:
    """A source to pretrain on, the arm that does, and the arm that begins from it; or from ImageNet where torch has it.

    Synthetic CT says nothing to a network that will see grey pictures.
    """
    init = RESNET if _gpu() else IMAGENET
    if _has(init):
        return "", "", PRETRAINED.format(init=init, remark="weights of ImageNet, which torch has here")
    if calibrated:
        remark = f'or weights of ImageNet: "{init}"'
        return PHANTOM, PRETRAIN, PRETRAINED.format(init="arm:pretrain", remark=remark)
    arm = PRETRAINED.format(init=init, remark="once torch has them: docs/study.md")
    return "", "", "".join(f"# {line}\n" if line else "\n" for line in arm.splitlines())


def _has(init: str) -> bool:
    """Whether torch is here, and has these weights in its cache."""
    if importlib.util.find_spec("torch") is None:
        return False
    from missrate.models import _initial

    return not _initial.to_be_fetched(init)


def _sampling(seen: Json) -> tuple[float | None, int]:
    """The pixel size at which the usual field of view has about 160 pixels, and the side of a patch (of 32)."""
    sides = seen["field_of_view_mm"]
    if sides["x"] is None:
        return None, 64
    side_mm, pixel_mm = max(sides["x"][2], sides["y"][2]), seen["spacing_mm"]["x"][2]
    spacing = max(pixel_mm, side_mm / SIDE_PX)
    patch = min(128, max(32, int(side_mm / spacing * 0.75) // 32 * 32))
    return round(spacing, 2), patch


def _steps(patch: int, *, folds: int) -> int:
    """As many as fit into the time, in steps of 50: no promise, `--dry-run` says what they cost."""
    small = tomllib.loads(SMALL)["models"]["maskrcnn"]
    per_image = 2 * estimate.per_image("maskrcnn", small, (patch, patch)) + estimate.per_image(
        "unet2d", {}, (patch, patch)
    )
    steps = HOURS * 3600 * default_workers() / (8 * per_image * folds)
    return int(min(4000, max(100, steps // 50 * 50)))


def _predictions(named: str, name: str, source: SourceConfig, out: Path) -> str:
    folder = Path(source.path or "") / "Predictions"
    if not folder.is_dir():
        raise InputError(
            f"A study must have images to train on, or predictions. Got references alone in {named}; "
            "perhaps missrate evaluate --reference ... --predictions ..."
        )
    return PREDICTIONS.format(path=json.dumps(_from(out, f"{named}/Predictions") + "/*"), name=name)


SMALL = """
[models.maskrcnn]                   # small enough for a processor; without this table it is ResNet-50-FPN
backbone = "mobilenet_v2"
fpn_channels = 64
box_channels = 256
mask_channels = 64
"""
INSERTION = """\
insertion = 0.5                     # of these, training patients' own lesions pasted elsewhere into the organ
"""
IMAGENET = "backbone:MobileNet_V2_Weights.IMAGENET1K_V1"
RESNET = "backbone:ResNet50_Weights.IMAGENET1K_V2"
PHANTOM = """\
[sources.phantom]                   # synthetic CT with lesions, to pretrain on; replace it by real scans if you can
reader = "phantom"
options = { cohort = "target", patients = 16, seed = 1, lesion_share = 1.0 }

"""
PRETRAIN = """\
[[arms]]                            # gives initial weights, is not evaluated itself
name = "pretrain"
source = "phantom"
model = "maskrcnn"
evaluate = false

"""
PRETRAINED = """\
[[arms]]
name = "maskrcnn-pretrained"
model = "maskrcnn"
init = "{init}"    # {remark}
"""
BODY = """\
{phantom}[split]                             # by patient, never by slice
source = "{name}"
{split}
seed = 0

[view]
{view}

[budget]                            # the same for every arm
steps = {steps}
batch = 8
lr = 1e-3
lesion_share = 0.5                  # of the slices in a batch hold a lesion
{insertion}patch_px = [{patch}, {patch}]
flip_x = true
{small}
{pretrain}[[arms]]
name = "maskrcnn-scratch"
model = "maskrcnn"
init = "random"

{pretrained}
[[arms]]
name = "unet"
model = "unet2d"
loss = {{ name = "tversky_ce" }}

[evaluate]
against = "maskrcnn-scratch"
target = {{ false_positives_per_scan = 2.0, false_positive_ml_per_scan = {volume}

[report]
title = "Which model misses fewer lesions?"
"""
PREDICTIONS = """\
[[arms]]                            # each folder of predictions is an arm
name = "*"
predictions = {path}

[evaluate]
null_arms = ["nothing"]

[report]
title = "{name}: which misses fewer lesions?"
"""
