"""What a data set's own label names mean for a study, what is said about it, and what is refused."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from missrate.core import store
from missrate.core.errors import ConfigError, InputError
from missrate.core.types import LabelMeaning
from missrate.study import front, intake, label_names, meaning, sources
from missrate.study.sources import SourceConfig
from tests.readers.test_nifti import save

SHAPE = (8, 8, 4)


def described(root: Path, labels: dict[str, Any], **more: Any) -> Path:
    """Three cases of an organ 1 and a lesion 2."""
    label = np.zeros(SHAPE, np.uint8)
    label[2:6, 2:6, 1:3], label[3:5, 3:5, 1] = 1, 2
    for n in range(3):
        save(root / "imagesTr" / f"c{n}.nii.gz", np.full(SHAPE, 40 + n, np.int16))
        save(root / "labelsTr" / f"c{n}.nii.gz", label)
    (root / "dataset.json").write_text(json.dumps({"labels": labels} | more))
    return root


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({0: "background", 1: "pancreas", 2: "cancer"}, LabelMeaning(lesion=(2,), organ=(1,))),
        ({1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"}, LabelMeaning(lesion=(2, 3), organ=(1,))),
        ({1: "kidney", 2: "tumor", 3: "cyst"}, LabelMeaning(lesion=(2,), background=(1, 3))),
        ({1: "colon cancer primaries"}, LabelMeaning(lesion=(1,))),
        ({1: "organ", 2: "lesion", 3: "ignore"}, LabelMeaning(lesion=(2,), organ=(1,), ignore=(3,))),
        ({0: "tumour", 1: "spleen"}, None),
        ({1: "Left Atrium"}, None),
        ({}, None),
    ],
)
def test_names(names: dict[int, str], wanted: LabelMeaning | None) -> None:
    found = label_names.meaning_of(names)
    assert (None if found is None else found[0]) == wanted


@pytest.mark.parametrize("name", ["no_tumour", "peritumoral", "liver without lesion", "peri-lesional edema"])
def test_names_that_may_say_the_opposite_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is unclear"):
        label_names.meaning_of({1: "liver", 2: name})


@pytest.mark.parametrize(
    ("reader", "labels", "more"),
    [
        ("msd", {"0": "background", "1": "pancreas", "2": "cancer"}, {}),
        ("nnunet", {"background": 0, "pancreas": 1, "cancer": 2}, {"channel_names": {"0": "CT"}}),
        ("nnunet", {"background": 0, "pancreas": [1], "cancer": [2]}, {"file_ending": ".nii.gz"}),
    ],
)
def test_a_study_takes_the_sources_own_names_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reader: str, labels: dict[str, Any], more: dict[str, Any]
) -> None:
    root = described(tmp_path / "data", labels, **more)
    if reader == "nnunet":
        for path in (root / "imagesTr").iterdir():
            path.rename(path.with_name(path.name.replace(".nii", "_0000.nii")))
    (tmp_path / "s.toml").write_text(
        '[sources.data]\npath = "data"\n[split]\nsource = "data"\nfolds = 3\n'
        '[[arms]]\nname = "a"\nmodel = "unet2d"\nloss = { name = "dice_ce" }\n'
    )
    with caplog.at_level(logging.WARNING):
        front.run(tmp_path / "s.toml", tmp_path / "out", assign=[], workers=0, room="prepare")
    manifest = store.read_json(tmp_path / "out" / "prepared" / "data" / "manifest.json")
    assert (len(manifest["cases"]), [len(case["lesions"]) for case in manifest["cases"]]) == (3, [1, 1, 1])
    assert any("lesion [2], the rest [1]" in note for note in manifest["notes"])
    assert "[sources.data] Labels by the source's own names" in caplog.text


def test_a_study_without_names_of_a_lesion_must_say_its_labels(tmp_path: Path) -> None:
    root = described(tmp_path / "data", {"0": "background", "1": "a", "2": "b"})
    with pytest.raises(ConfigError, match=r"labels\.lesion must name the values.*1 a, 2 b"):
        sources.meaning_of(SourceConfig(reader="msd", path=str(root)))


def test_check_says_why_no_map_could_be_read(tmp_path: Path) -> None:
    save(tmp_path / "labels" / "a.nii.gz", -np.ones(SHAPE, np.int8))
    source = SourceConfig(reader="nifti", path=str(tmp_path))
    with pytest.raises(InputError, match="none that can be read: Label values must be 0 or more"):
        meaning.of(source, sources.find(source))


def test_a_lesion_value_that_no_map_holds_is_said_aloud(tmp_path: Path) -> None:
    root = described(tmp_path / "data", {"0": "background"})
    source = SourceConfig(reader="msd", path=str(root), labels=LabelMeaning(lesion=(7,), organ=(1,), background=(2,)))
    value = intake.check(source, "data", tmp_path / "c", workers=0)
    said = "No map holds a lesion; the values that occur are [1, 2]: perhaps the lesion is another one."
    assert said in value["notes"] and said in intake.table(value)
    found = source.model_copy(update={"labels": LabelMeaning(lesion=(2,), organ=(1,))})
    assert not any("No map" in note for note in intake.check(found, "data", tmp_path / "d", workers=0)["notes"])
