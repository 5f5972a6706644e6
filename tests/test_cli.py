"""The command line: quick help, JSON, one sentence for each error, and the exit codes."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from missrate.cli import main
from missrate.core import store
from tests.study import tiny

HEAVY = ("torch", "torchvision", "monai", "numba", "plotly", "lightning", "matplotlib", "segmentation_models_pytorch")
FLAGS = {
    "": ["--debug"],
    "demo": ["--out", "--set", "--workers"],
    "run": ["--out", "--set", "--workers", "--offline", "--dry-run"],
    "status": ["--out", "--set", "--json"],
    "prepare": ["--out", "--set", "--workers", "--offline"],
    "split": ["--out", "--set", "--workers", "--offline"],
    "train": ["--out", "--set", "--workers", "--offline"],
    "report": ["--out", "--set", "--workers", "--offline"],
    "check": [
        "--format",
        "--lesion",
        "--organ",
        "--background",
        "--ignore",
        "--labels",
        "--option",
        "--patients",
        "--out",
        "--data",
        "--workers",
        "--offline",
        "--json",
    ],
    "new": [
        "--format",
        "--lesion",
        "--organ",
        "--background",
        "--ignore",
        "--labels",
        "--option",
        "--patients",
        "--out",
        "--workers",
        "--offline",
    ],
    "export": ["--to", "--out", "--split", "--window", "--workers", "--json"],
    "predict": ["--out", "--threshold", "--operating-point", "--trust-code"],
    "evaluate": [
        "--reference",
        "--predictions",
        "--out",
        "--lesion-label",
        "--prediction-label",
        "--reader",
        "--prediction-reader",
        "--patients",
        "--subgroup",
        "--threshold",
        "--operating-point",
        "--floor",
        "--least-volume-ml",
        "--iou-minimum",
        "--point-rule",
        "--metric",
        "--tolerance-mm",
        "--missing",
        "--stop",
        "--workers",
        "--json",
    ],
    "calibrate": [
        "--out",
        "--set",
        "--workers",
        "--offline",
        "--false-positives-per-scan",
        "--false-positive-ml-per-scan",
        "--patient-miss-rate",
        "--f-beta",
        "--certify",
        "--miss-rate",
        "--confidence",
        "--in-expectation",
        "--seen",
        "--least-volume-ml",
    ],
    "compare": [
        "--against",
        "--out",
        "--fail-if-worse",
        "--level",
        "--margin",
        "--detect",
        "--underpowered",
        "--confidence",
        "--pairs",
        "--patients",
        "--subgroup",
        "--json",
    ],
    "list": ["--json"],
}


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def missrate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, as ``main`` would run it."""

    def call(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["missrate", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call


Missrate = Callable[..., Done]


def test_help_and_list_import_nothing_heavy() -> None:
    code = (
        "import sys; from missrate.cli import app; from typer.testing import CliRunner;"
        "r = CliRunner();"
        "assert r.invoke(app, ['--help']).exit_code == 0;"
        "assert r.invoke(app, ['list', 'models']).exit_code == 0;"
        "assert r.invoke(app, ['run', '--help']).exit_code == 0;"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []


def test_no_flag_is_added_unnoticed() -> None:
    # A flag is a promise: this list changes on purpose only.
    from typer.main import get_command

    from missrate.cli import app

    command = get_command(app)
    found = {"": [o for p in command.params for o in p.opts if o.startswith("--")]}
    for name, verb in command.commands.items():  # type: ignore[attr-defined]
        found[name] = [o for p in verb.params for o in p.opts if o.startswith("--")]
    assert found == FLAGS


def test_list_names_every_member_in_one_line(missrate: Missrate) -> None:
    done = missrate("list", "models", "--json")
    assert set(json.loads(done.stdout)) == {"maskrcnn", "unet2d"}
    assert len(missrate("list", "losses").stdout.strip().splitlines()) == 3


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (("[budget]", "[budjet]"), "unknown key 'budjet'; it must be one of"),
        (
            ('model = "unet2d"', 'model = "unet3d"'),
            "models must be one of maskrcnn, unet2d. Got 'unet3d'. Perhaps 'unet2d'.",
        ),
        (('name = "dice_ce"', 'name = "dice"'), "losses must be one of"),
        (('reader = "phantom"', 'reader = "phantoms"'), "Perhaps 'phantom'."),
        (
            ('init = "arm:pretrain"', 'init = "pretrained"'),
            "must be random, backbone:<weights>, full:<weights> or arm:<name>",
        ),
        (('init = "arm:pretrain"', 'init = "arm:unet"'), "init = arm: must be one of pretrain, not 'unet'"),
        (("steps = 4", "steps = 0"), "greater than or equal to 1"),
        (('name = "unet"', 'name = "nothing"'), "none of nothing, everything, location_prior"),
        (("size_px = 48", "size = 48"), "unknown key 'size'"),
        (("decoder_channels", "decoder_chanels"), "Perhaps 'decoder_channels'"),
    ],
)
def test_a_fault_in_a_study_is_one_sentence_and_exit_2(
    missrate: Missrate, tmp_path: Path, edit: tuple[str, str], sentence: str
) -> None:
    study = tiny.write(tmp_path)
    study.write_text(study.read_text().replace(*edit))
    done = missrate("run", study, "--out", tmp_path / "out", "--workers", "0")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 60


def test_unequal_budgets_are_refused(missrate: Missrate, tmp_path: Path) -> None:
    study = tiny.write(tmp_path)
    study.write_text(study.read_text().replace('name = "unet"', 'name = "unet"\ntrain = { steps = 7 }'))
    done = missrate("status", study)
    assert done.returncode == 2
    assert "must equal [budget] steps = 4, or the steps of another arm and of" in done.stderr
    assert "together (8). Got 7 in 'unet'" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "missrate", "run", str(tmp_path / "none.toml")]
    plain, debug = (
        subprocess.run([*command, *more], capture_output=True, text=True, check=False) for more in ([], ["--debug"])
    )
    assert plain.returncode == 2
    assert plain.stderr.startswith("missrate: Settings must be a readable file")
    assert len(plain.stderr.splitlines()) == 1
    assert "Traceback" in debug.stderr


