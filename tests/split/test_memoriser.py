"""Labels that only memory can know: each patient gets a random blob, and a memoriser copies the label of the most
similar training slice. It must fail on new patients. Under a split of slices it succeeds: neighbours give it away."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from missrate import split
from missrate.core import store
from missrate.split import SplitConfig

PATIENTS, SLICES, SIDE = 24, 10, 24
Array = NDArray[np.float64]


def cohort() -> tuple[Array, NDArray[np.bool_]]:
    """image_PZYX, where slices of a patient look alike, and label_PZYX, a disc at a random place of each patient."""
    rng = np.random.default_rng(7)
    anatomy = rng.normal(0.0, 1.0, (PATIENTS, 1, SIDE, SIDE))
    image = anatomy + 0.3 * rng.normal(0.0, 1.0, (PATIENTS, SLICES, SIDE, SIDE))
    places = rng.integers(5, SIDE - 5, (PATIENTS, 2))
    y, x = np.mgrid[:SIDE, :SIDE]
    discs = [(y - a) ** 2 + (x - b) ** 2 <= 16 for a, b in places]
    return image, np.repeat(np.array(discs)[:, None], SLICES, axis=1)


def dice_of_memoriser(train: Array, labels: NDArray[np.bool_], test: Array, truth: NDArray[np.bool_]) -> float:
    """Mean Dice of the label of the nearest training slice."""
    near = ((test[:, None] - train[None]) ** 2).sum(axis=(2, 3)).argmin(axis=1)
    said = labels[near]
    return float(np.mean(2 * (said & truth).sum(axis=(1, 2)) / (said.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))))


@pytest.fixture(scope="module")
def data() -> tuple[Array, NDArray[np.bool_]]:
    return cohort()


def chance(label: NDArray[np.bool_]) -> float:
    """What copying the disc of some other patient gives on average."""
    discs = label[:, 0]
    both = (discs[:, None] & discs[None]).sum(axis=(2, 3)).astype(float)
    size = discs.sum(axis=(1, 2))
    pairs = 2 * both / (size[:, None] + size[None])
    return float(pairs[~np.eye(PATIENTS, dtype=bool)].mean())


def test_a_split_of_slices_rewards_memory(data: tuple[Array, NDArray[np.bool_]]) -> None:
    """This is what our split prevents, and that the memoriser below could have succeeded."""
    image, label = data[0].reshape(-1, SIDE, SIDE), data[1].reshape(-1, SIDE, SIDE)
    tested = np.random.default_rng(1).random(len(image)) < 0.2
    assert dice_of_memoriser(image[~tested], label[~tested], image[tested], label[tested]) > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_our_split_leaves_memory_at_chance(data: tuple[Array, NDArray[np.bool_]], tmp_path: Path, seed: int) -> None:
    image, label = data
    cases = [
        {"case_id": f"{p}-{z}", "patient_id": str(p), "lesions": [{"volume_ml": 1.0, "voxels": 1}]}
        for p in range(PATIENTS)
        for z in range(SLICES)
    ]
    manifest = tmp_path / "manifest.json"
    store.write_json(manifest, {"schema": store.MANIFEST, "source": "s", "cases": cases, "refused": 0})
    split.split(manifest, SplitConfig(source="s", folds=4, seed=seed), tmp_path / "split.json")
    value = split.read(tmp_path / "split.json", manifest)
    scores = []
    for fold in range(4):
        tested = np.zeros((PATIENTS, SLICES), bool)
        for case in cases:
            patient, z = map(int, str(case["case_id"]).split("-"))
            tested[patient, z] = value["patients"][case["patient_id"]] == fold
        train, test = image[~tested], image[tested]
        scores.append(dice_of_memoriser(train, label[~tested], test, label[tested]))
    # 24 patients: the mean of 24 dependent Dice values of sd .25 lies within .15 of chance.
    assert abs(np.mean(scores) - chance(label)) < 0.15
