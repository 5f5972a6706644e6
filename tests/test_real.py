"""Real scans, read in place where ``../shared/data`` lies beside the project."""

from pathlib import Path

import numpy as np
import pytest

from missrate.core import store
from missrate.core.types import LESION, Entry, LabelMeaning
from missrate.prepare.case import prepare_case
from missrate.prepare.manifest import finish
from missrate.readers import nifti
from missrate.study import config
from missrate.study.plan import plan

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="real data is not beside this clone (../shared/data)")


def test_sarcoma_scans_are_found_checked_and_stored(tmp_path: Path) -> None:
    entries = nifti.find(DATA / "sts-ct" / "nifti", nifti.Config())
    assert len(entries) == 26
    assert all(entry.image and entry.label for entry in entries)
    few = entries[:2]
    for entry in few:
        prepare_case(nifti, entry, LabelMeaning(lesion=(1,)), tmp_path)
    finish(tmp_path, "sts", few)
    manifest = store.Prepared(tmp_path).manifest()
    assert manifest["refused"] == 0
    for entry, facts in zip(few, manifest["cases"], strict=True):
        assert facts["hu_range"][0] < -500 < 200 < facts["hu_range"][1]
        assert [row["volume_ml"] > 1 for row in facts["lesions"]] == [True]
        case = store.Prepared(tmp_path).load(entry.case_id, entry.patient_id)
        label = nifti.load_map(str(entry.label)).labels_XYZ
        assert (case.label_XYZ == LESION).sum() == (label == 1).sum() > 0


def test_a_scan_and_its_organ_map_lie_on_one_grid_and_another_scans_does_not(tmp_path: Path) -> None:
    folder = DATA / "totalsegmentator-example"
    entry = Entry("e", "e", str(folder / "example_ct_sm.nii.gz"), str(folder / "example_seg.nii.gz"))
    organs = tuple(range(1, 7)) + tuple(range(8, 120))
    prepare_case(nifti, entry, LabelMeaning(lesion=(7,), organ=organs), tmp_path)
    assert (tmp_path / "cases" / "e" / "case.json").exists()
    wrong = Entry("w", "w", str(folder / "example_ct.nii.gz"), str(folder / "example_seg.nii.gz"))
    prepare_case(nifti, wrong, LabelMeaning(lesion=(7,), organ=organs), tmp_path)
    assert "must" in store.read_json(tmp_path / "refused" / "w.json")["reason"]


def test_the_study_on_real_scans_plans_as_written() -> None:
    stages = plan(config.read_study(ROOT / "studies" / "sts.toml", []), Path("nowhere"))
    trained = [stage.name for stage in stages if stage.room == "train"]
    assert trained[0] == "train/pretrain"
    assert len(trained) == 1 + 5 * 5
    assert np.isfinite(sum(stage.estimate.seconds for stage in stages))
