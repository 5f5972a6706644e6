"""A user's own files: found beside the study file, known by their bytes, and copied into the run that used them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from missrate.core import catalog, own, store
from missrate.core.errors import ConfigError, InputError, UnknownNameError
from missrate.core.recipe import read_recipe
from missrate.study import config, folder, front, runner
from missrate.study.plan import plan
from tests import drawn
from tests.readers.test_nifti import save
from tests.test_extend import LOSS, METRIC, MODEL, READER

SURFACE = '''"""Whether a surface has an area at all."""

UNIT, BETTER, LEVEL, NEEDS = "", "higher", "case", "surfels"


def measure(case, at, matching):
    return float(any(d.surfel is not None for d in case.distances if d.level == at))
'''
STUDY = """
[sources.cubes]
reader = "./mine/cubes.py"

[split]
source = "cubes"
parts = { train = 3, calibration = 1, test = 2 }

[budget]
steps = 2
batch = 2

[models."mine/threshold.py"]
start = 0.4

[[arms]]
name = "own"
model = "mine/threshold.py"
loss = { name = "./mine/squared.py", weight = 2.0 }

[[arms]]
name = "unet"
model = "unet2d"
config = { decoder_channels = [16, 8, 8, 8, 8] }

[evaluate]
resamples = 100
thresholds = [0.5]
null_arms = false
metrics = ["mine/largest.py", "mine/area.py"]
"""
FILES = {"cubes": READER, "threshold": MODEL, "squared": LOSS, "largest": METRIC, "area": SURFACE}


def write(place: Path) -> Path:
    """A study all of whose members are own files, in ``place``."""
    for name, text in FILES.items():
        (place / "mine").mkdir(parents=True, exist_ok=True)
        (place / "mine" / f"{name}.py").write_text(text)
    (place / "study.toml").write_text(STUDY)
    return place / "study.toml"


def go(study: Path, out: Path) -> list[str]:
    """Brings the study to its end; gives the stages that worked."""
    ended: list[str] = []
    stages = plan(config.read_study(study, []), out, folder=study.parent)
    runner.run(stages, out, workers=0, watch=lambda e: ended.append(e.stage) if e.kind == "ended" else None)
    return ended


def not_done(study: Path, out: Path) -> set[str]:
    stages = plan(config.read_study(study, []), out, folder=study.parent)
    return {row.stage.name for row in runner.status(stages, out) if row.state != "done"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished study, run from a folder that is not its own."""
    place, elsewhere = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("elsewhere")
    before = Path.cwd()
    os.chdir(elsewhere)
    try:
        study = write(place)
        go(study, place / "out")
    finally:
        os.chdir(before)
    return study, place / "out"


@pytest.mark.parametrize(
    ("file", "first", "kept"),
    [
        ("largest", "summarise/own", ["prepare", "split", "view", "train", "predict", "evaluate", "calibrate"]),
        ("squared", "train/own", ["prepare", "split", "view"]),
        ("threshold", "train/own", ["prepare", "split", "view"]),
        ("cubes", "prepare/cubes", []),
    ],
)
def test_an_edited_file_makes_stale_what_depends_on_it_and_nothing_else(
    finished: tuple[Path, Path], file: str, first: str, kept: list[str]
) -> None:
    study, out = finished
    path = study.parent / "mine" / f"{file}.py"
    try:
        path.write_text(FILES[file] + "\n# another opinion\n")
        changed = not_done(study, out)
    finally:
        path.write_text(FILES[file])
    assert first in changed and "report" in changed
    assert not {name for name in changed if name.split("/")[0] in kept}
    # The U-Net is no own file: what is made of it alone stays, unless the scans or the metrics are others.
    assert ("train/unet" in changed) == (file == "cubes") and ("summarise/unet" in changed) == (
        file in ("cubes", "largest")
    )
    assert not_done(study, out) == set()


def test_an_edited_metric_gives_new_numbers_and_repeats_no_training(tmp_path: Path) -> None:
    study, out = write(tmp_path), tmp_path / "out"
    go(study, out)
    path = tmp_path / "mine" / "largest.py"
    path.write_text(METRIC.replace("float(tree", "2 * float(tree"))
    assert {name.split("/")[0] for name in go(study, out)} == {"summarise", "report"}
    assert _value(out, "largest") == 256.0


def _value(out: Path, metric: str) -> float:
    summary = store.read_json(out / "evaluation" / "own" / "summary.json")
    return float(summary["metrics"][metric]["case_mean"]["value"])


def test_a_metric_by_area_has_areas_in_a_study(finished: tuple[Path, Path]) -> None:
    # Cubes of 8 x 8 x 2 voxels; the thresholds that a study chooses have no distances, the fixed one has.
    summary = store.read_json(finished[1] / "evaluation" / "own" / "summary.json")
    fixed = [e for e in [summary, *summary["also"]] if e["operating_point"]["name"] == "0.5"]
    assert fixed[0]["metrics"]["area"]["case_mean"]["value"] == 1.0
    assert _value(finished[1], "largest") == 128.0


