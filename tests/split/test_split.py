"""Patients, never slices or scans, in parts or folds."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from missrate import split
from missrate.core import store
from missrate.core.errors import ConfigError, ProvenanceError
from missrate.split import SplitConfig, assign
from missrate.split.given import PARTS


@settings(derandomize=True, max_examples=100)
@given(st.lists(st.floats(0, 100), min_size=4, max_size=40), st.integers(2, 4), st.integers(0, 5))
def test_every_patient_once_and_the_sizes_as_asked(burden: list[float], folds: int, seed: int) -> None:
    patients = {f"p{i}": b for i, b in enumerate(burden)}
    targets = [len(patients) // folds + (k < len(patients) % folds) for k in range(folds)]
    places = assign(patients, targets, seed=seed)
    assert places.keys() == patients.keys()
    assert [Counter(places.values())[k] for k in range(folds)] == targets


def test_folds_share_the_burden() -> None:
    # 40 patients with burdens 0..39 in 4 folds: every mean is near 19.5; drawn at random its sd would be 3.2.
    places = assign({f"p{i}": float(i) for i in range(40)}, [10] * 4, seed=3)
    means = [np.mean([i for i in range(40) if places[f"p{i}"] == k]) for k in range(4)]
    assert np.abs(np.array(means) - 19.5).max() < 2.0


def test_the_order_of_patients_does_not_matter_and_the_seed_does() -> None:
    patients = {f"p{i}": float(i % 3) for i in range(12)}
    backwards = dict(reversed(patients.items()))
    assert assign(patients, [4, 4, 4], seed=1) == assign(backwards, [4, 4, 4], seed=1)
    assert assign(patients, [4, 4, 4], seed=1) != assign(patients, [4, 4, 4], seed=2)


def _manifest(folder: Path, patients: list[str]) -> Path:
    cases = [
        {"case_id": f"c{i}", "patient_id": p, "lesions": [{"volume_ml": float(i), "voxels": 9}]}
        for i, p in enumerate(patients)
    ]
    path = folder / "manifest.json"
    store.write_json(path, {"schema": store.MANIFEST, "source": "s", "cases": cases, "refused": 0})
    return path


def test_scans_of_one_patient_stay_together(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, ["a", "a", "a", "b", "c", "d"])
    split.split(manifest, SplitConfig(source="s", folds=2), tmp_path / "split.json")
    value = split.read(tmp_path / "split.json", manifest)
    assert set(value["patients"]) == {"a", "b", "c", "d"}
    assert value["cases"]["c0"] == value["cases"]["c2"] == "a"


def test_a_split_of_other_data_is_refused(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, ["a", "b", "c", "d"])
    split.split(manifest, SplitConfig(source="s", folds=2), tmp_path / "split.json")
    manifest = _manifest(tmp_path, ["a", "b", "c", "e"])
    with pytest.raises(ProvenanceError, match="split of other data"):
        split.read(tmp_path / "split.json", manifest)


@pytest.mark.parametrize(
    ("parts", "counts"),
    [({"train": 6, "test": 4}, (6, 0, 0, 4)), ({"train": 0.5, "calibration": 0.25, "test": 0.25}, (5, 0, 3, 2))],
)
def test_parts_as_numbers_or_shares(tmp_path: Path, parts: dict[str, float], counts: tuple[int, ...]) -> None:
    manifest = _manifest(tmp_path, [f"p{i}" for i in range(10)])
    split.split(manifest, SplitConfig(source="s", parts=parts), tmp_path / "split.json")
    got = Counter(store.read_json(tmp_path / "split.json")["patients"].values())
    assert sorted(got[p] for p in PARTS) == sorted(counts)
    assert sum(got.values()) == 10


@pytest.mark.parametrize("parts", [{"train": 8, "test": 4}, {"train": 0.99, "test": 0.01}])
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, parts: dict[str, float]) -> None:
    manifest = _manifest(tmp_path, [f"p{i}" for i in range(10)])
    with pytest.raises(ConfigError, match=r"must sum to 1 or to the 10 patients"):
        split.split(manifest, SplitConfig(source="s", parts=parts), tmp_path / "split.json")


@pytest.mark.parametrize(
    "bad",
    [{}, {"folds": 2, "parts": {"train": 1, "test": 1}}, {"parts": {"train": 1, "exam": 1}}, {"parts": {"train": 3}}],
)
def test_configuration_that_makes_no_sense(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SplitConfig(source="s", **bad)  # type: ignore[arg-type]


@given(
    st.lists(st.integers(0, 11), min_size=6, max_size=40),
    st.one_of(st.integers(2, 4), st.just({"train": 0.5, "validation": 0.1, "calibration": 0.2, "test": 0.2})),
    st.integers(0, 3),
)
def test_no_patient_ever_crosses(
    tmp_path_factory: pytest.TempPathFactory, patient_of: list[int], how: int | dict[str, float], seed: int
) -> None:
    """Any number of scans a patient, folds or parts: what is tested shares nobody with what it is trained on."""
    folder = tmp_path_factory.mktemp("x")
    manifest = _manifest(folder, [f"p{n}" for n in patient_of])
    folds, parts = (how, None) if isinstance(how, int) else (None, how)
    config = SplitConfig(source="s", seed=seed, folds=folds, parts=parts)
    try:
        split.split(manifest, config, folder / "split.json")
    except ConfigError:  # too few patients for it
        return
    value = split.read(folder / "split.json", manifest)
    places = {case: value["patients"][patient] for case, patient in value["cases"].items()}
    assert places.keys() == {f"c{i}" for i in range(len(patient_of))}, "every scan has a place"
    for place in set(places.values()):
        inside = {patient_of[int(case[1:])] for case, where in places.items() if where == place}
        outside = {patient_of[int(case[1:])] for case, where in places.items() if where != place}
        assert not inside & outside
