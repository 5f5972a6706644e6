"""Data sets that describe themselves: what is listed, what is there, and what the description may not do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from missrate.core.config import parse
from missrate.core.errors import ConfigError, DataError
from missrate.readers import _dataset_json, msd, nifti, nnunet
from missrate.readers._detect import detect, readers_of
from tests.readers.test_nifti import save

IMAGE = np.zeros((4, 5, 3), np.int16)


def decathlon(root: Path, cases: list[str], **changes: Any) -> Path:
    for case in cases:
        save(root / "imagesTr" / f"{case}.nii.gz", IMAGE)
        save(root / "labelsTr" / f"{case}.nii.gz", IMAGE.astype(np.uint8))
    pairs = [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases]
    labels = {"0": "background", "1": "pancreas", "2": "cancer"}
    value = {"name": "Pancreas", "modality": {"0": "CT"}, "labels": labels, "training": pairs, "test": []}
    (root / "dataset.json").write_text(json.dumps(value | changes))
    return root


def raw(root: Path, cases: list[str], channels: int = 1, **changes: Any) -> Path:
    for case in cases:
        for channel in range(channels):
            save(root / "imagesTr" / f"{case}_{channel:04d}.nii.gz", IMAGE + np.int16(channel))
        save(root / "labelsTr" / f"{case}.nii.gz", IMAGE.astype(np.uint8))
    names = {str(n): f"c{n}" for n in range(channels)}
    labels = {"background": 0, "organ": 1, "tumour": 2}
    value = {"channel_names": names, "labels": labels, "numTraining": len(cases), "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(value | changes))
    return root


def test_each_is_recognised_by_its_own_reader_only(tmp_path: Path) -> None:
    assert detect(decathlon(tmp_path / "a", ["x"])) == "msd"
    assert detect(raw(tmp_path / "b", ["x"])) == "nnunet"
    old = raw(tmp_path / "c", ["x"])
    (old / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "labels": {"0": "background"}}))
    assert detect(old) == "nnunet", "version 1 says it by the names of its files"
    (old / "dataset.json").unlink()
    assert detect(old) == "nifti"


def test_the_decathlon(tmp_path: Path) -> None:
    root = decathlon(tmp_path, ["pancreas_001", "pancreas_002"])
    save(root / "imagesTs" / "pancreas_003.nii.gz", IMAGE)
    (root / "imagesTr" / "._pancreas_001.nii.gz").write_bytes(b"rubbish")
    entries = msd.find(root, msd.Config())
    assert [(e.case_id, e.patient_id) for e in entries] == [("pancreas_001",) * 2, ("pancreas_002",) * 2]
    assert msd.label_names(root) == {0: "background", 1: "pancreas", 2: "cancer"}
    assert msd.notes(root, msd.Config()) == ["1 scans of imagesTs have no labels and are no cases here."]
    assert msd.load_image(str(entries[0].image)).grid.shape == IMAGE.shape


def test_what_is_listed_and_absent_or_there_and_not_listed_is_not_dropped(tmp_path: Path) -> None:
    root = decathlon(tmp_path, ["a", "b", "c"])
    (root / "labelsTr" / "a.nii.gz").unlink()
    for folder in ("imagesTr", "labelsTr"):
        (root / folder / "b.nii.gz").unlink()
    save(root / "imagesTr" / "d.nii.gz", IMAGE)
    found = {e.case_id: (e.image is not None, e.label is not None) for e in msd.find(root, msd.Config())}
    assert found == {"a": (True, False), "b": (False, False), "c": (True, True), "d": (True, False)}
    assert "not in dataset.json, but on the disk: d" in msd.notes(root, msd.Config())[0]


@pytest.mark.parametrize(
    "name", ["../x.nii.gz", "/etc/x.nii.gz", "imagesTr/../../x.nii.gz", "a\\b.nii.gz", "", ".", 7, None]
)
def test_a_description_may_not_point_elsewhere(tmp_path: Path, name: object) -> None:
    root = decathlon(tmp_path, ["a"], training=[{"image": name}])
    with pytest.raises(DataError, match="below its folder"):
        msd.find(root, msd.Config())


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"training": 3, "labels": {}}'])
def test_a_description_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    root = decathlon(tmp_path, ["a"])
    (root / "dataset.json").write_text(text)
    with pytest.raises(DataError, match="must be"):
        msd.find(root, msd.Config())


def test_a_huge_description_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = decathlon(tmp_path, ["a"])
    monkeypatch.setattr(_dataset_json, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="Got more than 10 bytes"):
        msd.find(root, msd.Config())


@pytest.mark.parametrize(("reader", "make"), [(msd, decathlon), (nnunet, raw)])
def test_a_damaged_description_is_refused_or_harmless(tmp_path: Path, reader: Any, make: Any) -> None:
    """Cut and flipped: a DataError or an answer, and never two readers for one folder."""
    path = make(tmp_path, ["a", "b"]) / "dataset.json"
    good, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    flips = [(int(rng.integers(len(good))), 1 << int(rng.integers(8))) for _ in range(150)]
    variants = [good[: n * len(good) // 40] for n in range(40)]
    variants += [good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :] for at, bit in flips]
    for data in variants:
        path.write_bytes(data)
        assert len(readers_of(tmp_path)) == 1
        try:
            assert {"a", "b"} <= {entry.case_id for entry in reader.find(tmp_path, reader.Config())}
            reader.notes(tmp_path, reader.Config())
            reader.label_names(tmp_path)
        except DataError:
            refused += 1
    assert refused > 40


def test_a_number_of_any_length_is_no_label(tmp_path: Path) -> None:
    labels = {"1" * 5000: "a", "1": "b", "256": "c"}
    assert msd.label_names(decathlon(tmp_path, ["a"], labels=labels)) == {1: "b"}


def test_classes_and_channels_of_a_model(tmp_path: Path) -> None:
    """nnU-Net's own rule: regions have a channel each in the order of the description, labels one each from 0 on."""
    regions = {"background": 0, "kidney": [1, 2, 3], "tumor": [2], "cyst": 3, "ignore": 4}
    assert _dataset_json.channels({"labels": regions}) == [(1, 2, 3), (2,), (3,)]
    assert _dataset_json.channels({"labels": {"tumor": 2, "background": 0, "organ": 1, "ignore": 3}}) == [
        (0,), (1,), (2,),
    ]  # fmt: skip
    assert _dataset_json.classes({"labels": {"0": "background", "2": "cancer"}}) == {"cancer": (2,)}
    for nothing in ({}, {"labels": 3}, {"labels": {"a": -1, "b": "x", "c": [1, "y"], "d": 300}}):
        assert _dataset_json.channels(nothing) == []
    assert _dataset_json.label_names({"labels": regions}) == {0: "background", 2: "tumor", 3: "cyst", 4: "ignore"}


