"""What a study may say, and what it may not, before anything runs."""

import re
from pathlib import Path

import pytest

from missrate.core.config import parse
from missrate.core.errors import ConfigError
from missrate.core.recipe import TrainConfig
from missrate.study import budgets, config, model_stages
from missrate.study.plan import plan
from tests.study import tiny

LADDER = """
[[ladder]]
name = "published"
arm = "leak"
slices = "with_lesion"
average = "slices"

[[ladder]]
name = "corrected"
arm = "maskrcnn"
threshold = "calibrated"
"""
LEAK = """
[[arms]]
name = "leak"
model = "maskrcnn"
split = "slices"
evaluate = false
"""


def study(folder: Path, *, front: str = "", back: str = "") -> Path:
    path = tiny.write(folder)
    path.write_text(front + path.read_text() + back)
    return path


def test_each_further_seed_is_a_chain_of_its_own(tmp_path: Path) -> None:
    read = config.read_study(study(tmp_path, front="seeds = [4, 7]\n"), [])
    arms = {arm.name: arm for arm in read.arms}
    assert list(arms)[4:] == ["pretrain-seed7", "maskrcnn-seed7", "unet-seed7", "averaged-seed7"]
    assert arms["maskrcnn-seed7"].init == "arm:pretrain-seed7" and arms["averaged-seed7"].run == "maskrcnn-seed7"
    assert [read.recipe(arms[name]).seed for name in ("maskrcnn", "maskrcnn-seed7")] == [4, 7]
    assert read.repeats("maskrcnn") == ["maskrcnn", "maskrcnn-seed7"] and read.partition.seed == 0
    first, second = (read.recipe(arms[name]) for name in ("unet", "unet-seed7"))
    assert first.model_copy(update={"arm": "", "seed": 0}) == second.model_copy(update={"arm": "", "seed": 0})


def test_the_first_seed_of_the_split_changes_no_stage(tmp_path: Path) -> None:
    one, many = (config.read_study(study(tmp_path, front=front), []) for front in ("", "seeds = [0, 1]\n"))
    stages = {stage.name: stage.config for stage in plan(many, tmp_path / "out")}
    for stage in plan(one, tmp_path / "out"):
        if stage.room in ("prepare", "split", "view", "train", "predict", "evaluate"):
            assert stages[stage.name] == stage.config, stage.name
    assert {"train/unet-seed1", "evaluate/unet-seed1", "calibrate/unet-seed1"} <= stages.keys()


def test_an_arm_may_have_fewer_seeds_and_with_it_what_begins_from_it(tmp_path: Path) -> None:
    more = f'{UNEQUAL}seeds = 2\n[[arms]]\nname = "applied"\nrun = "other"\nconfig = {{ combine = "mean" }}\n'
    more += '[[arms]]\nname = "after"\nmodel = "maskrcnn"\ninit = "arm:other"\nevaluate = false\n'
    read = config.read_study(study(tmp_path, front="seeds = [4, 7, 9]\n", back=more), [])
    names = [arm.name for arm in read.arms]
    for name in ("other", "applied", "after"):
        assert [each for each in names if each.startswith(name)] == [name, f"{name}-seed7"]
    assert "maskrcnn-seed9" in names
    for front, got in (("", "Got 2 of 0"), ("seeds = [0]\n", "Got 2 of 1")):
        with pytest.raises(ConfigError, match=f"must be at most the number of the study's seeds. {got}"):
            config.read_study(study(tmp_path, front=front, back=f"{UNEQUAL}seeds = 2\n"), [])


def test_more_seeds_than_the_weights_have_are_refused(tmp_path: Path) -> None:
    more = f'{UNEQUAL}seeds = 1\n[[arms]]\nname = "after"\nmodel = "maskrcnn"\ninit = "arm:other"\n'
    more += "seeds = 2\nevaluate = false\n"
    with pytest.raises(ConfigError, match=r"seeds of arm 'after' must be at most those of other, .* Got 2 of 1"):
        config.read_study(study(tmp_path, front="seeds = [4, 7]\n", back=more), [])


