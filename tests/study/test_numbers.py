"""Maps that are not what they seem: what their numbers mean, judged over all maps of an arm, at every door."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from missrate.cli import main
from missrate.core import store
from missrate.core.errors import ConfigError, DataError, InputError
from missrate.core.foreign import numbers_of
from missrate.evaluate.summary import ALL
from missrate.readers import npy
from missrate.study import folder, front, label_names
from missrate.study.numbers import Asked, Numbers, judge
from tests.readers import written

SHAPE = (12, 10, 6)
Values = NDArray[Any]


def lesion(at: int = 2, label: int = 1, organ: int = 0) -> Values:
    """A lesion of 3 x 3 x 2 voxels, in an organ where it has a number."""
    values = np.zeros(SHAPE, np.uint8)
    values[1:10, 1:9, 1:5] = organ
    values[at : at + 3, 3:6, 2:4] = label
    return values


def save(path: Path, values: Values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(path)


def evaluate(
    tmp_path: Path, references: Mapping[str, Values], predictions: Mapping[str, Values], **more: Any
) -> dict[str, Any]:
    """``missrate evaluate`` of two folders of NIfTI files."""
    for name, maps in (("ref", references), ("pred", predictions)):
        for case_id, values in maps.items():
            save(tmp_path / name / f"{case_id}.nii.gz", values)
    request = folder.Request(tmp_path / "ref", tmp_path / "pred", tmp_path / "out", **more)
    return folder.evaluate(request, workers=0)


def missed(summary: dict[str, Any]) -> tuple[int, int]:
    rate = summary["metrics"]["lesion_miss_rate"]["pooled"]
    return rate["numerator"], rate["denominator"]


def warnings(summary: dict[str, Any]) -> dict[str, str]:
    return {row["case_id"]: row["warning"] for row in summary["warnings"]}


def failed(summary: dict[str, Any]) -> dict[str, str]:
    return {row["case_id"]: row["reason"] for row in summary["failed"]}


REFERENCES = {f"c{n}": lesion(2 + n) for n in range(3)}
ONE = Asked(frozenset({1}), frozenset({1}), "perhaps ask")


class TestJudge:
    @pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int64, np.float32, ">i2"])
    def test_the_numbers_of_a_map(self, kind: Any) -> None:
        values = np.array([[[0, 3, 3], [7, 0, 120]]]).astype(kind)
        assert numbers_of(values) == numbers_of(np.asfortranarray(values)) == numbers_of(values[::-1]) == (3, 7, 120)
        assert numbers_of(np.array([0, -1, 5], np.int16)) == (-1, 5)
        assert numbers_of(np.array([5, 5], np.uint8)) == (5,)
        assert numbers_of(np.array([0, 10**9, -(10**9)])) == (-(10**9), 10**9)
        assert numbers_of(np.zeros((2, 0), np.uint8)) == ()
        assert numbers_of(np.array([True, False])) == (1,)

    def test_empty_maps_and_probabilities_say_nothing(self) -> None:
        held: dict[str, Numbers] = {"a": (), "b": None, "c": (1,)}
        assert judge(held, ONE, where="arm").warnings == judge({"a": ()}, ONE, where="arm").refused == {}

    def test_a_number_that_nobody_declared_is_named(self) -> None:
        judged = judge({"a": (1, 2), "b": (1,), "c": (2,)}, ONE, where="arm")
        assert judged.refused == {}
        assert judged.warnings.keys() == {"a", "c"}, "c holds what stands beside the lesion elsewhere: it found none"
        assert "[2] was not declared beside label 1: it is counted as background" in judged.warnings["a"]

    def test_a_map_of_another_number_alone_is_refused(self) -> None:
        judged = judge({"a": (1,), "b": (3,)}, ONE, where="arm")
        assert judged.refused == {"b": "b must hold label 1. Got [3]; perhaps ask."}

    def test_an_arm_without_any_declared_number_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"arm must hold label 1\. Got \[3, 7, 18\] in 2 maps.*perhaps ask"):
            judge({"a": (3, 7, 18), "b": (3,), "c": ()}, ONE, where="arm")

    def test_an_arm_of_declared_numbers_without_the_lesion_is_named(self) -> None:
        judged = judge({"a": (2,), "b": ()}, Asked(frozenset({1}), frozenset({1, 2}), "perhaps ask"), where="arm")
        assert judged.refused == {}
        assert "no map holds label 1, only [2]: nothing is found; perhaps ask" in judged.warnings[ALL]

    @pytest.mark.parametrize(
        ("numbers", "scale"),
        [(range(1, 256), 255), ((1, 20, 40, 60, 80, 100), 100), ((1, 2, 3, 4, 5, 255), 255), (range(1, 900), 1000)],
    )
    def test_scaled_probabilities(self, numbers: Any, scale: int) -> None:
        held: dict[str, Numbers] = {"a": tuple(numbers), "b": (1,), "c": (1,)}
        judged = judge(held, ONE, where="arm")
        assert judged.refused.keys() == {"a"}
        assert f"divide by {scale} and write floats" in judged.refused["a"]
        with pytest.raises(DataError, match=f"arm: A map must hold labels.*divide by {scale}"):
            judge(held | {"b": held["a"]}, ONE, where="arm")

    def test_maps_with_little_in_them_are_told_from_labels_by_the_others(self) -> None:
        held: dict[str, Numbers] = {"a": (1, 40, 90), "b": (7, 20), "c": (1, 255), "d": (1,)}
        with pytest.raises(DataError, match="divide by 255"):
            judge(held, ONE, where="arm")

    def test_many_numbers_that_somebody_declared_are_labels(self) -> None:
        everything = Asked(frozenset({100}), frozenset(range(1, 118)), "")
        assert judge({"a": tuple(range(1, 118))}, everything, where="arm").warnings == {}

    def test_numbers_below_0(self) -> None:
        assert "0 or more. Got -1" in judge({"a": (-1, 1), "b": (1,)}, ONE, where="arm").refused["a"]

    def test_0_and_1_among_fractions(self) -> None:
        two = Asked(frozenset({2}), frozenset({1, 2}), "")
        assert (
            "whether 1 is certain or a label" in judge({"a": (1,), "b": None, "c": (1, 2)}, two, where="").refused["a"]
        )
        assert judge({"a": (1,), "b": None}, ONE, where="").refused == {}


class TestFolders:
    """``missrate evaluate``, on whose statistics ``missrate calibrate`` works."""

    def test_bytes_of_probabilities_are_no_mask(self, tmp_path: Path) -> None:
        ramp = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 256
        maps = {case: np.where(values, 200, ramp % 90).astype(np.uint8) for case, values in REFERENCES.items()}
        with pytest.raises(DataError, match=r"pred: A map must hold labels.*divide by 255 and write floats"):
            evaluate(tmp_path, REFERENCES, maps)
        assert not (tmp_path / "out" / "summary.json").exists()

    def test_percent_is_no_mask(self, tmp_path: Path) -> None:
        blob = np.array([0, 1, 15, 30, 55, 75, 90, 100], np.int16)
        maps = {case: values * blob[np.arange(SHAPE[2]) + 2] for case, values in REFERENCES.items()}
        maps["c0"][0, 0, :] = blob[:6]
        maps["c1"][0, 0, :] = blob[2:]
        with pytest.raises(DataError, match="divide by 100 and write floats"):
            evaluate(tmp_path, REFERENCES, maps)

    def test_fractions_of_a_scale_say_so(self, tmp_path: Path) -> None:
        done = evaluate(tmp_path, REFERENCES, REFERENCES | {"c1": lesion().astype(np.float32) * 87.5})
        assert "divide by 100 and write floats" in failed(done)["c1"]

    def test_another_value_beside_the_lesion_is_named(self, tmp_path: Path) -> None:
        maps = {case: np.where(values, 1, lesion(0, 2)).astype(np.uint8) for case, values in REFERENCES.items()}
        done = evaluate(tmp_path, REFERENCES, maps)
        assert missed(done) == (0, 3)
        assert set(warnings(done)) == set(REFERENCES)
        assert "[2] was not declared" in warnings(done)["c0"]
        assert "warning: c0: [2] was not declared" in folder.table(done)

    def test_values_of_the_references_need_no_word(self, tmp_path: Path) -> None:
        both = {case: np.where(values, 2, lesion(0, 0, 1)).astype(np.uint8) for case, values in REFERENCES.items()}
        done = evaluate(tmp_path, both, both, lesion_label=2)
        assert (missed(done), done["warnings"], done["failed"]) == ((0, 3), [], [])

    def test_predictions_of_other_numbers_are_refused(self, tmp_path: Path) -> None:
        maps = {case: values * n for (case, values), n in zip(REFERENCES.items(), (3, 7, 18), strict=True)}
        with pytest.raises(DataError, match=r"must hold label 1\. Got \[3, 7, 18\] in 3 maps.*--prediction-label"):
            evaluate(tmp_path, REFERENCES, maps)

    def test_an_earlier_summary_does_not_outlive_a_refusal(self, tmp_path: Path) -> None:
        evaluate(tmp_path, REFERENCES, REFERENCES)
        with pytest.raises(DataError):
            evaluate(tmp_path, REFERENCES, {case: values * 9 for case, values in REFERENCES.items()})
        assert not (tmp_path / "out" / "summary.json").exists()
        assert not (tmp_path / "out" / "cases.csv").exists()

    def test_a_case_that_is_refused_leaves_no_statistics(self, tmp_path: Path) -> None:
        done = evaluate(tmp_path, REFERENCES, REFERENCES | {"c1": lesion() * 3})
        assert failed(done).keys() == {"c1"}
        assert missed(done) == (0, 2)
        assert not (tmp_path / "out" / "statistics" / "c1.npz").exists(), "calibrate would count it"

    def test_a_label_that_no_reference_holds(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(
            InputError, match=r"--lesion-label must be a value of the references. Got 7; they hold \[1\]"
        ):
            evaluate(tmp_path, REFERENCES, REFERENCES, lesion_label=7)
        words = ["--reference", "ref", "--predictions", "pred", "--lesion-label", "7", "--prediction-label", "1"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["missrate", "evaluate", *words, "--out", "out"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert "they hold [1]" in capsys.readouterr().err

    @pytest.mark.parametrize("option", ["lesion_label", "prediction_label"])
    def test_the_background_is_no_lesion(self, tmp_path: Path, option: str) -> None:
        with pytest.raises(InputError, match="must be at least 1"):
            evaluate(tmp_path, REFERENCES, REFERENCES, **{option: 0})

    def test_a_reference_below_0_is_refused_by_name(self, tmp_path: Path) -> None:
        negative = -lesion().astype(np.int16)
        done = evaluate(tmp_path, REFERENCES | {"c1": negative}, REFERENCES)
        assert "Label values must be 0 or more. Got -1" in failed(done)["c1"]
        with pytest.raises(DataError, match="Got 0 of 1: Label values must be 0 or more"):
            evaluate(tmp_path / "all", {"c1": negative}, {"c1": lesion()})

    def test_where_all_references_are_empty_whatever_is_predicted_is_a_false_alarm(self, tmp_path: Path) -> None:
        done = evaluate(tmp_path, {case: values * 0 for case, values in REFERENCES.items()}, {"c0": lesion() * 4})
        assert (done["healthy_cases"], done["metrics"]["false_positives_per_scan"]["pooled"]["value"]) == (1, 1)

    @pytest.mark.parametrize("name", ["evalseg", "npy"])
    def test_other_formats_are_judged_alike(self, tmp_path: Path, name: str) -> None:
        for case, values in REFERENCES.items():
            written.WRITERS[name](tmp_path / "ref", case, values)
            written.WRITERS[name](tmp_path / "pred", case, np.where(values, 1, lesion(0, 5)).astype(np.uint8))
        done = folder.evaluate(folder.Request(tmp_path / "ref", tmp_path / "pred", tmp_path / "out"), workers=0)
        assert (missed(done), set(warnings(done))) == ((0, 3), set(REFERENCES))

    def test_bytes_as_pictures(self, tmp_path: Path) -> None:
        """A mask of 0 and 255 is another number, not probabilities times 255."""
        maps = {case: values * np.uint8(255) for case, values in REFERENCES.items()}
        with pytest.raises(DataError, match=r"Got \[255\] in 3 maps"):
            evaluate(tmp_path, REFERENCES, maps)
        assert missed(evaluate(tmp_path, REFERENCES, maps, prediction_label=255)) == (0, 3)


LABELS = {"background": 0, "organ": 1, "lesion": 2}


class TestDescribed:
    """Predictions beside the ``dataset.json`` of their model."""

    def numbered(self) -> dict[str, Values]:
        return {case: np.where(values, 2, lesion(0, 0, 1)).astype(np.uint8) for case, values in REFERENCES.items()}

    @pytest.mark.parametrize("place", ["pred", "."])
    def test_the_lesion_is_the_one_that_it_names(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "pred").mkdir()
        (tmp_path / place / "dataset.json").write_text(json.dumps({"labels": LABELS}))
        (tmp_path / "plans.json").write_text("{}")
        done = evaluate(tmp_path, REFERENCES, self.numbered())
        assert missed(done) == (0, 3)
        assert "the lesion of the predictions is [2]" in warnings(done)[ALL]
        assert missed(evaluate(tmp_path, REFERENCES, self.numbered(), prediction_label=1)) != (0, 3), "said is said"

    def test_a_description_of_the_scans_above_says_nothing_of_predictions(self, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": LABELS}))
        done = evaluate(tmp_path, REFERENCES, REFERENCES)
        assert (missed(done), done["warnings"]) == ((0, 3), [])

    @pytest.mark.parametrize(
        ("labels", "lesion", "others"),
        [
            (LABELS, (2,), (1,)),
            ({"0": "background", "1": "pancreas", "2": "cancer"}, (2,), (1,)),
            ({"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": [2]}, (2,), (1, 3)),
            ({"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3]}, (), (1, 2, 3)),
            ({"background": 0, "a": 1, "b": 2}, (), (1, 2)),
            ({"background": 0, "lesion": 1, "ignore": 2}, (1,), ()),
        ],
    )
    def test_names(
        self, tmp_path: Path, labels: dict[str, Any], lesion: tuple[int, ...], others: tuple[int, ...]
    ) -> None:
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
        meaning = label_names.of_predictions(tmp_path)
        assert meaning is not None
        assert (meaning.lesion, meaning.background) == (lesion, others)

    def test_no_description(self, tmp_path: Path) -> None:
        assert label_names.of_predictions(tmp_path) is None
        assert label_names.of_predictions(tmp_path / "table.csv") is None


REGIONS = {"background": 0, "whole": [1, 2], "lesion": [2], "other": [3]}


class TestRegions:
    """nnU-Net's probabilities of regions: no channel for the background, in the order of the description."""

    def predicted(self, tmp_path: Path, labels: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
        for case, values in REFERENCES.items():
            save(tmp_path / "ref" / f"{case}.nii.gz", values * 2)
            save(tmp_path / "pred" / f"{case}.nii.gz", values * 2)
            whole, rest = lesion(0, 0, 1) | (values > 0), np.zeros(SHAPE)
            channels = np.stack([0.9 * whole, 0.8 * values, rest]).astype(np.float32)
            np.savez(tmp_path / "pred" / f"{case}.npz", probabilities=channels.transpose(0, 3, 2, 1))
        if labels is not None:
            (tmp_path / "pred" / "dataset.json").write_text(
                json.dumps({"labels": labels, "regions_class_order": [1, 2]})
            )
        return folder.evaluate(folder.Request(tmp_path / "ref", tmp_path / "pred", tmp_path / "out", **more), workers=0)

    def test_the_channel_of_the_region_is_read(self, tmp_path: Path) -> None:
        done = self.predicted(tmp_path, REGIONS)
        assert (missed(done), done["metrics"]["dice"]["pooled"]["value"], done["failed"]) == ((0, 3), 1.0, [])
        assert done["warnings"] == []

    def test_a_part_of_a_region_has_no_channel(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a channel for each of \[1\]. Got 3, for 1\+2, 2, 3"):
            self.predicted(tmp_path, REGIONS, prediction_label=1)

    def test_without_a_description_they_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            DataError, match=r"must have channels that sum to 1.*perhaps they are regions: copy the dataset"
        ):
            self.predicted(tmp_path, None)

    def test_a_description_of_another_model(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"for each of the 2 classes of its dataset\.json\. Got 3"):
            self.predicted(tmp_path, {"background": 0, "whole": [1, 2], "lesion": [2]})

    def test_what_is_ignored_has_no_channel(self, tmp_path: Path) -> None:
        labels = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
        for case, values in REFERENCES.items():
            save(tmp_path / "ref" / f"{case}.nii.gz", values)
            save(tmp_path / "pred" / f"{case}.nii.gz", values)
            probability = 0.7 * values.astype(np.float16)
            channels = np.stack([1 - probability, 0 * probability, probability]).astype(np.float16)
            np.savez(tmp_path / "pred" / f"{case}.npz", probabilities=channels.transpose(0, 3, 2, 1))
        (tmp_path / "pred" / "dataset.json").write_text(json.dumps({"labels": labels}))
        request = folder.Request(tmp_path / "ref", tmp_path / "pred", tmp_path / "out", thresholds=(0.7,))
        done = folder.evaluate(request, workers=0)
        assert missed(done) == (0, 3), "read from channel 2, at the very threshold that half precision rounds"
        assert "lesion of the predictions is [2]" in warnings(done)[ALL]


Study = Callable[..., dict[str, Any]]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of references with a lesion 1 in an organ 4, and of one folder of predictions: the arm's summary."""

    def run(
        predictions: Mapping[str, Values], *lines: str, labels: str = "{ lesion = [1], organ = [4] }"
    ) -> dict[str, Any]:
        for case, values in REFERENCES.items():
            save(tmp_path / "ref" / f"{case}.nii.gz", np.where(values, 1, lesion(0, 0, 4)).astype(np.uint8))
        for case, values in predictions.items():
            save(tmp_path / "arm" / f"{case}.nii.gz", values)
        said = [f"labels = {labels}"] if labels else []
        text = ["[sources.data]", 'path = "ref"', *said, "[[arms]]", 'name = "net"', 'predictions = "arm"', *lines]
        (tmp_path / "study.toml").write_text("\n".join([*text, "[evaluate]", "null_arms = false", "resamples = 100"]))
        front.run(tmp_path / "study.toml", tmp_path / "out", assign=[], workers=0, room="evaluate")
        front.run(tmp_path / "study.toml", tmp_path / "out", assign=[], workers=0, room="summarise")
        return store.read_json(tmp_path / "out" / "evaluation" / "net" / "summary.json")  # type: ignore[no-any-return]

    return run


def exported_numbers() -> dict[str, Values]:
    """Perfect predictions of a model that was trained on an export: organ 1, lesion 2."""
    return {case: np.where(values, 2, lesion(0, 0, 1)).astype(np.uint8) for case, values in REFERENCES.items()}


class TestStudies:
    def test_what_an_export_taught_comes_back(self, study: Study, tmp_path: Path) -> None:
        """Prepared, exported, predicted without a fault, and evaluated: nothing is missed."""
        from missrate.core.types import Entry, LabelMeaning
        from missrate.prepare import manifest
        from missrate.prepare.case import prepare_case
        from missrate.readers import nifti
        from missrate.study.outside import export

        meaning = LabelMeaning(lesion=(1,), organ=(4,))
        entries = []
        for case, values in REFERENCES.items():
            save(tmp_path / "scans" / f"{case}.nii.gz", (40 - 30 * values.astype(np.int16)) - 50)
            label = np.where(values, 1, lesion(0, 0, 4)).astype(np.uint8)
            save(tmp_path / "ref" / f"{case}.nii.gz", label)
            paths = (str(tmp_path / name / f"{case}.nii.gz") for name in ("scans", "ref"))
            entries.append(Entry(case, case, *paths))
            prepare_case(nifti, entries[-1], meaning, tmp_path / "prepared")
        manifest.finish(tmp_path / "prepared", "data", entries)
        export(tmp_path / "prepared", tmp_path / "raw", "nnunet", workers=0)
        shutil.copytree(tmp_path / "raw" / "labelsTr", tmp_path / "arm")
        shutil.copy(tmp_path / "raw" / "dataset.json", tmp_path / "arm")  # as nnU-Net does beside its predictions
        done = study({})
        assert missed(done) == (0, 3)
        assert "the lesion of the predictions is [2]" in warnings(done)[ALL]
        shutil.move(tmp_path / "arm", tmp_path / "raw" / "arm")  # or they lie within the export
        (tmp_path / "raw" / "arm" / "dataset.json").unlink()
        (tmp_path / "arm").symlink_to(tmp_path / "raw" / "arm")
        assert missed(study({})) == (0, 3)

    def test_an_arm_says_what_its_numbers_mean(self, study: Study) -> None:
        done = study(exported_numbers(), "labels = { lesion = [2], organ = [1] }")
        assert (missed(done), done["warnings"]) == ((0, 3), [])

    def test_numbers_of_an_export_that_nobody_names_are_doubted(self, study: Study) -> None:
        done = study(exported_numbers())
        assert missed(done)[1] == 3
        assert "as an export has them (1 organ, 2 lesion)" in warnings(done)[ALL]
        assert "labels = { lesion = [...] } in arm 'net'" in warnings(done)[ALL]

    def test_another_value_is_named_and_another_map_is_refused(self, study: Study) -> None:
        maps = {case: np.where(values, 1, lesion(0, 7)).astype(np.uint8) for case, values in REFERENCES.items()}
        done = study(maps | {"c1": lesion() * 9})
        assert missed(done) == (0, 2)
        assert "[7] was not declared" in warnings(done)["c0"]
        assert "c1 must hold label 1. Got [9]" in failed(done)["c1"]

    def test_an_arm_that_fits_nowhere_stops(self, study: Study) -> None:
        from missrate.core.errors import MissrateError

        with pytest.raises(MissrateError, match=r"must hold label 1. Got \[3\] in 3 maps.*labels = "):
            study({case: values * 3 for case, values in REFERENCES.items()})

    def test_labels_belong_to_predictions_and_name_a_lesion(self, study: Study) -> None:
        with pytest.raises(ConfigError, match="must name the lesion"):
            study(dict(REFERENCES), "labels = { organ = [1] }")

    def test_a_changed_meaning_is_read_anew(self, study: Study) -> None:
        assert missed(study(exported_numbers(), "labels = { lesion = [2], organ = [1] }")) == (0, 3)
        assert warnings(study({}, "labels = { lesion = [1] }")).keys() == set(REFERENCES)


def test_a_reference_with_negative_values_is_refused_by_check_and_readers(tmp_path: Path) -> None:
    from missrate.prepare.case import load_reference

    np.save(tmp_path / "a.npy", -np.ones((3, 4, 5), np.int8))
    with pytest.raises(DataError, match=r"0 or more\. Got -1"):
        load_reference(npy, str(tmp_path / "a.npy"))


def test_false_alarms_in_healthy_patients_count_whatever_their_number(tmp_path: Path) -> None:
    # Nobody said what the lesion's number is: all references are empty.
    high = {"a": 100 * lesion().astype(np.int16) * 3, "b": np.zeros(SHAPE, np.int16)}
    summary = evaluate(tmp_path, {"a": np.zeros(SHAPE, np.uint8), "b": np.zeros(SHAPE, np.uint8)}, high)
    assert summary["metrics"]["false_positives_per_scan"]["pooled"]["numerator"] == 1
