"""check, new and a study on data as it comes: what is said, what is written, and that it runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from missrate.cli import app
from missrate.core import store
from missrate.core.config import read_toml
from missrate.core.errors import ConfigError, InputError
from missrate.study import draft, front
from tests.readers import dicom_written as written
from tests.readers.test_nifti import AFFINE, save

SHAPE = (24, 20, 8)


def scans(root: Path, count: int, *, organ: bool = True) -> Path:
    for n in range(count):
        rng = np.random.default_rng(n)
        image = rng.normal(30, 10, SHAPE).astype(np.int16)
        image[:3] = image[-3:] = -1000
        label = np.zeros(SHAPE, np.uint8)
        label[5:18, 4:16, 1:7] = int(organ)
        x, y = (int(v) for v in rng.integers(7, 12, 2))
        label[x : x + 4, y : y + 3, 3:5] = 2 if organ else 1
        image[label == 2] -= 60
        save(root / "images" / f"p{n:02d}.nii.gz", image)
        save(root / "labels" / f"p{n:02d}.nii.gz", label)
    return root


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_check_says_what_is_wrong_and_ends_with_one(tmp_path: Path) -> None:
    root = scans(tmp_path / "data", 5)
    save(root / "labels" / "p03.nii.gz", np.zeros((3, 3, 3), np.uint8))
    (root / "labels" / "p04.nii.gz").unlink()
    done = call("check", root, "--lesion", 2, "--organ", 1, "--out", tmp_path / "c", "--workers", 0)
    assert done.exit_code == 1
    assert "3 cases of 3 patients, 3 lesions" in done.stdout
    assert "refused (2)" in done.stdout
    assert re.search(r"p03: image and label must have the same shape", done.stdout)
    assert "p04: A case must have a label" in done.stdout
    value = json.loads((tmp_path / "c" / "check.json").read_text())
    assert value["overview"]["slices"] == [8.0] * 5
    # 12 voxels in each of 2 of 8 slices; the page holds them all, and needs no other file.
    assert value["overview"]["lesion_slice_share"] == 0.25
    page = (tmp_path / "c" / "index.html").read_text()
    assert page.count("data:image/png;base64") == 3
    assert "src=" not in page and "http" not in re.sub(r"http://www.w3.org\S*", "", page)


def test_check_of_sound_data_ends_with_zero_and_says_who_named_the_labels(tmp_path: Path) -> None:
    root = scans(tmp_path / "data", 3, organ=False)
    done = call("check", root, "--out", tmp_path / "c", "--json", "--workers", 0)
    assert done.exit_code == 0
    value = json.loads(done.stdout)
    assert value["labels_said"] == "The only value in the maps is 1: it was taken as the lesion."
    two = scans(tmp_path / "two", 3)
    done = call("check", two, "--out", tmp_path / "d", "--json", "--workers", 0)
    assert json.loads(done.stdout)["labels_said"].startswith("ASSUMED: nobody says what the values [1, 2] mean.")


def test_check_goes_on_where_it_was_unless_something_changed(tmp_path: Path) -> None:
    root, out = scans(tmp_path / "data", 3), tmp_path / "c"
    words = ("check", root, "--lesion", 2, "--organ", 1, "--out", out, "--workers", 0)
    call(*words)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "cases").rglob("case.json")}
    call(*words)
    assert {path.name: path.stat().st_mtime_ns for path in (out / "cases").rglob("case.json")} == before
    save(root / "labels" / "p01.nii.gz", np.zeros(SHAPE, np.uint8))
    assert "no lesion (1)" in call(*words).stdout


def test_a_study_is_checked_source_by_source(tmp_path: Path) -> None:
    scans(tmp_path / "data", 3)
    (tmp_path / "s.toml").write_text(
        '[sources.mine]\npath = "data"\nlabels = { lesion = [2], organ = [1] }\nexclude = ["p02"]\n'
        '[split]\nsource = "mine"\nfolds = 2\n[[arms]]\nname = "a"\nmodel = "unet2d"\nloss = { name = "dice_ce" }\n'
    )
    done = call("check", tmp_path / "s.toml", "--out", tmp_path / "c", "--workers", 0)
    assert "mine: nifti, 2 cases" in done.stdout
    assert "excluded: p02" in done.stdout
    with pytest.raises(ConfigError, match="must say itself how its sources are read"):
        call("check", tmp_path / "s.toml", "--lesion", 1)


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that never fetched any."""
    monkeypatch.setattr(draft, "_has", lambda _: False)


