"""Masks, probabilities and candidates of other software: what each format means, and what it must refuse."""

import gzip
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from missrate.core.errors import DataError
from missrate.core.quantise import TOP, encode, level_of
from missrate.readers import _arrays, candidates, nifti, nnunet_npz, npy
from tests.readers import written
from tests.readers.test_evalseg import Reduced
from tests.readers.test_nifti import AFFINE, save

RNG = np.random.default_rng(1)
SHAPE = (3, 4, 5)


def detection_map() -> np.ndarray:
    """Two candidates of constant confidence, as PI-CAI asks for."""
    values = np.zeros(SHAPE, np.float32)
    values[0, 0, 0:2], values[2, 3, 4] = 0.25, 0.75
    return values


class TestNifti:
    def test_a_detection_map_is_probabilities_in_a_small_box(self, tmp_path: Path) -> None:
        value = nifti.load_prediction(str(save(tmp_path / "a.nii.gz", detection_map())), (1,))
        assert value.kind == "probability"
        full = value.levels.full()
        assert (full[::-1, ::-1] == np.rint(detection_map() * TOP)).all()
        one = np.zeros(SHAPE, np.float32)
        one[1, 1, 1] = 0.5
        value = nifti.load_prediction(str(save(tmp_path / "b.nii.gz", one)), (1,))
        assert value.levels.values_XYZ.tolist() == [[[level_of(0.5)]]]
        assert value.levels.start == (1, 2, 1)  # of 3 and 4 voxels, both axes flipped: 2 - 1 and 3 - 1

    def test_whole_floats_are_a_mask_and_an_empty_one_is_a_voxel(self, tmp_path: Path) -> None:
        value = nifti.load_prediction(str(save(tmp_path / "a.nii", np.full(SHAPE, 2.0))), (2,))
        assert value.kind == "mask"
        assert (value.levels.full() == TOP).all()
        value = nifti.load_prediction(str(save(tmp_path / "b.nii", np.zeros(SHAPE))), (2,))
        assert value.levels.values_XYZ.tolist() == [[[0]]]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 1.5, -0.5])
    def test_what_is_no_probability_names_the_file(self, tmp_path: Path, bad: float) -> None:
        values = detection_map()
        values[1, 1, 1] = bad
        with pytest.raises(DataError, match=r"a\.nii\.gz"):
            nifti.load_prediction(str(save(tmp_path / "a.nii.gz", values)), (1,))

    def test_a_header_that_promises_more_than_the_file_holds(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.nii.gz", detection_map())
        image = nib.load(path)
        header = image.header.copy()
        header.set_data_shape((30_000, 30_000, 30_000))
        header.set_data_offset(352)
        raw = bytearray(image.to_bytes())
        raw[: len(header.binaryblock)] = header.binaryblock
        (tmp_path / "b.nii").write_bytes(raw)
        (tmp_path / "c.nii.gz").write_bytes(gzip.compress(raw))
        for name in ("b.nii", "c.nii.gz"):
            with pytest.raises(DataError, match="fewer bytes than its header says"):
                nifti.load_prediction(str(tmp_path / name), (1,))

    @pytest.mark.parametrize("top", [100, 255, 1000, 10_000, 32_767])
    def test_whole_numbers_with_a_scale_factor_are_the_probabilities_that_they_were(
        self, tmp_path: Path, top: int
    ) -> None:
        """NIfTI keeps the factor as a float32, with which 7,000 / 10,000 is less than .7, and 255 / 255 more than 1."""
        stored = np.linspace(0, top, 60).round().astype(np.int16).reshape(SHAPE)
        image = nib.Nifti1Image(stored, np.eye(4))
        image.header.set_slope_inter(1 / top, 0)
        nib.save(image, tmp_path / "a.nii")
        raw = bytearray((tmp_path / "a.nii").read_bytes())
        raw[352:] = stored.tobytes(order="F")  # nibabel chose numbers of its own
        raw[112:120] = np.array([1 / top, 0], np.float32).tobytes()
        (tmp_path / "a.nii").write_bytes(raw)
        value = nifti.load_prediction(str(tmp_path / "a.nii"), (1,))
        assert value.kind == "probability"
        assert (value.levels.full() == encode((stored / top).astype(np.float32))).all()

    def test_geometry_is_the_files_own(self, tmp_path: Path) -> None:
        shape, affine = nifti.geometry(str(save(tmp_path / "a.nii.gz", np.zeros((*SHAPE, 1), np.uint8))))
        assert shape == SHAPE
        assert (affine == AFFINE).all()


class TestNnunet:
    @pytest.mark.parametrize("key", ["probabilities", "softmax"])
    @pytest.mark.parametrize("kind", ["f2", "f4"])
    def test_channels_lie_on_the_grid_of_the_nifti_file(self, tmp_path: Path, key: str, kind: str) -> None:
        values = RNG.random(SHAPE).astype(kind)
        path = written.nnunet_npz(tmp_path, "a", values, key=key, kind=kind)
        value = nnunet_npz.load_prediction(str(path), (1,))
        assert value.kind == "probability"
        assert (value.levels.full()[::-1, ::-1] == encode(values)).all()
        assert value.levels.grid == nifti.load_map(str(tmp_path / "a.nii.gz")).grid

    def test_labels_are_summed_and_rounding_is_put_right(self, tmp_path: Path) -> None:
        path = written.nnunet_npz(tmp_path, "a", np.zeros(SHAPE))
        # Three channels: 1/3 + 2/3 in half precision is 1.0002 or so, and must be 1.
        channels = np.stack([np.zeros(SHAPE), np.full(SHAPE, 1 / 3), np.full(SHAPE, 0.667)]).astype(np.float16)
        np.savez(path, probabilities=channels.transpose(0, 3, 2, 1))
        assert channels[1:].sum(0, dtype=np.float64).max() > 1
        assert (nnunet_npz.load_prediction(str(path), (1, 2)).levels.full() == TOP).all()
        one_third = encode(np.array([1 / 3], np.float16))[0]
        assert (nnunet_npz.load_prediction(str(path), (1,)).levels.full() == one_third).all()
        np.savez(path, probabilities=np.full((3, *SHAPE[::-1]), 0.75, np.float32))
        (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "organ": 1, "lesion": 2}}')
        with pytest.raises(DataError, match=r"a\.npz.*Got 1.5 to 1.5; perhaps these are logits"):
            nnunet_npz.load_prediction(str(path), (1, 2))

    def test_certain_probabilities_are_no_mask_of_labels(self, tmp_path: Path) -> None:
        # All whole numbers, and lesion is channel 2: the value 1 is a certainty here, not the label 1.
        path = written.nnunet_npz(tmp_path, "a", np.zeros(SHAPE))
        np.savez(path, softmax=np.stack([np.zeros(SHAPE[::-1])] * 2 + [np.ones(SHAPE[::-1])]))
        value = nnunet_npz.load_prediction(str(path), (2,))
        assert (value.kind, int(value.levels.full().min())) == ("probability", TOP)

    @pytest.mark.parametrize("labels", [(), (0,), (2,), (1, 2)])
    def test_a_label_without_a_channel(self, tmp_path: Path, labels: tuple[int, ...]) -> None:
        path = written.nnunet_npz(tmp_path, "a", np.zeros(SHAPE))
        with pytest.raises(DataError, match="must have a channel for each"):
            nnunet_npz.load_prediction(str(path), labels)

    @pytest.mark.parametrize(
        ("arrays", "sentence"),
        [
            ({"probabilities": np.zeros((2, 5, 4, 2))}, "perhaps it was cropped"),
            ({"softmax": np.zeros((2, 5, 4, 4))}, r"must have the shape \(5, 4, 3\).*Got \(5, 4, 4\)\.$"),
            ({"probabilities": np.zeros((5, 4, 3))}, "CZYX"),
            ({"probabilities": np.zeros((2, 5, 4, 3), np.uint8)}, "fractions"),
            ({"probabilities": np.full((2, 5, 4, 3), np.nan)}, r"a\.npz.*Got nan"),
            ({"other": np.zeros((2, 5, 4, 3))}, "named probabilities or softmax. Got other"),
        ],
    )
    def test_what_does_not_fit(self, tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
        path = written.nnunet_npz(tmp_path, "a", np.zeros(SHAPE))
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=sentence):
            nnunet_npz.load_prediction(str(path), (1,))

    def test_without_its_nifti_file(self, tmp_path: Path) -> None:
        path = written.nnunet_npz(tmp_path, "a", np.zeros(SHAPE))
        (tmp_path / "a.nii.gz").unlink()
        with pytest.raises(DataError, match="NIfTI file beside it"):
            nnunet_npz.load_prediction(str(path), (1,))

    def test_the_pickle_beside_is_never_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = written.nnunet_npz(tmp_path / "p", "a", np.zeros(SHAPE))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "p" / "a.pkl").chmod(0)
        (entry,) = nnunet_npz.find(tmp_path / "p", nnunet_npz.Config())
        nnunet_npz.load_prediction(str(entry.label), (1,))
        assert entry.label == str(path)
        assert not (tmp_path / "poisoned").exists()


