"""A study with two seeds, an arm that saw tested patients, and a ladder: the whole way."""

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from missrate.core import store
from missrate.core.errors import ProvenanceError
from missrate.core.ladder import Rung
from missrate.core.types import LESION, OperatingPoint
from missrate.study import climb, config, leak, runner, work
from missrate.study.layout import Layout
from missrate.study.plan import plan
from tests.study.test_config import LADDER, LEAK, study


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The study file and its folder, run offline in this process with every way to a network closed."""
    folder = tmp_path_factory.mktemp("ladder")
    path = study(folder, front="seeds = [0, 1]\n", back=LEAK + LADDER)
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a socket was opened")

        patch.setattr(socket, "socket", refuse)
        patch.setattr(socket, "create_connection", refuse)
        stages = plan(config.read_study(path, [], offline=True), folder / "out", offline=True)
        runner.run(stages, folder / "out", workers=0, watch=lambda _: None)
    return path, folder / "out"


def _ladder(out: Path) -> dict[str, Any]:
    rungs = store.read_json(out / "ladder" / "ladder.json")["rungs"]
    return {rung["name"]: rung for rung in rungs}


def test_the_comparison_holds_every_seed_and_the_tables_the_first(whole: tuple[Path, Path]) -> None:
    comparison = store.read_json(whole[1] / "comparison" / "comparison.json")
    assert comparison["seeds"]["maskrcnn"] == 2 and comparison["seeds"]["nothing"] == 1
    assert "maskrcnn-seed1" not in comparison["arms"]
    values = comparison["rates"]["unet"]["voxel_precision"]["seeds"]["values"]
    assert len(values) == 2
    page = (whole[1] / "report" / "index.html").read_text()
    assert "trained here was trained 2 times" in page and "What each correction does" in page
    assert "maskrcnn-seed1" not in page.split("The whole study as it ran")[0]
    who = page[page.index("Who misses what") : page.index("exact test looks")]
    assert who.count("seed 1<") == who.count("seed 2<") >= 2


def test_seeds_are_compared_at_one_kind_of_point() -> None:
    def points(*thresholds: float | None) -> list[OperatingPoint]:
        made = [OperatingPoint(name, {None: t}, "fixed") for name, t in zip(("chosen", "0.5"), thresholds, strict=True)]
        return sorted(made, key=lambda point: point.thresholds[None] is None)

    def name(*seeds: list[OperatingPoint]) -> set[str]:
        return {point.name for point in work._common_point(list(seeds))}

    assert name(points(0.3, 0.5), points(0.4, 0.5)) == {"chosen"}
    assert name(points(0.3, 0.5), points(None, 0.5)) == name(points(None, 0.5), points(0.4, 0.5)) == {"0.5"}
    assert len(name(points(0.3, None), points(None, 0.5))) == 1


def test_further_seeds_are_other_weights_on_the_same_split(whole: tuple[Path, Path]) -> None:
    first, second = (whole[1] / "runs" / name for name in ("unet/all/seed0", "unet-seed1/all/seed1"))
    assert (first / "weights.safetensors").read_bytes() != (second / "weights.safetensors").read_bytes()
    seen = [store.read_json(run / "provenance.json")["patients"] for run in (first, second)]
    assert seen[0] == seen[1]


def test_a_leak_takes_the_first_slices_and_is_tested_on_the_rest(whole: tuple[Path, Path]) -> None:
    path, out = whole
    layout = Layout(config.read_study(path, []), out)
    leading, tested = leak.leading_slices(layout), leak.tested(layout)
    cases = store.Prepared(out / "prepared" / "target").manifest()["cases"]
    depth = {case["case_id"]: case["grid"]["shape"][2] for case in cases}
    given = sum(depth[case_id] for case_id in layout.cases("train"))
    assert sum(leading.values()) == given
    names = sorted(depth)
    cut = [name for name in names if 0 < leading[name] < depth[name]]
    assert len(cut) <= 1  # in the order of names: all, perhaps a part, none
    assert [leading[name] for name in names] == sorted((leading[name] for name in names), key=lambda n: n == 0)
    assert all(tested[name] == leading[name] for name in tested)
    rung = _ladder(out)["published"]
    assert rung["thresholds"] == [0.5] and rung["reason"] is None and rung["slices_counted"] == "with_lesion"
    provenance = store.read_json(out / "runs" / "leak" / "all" / "seed0" / "provenance.json")
    assert len(provenance["patients"]["target"]) == sum(n > 0 for n in leading.values())


def test_every_slice_of_every_tested_patient_stands_on_a_corrected_rung(whole: tuple[Path, Path]) -> None:
    path, out = whole
    layout, rung = Layout(config.read_study(path, []), out), _ladder(whole[1])["corrected"]
    cases = store.Prepared(out / "prepared" / "target").manifest()["cases"]
    tested = layout.cases("test")
    assert rung["slices"] == sum(c["grid"]["shape"][2] for c in cases if c["case_id"] in tested)
    assert rung["patients"] == len(set(tested.values()))
    point = store.read_json(out / "calibration" / "maskrcnn" / "operating_point.json")
    assert rung["thresholds"] == [next(iter(point["thresholds"].values()))]


def test_a_rung_counts_what_the_evaluation_counts(whole: tuple[Path, Path]) -> None:
    summary = store.read_json(whole[1] / "evaluation" / "maskrcnn" / "summary.json")
    found, rung = summary["metrics"]["voxel_accuracy"]["pooled"], _ladder(whole[1])["corrected"]
    assert rung["thresholds"] == [summary["operating_point"]["threshold"]]
    assert rung["metrics"]["accuracy"]["value"] == pytest.approx(found["value"], abs=1e-12)


def test_rungs_count_the_same_patients_though_one_was_not_predicted(whole: tuple[Path, Path], tmp_path: Path) -> None:
    layout = Layout(config.read_study(whole[0], []), whole[1])
    cases = layout.cases("test")
    ill = next(
        case_id
        for case_id in cases
        if (store.Prepared(layout.prepared("target")).load_label(case_id).values_XYZ == LESION).any()
    )
    found = {case_id: layout.predictions("everything", None) / f"{case_id}.b2nd" for case_id in cases}
    rungs: list[tuple[Rung, dict[str, Path], dict[str, int]]] = [
        (Rung(name="whole", arm="everything"), found, {}),
        (Rung(name="one absent", arm="everything"), found | {ill: tmp_path / "absent.b2nd"}, {}),
    ]

    def climbed(*, as_misses: bool) -> list[dict[str, Any]]:
        given: dict[str, Any] = {"points": {}, "folds": dict.fromkeys(cases), "resamples": 50, "seed": 0}
        climb.climb(rungs, layout.prepared("target"), cases, out=tmp_path / "l.json", as_misses=as_misses, **given)
        return list(store.read_json(tmp_path / "l.json")["rungs"])

    whole_rung, other = climbed(as_misses=False)
    assert (whole_rung["patients"], whole_rung["absent"]) == (other["patients"], other["absent"])
    assert (other["patients"], other["absent"]) == (len(set(cases.values())) - 1, [ill])
    whole_rung, other = climbed(as_misses=True)
    assert whole_rung["patients"] == other["patients"] == len(set(cases.values()))
    assert whole_rung["metrics"]["miss_rate"]["value"] == 0.0 < other["metrics"]["miss_rate"]["value"]
    assert other["absent"] == []


def test_a_leaking_arm_stands_in_no_table(whole: tuple[Path, Path]) -> None:
    assert not (whole[1] / "evaluation" / "leak").exists()
    assert "leak" not in store.read_json(whole[1] / "comparison" / "comparison.json")["arms"]


def test_what_saw_a_patient_is_refused_without_that_word(whole: tuple[Path, Path], tmp_path: Path) -> None:
    path, out = whole
    layout = Layout(config.read_study(path, []), out)
    seen = next(name for name, slices in leak.leading_slices(layout).items() if slices)
    recipe, run = layout.study.recipe(layout.study.arm("leak")), layout.run("leak", None)
    with pytest.raises(ProvenanceError, match="must not have seen"):
        work.predict(run, recipe, seen, source="target", views_folder=layout.views("target"), out=tmp_path / "x.b2nd")


def test_the_ladder_is_plain_json(whole: tuple[Path, Path]) -> None:
    text = (whole[1] / "ladder" / "ladder.json").read_text()
    assert "NaN" not in text and np.isfinite(json.loads(text)["resamples"])