def test_equal_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seeds must differ"):
        config.read_study(study(tmp_path, front="seeds = [1, 1]\n"), [])


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ('unequal = "x"\nrun = "unet"', "exactly one of model"),
        ("train = { batch = 3 }", "Arms must share .budget. batch 2. Got 3"),
        ("train = { patch_px = [32, 32] }", "Arms must share .budget. patch_px None. Got"),
        ("train = { steps = 5 }", "steps must equal"),
        ('config = { norm = "group" }', "must share 'norm'. Got"),
        ("config = { trainable_stages = 3 }", "must share 'trainable_stages'. Got .'3', '5'."),
        ("view = { spacing_mm = 3.0 }", "must keep the study's spacing_mm"),
        ('split = "slices"', "evaluate = false"),
        ('split = "slices"\nevaluate = false\nsource = "source"', "no source"),
        ('init = "arm:leak"', "must not begin from leak"),
        ('split = "slices"\nevaluate = false\ninit = "arm:maskrcnn"', "must begin from weights of another source"),
        ("repeats = 'maskrcnn'", "seeds must stand at the top"),
        ("seed = 3", "seeds must stand at the top"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(tmp_path: Path, arm: str, message: str) -> None:
    more = f'[[arms]]\nname = "other"\nmodel = "maskrcnn"\n{arm}\n'
    with pytest.raises(ConfigError, match=message):
        config.read_study(study(tmp_path, back=LEAK + more), [])


@pytest.mark.parametrize("front", ["", "seeds = [0, 1]\n"])
def test_steps_are_justified_by_a_chain_and_never_by_themselves(tmp_path: Path, front: str) -> None:
    # Pretrained and fine-tuned, 8 steps in all, stand against 8 steps from random weights; nothing has 100.
    def arms(*steps: int) -> str:
        more = '[[arms]]\nname = "other{0}"\nmodel = "unet2d"\ntrain = {{ steps = {0} }}\n'
        return "".join(more.format(n).replace(f"other{n}", f"other{k}") for k, n in enumerate(steps))

    read = config.read_study(study(tmp_path), [])
    assert budgets.total_steps(read, read.arm("maskrcnn")) == 8
    config.read_study(study(tmp_path, front=front, back=arms(8)), [])
    for wrong in ((100,), (100, 100)):
        with pytest.raises(ConfigError, match=r"steps must equal .* together \(8\)\. Got 100 in 'other0'"):
            config.read_study(study(tmp_path, front=front, back=arms(*wrong)), [])


UNEQUAL = '[[arms]]\nname = "other"\nmodel = "maskrcnn"\n'


def test_an_arm_may_have_another_budget_for_a_stated_reason(tmp_path: Path) -> None:
    more = f'{UNEQUAL}train = {{ steps = 2, batch = 3, patch_px = [32, 32] }}\nunequal = "learning curve"\n'
    more += '[[arms]]\nname = "applied"\nrun = "other"\nconfig = { combine = "mean" }\n'
    read = config.read_study(study(tmp_path, front="seeds = [0, 1]\n", back=more), [])
    what = "2 steps instead of 4, batch 3 instead of 2, patch_px (32, 32) instead of None (learning curve)"
    assert budgets.unequal(read) == {"other": what, "applied": what}
    assert budgets.unequal(config.read_study(study(tmp_path), [])) == {}


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ('unequal = "no reason"', "must be said of an evaluated arm whose steps"),
        ('train = { steps = 2 }\nunequal = ""', "unequal: String should have at least 1"),
        ('train = { steps = 2 }\nunequal = "x"\nevaluate = false', "must be said of an evaluated arm"),
        ('train = { steps = 2 }\nunequal = "x"\nconfig = { norm = "group" }', "must share 'norm'"),
        ("train_patients = 3", "An arm with train_patients must say why. Got 'other'"),
        ('train_patients = 0\nunequal = "x"', "train_patients"),
    ],
)
def test_a_reason_must_be_one_and_excuses_the_budget_only(tmp_path: Path, arm: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.read_study(study(tmp_path, back=f"{UNEQUAL}{arm}\n"), [])


def test_fewer_training_patients_are_the_same_in_every_arm_and_among_more(tmp_path: Path) -> None:
    arms = "".join(
        UNEQUAL.replace("other", f"{name}{count}") + f'train_patients = {count}\nunequal = "curve"\n'
        for name in ("x", "y")
        for count in (2, 3, 4)
    )
    read = config.read_study(study(tmp_path, front="seeds = [0, 1]\n", back=arms), [])
    assert budgets.unequal(read)["x4"] == "4 training patients (curve)"
    patients = {f"{patient}{scan}": patient for patient in "abcdef" for scan in (1, 2)}

    def chosen(name: str) -> set[str]:
        cases = model_stages._of_some(patients, read.arm(name), read.partition.seed)
        assert {case for case, patient in patients.items() if patient in {c[0] for c in cases}} == set(cases)
        return {case[0] for case in cases}

    assert chosen("maskrcnn") == set("abcdef")
    assert [len(chosen(f"x{count}")) for count in (2, 3, 4)] == [2, 3, 4]
    assert chosen("x2") < chosen("x3") < chosen("x4")
    assert chosen("x4") == chosen("y4") == chosen("y4-seed1")
    with pytest.raises(ConfigError, match=r"train_patients of arm 'x4' must be at most .* Got 4 of 3"):
        model_stages._of_some(dict(zip("abc", "abc", strict=True)), read.arm("x4"), 0)
    with pytest.raises(ConfigError, match=r"must be less than the \d of \[split\] parts.train. Got 9"):
        config.read_study(study(tmp_path, back=f'{UNEQUAL}train_patients = 9\nunequal = "curve"\n'), [])


def test_an_unequal_chain_justifies_no_other_arms_steps(tmp_path: Path) -> None:
    # From pretrain: 4 + 6 = 10 steps, on purpose. Ten steps from random weights without a word are none the better.
    first = f'{UNEQUAL}init = "arm:pretrain"\ntrain = {{ steps = 6 }}\nunequal = "longer"\n'
    second = UNEQUAL.replace("other", "another") + "train = { steps = 10 }\n"
    with pytest.raises(ConfigError, match=r"together \(8\)\. Got 10 in 'another'; perhaps say why: unequal ="):
        config.read_study(study(tmp_path, back=first + second), [])


def test_a_norm_holds_for_what_an_arm_begins_from(tmp_path: Path) -> None:
    text = study(tmp_path).read_text()
    path = tmp_path / "other.toml"
    path.write_text(text.replace('name = "pretrain"', 'name = "pretrain"\nconfig = { norm = "group" }', 1))
    with pytest.raises(ConfigError, match=r"must share 'norm'. Got .'batch', 'group'."):
        config.read_study(path, [])


def test_one_run_cannot_begin_from_those_of_folds(tmp_path: Path) -> None:
    text = re.sub(r"parts = .*", "folds = 3", study(tmp_path).read_text())
    path = tmp_path / "folds.toml"
    path.write_text(text + '[[arms]]\nname = "on"\nsource = "source"\nmodel = "unet2d"\ninit = "arm:unet"\n')
    with pytest.raises(ConfigError, match="on is trained once, on source, and must not begin from unet"):
        config.read_study(path, [])


@pytest.mark.parametrize(
    "said",
    [
        'unequal = "learning curve"',
        'view = { encoding = "picture" }',
        "train = { steps = 4 }",
        'init = "arm:unet"',
        'split = "slices"',
        "train_patients = 3",
    ],
)
def test_what_only_training_could_heed_is_refused_elsewhere(tmp_path: Path, said: str) -> None:
    for kind in ('run = "maskrcnn"', 'predictions = "there"'):
        with pytest.raises(ConfigError, match="must be said of an arm with a model"):
            config.read_study(study(tmp_path, back=f'[[arms]]\nname = "other"\n{kind}\n{said}\n'), [])


def test_what_saw_tested_patients_is_trained_once(tmp_path: Path) -> None:
    more = '[[arms]]\nname = "mean"\nrun = "leak"\nevaluate = false\nconfig = { combine = "mean" }\n'
    read = config.read_study(study(tmp_path, front="seeds = [2, 3]\n", back=LEAK + more), [])
    names = [arm.name for arm in read.arms]
    assert {"leak", "mean", "unet-seed3"} <= set(names) and not {"leak-seed3", "mean-seed3"} & set(names)
    assert read.recipe(read.arm("leak")).seed == 2


def test_a_calibrated_rung_needs_somebody_to_calibrate_on(tmp_path: Path) -> None:
    path = study(tmp_path, back='[[ladder]]\nname = "r"\narm = "unet"\nthreshold = "calibrated"\n')
    text = path.read_text()
    assert "calibration = " in text
    path.write_text(re.sub(r"calibration = \d+, ", "", text))
    with pytest.raises(ConfigError, match="no part is called calibration"):
        config.read_study(path, [])


def test_a_leak_needs_the_scans_own_slices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"leave \[view\] slice_mm out"):
        config.read_study(study(tmp_path, back=LEAK), ["view.slice_mm=4.0"])