def test_dry_run_and_status_write_nothing(missrate: Missrate, tmp_path: Path) -> None:
    study, out = tiny.write(tmp_path), tmp_path / "out"
    dry = missrate("run", study, "--out", out, "--dry-run")
    assert dry.returncode == 0
    assert "CPU minutes" in dry.stdout
    states = json.loads(missrate("status", study, "--out", out, "--json").stdout)
    assert set(states.values()) == {"missing"}
    assert not out.exists()


def test_a_second_process_on_the_same_study_is_refused(missrate: Missrate, tmp_path: Path) -> None:
    study = tiny.write(tmp_path)
    with store.lock(tmp_path / "out"):
        done = missrate("split", study, "--out", tmp_path / "out", "--workers", "0")
    assert done.returncode == 2
    assert "in use by another missrate process" in done.stderr
    assert missrate("split", study, "--out", tmp_path / "out", "--workers", "0").returncode == 0


def test_a_file_in_place_of_the_study_folder(missrate: Missrate, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    done = missrate("split", tiny.write(tmp_path), "--out", tmp_path / "out", "--workers", "0")
    assert done.returncode == 2
    assert "must be a folder that can be written" in done.stderr


AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.Nifti1Image(values, affine).to_filename(path)


def lesion(at: int = 4) -> np.ndarray:
    values = np.zeros((16, 16, 6), np.uint8)
    values[at : at + 4, 5:9, 2:5] = 1
    return values


@pytest.fixture
def folders(tmp_path: Path) -> list[str | Path]:
    for case in range(3):
        save(tmp_path / "ref" / f"c{case}.nii.gz", lesion())
        save(tmp_path / "pred" / f"c{case}.nii.gz", lesion(5))
    paths: list[str | Path] = [
        "--reference",
        tmp_path / "ref",
        "--predictions",
        tmp_path / "pred",
        "--out",
        tmp_path / "out",
    ]
    return [*paths, "--workers", "0"]


def test_evaluate_two_folders(missrate: Missrate, folders: list[str | Path], tmp_path: Path) -> None:
    done = missrate("evaluate", *folders)
    assert done.returncode == 0, done.stderr
    # 3 of 4 columns overlap: Dice = 2 * 36 / (48 + 48) = .75
    assert any(line.split()[:3] == ["dice", "pooled", "0.75"] for line in done.stdout.splitlines()), done.stdout
    assert store.read_json(tmp_path / "out" / "summary.json", "missrate/evaluation/1")["cases"] == 3


def test_a_case_without_prediction_is_named_and_the_answer_is_no(
    missrate: Missrate, folders: list[str | Path], tmp_path: Path
) -> None:
    (tmp_path / "pred" / "c1.nii.gz").unlink()
    done = missrate("evaluate", *folders)
    assert done.returncode == 1
    assert "missing prediction: c1" in done.stdout
    as_misses = missrate("evaluate", *folders, "--missing", "as-misses", "--json")
    assert as_misses.returncode == 0
    rate = json.loads(as_misses.stdout)["metrics"]["lesion_miss_rate"]["pooled"]
    assert (rate["numerator"], rate["denominator"]) == (1, 3)


def test_each_bad_prediction_is_named_and_the_others_are_evaluated(
    missrate: Missrate, folders: list[str | Path], tmp_path: Path
) -> None:
    shifted = AFFINE.copy()
    shifted[2, 3] = 1.0
    save(tmp_path / "pred" / "c0.nii.gz", lesion(), shifted)
    cut = tmp_path / "pred" / "c1.nii.gz"
    cut.write_bytes(cut.read_bytes()[:90])
    done = missrate("evaluate", *folders)
    assert done.returncode == 1
    assert "failed: c0: reference and prediction must lie on the same grid" in done.stdout
    assert "failed: c1:" in done.stdout
    assert "pred: 1 cases" in done.stdout


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (lesion().astype(np.float32) * 1.5 + 0.1, "must lie in [0, 1]"),
        (np.where(lesion() > 0, np.nan, 0).astype(np.float32), "must be finite"),
        (lesion()[:-1], "must have the same shape"),
        (lesion() * 3, "must hold label 1"),
    ],
)
def test_values_that_cannot_be_a_prediction(
    missrate: Missrate, folders: list[str | Path], tmp_path: Path, values: np.ndarray, sentence: str
) -> None:
    save(tmp_path / "pred" / "c2.nii.gz", values)
    done = missrate("evaluate", *folders)
    assert done.returncode == 1
    assert "failed: c2" in done.stdout
    assert sentence in done.stdout