def test_recipe_provenance_summary_and_marks_name_the_files_by_hash(finished: tuple[Path, Path]) -> None:
    study, out = finished
    run = out / "runs" / "own" / "all" / "seed0"
    hashes = {name: store.hash_file(study.parent / "mine" / f"{name}.py") for name in FILES}
    recipe = (run / "recipe.toml").read_text()
    assert f'model = "threshold.py#{hashes["threshold"].replace(":", "=")}"' in recipe
    assert str(study.parent) not in recipe
    both = {f"{name}.py": hashes[name] for name in ("squared", "threshold")}
    assert store.read_json(run / "provenance.json")["own_files"] == both
    inputs = store.read_json(out / "evaluation" / "own" / "summary.json")["inputs"]
    assert {inputs["largest.py"], inputs["area.py"]} == {hashes["largest"], hashes["area"]}
    assert store.read_json(out / "stages" / "prepare--cubes.json")["own_files"] == {"cubes.py": hashes["cubes"]}
    assert "own_files" not in store.read_json(out / "runs" / "unet" / "all" / "seed0" / "provenance.json")
    page = (out / "report" / "index.html").read_text()
    assert f"threshold.py (sha256 {hashes['threshold'][7:19]})" in page and str(study.parent / "mine") not in page


def test_a_study_may_be_moved(finished: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = finished
    moved = write(tmp_path / "another")
    assert not_done(moved, out) == set()


def copied(finished: tuple[Path, Path], target: Path) -> Path:
    """The run alone, in another place."""
    target.mkdir()
    for file in (finished[1] / "runs" / "own" / "all" / "seed0").iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
    return target


def test_a_run_is_applied_with_its_own_copy_from_anywhere(finished: tuple[Path, Path], tmp_path: Path) -> None:
    from missrate.predict.run2d import load_run

    run = copied(finished, tmp_path / "run")
    model = load_run(run, trust_code=True).model
    assert type(model).__name__ == "Threshold"
    assert sys.modules[type(model).__module__].__file__ == str(run / "threshold.py")


def test_a_copy_that_was_changed_is_never_executed(finished: tuple[Path, Path], tmp_path: Path) -> None:
    from missrate.predict.run2d import load_run

    run = copied(finished, tmp_path / "run")
    (run / "threshold.py").write_text(f"{MODEL}\nraise SystemExit('executed')\n")
    with pytest.raises(ConfigError, match=r"threshold\.py must be the file that was named"):
        load_run(run, trust_code=True)


def test_a_recipe_without_the_hash_of_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('arm = "a"\nmodel = "threshold.py"\n')
    with pytest.raises(ConfigError, match=r"must say the hash of its own files.*Got threshold\.py"):
        read_recipe(tmp_path / "recipe.toml")


def test_a_recipes_file_is_taken_from_beside_it_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(f'arm = "a"\nmodel = "../../etc/evil.py#sha256={"0" * 64}"\n')
    (name,) = read_recipe(tmp_path / "recipe.toml").own_files()
    assert own.path_of(name) == tmp_path.resolve() / "evil.py"


def test_two_different_files_of_one_name_cannot_be_copied_into_one_run(tmp_path: Path) -> None:
    study = write(tmp_path)
    (tmp_path / "threshold.py").write_text(LOSS)
    study.write_text(STUDY.replace("./mine/squared.py", "threshold.py"))
    arm = (read := config.read_study(study, [])).arm("own")
    with pytest.raises(ConfigError, match="own files of arm 'own' must differ in name"):
        read.recipe(arm).own_files()


def test_a_file_that_changes_while_the_study_runs_is_refused(tmp_path: Path) -> None:
    study = write(tmp_path)
    stages = plan(config.read_study(study, []), tmp_path / "out", folder=tmp_path)
    (tmp_path / "mine" / "squared.py").write_text(LOSS + "\n# later\n")
    with pytest.raises(Exception, match=r"squared\.py must be the file that was named.*changed meanwhile"):
        runner.run(runner.until(stages, "recipe"), tmp_path / "out", workers=0, watch=lambda _: None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(:\n", "must be a Python file that can be loaded. Got SyntaxError"),
        ("\n\n1 / 0\n", "Got ZeroDivisionError in line 3"),
        ("raise SystemExit\n", "Got SystemExit"),
        ("import absent_helper\n", "Got ModuleNotFoundError"),
        ("UNIT = ''\n", "must define UNIT, BETTER, LEVEL, measure. Got no BETTER"),
        (METRIC.replace('"higher"', '"more"'), "BETTER of mine.py must be one of lower, higher. Got 'more'"),
        (METRIC.replace('"case"', '"scan"'), "LEVEL of mine.py must be one of case, patient, cohort"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        catalog.load("metrics", str(tmp_path / "mine.py"))


@pytest.mark.parametrize("how", ["import helper", "from helper import x", "from . import x", "import helper.part"])
@pytest.mark.parametrize("found", [True, False], ids=["on the path", "not on the path"])
def test_a_helper_beside_it_is_refused_whether_it_would_be_found_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, found: bool
) -> None:
    (tmp_path / "helper.py").write_text("x = 1\n")
    (tmp_path / "mine.py").write_text(f"def later():\n    {how}\n{METRIC}")
    if found:
        monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"mine\.py must be one file.*(helper|relative import)"):
        catalog.load("metrics", str(tmp_path / "mine.py"))


def test_installed_packages_may_be_imported_whatever_lies_beside(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError\n")
    (tmp_path / "numpy").mkdir()
    (tmp_path / "mine.py").write_text(f"import json\nimport numpy as np\n{METRIC}")
    assert catalog.load("metrics", str(tmp_path / "mine.py")).LEVEL == "case"


def test_an_edited_file_is_another_member_in_one_process(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(METRIC)
    assert catalog.load("metrics", str(path)).UNIT == "voxels"
    path.write_text(METRIC.replace('"voxels"', '"stones"'))
    assert catalog.load("metrics", str(path)).UNIT == "stones"


def test_a_file_that_states_another_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METRIC)
    with pytest.raises(ConfigError, match="must have the SHA-256 0000"):
        own.pinned(f"mine.py#sha256={'0' * 64}", tmp_path)
    assert own.identity(own.pinned("mine.py", tmp_path)).startswith("mine.py#sha256=")


def evaluated(place: Path, **more: object) -> dict[str, object]:
    """Two scans whose prediction is the reference, through ``missrate evaluate``."""
    mask_XYZ = drawn.drawn("...../.##../.....")
    for kind in ("labels", "predictions"):
        for case in ("a", "b"):
            save(place / kind / f"{case}.nii.gz", mask_XYZ.astype("uint8"))
    request = folder.Request(place / "labels", place / "predictions", place / "out", **more)  # type: ignore[arg-type]
    return folder.evaluate(request, workers=0)


def test_evaluate_finds_own_files_beside_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(f"{name}.py").write_text(text)
    summary = evaluated(tmp_path, metrics=("./largest.py", "area.py"))
    metrics: dict[str, dict[str, dict[str, float]]] = summary["metrics"]  # type: ignore[assignment]
    assert metrics["largest"]["case_mean"]["value"] == 2.0 and metrics["area"]["case_mean"]["value"] == 1.0
    assert summary["inputs"]["largest.py"] == store.hash_file(Path("largest.py"))  # type: ignore[index]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("hd95_surfel", "metrics must be one of .* Perhaps 'hd95_surfel_mm'"),
        ("absent.py", "must be a readable file"),
        ("dice.py", "different names. Got dice twice"),
    ],
)
def test_evaluate_refuses_a_metric_before_it_reads_a_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dice.py").write_text(METRIC)
    with pytest.raises(InputError, match=message):
        evaluated(tmp_path, metrics=(metric,))
    assert not (tmp_path / "out").exists()


def test_own_files_work_in_worker_processes(tmp_path: Path) -> None:
    study = write(tmp_path)
    study.write_text(
        STUDY.replace('[[arms]]\nname = "unet"', '[[arms]]\nname = "again"\nrun = "own"\n\n[[arms]]\nname = "unet"')
    )
    code = "import sys; from missrate.cli import main; sys.argv[1:] = %r; main()"
    arguments = ["run", str(study), "--out", str(tmp_path / "out"), "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", code % arguments], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert _value(tmp_path / "out", "largest") == 128.0


def test_an_absent_own_file_is_told_before_anything_runs(tmp_path: Path) -> None:
    study = write(tmp_path)
    for line in ("./mine/cubes.py", "mine/threshold.py", "./mine/squared.py", "mine/largest.py"):
        study.write_text(STUDY.replace(line, "gone.py"))
        with pytest.raises(UnknownNameError, match=r"must be a readable file. Got .*gone\.py"):
            front.run(study, tmp_path / "out", assign=[], workers=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise SystemExit(0)", "must measure every case. Got SystemExit"),
        ("return case.nothing", "must measure every case. Got AttributeError"),
        ("return float('nan')", "must give a Ratio, a finite number or None. Got nan"),
        ("return 'x'", "must give a Ratio, a finite number or None. Got 'x'"),
        ("return 7.0", r"must lie in \[0, 1\]. Got 7; perhaps it needs a RANGE"),
    ],
)
def test_a_metric_that_gives_no_number_is_one_sentence(tmp_path: Path, body: str, message: str) -> None:
    head = '"""Mine."""\n\nUNIT, BETTER, LEVEL = "share", "higher", "case"\n\n\ndef measure(case, at, matching):\n'
    (tmp_path / "mine.py").write_text(f"{head}    {body}\n")
    with pytest.raises(InputError, match=f"Metric mine {message}"):
        evaluated(tmp_path, metrics=(str(tmp_path / "mine.py"),))
