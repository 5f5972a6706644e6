"""What is exported is read back to the same voxels and places; nothing is overwritten; healthy slices are there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from missrate.core import store
from missrate.core.crop import Crop
from missrate.core.errors import InputError
from missrate.core.grid import Grid, require_same
from missrate.core.types import IGNORED, LESION, ORGAN, Entry, LabelMeaning, Scan
from missrate.prepare import manifest
from missrate.prepare.case import prepare_case
from missrate.readers import nifti, slices
from missrate.split import SplitConfig
from missrate.split import split as write_split
from missrate.study.outside import export

MEANING = LabelMeaning(lesion=(7,), organ=(3,), ignore=(9,), background=(4,))


class Drawn:
    """A reader of cases that are drawn from a number."""

    def load_image(self, location: str) -> Scan:
        image, _, grid = drawn(int(location))
        return Scan(image, grid)

    def load_reference(self, location: str) -> Crop:
        _, label, grid = drawn(int(location))
        return Crop.whole(label, grid)


def drawn(seed: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], Grid]:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(3, 9, 3))
    affine = np.diag([*rng.uniform(0.4, 6.0, 3), 1.0])
    affine[:3, 3] = rng.uniform(-900, 900, 3)
    image = rng.integers(-32768, 32767, shape, endpoint=True).astype(np.int16)
    label = rng.choice(np.array([0, 0, 0, 3, 4, 7, 9], np.uint8), shape)
    if seed % 3 == 0:
        label[label == 7] = 0  # healthy
    return image, label, Grid.of(shape, affine)


def prepared(folder: Path, seeds: list[int], meaning: LabelMeaning = MEANING) -> Path:
    entries = [Entry(f"c{n}", f"p{n // 2}", str(n), str(n)) for n in sorted(set(seeds))]
    for entry in entries:
        prepare_case(Drawn(), entry, meaning, folder)
    manifest.finish(folder, "drawn", entries)
    return folder


def expected(label: NDArray[np.uint8], ignore: int) -> NDArray[np.uint8]:
    return np.select([label == 3, label == 7, label == 9], [1, 2, ignore], 0).astype(np.uint8)


def same(found: NDArray[Any], grid: Grid, values: NDArray[Any], wanted: Grid) -> None:
    require_same(grid, wanted, names=("written", "prepared"))
    assert found.shape == values.shape
    assert (found == values).all()


@settings(max_examples=12)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=3))
@pytest.mark.parametrize(("target", "ignore"), [("nnunet", 3), ("msd", 255)])
def test_volumes_come_back(
    tmp_path_factory: pytest.TempPathFactory, target: Any, ignore: int, seeds: list[int]
) -> None:
    root = tmp_path_factory.mktemp("x")
    export(prepared(root / "p", seeds), root / "out", target, workers=0)
    entries = {e.case_id: e for e in nifti.find(root / "out", nifti.Config())}
    assert entries.keys() == {f"c{n}" for n in seeds}
    for seed in seeds:
        image, label, grid = drawn(seed)
        entry = entries[f"c{seed}"]
        scan, found = nifti.load_image(str(entry.image)), nifti.load_map(str(entry.label))
        same(scan.values_XYZ, scan.grid, image, grid)
        same(found.labels_XYZ, found.grid, expected(label, ignore), grid)
    said = json.loads((root / "out" / "dataset.json").read_text())
    assert said["numTraining"] == len(set(seeds))
    names = said["labels"] if target == "nnunet" else {v: int(k) for k, v in said["labels"].items()}
    assert names == {"background": 0, "organ": 1, "lesion": 2, "ignore": ignore}


@settings(max_examples=8)
@given(st.integers(0, 99))
def test_slices_come_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    root = tmp_path_factory.mktemp("x")
    export(prepared(root / "p", [seed]), root / "out", "slices", workers=0)
    image, label, grid = drawn(seed)
    config = slices.Config(hu_range=(-32768.0, 32767.0), spacing_mm=grid.spacing_mm)
    (entry,) = slices.find(root / "out", config)
    scan, found = slices.load_image(str(entry.image)), slices.load_map(str(entry.label))
    assert scan.intensity == "hu"
    assert (np.rint(scan.values_XYZ) == image).all()
    assert (found.labels_XYZ == expected(label, IGNORED)).all()
    assert scan.grid.spacing_mm == pytest.approx(grid.spacing_mm)
    assert slices.recognises(root / "out")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools' own
@settings(max_examples=8)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=2))
def test_coco_comes_back_by_pycocotools(tmp_path_factory: pytest.TempPathFactory, seeds: list[int]) -> None:
    from contextlib import redirect_stdout
    from io import StringIO

    from PIL import Image
    from pycocotools.coco import COCO

    root = tmp_path_factory.mktemp("x")
    folder = prepared(root / "p", seeds)
    export(folder, root / "out", "coco", window_hu=(-100.0, 155.0), workers=0)
    with redirect_stdout(StringIO()):
        coco = COCO(str(root / "out" / "annotations.json"))
    for seed in seeds:
        case = store.Prepared(folder).load(f"c{seed}", "")
        found = np.zeros(case.label_XYZ.shape, np.uint8)
        numbers = np.zeros(case.label_XYZ.shape, np.int64)
        mine = [one for one in coco.dataset["images"] if one["case_id"] == f"c{seed}"]
        assert [one["slice"] for one in mine] == list(range(case.grid.shape[2])), "healthy slices, too"
        for one in mine:
            page = np.asarray(Image.open(root / "out" / "images" / one["file_name"]))
            # A window of 255 HU: grey is HU + 100, clipped. Row 0 is anterior, column 0 the patient's right.
            assert (page.T[::-1, ::-1] == np.clip(case.image_XYZ[:, :, one["slice"]].astype(int) + 100, 0, 255)).all()
            for row in coco.loadAnns(coco.getAnnIds(imgIds=[one["id"]])):
                mask = coco.annToMask(row).T[::-1, ::-1] > 0
                assert mask.sum() == row["area"] > 0
                found[:, :, one["slice"]][mask] = LESION if row["category_id"] == 2 else ORGAN
                numbers[:, :, one["slice"]][mask] = row["lesion"]
        assert (found == np.where(case.label_XYZ == IGNORED, 0, case.label_XYZ)).all()
        lesions = store.Prepared(folder).manifest()["cases"][sorted(set(seeds)).index(seed)]["lesions"]
        assert sorted(np.bincount(numbers.ravel())[1:].tolist()) == sorted(row["voxels"] for row in lesions)


def test_folds_go_along_and_tested_patients_stay_apart(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "p", list(range(8)))  # patients p0..p3 with two scans each
    write_split(folder / "manifest.json", SplitConfig(source="s", folds=2), tmp_path / "folds.json")
    export(folder, tmp_path / "a", "nnunet", split=tmp_path / "folds.json", workers=0)
    folds = json.loads((tmp_path / "a" / "splits_final.json").read_text())
    patients = [{int(c[1:]) // 2 for c in fold["val"]} for fold in folds]
    assert patients[0] | patients[1] == {0, 1, 2, 3}
    assert not patients[0] & patients[1]
    assert all(sorted(fold["train"] + fold["val"]) == [f"c{n}" for n in range(8)] for fold in folds)
    parts = {"train": 2.0, "validation": 1.0, "test": 1.0}
    write_split(folder / "manifest.json", SplitConfig(source="s", parts=parts), tmp_path / "parts.json")
    export(folder, tmp_path / "b", "nnunet", split=tmp_path / "parts.json", workers=0)
    value = store.read_json(tmp_path / "parts.json")["patients"]
    tested = {f"c{n}" for n in range(8) if value[f"p{n // 2}"] == "test"}
    assert {p.name[:2] for p in (tmp_path / "b" / "imagesTs").iterdir()} == tested
    assert len(list((tmp_path / "b" / "imagesTr").iterdir())) == 6


def test_a_folder_that_holds_something_is_not_touched_and_a_begun_export_goes_on(tmp_path: Path) -> None:
    folder, out = prepared(tmp_path / "p", [1, 2]), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="empty folder"):
        export(folder, out, "msd", workers=0)
    (out / "mine.txt").unlink()
    export(folder, out, "msd", workers=0)
    kept, lost = out / "imagesTr" / "c1.nii.gz", out / "imagesTr" / "c2.nii.gz"
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    export(folder, out, "msd", workers=0)
    assert (kept.stat().st_mtime_ns, lost.read_bytes()) == (before, content)
    with pytest.raises(InputError, match="empty folder"):
        export(folder, out, "nnunet", workers=0)


def test_labels_alone_cannot_be_exported_and_nothing_goes_into_prepared_data(tmp_path: Path) -> None:
    entry = Entry("a", "a", None, "1")
    prepare_case(Drawn(), entry, MEANING, tmp_path / "p", images=False)
    manifest.finish(tmp_path / "p", "s", [entry])
    with pytest.raises(InputError, match="must hold images"):
        export(tmp_path / "p", tmp_path / "out", "coco", workers=0)
    with pytest.raises(InputError, match="outside of the prepared data"):
        export(prepared(tmp_path / "q", [1]), tmp_path / "q" / "out", "coco", workers=0)