def test_nnunet(tmp_path: Path) -> None:
    root = raw(tmp_path, ["p1_a", "p1_b"])
    entries = nnunet.find(root, nnunet.Config(patient="(p[0-9]+)_"))
    assert [(e.case_id, e.patient_id) for e in entries] == [("p1_a", "p1"), ("p1_b", "p1")]
    assert nnunet.label_names(root) == {0: "background", 1: "organ", 2: "tumour"}
    assert nnunet.notes(root, nnunet.Config()) == []


def test_of_several_channels_one_must_be_chosen(tmp_path: Path) -> None:
    root = raw(tmp_path, ["a"], channels=2)
    for config, given in ((nnunet.Config(), "none"), (nnunet.Config(channel=7), "7")):
        with pytest.raises(
            DataError, match=rf"`channel` must say which one is the CT\. Got {given} of 0 \(c0\), 1 \(c1\)"
        ):
            nnunet.find(root, config)
    (entry,) = nnunet.find(root, nnunet.Config(channel=1))
    assert (nnunet.load_image(str(entry.image)).values_XYZ == 1).all()


def test_regions_and_counts_are_said_and_another_ending_refused(tmp_path: Path) -> None:
    root = raw(tmp_path, ["a"], labels={"background": 0, "whole": [1, 2], "core": 2}, numTraining=5)
    assert nnunet.label_names(root) == {0: "background", 2: "core"}
    said = nnunet.notes(root, nnunet.Config())
    assert "given by value: whole" in said[0]
    assert "speaks of 5 training cases, there are 1" in said[1]
    raw(tmp_path, ["a"], file_ending=".png")
    with pytest.raises(DataError, match="must be NIfTI's"):
        nnunet.find(root, nnunet.Config())


def test_an_image_without_a_channel_is_refused(tmp_path: Path) -> None:
    root = raw(tmp_path, ["a"])
    save(root / "imagesTr" / "b.nii.gz", IMAGE)
    with pytest.raises(DataError, match=r"must end in their channel.*b\.nii\.gz"):
        nnunet.find(root, nnunet.Config())


def test_labels_that_are_mirrored_by_name(tmp_path: Path) -> None:
    """Along y of the RAS+ array; the grid stays. The file runs left and posterior, so RAS+ turns two axes first."""
    label = np.random.default_rng(0).integers(0, 2, IMAGE.shape).astype(np.uint8)
    save(tmp_path / "images" / "a.nii.gz", IMAGE)
    save(tmp_path / "labels" / "a.nii.gz", label)
    (plain,) = nifti.find(tmp_path, nifti.Config())
    (turned,) = nifti.find(tmp_path, nifti.Config(flip_labels="y"))
    one, other = nifti.load_map(str(plain.label)), nifti.load_map(str(turned.label))
    assert (one.labels_XYZ == label[::-1, ::-1]).all()
    assert (other.labels_XYZ == one.labels_XYZ[:, ::-1]).all()
    assert other.grid == one.grid
    assert turned.image == plain.image
    for axes in ("yy", "w"):
        with pytest.raises(ConfigError, match="flip_labels"):
            parse(nifti.Config, {"flip_labels": axes}, where="options")


def test_the_layout_of_kits_and_names_with_spaces(tmp_path: Path) -> None:
    save(tmp_path / "case 00001 (new)" / "imaging.nii.gz", IMAGE)
    save(tmp_path / "case 00001 (new)" / "segmentation.nii.gz", IMAGE.astype(np.uint8))
    (entry,) = nifti.find(tmp_path, nifti.Config())
    assert entry.case_id == "case_00001_new_"
    assert str(entry.image).endswith("imaging.nii.gz")
    assert str(entry.label).endswith("segmentation.nii.gz")
    save(tmp_path / "case_00001_new_" / "imaging.nii.gz", IMAGE)
    with pytest.raises(DataError, match="Ids must be unique"):
        nifti.find(tmp_path, nifti.Config())
