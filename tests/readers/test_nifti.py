"""Finding pairs by id, and files that cannot be used."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from missrate.core.errors import DataError, GridError
from missrate.readers import nifti

AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, affine).to_filename(path)
    return path


def scan(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
        ("images/{}.nii", "labels/{}.nii"),
        ("{}/CT_image.nii.gz", "{}/CT_mask.nii.gz"),
        ("{}/imaging.nii.gz", "{}/segmentation.nii.gz"),
    ],
)
def test_layouts_pair_by_id_never_by_position(tmp_path: Path, image: str, label: str) -> None:
    # c has no label and b no image: by position, a..c would pair c's image with d's label.
    for case in "acd":
        save(tmp_path / image.format(case), scan())
    for case in "abd":
        save(tmp_path / label.format(case), scan() * 0)
    entries = {e.case_id: e for e in nifti.find(tmp_path, nifti.Config())}
    assert list(entries) == ["a", "b", "c", "d"]
    assert entries["b"].image is None
    assert entries["c"].label is None
    assert "a" in str(entries["a"].image)
    assert "d" in str(entries["d"].label)


def test_flat_folder_and_patients(tmp_path: Path) -> None:
    for name in ("p1_scan1", "p1_scan2", "p2_scan1"):
        save(tmp_path / f"{name}.nii.gz", scan())
    entries = nifti.find(tmp_path, nifti.Config(role="labels", patient="(p[0-9]+)_"))
    assert [(e.case_id, e.patient_id, e.image) for e in entries][:2] == [
        ("p1_scan1", "p1", None),
        ("p1_scan2", "p1", None),
    ]
    with pytest.raises(DataError, match="pattern with a group"):
        nifti.find(tmp_path, nifti.Config(role="labels", patient="x(.*)"))
    with pytest.raises(DataError, match="`patient` must be a regular expression"):
        nifti.find(tmp_path, nifti.Config(role="labels", patient="("))


def test_rubbish_from_archives_is_no_case(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", scan())
    (tmp_path / "._a.nii.gz").write_bytes(b"rubbish")
    assert len(nifti.find(tmp_path, nifti.Config(role="images"))) == 1


def test_nothing_found_and_ambiguous(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Got none"):
        nifti.find(tmp_path, nifti.Config())
    with pytest.raises(DataError, match="must be a folder"):
        nifti.find(tmp_path / "absent", nifti.Config())
    for name in ("pre", "post", "mask"):
        save(tmp_path / "a" / f"{name}.nii.gz", scan())
    with pytest.raises(DataError, match="one image and one label"):
        nifti.find(tmp_path, nifti.Config())


def test_orientation_becomes_ras(tmp_path: Path) -> None:
    values = scan()
    loaded = nifti.load_image(str(save(tmp_path / "a.nii.gz", values)))
    assert (loaded.values_XYZ == values[::-1, ::-1]).all()
    assert loaded.source_axcodes == "LPS"
    assert loaded.grid.spacing_mm == (1.0, 1.0, 3.0)


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, keep: float) -> None:
    path = save(tmp_path / "a.nii.gz", scan())
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(DataError, match="must be a whole NIfTI file"):
        nifti.load_image(str(path))


def test_rubbish_content_and_four_axes(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"not a scan" * 100))
    with pytest.raises(DataError, match="must be a whole NIfTI file"):
        nifti.load_image(str(tmp_path / "a.nii.gz"))
    with pytest.raises(DataError, match="three axes"):
        nifti.load_image(str(save(tmp_path / "b.nii.gz", np.zeros((3, 3, 3, 2), np.int16))))
    one_more = nifti.load_image(str(save(tmp_path / "c.nii.gz", np.zeros((3, 3, 3, 1), np.int16))))
    assert one_more.values_XYZ.shape == (3, 3, 3)


def test_a_label_with_fractions_is_refused_and_whole_floats_are_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="whole numbers"):
        nifti.load_map(str(save(tmp_path / "a.nii.gz", np.full((3, 3, 3), 0.5, np.float32))))
    whole = nifti.load_map(str(save(tmp_path / "b.nii.gz", np.ones((3, 3, 3), np.float32))))
    assert np.issubdtype(whole.labels_XYZ.dtype, np.integer)


def test_a_sheared_scan_names_its_file(tmp_path: Path) -> None:
    tilted = AFFINE.copy()
    tilted[1, 2] = 1.0
    image = nib.Nifti1Image(scan(), tilted)
    image.set_sform(tilted, code=1)
    image.to_filename(tmp_path / "a.nii.gz")
    with pytest.raises(GridError, match=r"a\.nii\.gz.*orthogonal"):
        nifti.load_image(str(tmp_path / "a.nii.gz"))