class TestArrays:
    @pytest.mark.parametrize("order", ["zyx", "xyz"])
    def test_the_order_of_the_axes(self, tmp_path: Path, order: Any) -> None:
        values = detection_map()
        np.save(tmp_path / "a.npy", values.T if order == "zyx" else values)
        np.savez(tmp_path / "b.npz", np.asfortranarray(values.T if order == "zyx" else values))
        for entry in npy.find(tmp_path, npy.Config(order=order)):
            value = npy.load_prediction(str(entry.label), (1,))
            assert (value.kind, value.levels.grid.affine) == ("probability", None)
            assert (value.levels.full() == np.rint(values * TOP)).all()
            with pytest.raises(DataError, match="whole numbers"):
                npy.load_reference(str(entry.label))
        assert (npy.load_map(str(written.npy(tmp_path, "c", np.ones(SHAPE)))).labels_XYZ == 1).all()

    @pytest.mark.parametrize("ending", ["npy", "npz"])
    def test_objects_are_refused_and_nothing_runs(self, tmp_path: Path, ending: str) -> None:
        trap, path = tmp_path / "ran", tmp_path / f"a.{ending}"
        hostile = np.array([[[Reduced(os.system, (f"touch {trap}",))]]], object)
        (np.save if ending == "npy" else np.savez)(path, hostile)
        with pytest.raises(DataError, match="plain numbers"):
            npy.load_prediction(str(path), (1,))
        path.write_bytes(pickle.dumps(Reduced(os.system, (f"touch {trap}",))))
        with pytest.raises(DataError, match=rf"a\.{ending} must be"):
            npy.load_prediction(str(path), (1,))
        assert not trap.exists()

    @pytest.mark.parametrize(
        "header",
        [
            "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1, 1)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1, 1)}",
            "{'descr': '<U1', 'fortran_order': False, 'shape': (1, 1, 1)}",
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (1, 1, 1)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, -1)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, True)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999, 9999999999)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 2)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1), 'more': 1}",
            "__import__('os').system('false')",
            "(" * 3000,
            "{",
            "",
        ],
    )
    def test_a_hostile_header(self, tmp_path: Path, header: str) -> None:
        path = tmp_path / "a.npy"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(4))
        with pytest.raises(DataError, match=r"a\.npy"):
            npy.load_prediction(str(path), (1,))

    def test_a_header_is_as_long_as_it_needs(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        path.write_bytes(b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{}")
        with pytest.raises(DataError, match="header of at most"):
            npy.load_prediction(str(path), (1,))

    def test_archives_that_are_bombs_or_ambiguous(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.npz"
        np.savez(path, a=np.zeros(SHAPE), b=np.zeros(SHAPE))
        with pytest.raises(DataError, match=r"one array\. Got a, b"):
            npy.load_prediction(str(path), (1,))
        np.savez_compressed(path, a=np.zeros((50, 50, 50)))
        npy.load_prediction(str(path), (1,))
        monkeypatch.setattr(npy, "MOST_VOXELS", 50**3 - 1)
        with pytest.raises(DataError, match="at most"):
            npy.load_prediction(str(path), (1,))
        monkeypatch.setattr(_arrays, "FLATTEST", 2)
        with pytest.raises(DataError, match="bomb"):
            npy.load_prediction(str(path), (1,))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("a.npy", bytes(1000))
        with pytest.raises(DataError, match="stored or deflated"):
            npy.load_prediction(str(path), (1,))


class TestCandidates:
    def table(self, folder: Path, text: str) -> Path:
        path = folder / "c.csv"
        path.write_text(text)
        return path

    @pytest.mark.parametrize(
        ("head", "expected", "space"),
        [
            ("case_id,score,x_mm,y_mm,z_mm", [1.5, -2, 3], "mm"),
            ("seriesuid,probability,coordX,coordY,coordZ", [-1.5, 2, 3], "mm"),
            ("case_id,score,i,j,k", [1.5, -2, 3], "voxel"),
        ],
    )
    def test_places(self, tmp_path: Path, head: str, expected: list[float], space: str) -> None:
        path = self.table(tmp_path, f"\ufeff{head},note\nb,0.5,1.5,-2,3,x\na,1,0,0,0,\nb,0,1,1,1,\n")
        for root in (path, tmp_path):
            entries = candidates.find(root, candidates.Config())
            assert [entry.case_id for entry in entries] == ["a", "b"]
        points = candidates.load_prediction(str(entries[1].label), (1,))
        assert points.space == space
        assert points.position_CX[0].tolist() == expected
        assert points.level.tolist() == [level_of(0.5), 0]
        with pytest.raises(DataError, match="must have a row of case z"):
            candidates.load_prediction(f"{path}#z", (1,))
        assert candidates.ABSENT_IS_EMPTY

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("case_id,score,i,j,k\na,2.5,1,1,1\n", r"line 2: a score.*Got 2.5; perhaps it is a logit"),
            ("case_id,score,i,j,k\na,nan,1,1,1\n", "a score must lie"),
            ("case_id,score,i,j,k\na,.5,1,1,inf\n", "a place must be finite"),
            ("case_id,score,i,j,k\na,.5,1,1,1\na,.5,1,1\n", "line 3: i, j, k, score must be numbers"),
            ("case_id,score,i,j,k\na,.5,1,x,1\n", "must be numbers"),
            ("case_id,score,i,j\na,.5,1,1\n", "must have the columns.*Got case_id, score, i, j"),
            ("case_id,i,j,k\na,1,1,1\n", "must have the columns"),
            ("case_id,score,i,j,k,x_mm,y_mm,z_mm\n", "must have the columns"),
            ("", "must have the columns"),
            ("case_id,score,i,j,k\n../a,.5,1,1,1\n", "An id must be"),
            ('case_id,score,i,j,k\n"' + "a" * 200_000 + '"\n', "table of text"),
        ],
    )
    def test_what_is_no_table_of_candidates(self, tmp_path: Path, text: str, sentence: str) -> None:
        with pytest.raises(DataError, match=sentence):
            candidates.find(self.table(tmp_path, text), candidates.Config())

    def test_a_table_that_changed_is_read_again(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, "case_id,score,i,j,k\na,.5,1,1,1\n")
        assert len(candidates.find(path, candidates.Config())) == 1
        self.table(tmp_path, "case_id,score,i,j,k\na,.5,1,1,1\nb,.5,1,1,1\n")
        assert len(candidates.find(path, candidates.Config())) == 2

    def test_a_table_without_rows_says_that_no_case_has_candidates(self, tmp_path: Path) -> None:
        assert candidates.find(self.table(tmp_path, "case_id,score,i,j,k\n"), candidates.Config()) == []

    def test_two_tables_and_none(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="Got 0"):
            candidates.find(tmp_path, candidates.Config())
        with pytest.raises(DataError, match="readable"):
            candidates.load_prediction(str(tmp_path / "absent.csv#a"), (1,))