@pytest.mark.usefixtures("no_weights")
def test_new_writes_a_study_that_runs(tmp_path: Path) -> None:
    """The file as it is written, but for its length."""
    root = scans(tmp_path / "data", 6)
    done = call("new", root, "--lesion", 2, "--organ", 1, "--out", tmp_path / "study.toml", "--workers", 0)
    assert done.exit_code == 0 and "6 cases looked at" in done.stdout
    study = read_toml(tmp_path / "study.toml")
    assert study["sources"]["data"]["labels"] == {"lesion": [2], "organ": [1]}
    assert study["budget"]["insertion"] == 0.5
    assert study["sources"]["data"]["path"] == str(root)
    assert study["split"]["folds"] == 5
    assign = [
        "budget.steps=2",
        "budget.patch_px=[32, 32]",
        "split.folds=2",
        "sources.phantom.options.patients=2",
        "sources.phantom.options.size_px=48",
        "evaluate.resamples=100",
    ]
    said = front.run(tmp_path / "study.toml", tmp_path / "out", assign=assign, workers=0)
    assert "Report:" in said
    with pytest.raises(InputError, match="must not overwrite one"):
        call("new", root, "--out", tmp_path / "study.toml")


def test_new_begins_from_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From ImageNet where torch has it; else CT from synthetic CT, and grey pictures from nothing."""
    root = scans(tmp_path / "ct", 3)
    for n in (1, 2):
        for k in (1, 2):
            for mark in ("", "_mask"):
                path = tmp_path / "grey" / f"p{n}" / f"p{n}_{k}{mark}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.eye(40, dtype=np.uint8) * (255 if mark else 90 + 9 * n + k)).save(path)
    arms: dict[tuple[str, bool], list[tuple[str, str | None]]] = {}
    for here in (True, False):
        monkeypatch.setattr(draft, "_has", lambda _, here=here: here)
        for name, words in (("ct", ("--lesion", 2, "--organ", 1)), ("grey", ("--option", "spacing_mm=[1,1,5]"))):
            out = tmp_path / f"{name}{here}.toml"
            done = call("new", tmp_path / name, *words, "--out", out, "--workers", 0)
            assert f"Next: missrate check {tmp_path / name} " in done.stdout
            study = read_toml(out)
            arms[name, here] = [(arm["name"], arm.get("init")) for arm in study["arms"]]
            assert ("phantom" in study["sources"]) == (name == "ct" and not here)
            assert ("crop" in study["view"]) == (name == "ct")
            assert f"missrate run {out.name}" in out.read_text()
    imagenet = "backbone:MobileNet_V2_Weights.IMAGENET1K_V1"
    ends = [("maskrcnn-scratch", "random"), ("maskrcnn-pretrained", imagenet), ("unet", None)]
    assert arms["ct", True] == arms["grey", True] == ends
    assert arms["ct", False] == [("pretrain", None), ends[0], ("maskrcnn-pretrained", "arm:pretrain"), ends[2]]
    assert arms["grey", False] == [ends[0], ends[2]]
    assert root == tmp_path / "ct"


@pytest.mark.usefixtures("no_weights")
def test_new_on_slices_without_millimetres_runs_as_well(tmp_path: Path) -> None:
    """24 cases are looked at, but all patients count."""
    for n in range(45):
        image = np.random.default_rng(n).integers(0, 200, (40, 36)).astype(np.uint8)
        lesion, organ = np.zeros_like(image), np.zeros_like(image)
        organ[5:30, 5:30], lesion[10:16, 10 + n % 8 : 16 + n % 8] = 1, int(n % 3 > 0)
        image[lesion > 0] //= 2
        (tmp_path / "data").mkdir(exist_ok=True)
        np.savez(tmp_path / "data" / f"p{n // 2:02d}_z{3 * n:03d}.npz", image=image, organ=organ, lesion=lesion)
    words = ("new", tmp_path / "data", "--option", "hu_range=[-150, 250]", "--out", tmp_path / "study.toml")
    done = call(*words, "--workers", 0)
    assert "24 cases looked at" in done.stdout
    study = read_toml(tmp_path / "study.toml")
    assert study["split"] == {"source": "data", "folds": 5, "seed": 0}, "23 patients are few"
    assert study["evaluate"]["target"]["false_positive_ml_per_scan"] == float("inf")
    assert "spacing_mm" not in study["view"]
    assign = [
        "budget.steps=2",
        "budget.patch_px=[32, 32]",
        "split.folds=2",
        "sources.phantom.options.patients=2",
        "sources.phantom.options.size_px=48",
        "evaluate.resamples=100",
    ]
    assert "Report:" in front.run(tmp_path / "study.toml", tmp_path / "out", assign=assign, workers=0)


def test_scans_in_a_foreign_source_whose_patients_are_tested_stop_the_study(tmp_path: Path) -> None:
    scans(tmp_path / "tested", 4)
    scans(tmp_path / "other", 2)
    (tmp_path / "s.toml").write_text(
        '[sources.a]\npath = "tested"\nlabels = { lesion = [2], organ = [1] }\n'
        '[sources.b]\npath = "other"\nlabels = { lesion = [2], organ = [1] }\n'
        '[split]\nsource = "a"\nfolds = 2\n'
        '[[arms]]\nname = "pre"\nsource = "b"\nmodel = "unet2d"\nloss = { name = "dice_ce" }\nevaluate = false\n'
        '[[arms]]\nname = "x"\nmodel = "unet2d"\ninit = "arm:pre"\nloss = { name = "dice_ce" }\n'
    )
    with pytest.raises(Exception, match=r"Got 2 scans of b whose patients are tested, such as p00") as caught:
        front.run(tmp_path / "s.toml", tmp_path / "out", assign=[], workers=0, room="split")
    assert 'exclude = ["p00", "p01"]' in str(caught.value)
    assert not (tmp_path / "out" / "runs").exists()


def test_nothing_of_a_patient_is_in_any_file_or_on_the_screen(tmp_path: Path) -> None:
    """Planted in tags, folder and file names of three patients; check, new and a study's prepare and split."""
    root = tmp_path / "root"
    for n in range(3):
        folder = root / f"{written.SECRET}_{n}_{written.SECRET_DATE}"
        hu = np.random.default_rng(n).integers(-900, 900, (16, 14, 6)).astype(np.int16)
        who: Any = {"PatientID": f"{written.SECRET_NUMBER}{n}", "PatientName": f"{written.SECRET}^{n}"}
        written.series(folder / "ct", hu, name=f"s{n}", **who)
        written.rtstruct(folder / f"{written.SECRET}.dcm", {"GTV": [written.square(3.6, 8.4, 2)]}, name=f"s{n}")
    broken = next(iter(sorted((root / f"{written.SECRET}_2_{written.SECRET_DATE}" / "ct").iterdir())))
    broken.write_bytes(broken.read_bytes()[:-50])
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    texts = []
    for words in (
        ("check", str(root), "--workers", "0"),
        ("check", str(root), "--json", "--debug", "--workers", "0"),
        ("new", str(root), "--workers", "0"),
        ("prepare", "study.toml", "--workers", "0"),
        ("split", "study.toml", "--set", "split.folds=2", "--workers", "0", "--debug"),
        ("status", "study.toml"),
        ("export", "missrate-study/prepared/root", "--to", "nnunet", "--out", "raw", "--workers", "0"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "missrate", *words],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), (words, done.stderr)
        texts += [done.stdout, done.stderr]
    made = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(root)]
    assert {"index.html", "check.json", "refused.csv", "manifest.json", "split.json", "study.toml"} <= {
        path.name for path in made
    }
    for path in made:
        assert not any(secret in str(path.relative_to(tmp_path)) for secret in written.PLANTED), path
        content = path.read_bytes()
        assert not [secret for secret in written.PLANTED if secret.encode() in content], path
    for text in texts:
        assert not [secret for secret in written.PLANTED if secret in text], text
    assert len(store.read_json(tmp_path / "missrate-check-root" / "manifest.json")["cases"]) == 2


@pytest.mark.slow
def test_a_check_that_is_killed_goes_on(tmp_path: Path) -> None:
    root = scans(tmp_path / "data", 40)
    words = [sys.executable, "-m", "missrate", "check", str(root), "--lesion", "2", "--organ", "1", "--workers", "0"]
    running = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    out = tmp_path / "missrate-check-data"
    while len(list(out.glob("cases/*/case.json"))) < 3 and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("cases/*/case.json")}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "40 cases" in done.stdout
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_the_files_of_nifti_are_oriented_as_written() -> None:
    """The drawn scans above run left, posterior, superior: a test of the tests."""
    assert (np.diag(AFFINE)[:3] * [-1, -1, 1] > 0).all()
