"""Folds and parts that others assigned: taken over exactly, or refused; no patient crosses."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from missrate import split
from missrate.core import store
from missrate.core.errors import ConfigError
from missrate.split import SplitConfig, given


def manifest(folder: Path, cases: dict[str, str]) -> Path:
    value = [{"case_id": c, "patient_id": p, "lesions": [{"volume_ml": 1.0, "voxels": 9}]} for c, p in cases.items()]
    path = folder / "manifest.json"
    store.write_json(path, {"schema": store.MANIFEST, "source": "s", "cases": value, "refused": 0})
    return path


def nnunet(folder: Path, folds: list[list[str]]) -> Path:
    cases = [case for fold in folds for case in fold]
    value = [{"train": [c for c in cases if c not in fold], "val": fold} for fold in folds]
    path = folder / "splits_final.json"
    path.write_text(json.dumps(value))
    return path


def test_nnunets_folds_are_those_that_validate(tmp_path: Path) -> None:
    nnunet(tmp_path, [["a", "b"], ["c"], ["d", "e"]])
    config = split.resolved(SplitConfig(source="s", file=Path("splits_final.json")), tmp_path)
    assert config.folds == 3
    split.split(manifest(tmp_path, {c: c for c in "abcde"}), config, tmp_path / "split.json")
    assert store.read_json(tmp_path / "split.json")["patients"] == {"a": 0, "b": 0, "c": 1, "d": 2, "e": 2}


def test_a_csv_of_parts_by_patient(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("patient_id,part\np1,train\np2,calibration\np3,test\np4,train\n")
    config = split.resolved(SplitConfig(source="s", file=Path("p.csv")), tmp_path)
    assert (config.folds, config.parts) == (None, {"train": 2, "validation": 0, "calibration": 1, "test": 1})
    cases = {"a": "p1", "a2": "p1", "b": "p2", "c": "p3", "d": "p4"}
    split.split(manifest(tmp_path, cases), config, tmp_path / "split.json")
    expected = {"p1": "train", "p2": "calibration", "p3": "test", "p4": "train"}
    assert store.read_json(tmp_path / "split.json")["patients"] == expected


def test_a_patient_whose_scans_lie_in_two_folds_is_refused(tmp_path: Path) -> None:
    """Most splits_final.json are by case: with two scans of a patient they leak."""
    path = nnunet(tmp_path, [["a1", "b"], ["a2", "c"]])
    config = split.resolved(SplitConfig(source="s", file=path), tmp_path)
    cases = {"a1": "a", "a2": "a", "b": "b", "c": "c"}
    with pytest.raises(ConfigError, match=r"keep a patient's scans together\. Got a in 0, 1"):
        split.split(manifest(tmp_path, cases), config, tmp_path / "split.json")


def test_a_case_without_a_place_is_refused_and_a_place_without_a_case_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = nnunet(tmp_path, [["a", "x"], ["b"]])
    config = split.resolved(SplitConfig(source="s", file=path), tmp_path)
    with pytest.raises(ConfigError, match=r"must name every case_id\. Got none of c"):
        split.split(manifest(tmp_path, {c: c for c in "abc"}), config, tmp_path / "split.json")
    split.split(manifest(tmp_path, {c: c for c in "ab"}), config, tmp_path / "split.json")
    assert "['x'] (1)" in caplog.text


BAD = {
    "train and val overlap": json.dumps([{"train": ["a"], "val": ["a"]}, {"train": ["a"], "val": ["b"]}]),
    "tested twice": json.dumps([{"train": ["b"], "val": ["a"]}, {"train": ["b"], "val": ["a"]}]),
    "one fold": json.dumps([{"train": ["b"], "val": ["a"]}]),
    "no list": "{}",
    "no names": json.dumps([{"train": [1], "val": [2]}] * 2),
    "no JSON": "{",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_is_no_list_of_folds_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match=r"s\.json must"):
        given.read(tmp_path / "s.json")


BAD_CSV = {
    "columns": "case,fold\na,0\n",
    "empty": "",
    "gap": "case_id,fold\na,0\nb,2\n",
    "number": "case_id,fold\na,0\nb,-1\n",
    "part": "case_id,part\na,exam\n",
    "twice": "case_id,fold\na,0\na,1\nb,1\n",
    "no test": "case_id,part\na,train\nb,calibration\n",
}


@pytest.mark.parametrize("text", BAD_CSV.values(), ids=BAD_CSV.keys())
def test_what_is_no_table_of_places_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ConfigError, match="must"):
        split.resolved(SplitConfig(source="s", file=Path("s.csv")), tmp_path)


def test_parts_without_a_test_patient_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(BAD_CSV["no test"])
    with pytest.raises(ConfigError, match=r"s\.csv: parts must give test at least one patient"):
        split.resolved(SplitConfig(source="s", file=Path("s.csv")), tmp_path)


def test_a_number_of_folds_beside_a_file_must_be_the_files(tmp_path: Path) -> None:
    path = nnunet(tmp_path, [["a"], ["b"]])
    with pytest.raises(ConfigError, match="Got 5 and 2"):
        split.resolved(SplitConfig(source="s", file=path, folds=5), tmp_path)


@drawn(
    st.dictionaries(st.sampled_from([f"c{i}" for i in range(12)]), st.sampled_from("pqrst"), min_size=2),
    st.randoms(use_true_random=False),
)
def test_either_no_patient_crosses_or_nothing_is_written(cases: dict[str, str], random: object) -> None:
    places = {case: random.randrange(3) for case in cases}  # type: ignore[attr-defined]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([("case_id", "part"), *((c, ("train", "calibration", "test")[k]) for c, k in places.items())])
    found = given._csv(text.getvalue(), Path("x.csv"))
    crossing = any(len({places[c] for c in cases if cases[c] == p}) > 1 for p in cases.values())
    try:
        patients, _ = given.patients(found, cases, path=Path("x.csv"))
    except ConfigError:
        assert crossing
    else:
        assert not crossing
        assert all(patients[cases[c]] == ("train", "calibration", "test")[k] for c, k in places.items())
