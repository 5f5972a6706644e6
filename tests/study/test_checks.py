"""What would fail is told by ``--dry-run``, in one sentence for each fault, and before anything is written or read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from missrate.core.errors import ConfigError, InputError, MissrateError
from missrate.study import front, runner
from tests.furnished import furnish
from tests.test_own_files import FILES
from tests.test_own_files import write as write_own

STUDY = """
[sources.mine]
path = "data"
labels = { lesion = [1] }

[split]
source = "mine"
parts = { train = 3, calibration = 1, test = 2 }

[budget]
steps = 2
batch = 2

[[arms]]
name = "unet"
model = "unet2d"
config = { decoder_channels = [16, 8, 8, 8, 8] }

[evaluate]
resamples = 100
"""


def study(place: Path, text: str = STUDY) -> Path:
    furnish(place, {"sources": {"mine": {"path": "data"}}, "arms": [{"model": "unet2d"}]})
    (place / "study.toml").write_text(text)
    return place / "study.toml"


def dry(place: Path, text: str = STUDY, *, offline: bool = False) -> str:
    return front.dry_run(study(place, text), place / "out", assign=[], offline=offline)


def test_a_sound_study_is_listed_and_nothing_is_written(tmp_path: Path) -> None:
    assert "train/unet" in dry(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "study.toml"]


ARM = '[[arms]]\nname = "other"\nmodel = "maskrcnn"\nconfig = { backbone = "resnet18" }\n'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('path = "data"', 'path = "date"', "date, which is not there"),
        ('path = "data"', 'path = "data"\nreader = "nifty"', "Perhaps 'nifti'"),
        ('path = "data"', 'path = "date"\nreader = "nifti"', "date, which is not there"),
        ('path = "data"', 'path = "data"\nexclude = ["nobody"]', "`exclude` must name cases"),
        ('path = "data"', 'path = "data"\npatients = "none.csv"', "must be a readable CSV"),
        ("labels = { lesion = [1] }", 'labels = "nobody"', "labels must name one of"),
        ("labels = { lesion = [1] }", "", "labels.lesion must name the values"),
        ("train = 3, calibration = 1, test = 2", "train = 0.6, test = 0.3", "shares that sum to 1.* sum to 0.9"),
        ("train = 3, calibration = 1, test = 2", "train = 3, test = 9", "sum to 1 or to the 6 patients"),
        ("parts = { train = 3, calibration = 1, test = 2 }", "folds = 7", "folds must not exceed the patients. Got 7"),
        ('model = "unet2d"', 'model = "unet"', "Perhaps 'unet2d'"),
        ('model = "unet2d"', 'model = "unet2d"\nloss = { name = "dice" }', "Perhaps 'dice_ce'"),
        ('model = "unet2d"', 'model = "unet2d"\nloss = { smooth = 2.0 }', "'name' must be given"),
        ('model = "unet2d"', 'model = "unet2d"\nloss = { name = "dice_ce", smoth = 1 }', "Perhaps 'smooth'"),
        ("[evaluate]", f'{ARM}loss = {{ name = "dice_ce" }}\n[evaluate]', "maskrcnn must be without a loss"),
        (
            "decoder_channels = [16, 8, 8, 8, 8]",
            'norm = "group"',
            "config of arm 'unet': norm: Input should be 'batch'",
        ),
        ('model = "unet2d"', 'model = "unet2d"\ntrain = { optimizer = "sgd" }', "Perhaps 'optimiser'"),
        ('model = "unet2d"', 'model = "unet2d"\ninit = "backbone:ResNet18_Weight.IMAGENET1K_V1"', "Perhaps 'ResNet18"),
        ('model = "unet2d"', 'model = "unet2d"\ninit = "full:w.pth"', "must be given with its hash"),
        ('model = "unet2d"', f'model = "unet2d"\ninit = "full:w.pth#sha256={"0" * 64}"', "must be a readable file"),
        ("resamples = 100", 'resamples = 100\nmetrics = ["hd95_pooled"]', "Perhaps 'hd95_pooled_mm'"),
        ("resamples = 100", 'resamples = 100\nsubgroups = ["scanner"]', "must be columns of .sources.mine. patients"),
        ("[budget]", "[models.unet2]\nnorm = 'batch'\n[budget]", "Perhaps 'unet2d'"),
        ("[evaluate]", '[[arms]]\nname = "foreign"\npredictions = "none"\n[evaluate]', "none, which is not there"),
        ("[evaluate]", '[[arms]]\nname = "foreign"\npredictions = "far"\n[evaluate]', "named as the cases of mine"),
        ("decoder_channels = [16, 8,", "decoder_channels = [-1, 8,", "unet2d must build and take a batch. Got"),
        ("[evaluate]", f'{ARM}init = "arm:unet"\n[evaluate]', "must fit the model. Got .* none fits"),
    ],
)
def test_what_would_fail_is_found_without_running(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "far").mkdir()
    furnish(tmp_path, {"sources": {"x": {"path": "labels"}}, "arms": [{"predictions": {"x": "predicted/*"}}]})
    for path in (tmp_path / "predicted" / "other").iterdir():
        path.rename(tmp_path / "far" / f"far_{path.name}")
    assert old in STUDY
    with pytest.raises(InputError, match=message):
        dry(tmp_path, STUDY.replace(old, new, 1))
    assert not (tmp_path / "out").exists()


def test_all_faults_of_recipes_and_split_are_told_at_once(tmp_path: Path) -> None:
    text = STUDY.replace("test = 2", "test = 3").replace('model = "unet2d"', 'model = "unet2d"\ninit = "full:w.pth"')
    text = text.replace("[evaluate]", f"{ARM}loss = {{ name = 'dice_ce' }}\n[evaluate]")
    with pytest.raises(ConfigError, match=r"^3 things would fail: .*6 patients.*with its hash.*without a loss"):
        dry(tmp_path, text)


def test_weights_that_are_not_there_are_refused_offline_and_not_fetched_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    text = STUDY.replace('model = "unet2d"', 'model = "unet2d"\ninit = "backbone:ResNet18_Weights.IMAGENET1K_V1"')
    dry(tmp_path, text)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ConfigError, match="to be used offline"):
        dry(tmp_path, text, offline=True)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("threshold", lambda text: text.replace("def build", "def built"), "must define Config, build. Got no build"),
        ("threshold", lambda text: text + "oops(", "threshold.py must be a Python file that can be loaded"),
        ("threshold", lambda text: text.replace("start: float = 0.3", "begin: float = 0.3"), "unknown key 'start'"),
        ("threshold", lambda text: text.replace("return Threshold(config, loss)", "return None"), "must build a torch"),
        ("threshold", lambda text: text.replace(".sigmoid().float()", "[0]"), "must give probabilities of shape"),
        ("squared", lambda text: text.replace(".mean()", ""), "must give losses that are scalars"),
        ("squared", lambda text: text.replace("label == 1", "label == missing"), "take a batch. Got NameError"),
        ("cubes", lambda text: text.replace("def find", "def found"), "must define Config, find"),
        ("largest", lambda text: text.replace("def measure", "def measured"), "Got no measure"),
    ],
)
def test_broken_own_files_are_found_without_running(
    tmp_path: Path, name: str, change: Callable[[str], str], message: str
) -> None:
    path = write_own(tmp_path)
    front.dry_run(path, tmp_path / "out", assign=[])
    (tmp_path / "mine" / f"{name}.py").write_text(change(FILES[name]))
    with pytest.raises(ConfigError, match=message):
        front.dry_run(path, tmp_path / "out", assign=[])
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_cannot_be_built_stops_the_run_before_a_case_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    run = runner.run

    def watched(*given: Any, **more: Any) -> None:
        run(*given, **more | {"watch": lambda event: events.append(event.stage) if event.stage else None})

    monkeypatch.setattr(runner, "run", watched)
    path = study(tmp_path, STUDY.replace("[evaluate]", f"{ARM}loss = {{ name = 'dice_ce' }}\n[evaluate]"))
    with pytest.raises(MissrateError, match="recipe/other: maskrcnn must be without a loss"):
        front.run(path, tmp_path / "out", assign=[], workers=0)
    assert set(events) == {"recipe/unet", "recipe/other"}
    assert not (tmp_path / "out" / "prepared").exists()


def test_a_model_names_its_own_loss(tmp_path: Path) -> None:
    from missrate.study.config import read_study

    assert read_study(study(tmp_path), []).arms[0].loss == {"name": "dice_ce"}
    stated = STUDY.replace('model = "unet2d"', 'model = "unet2d"\nloss = { name = "tversky_ce" }')
    assert read_study(study(tmp_path, stated), []).arms[0].loss == {"name": "tversky_ce"}
    without = STUDY.replace("decoder_channels = [16, 8, 8, 8, 8]", "").replace("unet2d", "maskrcnn")
    assert read_study(study(tmp_path, without), []).arms[0].loss is None