def test_probabilities_get_curves_and_masks_do_not(
    missrate: Missrate, folders: list[str | Path], tmp_path: Path
) -> None:
    for case in range(3):
        save(tmp_path / "pred" / f"c{case}.nii.gz", lesion(5).astype(np.float32) * 0.7)
    summary = json.loads(missrate("evaluate", *folders, "--json", "--threshold", "0.6").stdout)
    assert summary["metrics"]["froc_sensitivity"]["cohort"]["value"] == 1.0
    assert summary["metrics"]["lesion_miss_rate"]["pooled"]["value"] == 0.0


def test_two_labels_must_be_chosen_between(missrate: Missrate, folders: list[str | Path], tmp_path: Path) -> None:
    save(tmp_path / "ref" / "c0.nii.gz", lesion() * 2)
    done = missrate("evaluate", *folders)
    assert done.returncode == 2
    assert "--lesion-label must say which value is the lesion. Got [1, 2]" in done.stderr


def test_the_point_rule_is_shown_on_request(missrate: Missrate, folders: list[str | Path]) -> None:
    rules = [
        [
            entry["matching"]["rule"]
            for entry in json.loads(missrate("evaluate", *folders, *more, "--json").stdout)["also"]
        ]
        for more in ([], ["--point-rule"])
    ]
    assert rules == [["iou"], ["iou", "point"]]


def test_a_prediction_without_reference_is_named(missrate: Missrate, folders: list[str | Path], tmp_path: Path) -> None:
    save(tmp_path / "pred" / "c9.nii.gz", lesion())
    done = missrate("evaluate", *folders)
    assert done.returncode == 0
    assert "prediction without a reference: c9" in done.stdout
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["extra_predictions"] == ["c9"]


def test_predictions_of_other_cases_are_an_error(missrate: Missrate, folders: list[str | Path], tmp_path: Path) -> None:
    for path in (tmp_path / "pred").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    done = missrate("evaluate", *folders)
    assert done.returncode == 2
    assert "must be named as the references. Got other_c0" in done.stderr


def test_stop_gives_no_summary_when_a_case_cannot_be_used(
    missrate: Missrate, folders: list[str | Path], tmp_path: Path
) -> None:
    path = tmp_path / "pred" / "c0.nii.gz"
    path.write_bytes(path.read_bytes()[:50])
    done = missrate("evaluate", *folders, "--stop")
    assert done.returncode == 2
    assert "c0" in done.stderr and "--stop" in done.stderr
    assert not (tmp_path / "out" / "summary.json").exists()
