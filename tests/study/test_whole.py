"""The whole way on phantoms: every stage, killed in every stage, and what a change makes stale."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from missrate.core import store
from missrate.study import config, front, runner
from missrate.study.plan import plan
from tests.readers.test_nifti import save
from tests.study import tiny

ROOT = Path(__file__).parents[2]

KILLS = [
    "cases/target_002/label.b2nd:before",  # prepare: a case half written
    "cases/target_003/case.json:after",
    "prepared/target/manifest.json:before",
    "views/:after",
    "maskrcnn/all/seed0/state.pt:before",  # training: before the first state exists, and after it
    "maskrcnn/all/seed0/state.pt:after",
    "unet/all/seed0/recipe.toml:after",
    "unet/all/seed0/weights.safetensors:before",
    "unet/all/seed0/weights.safetensors:after",
    "predictions/maskrcnn/all/index.json:before",
    "predictions/unet/all/target_:after",
    "evaluation/unet/statistics/:after",
    "calibration/maskrcnn/operating_point.json:after",
    "evaluation/unet/summary.json:before",
    "comparison.json:before",
    "report/index.html:before",
]


def run(study: Path, out: Path) -> list[str]:
    """Runs in this process; gives the stages that worked."""
    ended: list[str] = []
    stages = plan(config.read_study(study, []), out)
    runner.run(stages, out, workers=0, watch=lambda e: ended.append(e.stage) if e.kind == "ended" else None)
    return ended


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished study: its file and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    study = tiny.write(folder)
    attempts = killed(study, folder / "out", [])
    assert [a["ended"] for a in attempts] == [0]
    return study, folder / "out"


def killed(study: Path, out: Path, moments: list[str]) -> list[dict[str, Any]]:
    """Runs in a process of its own, with one thread as worker processes have, dying at each of the moments."""
    command = [sys.executable, "-m", "tests.study.killed", str(study), str(out), *moments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    attempts: list[dict[str, Any]] = json.loads(done.stdout)
    return attempts


def test_killed_in_every_stage_it_carries_on_and_ends_the_same(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    study, whole = undisturbed
    attempts = killed(study, tmp_path / "out", KILLS)
    assert [a["ended"] for a in attempts] == [9] * len(KILLS) + [0], attempts
    assert [a["touched"] for a in attempts] == [[]] * len(attempts)
    assert not list(tmp_path.rglob("*.part"))
    same = [*whole.glob("runs/**/weights.safetensors"), *whole.glob("evaluation/*/summary.json")]
    same += [whole / "comparison" / "comparison.json", whole / "report" / "index.html"]
    assert len(same) == 3 + 6 + 2
    for path in same:
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(whole)).read_bytes(), path


def test_every_stage_is_done_and_a_second_run_does_nothing(undisturbed: tuple[Path, Path]) -> None:
    study, out = undisturbed
    states = runner.status(plan(config.read_study(study, []), out), out)
    assert {s.state for s in states} == {"done"}
    assert run(study, out) == []


def test_status_tells_the_wall_and_cpu_time_of_each_stage(undisturbed: tuple[Path, Path]) -> None:
    study, out = undisturbed
    lines = front.status(study, out, assign=[], as_json=False).splitlines()
    assert re.fullmatch(r"done +train/unet +[\d.]+ s, CPU [\d.]+ s", next(x for x in lines if "train/unet" in x))
    assert re.fullmatch(r"Spent on them: .*, CPU .*", lines[-1])
    run = store.read_json(out / "runs" / "unet" / "all" / "seed0" / "timing.json")
    assert run["steps"] == 4 and run["cpu_seconds"] > 0 and run["seconds"] > 0


def test_a_report_title_retrains_nothing(undisturbed: tuple[Path, Path]) -> None:
    study, out = undisturbed
    before = {p: p.stat().st_mtime_ns for p in out.glob("runs/**/weights.safetensors")}
    changed = config.read_study(study, ["report.title=Another title"])
    ended: list[str] = []
    runner.run(plan(changed, out), out, workers=0, watch=lambda e: ended.append(e.stage) if e.kind == "ended" else None)
    assert ended == ["report"]
    assert "Another title" in (out / "report" / "index.html").read_text()
    assert {p: p.stat().st_mtime_ns for p in out.glob("runs/**/weights.safetensors")} == before


def test_a_change_names_what_is_stale(undisturbed: tuple[Path, Path]) -> None:
    study, out = undisturbed
    changed = config.read_study(study, ["budget.lr=2e-3"])
    stale = [s.stage.name for s in runner.status(plan(changed, out), out) if s.state == "stale"]
    assert {name.split("/")[0] for name in stale} >= {"train", "predict", "evaluate", "summarise", "compare", "report"}
    assert not any(name.startswith(("prepare", "split", "view")) for name in stale)


def test_summaries_hold_what_the_contract_says(undisturbed: tuple[Path, Path]) -> None:
    _, out = undisturbed
    for arm in ("maskrcnn", "unet", "averaged", "nothing", "everything", "location_prior"):
        value = store.read_json(out / "evaluation" / arm / "summary.json", "missrate/evaluation/1")
        assert value["part"] == "test"
        assert value["patients"] == 2
        assert value["missing_predictions"] == []
        assert set(value["inputs"]) == {"reference", "predictions"}
    nothing = store.read_json(out / "evaluation" / "nothing" / "summary.json")["metrics"]
    assert nothing["lesion_miss_rate"]["pooled"]["value"] in (1.0, None)
    assert nothing["false_positives_per_scan"]["pooled"]["value"] == 0


def test_no_test_patient_was_trained_on(undisturbed: tuple[Path, Path]) -> None:
    _, out = undisturbed
    split = store.read_json(out / "split.json", store.SPLIT)
    for path in out.glob("runs/*/all/seed0/provenance.json"):
        seen = store.read_json(path, store.PROVENANCE)["patients"].get("target", [])
        assert {split["patients"][p] for p in seen} <= {"train", "validation"}


def test_folds_give_every_patient_one_out_of_fold_prediction(tmp_path: Path) -> None:
    study = tiny.write(tmp_path, tiny.FOLDS)
    run(study, tmp_path / "out")
    summary = store.read_json(tmp_path / "out" / "evaluation" / "unet" / "summary.json")
    assert summary["part"] == "out-of-fold"
    assert summary["patients"] == 10
    point = store.read_json(tmp_path / "out" / "calibration" / "unet" / "operating_point.json")
    assert point["thresholds"].keys() == {"0", "1"}
    assert point["chosen_on"] == "other folds"
    # One run of the other source serves both folds; each fold has its own run of the target.
    assert len(list((tmp_path / "out" / "runs" / "pretrain").rglob("weights.safetensors"))) == 1
    assert len(list((tmp_path / "out" / "runs" / "maskrcnn").rglob("weights.safetensors"))) == 2


def test_new_scans_come_back_on_their_own_grid(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    run_folder = undisturbed[1] / "runs" / "unet" / "all" / "seed0"
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    scans = [tmp_path / patient / "ct.nii.gz" for patient in ("a", "b")]
    for scan in scans:
        save(scan, np.random.default_rng(0).integers(-200, 300, (40, 36, 5)).astype(np.int16), affine)
    done, failed = front.predict_scans(run_folder, [*scans, tmp_path / "none.nii.gz"], tmp_path / "out", 0.5)
    assert len(done) == 2
    assert "none.nii.gz: failed: " in failed[0]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    kinds = ("candidates.csv", "mask.nii.gz", "preview.png", "probability.nii.gz")
    assert written == [f"{p}_ct_{kind}" for p in "ab" for kind in kinds]
    probability = nib.load(tmp_path / "out" / "a_ct_probability.nii.gz")
    assert probability.shape == (40, 36, 5)
    assert np.allclose(probability.affine, affine)
    mask = np.asarray(nib.load(tmp_path / "out" / "a_ct_mask.nii.gz").dataobj)
    assert ((np.asarray(probability.dataobj) >= 0.5) == (mask == 1)).all()


def test_refused_cases_are_named_at_the_end_of_the_command(tmp_path: Path) -> None:
    for case in "abc":
        save(tmp_path / "data" / "images" / f"{case}.nii.gz", np.full((9, 8, 4), ord(case), np.int16))
        label = np.zeros((9, 8, 4), np.uint8)
        label[2:5, 2:5, 1:3] = 1
        save(tmp_path / "data" / "labels" / f"{case}.nii.gz", label)
    (tmp_path / "data" / "labels" / "c.nii.gz").unlink()
    (tmp_path / "study.toml").write_text(
        '[sources.s]\nreader = "nifti"\npath = "data"\nlabels = { lesion = [1] }\n'
        '[split]\nsource = "s"\nfolds = 2\n[[arms]]\nname = "a"\nmodel = "unet2d"\nloss = { name = "dice_ce" }\n'
    )
    said = front.run(tmp_path / "study.toml", tmp_path / "out", assign=[], workers=0, room="split")
    assert "s: 2 cases, 1 refused: see" in said
    assert "c,c,A case must have a label. Got an image" in (tmp_path / "out/prepared/s/refused.csv").read_text()