def test_what_is_a_default_may_be_said(tmp_path: Path) -> None:
    more = '[[arms]]\nname = "other"\nmodel = "maskrcnn"\nconfig = { norm = "batch", trainable_stages = 5 }\n'
    assert config.read_study(study(tmp_path, back=more), []).arms[-1].name == "other"


@pytest.mark.parametrize(
    ("rung", "message"),
    [
        ('arm = "pretrain"', "must be of an evaluated arm, and 'pretrain' is none"),
        ('arm = "nobody"', "arm of a rung must be one of"),
        ('arm = "leak"\nthreshold = "calibrated"', "has no calibrated threshold"),
        ('arm = "unet"\nthreshold = 0.0', "must lie in"),
        ('arm = "unet"\nlargest_share = 1.5', "largest_share"),
    ],
)
def test_rungs_that_cannot_be_are_refused(tmp_path: Path, rung: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.read_study(study(tmp_path, back=f'{LEAK}\n[[ladder]]\nname = "r"\n{rung}\n'), [])


def test_a_preset_changes_defaults_and_what_is_said_counts(tmp_path: Path) -> None:
    more = '[[arms]]\nname = "other"\nmodel = "maskrcnn"\ntrain = { preset = "torchvision", clip = 5.0 }\n'
    read = config.read_study(study(tmp_path, back=more), [])
    train = read.recipe(read.arm("other")).train
    assert (train.optimiser, train.schedule, train.weight_decay, train.clip) == ("sgd", "steps", 1e-4, 5.0)
    assert train.lr == pytest.approx(0.02 / 16 * 2)  # proportional to the batch of 2
    assert (train.steps, train.warmup) == (4, 1)  # the study's own
    assert read.recipe(read.arm("maskrcnn")).train.optimiser == "adamw"


def test_an_arm_may_go_back_to_the_other_preset(tmp_path: Path) -> None:
    more = '[[arms]]\nname = "other"\nmodel = "maskrcnn"\ntrain = { preset = "adamw" }\n'
    path = study(tmp_path, back=more)
    path.write_text(path.read_text().replace("[budget]\n", '[budget]\npreset = "torchvision"\n'))
    read = config.read_study(path, [])
    assert read.recipe(read.arm("unet")).train.optimiser == "sgd"
    train = read.recipe(read.arm("other")).train
    assert (train.optimiser, train.lr, train.schedule, train.clip) == ("adamw", 1e-3, "cosine", 5.0)


@pytest.mark.parametrize("value", [{"preset": ["adamw"]}, {"preset": "torchvision", "batch": "x"}, {"preset": "best"}])
def test_a_preset_of_another_kind_is_one_sentence(value: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse(TrainConfig, value, where="[budget]")


def test_the_warmup_of_a_preset_fits_the_steps_whatever_else_is_said() -> None:
    assert TrainConfig(preset="torchvision", steps=200, lr=0.01).warmup == 7
    assert TrainConfig(preset="torchvision", steps=100_000).warmup == 1000
    assert TrainConfig(preset="torchvision", warmup=3).warmup == 3


def test_an_organ_that_no_label_names_cannot_be_learned(tmp_path: Path) -> None:
    text = study(tmp_path).read_text() + f"{UNEQUAL}config = {{ organ = true }}\n"
    path = tmp_path / "organ.toml"
    path.write_text(text)
    assert config.read_study(path, []).arm("other").config == {"organ": True}
    for labels, wrong in (("{ lesion = [2], organ = [1] }", False), ("{ lesion = [2], background = [1] }", True)):
        given = [f"sources.target.labels={labels}"]
        if wrong:
            with pytest.raises(ConfigError, match=r"other learns the organ .* and labels of target name none"):
                config.read_study(path, given)
        else:
            config.read_study(path, given)
