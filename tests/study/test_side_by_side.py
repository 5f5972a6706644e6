"""``missrate compare`` of folders that evaluate wrote: table, exit codes, and what is refused."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from missrate.cli import main
from missrate.core import store
from missrate.core.case import CaseStatistics
from missrate.core.types import Matching
from missrate.evaluate import files, summary
from missrate.study import side_by_side
from tests.compare.arms import BOTH, HALF, LARGE, NONE, arm
from tests.drawn import IOU, OVERLAP, drawn, measured

Run = Callable[..., tuple[int, str, str]]


def evaluated(
    folder: Path, cases: list[CaseStatistics], rules: Sequence[Matching] = (OVERLAP, IOU), floor: float = 0.1
) -> Path:
    """What ``evaluate`` leaves behind."""
    for case in cases:
        files.save(folder / "statistics" / f"{case.case_id}.npz", case)
    value = summary.summarise(
        cases,
        arm=folder.name,
        points=[HALF],
        matchings=list(rules),
        part="all",
        seed=None,
        missing=[],
        failed=[],
        inputs={},
        resamples=20,
        floor=floor,
    )
    store.write_json(folder / "summary.json", value)
    return folder


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``missrate compare`` in this process: exit code, stdout, stderr."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["missrate", "compare", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return evaluated(tmp_path / "old", arm(*[BOTH] * 8))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return evaluated(tmp_path / "bad", arm(*[LARGE] * 8))


def test_the_table_can_be_read_in_a_terminal(compare: Run, old: Path, bad: Path) -> None:
    code, out, _ = compare(old, bad)
    assert code == 0
    tables = [block.splitlines() for block in out.split("\n\n") if block.startswith("|")]
    assert [len(rows) for rows in tables] == [4, 3]
    for rows in tables:
        assert len({len(row) for row in rows}) == 1
        assert len({row.count("|") for row in rows}) == 1
        assert len(rows[0]) < 150
    assert "| bad | " in out
    assert "50.0 [" in out
    cells = [cell.strip() for cell in tables[1][2].split("|")]
    assert cells == ["", "bad", "+50.0 [+12.1, +50.0]*", "0.0078", "0.0078", "misses more", ""]
    assert "bad compared with old misses more of the lesion voxels: 33.3% against 0.0% (+33.3 points [" in out


def test_the_exit_code_of_the_gate(compare: Run, old: Path, bad: Path) -> None:
    code, out, err = compare(old, bad, "--against", old, "--fail-if-worse")
    assert (code, err) == (1, "")
    assert out.splitlines()[-1].startswith("bad: worse. It misses 50.0% of the lesions, old 0.0%")
    assert compare(old, bad, "--fail-if-worse", "--margin", "0.5")[0] == 0
    code, _, err = compare(old, bad, "--fail-if-worse", "--level", "patient")
    assert code == 2
    assert "bad: cannot tell" in err
    assert "patients do not exclude an increase of 20 points" in err
    assert compare(old, bad, "--fail-if-worse", "--level", "patient", "--underpowered", "pass")[0] == 0
    assert compare(old, bad, "--fail-if-worse", "--level", "patient", "--detect", "0.4")[0] == 0
    assert compare(old, bad, "--fail-if-worse", "--confidence", "0.999")[0] == 2
    assert compare(old, bad, "--against", "bad", "--fail-if-worse")[0] == 0
    assert compare(old, bad)[0] == 0


def test_the_reference_may_stand_in_against_alone(compare: Run, old: Path, bad: Path) -> None:
    code, out, _ = compare(bad, "--against", old, "--fail-if-worse", "--json")
    value = json.loads(out)
    assert (code, value["against"], value["arms"]) == (1, "old", ["old", "bad"])
    assert value["gate"]["arms"]["bad"]["worse"] is True


def test_names_and_seeds(compare: Run, old: Path, bad: Path, tmp_path: Path) -> None:
    other = evaluated(tmp_path / "other", arm(*[NONE] * 8))
    code, out, _ = compare(f"v1={old}", f"v2={bad},{other}", "--against", "v1", "--out", tmp_path / "out", "--json")
    value = json.loads(out)
    assert (code, value["arms"], value["seeds"]) == (0, ["v1", "v2"], {"v1": 1, "v2": 2})
    assert value["rates"]["v2"]["lesion_miss_rate"]["value"] == 0.75
    assert store.read_json(tmp_path / "out" / "comparison.json", "missrate/comparison/2") == value
    strange = (tmp_path / "a=b,c").parent / "a=b,c"
    evaluated(strange, arm(*[BOTH] * 8))
    assert json.loads(compare(old, strange, "--json")[1])["arms"] == ["old", "a=b,c"]
    nested = evaluated(tmp_path / "x" / "old", arm(*[BOTH] * 8))
    assert json.loads(compare(old, nested, "--json")[1])["arms"] == [str(old), str(nested)]


def test_pairs_and_subgroups(compare: Run, old: Path, bad: Path, tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("patient_id,sex,age\n" + "".join(f"c{i},{'fm'[i % 2] if i else ''},{i}\n" for i in range(8)))
    code, out, _ = compare(old, bad, "--pairs", "all", "--patients", table, "--subgroup", "sex")
    assert code == 0
    assert "sex = unknown" in out
    assert "Of all 1 pairs 1 are separable in lesion miss rate (Holm over all): bad and old." in out
    code, _, err = compare(old, bad, "--patients", table, "--subgroup", "size")
    assert code == 2
    assert "must name a column" in err
    assert "patient_id, sex, age. Got 'size'" in err
    assert "--subgroup must come with --patients" in compare(old, bad, "--subgroup", "sex")[2]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,sex\nc0,f\n", "must have a column case_id or patient_id. Got name, sex"),
        ("case_id,sex\nc0,f\nc0,m\n", "must have one row for each case_id. Got c0 more than once"),
        ("case_id,sex\nc0,f\n", "Every case must have a value in column 'sex'. Got none for c1"),
    ],
)
def test_a_patients_table_that_cannot_be_used(
    compare: Run, old: Path, bad: Path, tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    code, _, err = compare(old, bad, "--patients", tmp_path / "t.csv", "--subgroup", "sex")
    assert (code, len(err.splitlines())) == (2, 1)
    assert sentence in err


def test_a_column_of_many_values_is_no_subgroup(compare: Run, tmp_path: Path) -> None:
    folders = [evaluated(tmp_path / name, arm(*[BOTH] * 21)) for name in ("a", "b")]
    (tmp_path / "t.csv").write_text("case_id,age\n" + "".join(f"c{i},{i}\n" for i in range(21)))
    code, _, err = compare(*folders, "--patients", tmp_path / "t.csv", "--subgroup", "age")
    assert code == 2
    assert "must have at most 20 values. Got 21 in 'age'" in err


def refused(compare: Run, *words: str | Path) -> str:
    code, out, err = compare(*words)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    return err


def test_what_cannot_be_compared_is_refused_in_a_sentence(compare: Run, old: Path, tmp_path: Path) -> None:
    iou = evaluated(tmp_path / "iou", arm(*[BOTH] * 8), (IOU,))
    assert "the same matching rule. Got overlap from 0 ml in" in refused(compare, old, iou)
    assert "iou >= 0.1 from 0 ml in" in refused(compare, old, iou)
    floor = evaluated(tmp_path / "floor", arm(*[BOTH] * 8, floor=0.2), floor=0.2)
    assert "from the same floor upwards. Got 0.1 in" in refused(compare, old, floor)
    # The same statistics where .1 was asked for: every case was too noisy for it and raised its own floor.
    assert compare(old, evaluated(tmp_path / "noisy", arm(*[BOTH] * 8, floor=0.2)))[0] == 0
    moved = evaluated(tmp_path / "moved", arm(*[BOTH] * 8, reference="##...#.."))
    assert "must have the same reference. moved and old differ in c0" in refused(compare, old, moved)
    fewer = evaluated(tmp_path / "fewer", arm(*[BOTH] * 7))
    assert "must hold the same cases. fewer and old differ in c7" in refused(compare, old, fewer)


def test_scans_below_the_floor_or_empty_do_not_change_the_floor_of_an_arm(
    compare: Run, old: Path, tmp_path: Path
) -> None:
    mixed = arm(*[BOTH] * 7, "........")
    reference, faint = drawn("##..#..."), drawn(BOTH) / 100
    mixed[2] = measured(reference, faint, case="c2")
    assert compare(old, evaluated(tmp_path / "mixed", mixed))[0] == 0
    low = [measured(reference, faint, case=f"c{i}") for i in range(8)]
    said = refused(compare, old, evaluated(tmp_path / "low", low))
    assert "from the same floor upwards. Got 0.1 in" in said and "--floor" in said


def test_a_point_is_certified_only_where_its_evaluation_says_so(old: Path) -> None:
    point = side_by_side.Evaluation.read(old).point
    assert (point.certified, point.certificate, point.chosen_on) == (False, None, "fixed")
    value = store.read_json(old / "summary.json")
    promised = {
        "level": "patient", "miss_rate": 0.1, "confidence": 0.95, "in_expectation": False, "n": 46, "never_found": 1,
        "never_found_at_most": 0.099, "bound": "b", "risk": 0.02, "floor": 0.01, "least_volume_ml": 0.0,
        "false_positives_per_scan": None, "false_positive_ml_per_scan": 2.5, "empty": "costly",
    }  # fmt: skip
    value["operating_point"] |= {"certified": True, "certificate": promised}
    store.write_json(old / "summary.json", value)
    again = side_by_side.Evaluation.read(old).point
    assert again.certificate is not None
    assert asdict(again.certificate) == promised


def test_masks_have_no_floor(compare: Run, old: Path, tmp_path: Path) -> None:
    masks = evaluated(tmp_path / "masks", arm(*["##..#..."] * 8, binary=True))
    assert compare(old, masks)[0] == 0


def test_misuse(compare: Run, old: Path, bad: Path, tmp_path: Path) -> None:
    assert "at least two evaluations. Got 1" in refused(compare, old)
    assert "--against must be one of the evaluations" in refused(compare, old, bad, "--against", "nowhere")
    assert "its own name. Got v twice" in refused(compare, f"v={old}", f"v={bad}")
    assert "must have a name: NAME=FOLDER,FOLDER" in refused(compare, old, f"{bad},{old}")
    assert "another folder. Got one twice" in refused(compare, old, f"v={bad},{bad}")
    assert "The confidence must lie in" in refused(compare, old, bad, "--fail-if-worse", "--confidence", "95")
    assert "must come with evaluations" in refused(compare, "study.toml", "--fail-if-worse")
    (tmp_path / "empty").mkdir()
    assert "summary.json" in refused(compare, old, tmp_path / "empty")


def test_a_gate_that_cannot_judge_is_misuse_not_success(compare: Run, tmp_path: Path) -> None:
    healthy: dict[str, Any] = {"reference": "........"}
    folders = [evaluated(tmp_path / name, arm(*["9......."] * 3, **healthy)) for name in ("a", "b")]
    code, out, err = compare(*folders, "--fail-if-worse")
    assert code == 2
    assert "b cannot be judged" in err
    assert out.startswith("3 cases")
