"""A folder for each patient, with images and masks beside each other; and colours that are sequences."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from missrate.core.errors import DataError, InputError
from missrate.readers import _pictures, slices
from missrate.readers._detect import detect
from tests.readers.test_slices import found, grey, picture

DATA = Path("../shared/data/lgg")


def patient(root: Path, name: str, numbers: range, *, masks: bool = True, ending: str = ".png", own: str = "") -> None:
    for k in numbers:
        picture(root / name / f"{own}{k}{ending}", grey(k))
        if masks:
            picture(root / name / f"{own}{k}_mask{ending}", np.eye(5, 4, dtype=np.uint8) * 255)


def test_each_folder_is_a_patient_whatever_the_files_are_called(tmp_path: Path) -> None:
    patient(tmp_path, "TCGA_1_2", range(1, 4), own="TCGA_1_2_")
    patient(tmp_path, "B", range(1, 3))
    patient(tmp_path, "C", range(5, 8, 2))
    assert detect(tmp_path) == "slices"
    assert found(tmp_path) == {"TCGA_1_2": ("TCGA_1_2", 3), "B": ("B", 2), "C_5": ("C", 1), "C_7": ("C", 1)}


def test_slices_lie_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    patient(tmp_path, "A", range(1, 12))
    (entry,) = slices.find(tmp_path, slices.Config())
    scan = slices.load_image(str(entry.image))
    assert [(grey(k) == scan.values_XYZ[::-1, ::-1, k - 1].T).all() for k in range(1, 12)] == [True] * 11


def test_a_patient_without_masks_is_named_and_a_folder_without_pictures_told(tmp_path: Path) -> None:
    patient(tmp_path, "A", range(1, 3))
    patient(tmp_path, "H", range(1, 3), masks=False)
    (tmp_path / "notes").mkdir()
    (tmp_path / "data.csv").write_text("patient,grade\n")
    entries = {e.case_id: e.label is not None for e in slices.find(tmp_path, slices.Config())}
    assert entries == {"A": True, "H": False}
    assert "Folders that are no patients' or lie too deep, left out: notes (1 in all)." in slices.notes(
        tmp_path, slices.Config()
    )


@pytest.mark.parametrize("name", ["train", "Test", "fold_0", "validation", "set2", "my_train"])
def test_a_part_of_a_split_is_no_patient(tmp_path: Path, name: str) -> None:
    patient(tmp_path, "A", range(1, 3))
    patient(tmp_path, name, range(1, 3))
    with pytest.raises(InputError):
        detect(tmp_path)


def test_a_folder_of_several_patients_is_none(tmp_path: Path) -> None:
    for own in ("p1_", "p2_"):
        patient(tmp_path, "hospital", range(1, 3), own=own)
    with pytest.raises(InputError, match=r"perhaps .*hospital is meant"):
        detect(tmp_path)
    assert found(tmp_path / "hospital") == {"p1": ("p1", 2), "p2": ("p2", 2)}


def test_one_patient_in_two_folders_is_one_and_a_common_word_names_nobody(tmp_path: Path) -> None:
    for visit in ("visit1", "visit2"):
        patient(tmp_path / "visits", visit, range(1, 3), own="P7_")
    patient(tmp_path / "visits", "visit3", range(1, 3), own="P8_")
    assert {e.case_id: e.patient_id for e in slices.find(tmp_path / "visits", slices.Config(stack="slice"))} == {
        f"visit{n}_P{p}_{k}": patient_id
        for n, p, patient_id in ((1, 7, "P7"), (2, 7, "P7"), (3, 8, "visit3"))
        for k in (1, 2)
    }
    for name in "AB":
        patient(tmp_path / "words", name, range(1, 3), own="frame_")
    assert found(tmp_path / "words") == {"A": ("A", 2), "B": ("B", 2)}


def test_an_image_is_no_reference_and_pictures_beside_folders_are_refused(tmp_path: Path) -> None:
    patient(tmp_path, "A", range(1, 3))
    patient(tmp_path, "B", range(1, 3), masks=False)
    entries = slices.find(tmp_path, slices.Config(role="labels"))
    assert [(e.case_id, e.image) for e in entries] == [("A", None)]
    (tmp_path / "A" / "old").mkdir()
    (tmp_path / "_C").mkdir()
    assert any("left out: _C, A/old" in note for note in slices.notes(tmp_path, slices.Config()))
    picture(tmp_path / "p_1.png", grey(1))
    with pytest.raises(DataError, match=r"pictures or folders of patients\. Got both, such as p_1\.png"):
        slices.find(tmp_path, slices.Config())


def test_an_image_that_is_called_so_has_its_mask(tmp_path: Path) -> None:
    for k in (1, 2):
        picture(tmp_path / "A" / f"img_{k}.png", grey(k))
        picture(tmp_path / "A" / f"img_{k}_mask.png", np.eye(5, 4, dtype=np.uint8))
    assert detect(tmp_path) == "slices"
    assert found(tmp_path) == {"A": ("A", 2)}


def test_a_channel_is_the_image_where_colours_are_sequences(tmp_path: Path) -> None:
    channels = np.stack([grey(seed) for seed in (1, 2, 3)], axis=-1)
    path = picture(tmp_path / "A" / "A_1.tif", channels)
    picture(tmp_path / "A" / "A_1_mask.tif", np.eye(5, 4, dtype=np.uint8))
    channels_and_numbers: list[tuple[Any, int]] = [("flair", 1), (1, 1), ("pre", 0), ("post", 2), ("red", 0), (2, 2)]
    for channel, index in channels_and_numbers:
        (entry,) = slices.find(tmp_path, slices.Config(channel=channel))
        scan = slices.load_image(str(entry.image))
        assert (channels[..., index] == scan.values_XYZ[::-1, ::-1, 0].T).all()
        assert slices.load_map(str(entry.label)).labels_XYZ.sum() == 4
    with pytest.raises(DataError, match="choose one by `channel`"):
        _pictures.read(path)
    Image.fromarray(channels[..., 0]).save(path)
    with pytest.raises(DataError, match="must be a picture in colours, as `channel` was given"):
        _pictures.read(path, channel=1)


@pytest.mark.skipif(not DATA.is_dir(), reason="the LGG slices are not on this machine")
def test_the_real_set_is_read_as_it_lies() -> None:
    entries = slices.find(DATA / "flair", slices.Config())
    assert len(entries) == len({e.patient_id for e in entries}) == 75
    own = next(e for e in entries if e.case_id == "TCGA_CS_4942_19970222")
    original = slices.find(DATA / "original", slices.Config(channel="flair"))[0]
    assert original.case_id == own.case_id
    assert (slices.load_image(str(own.image)).values_XYZ == slices.load_image(str(original.image)).values_XYZ).all()
    masks = [np.asarray(slices.load_map(str(e.label)).labels_XYZ != 0) for e in (own, original)]
    assert masks[0].any()
    assert (masks[0] == masks[1]).all()
