"""`missrate calibrate` on a folder that evaluate wrote, and the promise of a study's arms."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from missrate import calibrate as room
from missrate.calibrate import Certify
from missrate.cli import main
from missrate.core import points, store
from missrate.core.case import CaseStatistics
from missrate.core.errors import ConfigError, InputError, StoreError
from missrate.core.quantise import level_of
from missrate.core.types import CertifiedLevel, OperatingPoint
from missrate.core.view import View
from missrate.evaluate import files, summary
from missrate.study import config, front, scans, work
from missrate.study.layout import Layout
from missrate.study.plan import plan
from missrate.study.points import read_patients
from missrate.study.stages import write_index
from tests.drawn import OVERLAP, case
from tests.predict.test_run2d import bright
from tests.readers.test_nifti import save
from tests.study import tiny
from tests.synthetic import cohort, scored
from tests.test_cli import Done

Call = Callable[..., Done]
BOTH = ["--false-positives-per-scan", "1", "--false-positive-ml-per-scan", "1"]
PATIENTS = ["--certify", "patient", "--miss-rate", "0.2"]


@pytest.fixture
def calibrate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The verb in this process, as the command line runs it."""

    def call(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["missrate", "calibrate", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return call


def evaluation(folder: Path, cases: list[CaseStatistics], **about: Any) -> Path:
    for each in cases:
        files.save(folder / "statistics" / f"{each.case_id}.npz", each)
    value = {
        "schema": summary.SCHEMA,
        "arm": "pred",
        "cases": len(cases),
        "missing_predictions": [],
        "failed": [],
    } | about
    store.write_json(folder / "summary.json", value)
    return folder


def promised(cases: list[CaseStatistics], level: CertifiedLevel = "patient") -> OperatingPoint:
    """A miss rate of at most 20 %, with confidence .95."""
    return room.certify(cases, OVERLAP, Certify(level=level, miss_rate=0.2), seen=None, name="certified")


@pytest.fixture
def nineteen(tmp_path: Path) -> Path:
    """19 patients with a lesion at .5, one of them also with one at .2, and a healthy one."""
    cases = [*cohort([30_000] * 18), scored([30_000, 12_000], "p18"), scored([], "healthy")]
    return evaluation(tmp_path / "evaluation", cases)


def test_a_target_is_kept_and_the_costs_are_told(calibrate: Call, nineteen: Path, tmp_path: Path) -> None:
    done = calibrate(nineteen, "--out", tmp_path / "point.json", *BOTH)
    assert done.returncode == 0, done.stderr
    # Nothing outside the lesions is predicted, so the lower lesion is found too.
    assert points.read(tmp_path / "point.json").thresholds == {None: 0.2}
    assert done.stdout.splitlines() == [
        "asked for: false_positives_per_scan <= 1 and false_positive_ml_per_scan <= 1, on 20 patients (19 with a "
        "lesion), 20 scans, 20 lesions",
        "threshold 0.2",
        "missed on these patients: 0 of 19 patients, 0 of 20 lesions, 0 of 20 lesion voxels",
        "cost on these patients: 0 false positives per scan, 0 false-positive ml per scan, 0 % of the voxels outside "
        "the lesions",
        "not certified: nothing is promised for new patients",
    ]


def test_other_kinds_of_point(calibrate: Call, nineteen: Path, tmp_path: Path) -> None:
    out = tmp_path / "point.json"
    assert calibrate(nineteen, "--out", out, "--patient-miss-rate", "0").returncode == 0
    assert points.read(out).thresholds == {None: 0.5}
    assert calibrate(nineteen, "--out", out, "--f-beta", "1").returncode == 0
    assert points.read(out).thresholds == {None: 0.2}


def test_a_promise_is_told_in_sentences(calibrate: Call, nineteen: Path, tmp_path: Path) -> None:
    done = calibrate(nineteen, "--out", tmp_path / "point.json", *PATIENTS)
    assert done.returncode == 0, done.stderr
    point = points.read(tmp_path / "point.json")
    assert point.certificate is not None
    # .8**19 = .0144, P(Binomial(19, .2) <= 1) = .0829: nobody may be missed. 1 - .05 ** (1 / 19) = .1459.
    assert (point.thresholds, point.certificate.n) == ({None: 0.5}, 19)
    # .86**19 = .0569, .85**19 = .0456: 36 rows from 15 to 50 %, and told every 35 / 4.
    assert done.stdout.splitlines() == [
        "asked for: patient_miss_rate <= 0.2 with confidence 0.95, on 20 patients (19 with a lesion), 20 scans, 20 "
        "lesions",
        "threshold 0.5",
        "missed on these patients: 0 of 19 patients, 1 of 20 lesions, 1 of 20 lesion voxels",
        "cost on these patients: 0 false positives per scan, 0 false-positive ml per scan, 0 % of the voxels outside "
        "the lesions",
        f"certified: {point.certificate.bound}",
        "on these patients the loss is 0; no false positives are bounded",
        "found at no threshold: 0 of 19, so at most 0.1459 of all patients (0.95 confidence)",
        "price of a promise (miss rate: false positives per scan on these patients): 0.15: 0, 0.24: 0, 0.33: 0, "
        "0.41: 0, 0.5: 0",
    ]


@pytest.mark.parametrize("level", ["patient", "lesion", "voxel"])
def test_the_kinds_of_promise(calibrate: Call, nineteen: Path, tmp_path: Path, level: str) -> None:
    out = tmp_path / "point.json"
    for words, said in (
        ([], "with confidence 0.95"),
        (["--confidence", "0.9"], "with confidence 0.9"),
        (["--in-expectation"], "in expectation"),
        (["--in-expectation", "--confidence", "0.9"], "in expectation"),
    ):
        assert calibrate(nineteen, "--out", out, "--certify", level, "--miss-rate", "0.2", *words).returncode == 0
        point = points.read(out)
        assert point.target == f"{level}_miss_rate <= 0.2 {said}"
        assert point.certificate is not None
        confidence = 0.9 if "0.9" in words else 0.95
        assert (point.certificate.level, point.certificate.confidence) == (level, confidence)
        assert point.certificate.in_expectation == ("--in-expectation" in words)


def test_the_price_is_in_the_file_and_told(calibrate: Call, tmp_path: Path) -> None:
    # Ten tumours each at .2, .6 and .8, with a false alarm of .1 ml beside each of the first ten at .3: n = 30, and
    # .9**30 = .0424, .91**30 = .0591, so from 10 % on. More than nine may be missed from the miss rate on at which
    # P(Binomial(30, a) <= 10) <= .05; up to it the threshold is .2 and costs a third of a false positive.
    drawings = [f"{tumour}.{alarm}" for tumour, alarm in (("2", "3"), ("6", "."), ("8", ".")) for _ in range(10)]
    cases = [case("#..", each, f"p{i:02}") for i, each in enumerate(drawings)]
    folder, out = evaluation(tmp_path / "e", cases), tmp_path / "point.json"
    done = calibrate(folder, "--out", out, *PATIENTS)
    assert done.returncode == 0, done.stderr
    price = store.read_json(out)["price"]
    assert [row["miss_rate"] for row in price] == [percent / 100 for percent in range(10, 51)]
    cheap = [percent for percent in range(10, 51) if stats.binom.cdf(10, 30, percent / 100) <= 0.05]
    assert [round(100 * row["miss_rate"]) for row in price if row["threshold"] == 0.6] == cheap == [*range(50, 51)]
    for row in price:
        low = row["threshold"] == 0.2
        assert low or row["threshold"] == 0.6
        assert row["false_positives_per_scan"] == pytest.approx(1 / 3 if low else 0)
        assert row["false_positive_ml_per_scan"] == pytest.approx(1 / 30 if low else 0)
    point = points.read(out)
    assert point.certificate is not None
    (asked,) = [row for row in price if row["miss_rate"] == 0.2]
    assert asked == {
        "miss_rate": 0.2,
        "threshold": point.thresholds[None],
        "false_positives_per_scan": point.certificate.false_positives_per_scan,
        "false_positive_ml_per_scan": point.certificate.false_positive_ml_per_scan,
    }
    assert done.stdout.splitlines()[-1] == (
        "price of a promise (miss rate: false positives per scan on these patients): 0.1: 0.3333, 0.2: 0.3333, "
        "0.3: 0.3333, 0.4: 0.3333, 0.5: 0"
    )
    # A plain point promises nothing, and has no price.
    done = calibrate(folder, "--out", out, *BOTH)
    assert store.read_json(out)["price"] == []
    assert "price of a promise" not in done.stdout


def test_what_cannot_be_promised_has_no_price(calibrate: Call, tmp_path: Path) -> None:
    out = tmp_path / "point.json"
    # .5**4 = .0625; and of 60 half are never found: P(Binomial(60, .613) <= 30) = .05.
    for name, levels, reason in (
        ("few", [30_000] * 4, "not certifiable with 4 patients: needs n >= 14"),
        ("never", [30_000, 0] * 30, "30 of 60 calibration patients are found at no threshold, so 0.6126 of all"),
    ):
        done = calibrate(evaluation(tmp_path / name, cohort(levels)), "--out", out, *PATIENTS)
        assert done.returncode == 1
        assert f"no threshold: {reason}" in done.stdout
        assert "price of a promise" not in done.stdout
        assert (store.read_json(out)["price"], store.read_json(out)["certificate"]) == ([], None)


def test_an_empty_promise_is_called_one(calibrate: Call, tmp_path: Path) -> None:
    # In every scan the tumour at .9 with a false alarm of .1 ml; drawn from the floor .1 upwards.
    alarms = evaluation(tmp_path / "alarms", [case("#..", "9.9", f"p{i}") for i in range(19)])
    floor = evaluation(tmp_path / "floor", [case("#..", "1..", f"p{i}") for i in range(19)])
    out = tmp_path / "point.json"
    count, ml = ["--false-positives-per-scan"], ["--false-positive-ml-per-scan"]
    for folder, words, empty in (
        (alarms, [], None),
        (alarms, [*count, "1", *ml, "0.1"], None),
        (alarms, [*count, "0.5", *ml, "inf"], "it costs 1 false positives per scan, more than the 0.5 that were"),
        (alarms, [*count, "inf", *ml, "0.05"], "it costs 0.1 false-positive ml per scan, more than the 0.05 that"),
        (floor, [], "its threshold is the floor, the lowest from which anything is known"),
    ):
        done = calibrate(folder, "--out", out, *PATIENTS, *words)
        # It is true, and has a threshold.
        assert done.returncode == 0, done.stderr
        certificate = points.read(out).certificate
        assert certificate is not None
        if empty is None:
            assert certificate.empty is None
            assert "empty promise" not in done.stdout
        else:
            assert certificate.empty is not None and certificate.empty.startswith(empty)
            assert f"an empty promise: {certificate.empty}" in done.stdout.splitlines()


def test_the_volume_of_a_constant_map_is_told(calibrate: Call, tmp_path: Path) -> None:
    # 9 of 10 voxels of .1 ml lie outside; the one candidate touches the lesion, so it is no false positive.
    folder = evaluation(tmp_path / "e", [case("#" + "." * 9, "4" * 10, f"p{i}") for i in range(19)])
    done = calibrate(folder, "--out", tmp_path / "point.json", *PATIENTS)
    assert "0 false positives per scan, 0.9 false-positive ml per scan, 100 % of the voxels outside" in done.stdout
    # Asked for a point that keeps a volume it is not chosen: nothing is found above it, and that is no point.
    told = calibrate(folder, "--out", tmp_path / "point.json", *BOTH[:2], "--false-positive-ml-per-scan", "0.8")
    assert told.returncode == 1
    assert told.stdout.endswith("no usable threshold exists: the best one, 1, finds nothing\n")


def test_too_few_patients_end_with_1_and_the_file_says_why(calibrate: Call, tmp_path: Path) -> None:
    folder, out = evaluation(tmp_path / "e", cohort([30_000] * 58)), tmp_path / "point.json"
    done = calibrate(folder, "--out", out, "--certify", "patient", "--miss-rate", "0.05")
    assert done.returncode == 1
    assert "no threshold: not certifiable with 58 patients: needs n >= 59" in done.stdout
    written = points.read(out)
    assert written.thresholds == {None: None}
    assert written.reason == "not certifiable with 58 patients: needs n >= 59"


def test_no_admissible_threshold_ends_with_1(calibrate: Call, tmp_path: Path) -> None:
    # A false positive at the highest level there is.
    folder = evaluation(tmp_path / "e", [case("#..", "5.#")])
    zero = ["--false-positives-per-scan", "0", "--false-positive-ml-per-scan", "inf"]
    done = calibrate(folder, "--out", tmp_path / "point.json", *zero)
    assert done.returncode == 1
    assert "no threshold was admissible: even the highest one exceeds" in done.stdout


def test_who_was_not_predicted_is_told_and_voids_a_promise(calibrate: Call, tmp_path: Path) -> None:
    failed = [{"case_id": "lost", "reason": "another grid"}]
    folder = evaluation(tmp_path / "e", cohort([30_000] * 30), missing_predictions=["none", "p0"], failed=failed)
    done = calibrate(folder, "--out", tmp_path / "point.json", *PATIENTS)
    assert done.returncode == 1
    # p0 was measured as a miss, so nothing of it is lacking.
    assert "not certifiable without predictions of lost, none (2 in all)" in done.stdout
    plain = calibrate(folder, "--out", tmp_path / "point.json", *BOTH)
    assert plain.returncode == 0
    assert "without a prediction, and left out: lost, none (2 in all)" in plain.stdout


def test_seen_patients_void_a_promise_and_mark_a_plain_point(calibrate: Call, nineteen: Path, tmp_path: Path) -> None:
    seen, out = tmp_path / "seen.csv", tmp_path / "point.json"
    seen.write_text("case_id,patient_id\nx,p3\ny,p4\nz,elsewhere\n")
    done = calibrate(nineteen, "--out", out, *PATIENTS, "--seen", seen)
    assert done.returncode == 2
    assert "Got 2 that the model was trained or selected on: p3, p4" in done.stderr
    assert not out.exists()
    plain = calibrate(nineteen, "--out", out, *BOTH, "--seen", seen)
    assert plain.returncode == 0
    assert "not certified: the model was trained or selected on p3, p4 (2 in all)" in plain.stdout
    seen.write_text("elsewhere\n")
    assert "none of whom the model was trained" in calibrate(nineteen, "--out", out, *PATIENTS, "--seen", seen).stdout


def test_lists_of_patients(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    for text in ("a\nb\n\n", "patient_id\na\nb", "x,patient_id\n1,a\n2,b\n3\n", "\ufeffa\r\nb\r\n"):
        path.write_text(text, encoding="utf-8")
        assert read_patients(path) == {"a", "b"}
    for text, words in (("a,b\n", "plain list, or a CSV"), ("", "at least one patient"), ("patient_id\n", "at least")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_patients(path)
    with pytest.raises(InputError, match="must be a list"):
        read_patients(tmp_path / "absent")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "exactly one of"),
        ([*BOTH, "--f-beta", "1"], "Got --false-positives-per-scan with --false-positive-ml-per-scan, --f-beta."),
        (BOTH[:2], "a bound on the count alone admits the map that calls everything one tumour; perhaps give inf"),
        (BOTH[2:], "Got one of them"),
        (["--false-positives-per-scan", "inf", "--false-positive-ml-per-scan", "inf"], "must bound something"),
        (["--false-positives-per-scan", "-1", "--false-positive-ml-per-scan", "1"], "greater than or equal to 0"),
        (["--false-positives-per-scan", "nan", "--false-positive-ml-per-scan", "1"], "greater than or equal to 0"),
        (["--patient-miss-rate", "5"], "must lie in [0, 1]"),
        (["--f-beta", "0"], "must lie in [.001, 1000]"),
        (["--certify", "patient"], "--certify must come with --miss-rate"),
        (["--miss-rate", "0.1"], "must come with --certify"),
        (["--confidence", "0.9"], "must come with --certify"),
        (["--in-expectation"], "must come with --certify"),
        ([*BOTH, "--in-expectation"], "must come with --certify"),
        (["--certify", "patient", "--miss-rate", "1"], "less than or equal to 0.9999"),
        (["--certify", "voxel", "--miss-rate", "0.1", "--confidence", "1"], "less than or equal to 0.9999"),
        ([*PATIENTS, *BOTH[:2]], "a bound on the count alone admits the map that calls everything one tumour"),
        ([*PATIENTS, "--f-beta", "1"], "Got --f-beta, --certify."),
        ([*BOTH, "--least-volume-ml", "-1"], "--least-volume-ml must lie in"),
    ],
)
def test_misuse_is_one_sentence_and_exit_2(
    calibrate: Call, nineteen: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    done = calibrate(nineteen, "--out", tmp_path / "point.json", *words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "point.json").exists()


def test_folders_that_cannot_calibrate(calibrate: Call, nineteen: Path, tmp_path: Path) -> None:
    masks = evaluation(tmp_path / "masks", [replace(each, kind="mask") for each in cohort([60_000] * 19)])
    healthy = evaluation(tmp_path / "healthy", [scored([], "h")])
    for folder, words, sentence in (
        (masks, BOTH, "must have scores"),
        (masks, PATIENTS, "must have scores"),
        (healthy, BOTH, "at least one lesion"),
        (tmp_path / "absent", BOTH, "must be readable"),
        (evaluation(tmp_path / "empty", []), BOTH, "at least one case"),
    ):
        done = calibrate(folder, "--out", tmp_path / "point.json", *words)
        assert (done.returncode, sentence in done.stderr) == (2, True), done
    assert "--out POINT.json" in calibrate(nineteen, *BOTH).stderr
    store.write_json(nineteen / "statistics" / "index.json", {})
    assert "Got an arm of a study" in calibrate(nineteen, "--out", tmp_path / "point.json", *BOTH).stderr


def test_a_study_takes_its_points_from_its_file(calibrate: Call, tmp_path: Path) -> None:
    done = calibrate(tiny.write(tmp_path), *BOTH)
    assert done.returncode == 2
    assert "must say in [evaluate] which points" in done.stderr


def test_predict_takes_one_threshold_from_one_place(tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    points.write(path, OperatingPoint("t", {None: None}, "calibration", reason="too few"), patients=[])
    with pytest.raises(InputError, match=r"must have a threshold\. Got none: too few"):
        front.predict_scans(tmp_path, [tmp_path / "s.nii.gz"], tmp_path, point=path, trust_code=True)
    with pytest.raises(ConfigError, match="Got both"):
        front.predict_scans(tmp_path, [tmp_path / "s.nii.gz"], tmp_path, 0.5, point=path)


def test_predict_writes_the_mask_of_the_point_and_says_so(tmp_path: Path) -> None:
    # The probability of this model is the brightness / 1000: .2, .4 and .6 in three planes.
    run, scan, path = bright(tmp_path), tmp_path / "scan.nii.gz", tmp_path / "point.json"
    save(scan, np.broadcast_to(np.array([200, 400, 600], np.int16), (4, 5, 3)), np.eye(4))
    promise = promised(cohort([level_of(0.4)] * 19))
    assert promise.certificate is not None
    empty = replace(promise.certificate, empty="its threshold is the floor")
    for point, said in (
        (promise, "certified: patient_miss_rate <= 0.2 with confidence 0.95, certified"),
        (
            replace(promise, certificate=empty, name="mine"),
            "mine: patient_miss_rate <= 0.2 with confidence 0.95, certified, but empty: its threshold is the floor",
        ),
        (replace(promise, certificate=None, target="t", name="mine"), "mine: t, not certified"),
    ):
        points.write(path, point, arm="bright", weights=store.hash_file(run / "weights.safetensors"), patients=[])
        (line,), failed = front.predict_scans(run, [scan], tmp_path / "out", point=path, trust_code=True)
        assert failed == []
        assert f"0.0 ml marked at threshold 0.4 (operating point {said})" in line
        mask = np.asarray(nib.load(tmp_path / "out" / "scan_mask.nii.gz").dataobj)
        assert mask.sum(axis=(0, 1)).tolist() == [0, 20, 20]
    points.write(path, promise, patients=[])
    (line,), _ = front.predict_scans(run, [scan], tmp_path / "out", point=path, trust_code=True)
    assert "certified; of a folder, perhaps of another model's predictions" in line
    (line,), _ = front.predict_scans(run, [scan], tmp_path / "out", trust_code=True)
    assert "at threshold 0.5; warning: values 200..600, none below 0" in line


def test_a_point_of_another_arm_or_of_other_weights_is_refused(tmp_path: Path) -> None:
    run, path = bright(tmp_path), tmp_path / "point.json"
    own = store.hash_file(run / "weights.safetensors")
    for arm, weights, got in (
        ("everything", None, "arm 'everything'"),
        ("averaged", own, "arm 'averaged'"),  # the same weights, applied otherwise
        ("bright", "sha256:0", "other weights of arm 'bright'"),
    ):
        points.write(path, OperatingPoint("t", {None: 0.5}, "calibration"), patients=[], arm=arm, weights=weights)
        with pytest.raises(InputError, match=f"must be that of the run, arm 'bright'. Got that of {got}"):
            front.predict_scans(run, [tmp_path / "s.nii.gz"], tmp_path, point=path, trust_code=True)


def test_candidates_that_a_point_does_not_know_are_not_listed(tmp_path: Path) -> None:
    run, scan, path = bright(tmp_path), tmp_path / "scan.nii.gz", tmp_path / "point.json"
    values = np.full((9, 9, 3), -100, np.int16)
    values[:2, :2, 1], values[4:, 4:, 1] = 900, 900  # 4 and 25 voxels of 1 mm
    save(scan, values, np.eye(4))
    points.write(
        path, OperatingPoint("t", {None: 0.5}, "calibration"), matching={"least_volume_ml": 0.025}, patients=[]
    )
    (line,), _ = front.predict_scans(run, [scan], tmp_path / "out", point=path, trust_code=True)
    assert "1 candidate(s) of at least 0.025 ml, 0.0 ml marked" in line
    assert len((tmp_path / "out" / "scan_candidates.csv").read_text().splitlines()) == 2


def test_a_threshold_that_is_none_is_refused_before_anything_is_predicted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must lie in \(0, 1\]. Got 2"):
        front.predict_scans(bright(tmp_path), [tmp_path / "absent.nii.gz"], tmp_path / "out", 2.0, trust_code=True)


def test_scans_are_told_apart_by_as_many_folders_as_it_takes(tmp_path: Path) -> None:
    def named(*paths: str) -> list[str]:
        return scans.names([tmp_path / path for path in paths])

    assert named("p1/ct/scan.nii.gz", "p2/ct/scan.nii.gz", "other.nii") == ["p1_ct_scan", "p2_ct_scan", "other"]
    clash = named("a/s.nii", "b/s.nii", "c/a_s.nii")
    assert len(set(clash)) == 3
    for pair in (("p/s.nii", "p/s.nii.gz"), ("p/s.nii", "p/../p/s.nii")):
        with pytest.raises(InputError, match="must differ in name or folder"):
            named(*pair)


def test_a_spacing_that_cannot_be_is_one_failed_scan(tmp_path: Path) -> None:
    run = bright(tmp_path, view=View(spacing_mm=2.6, window_hu=(0, 1000)))
    for name, mm in (("wrong", 3000.0), ("right", 1.0)):
        save(tmp_path / f"{name}.nii.gz", np.zeros((20, 20, 2), np.int16), np.diag([mm, mm, 1.0, 1.0]))
    both = [tmp_path / "wrong.nii.gz", tmp_path / "right.nii.gz"]
    done, failed = front.predict_scans(run, both, tmp_path / "out", trust_code=True)
    assert len(done) == 1
    assert "at most 8192 voxels along an axis. Got 23077" in failed[0] and "3000 x 3000 x 1 mm is wrong" in failed[0]


# In a study.

CERTIFY = 'evaluate.certify={ level = "patient", miss_rate = 0.4 }'


def test_another_promise_repeats_no_comparison(tmp_path: Path) -> None:
    study = tiny.write(tmp_path)
    without, one, other = (
        {s.name: s for s in plan(config.read_study(study, given), tmp_path / "out")}
        for given in ([], [CERTIFY], [CERTIFY.replace("0.4", "0.5")])
    )
    assert one.keys() - without.keys() == {
        f"calibrate/{arm}/certified"
        for arm in ("maskrcnn", "unet", "averaged", "nothing", "everything", "location_prior")
    }
    changed = {name for name in one if one[name].config != other[name].config}
    assert changed == one.keys() - without.keys()
    # The summary and the report read the new file; the comparison does not, nor has its own configuration changed.
    readers = {name.split("/")[0] for name, stage in one.items() if set(stage.inputs) & changed}
    assert readers == {"summarise", "report"}
    assert (one["compare"].config, one["compare"].inputs) == (without["compare"].config, without["compare"].inputs)
    # Which patients were seen is known from training: its stage is an input, that of null arms none.
    assert "train/maskrcnn" in one["calibrate/averaged/certified"].inputs
    assert not any(name.startswith("train") for name in one["calibrate/nothing/certified"].inputs)
    owned = [path for stage in one.values() for path in stage.owns]
    assert len(owned) == len(set(owned))


def test_a_promise_needs_a_calibration_part(tmp_path: Path) -> None:
    for split in (tiny.FOLDS, "parts = { train = 8, test = 2 }"):
        with pytest.raises(ConfigError, match="certify must have a calibration part"):
            config.read_study(tiny.write(tmp_path, split), [CERTIFY])


def test_a_promise_is_empty_beyond_the_bounds_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layout, "statistics_files", lambda *_: [])  # of what was never evaluated here

    def wanted(*given: str) -> Certify:
        stages = {s.name: s for s in plan(config.read_study(tiny.write(tmp_path), [CERTIFY, *given]), tmp_path / "out")}
        stage = stages["calibrate/unet/certified"]
        (task,) = stage.tasks()
        found = next(value for value in task.arguments.values() if isinstance(value, Certify))
        # Other bounds are another promise: the stage runs again.
        assert found.model_dump() in stage.config
        return found

    target = "evaluate.target={ false_positives_per_scan = 3, false_positive_ml_per_scan = 30 }"
    for found, bounds in (
        (wanted(), (2, 20)),
        (wanted(target), (3, 30)),
        (wanted(target, "evaluate.certify.false_positive_ml_per_scan=5"), (3, 5)),
    ):
        assert (found.level, found.miss_rate) == ("patient", 0.4)
        assert (found.false_positives_per_scan, found.false_positive_ml_per_scan) == bounds


@pytest.fixture
def written(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "statistics" / f"p{i}.npz" for i in range(19)]
    for path, each in zip(paths, cohort([30_000] * 19), strict=True):
        files.save(path, each)
    return paths


def certified(paths: list[Path], out: Path, run: Path | None = None) -> OperatingPoint:
    wanted = Certify(level="patient", miss_rate=0.2)
    work.certify_point(paths, out, wanted, matching=OVERLAP, arm="a", run=run, source="s")
    return points.read(out)


def test_an_arm_is_certified_unless_its_run_saw_a_patient(written: list[Path], tmp_path: Path) -> None:
    out, run = tmp_path / "certified.json", tmp_path / "run"
    provenance = run / "provenance.json"
    store.write_text(run / "weights.safetensors", "weights")
    store.write_json(provenance, {"schema": store.PROVENANCE, "patients": {"s": ["t0"], "other": ["p0"]}})
    known = certified(written, out, run).certificate
    assert known is not None and "none of whom the model was trained or selected on" in known.bound
    # .86**19 = .0569, .85**19 = .0456.
    assert [row["miss_rate"] for row in store.read_json(out)["price"]] == [percent / 100 for percent in range(15, 51)]
    unknown = certified(written, out).certificate
    assert unknown is not None and "provided that these 19 patients were used for nothing else" in unknown.bound
    store.write_json(provenance, {"schema": store.PROVENANCE, "patients": {"s": ["p0"]}})
    refused = certified(written, out, run)
    origin = points.origin(out)
    assert (origin.arm, origin.weights) == ("a", store.hash_file(run / "weights.safetensors"))
    assert origin.chosen_on([(name, "new") for name in ("p0", "p18", "p19")]) == ["p0", "p18"]
    assert refused.thresholds == {None: None}
    assert refused.reason is not None and "Got 1 that the model was trained or selected on: p0" in refused.reason
    assert store.read_json(out)["price"] == []


def test_an_arm_without_a_prediction_or_with_masks_is_not_certified(written: list[Path], tmp_path: Path) -> None:
    lacking = certified([*written, tmp_path / "statistics" / "lost.npz"], tmp_path / "certified.json")
    assert lacking.reason == "Every calibration case must have a prediction. Got none for lost."
    for path in written:
        files.save(path, replace(files.load(path), kind="mask"))
    masks = certified(written, tmp_path / "certified.json")
    assert masks.reason is not None and "must have scores" in masks.reason


def test_the_certified_point_comes_after_the_fixed_ones(tmp_path: Path) -> None:
    target = room.Target(false_positives_per_scan=1, false_positive_ml_per_scan=1)
    cases = cohort([30_000] * 19)
    paths = [tmp_path / name for name in ("calibrated.json", "certified.json", "none.json")]
    points.write(paths[0], room.choose(cases, OVERLAP, target=target, name="calibrated"), patients=[])
    points.write(paths[1], promised(cases), patients=[])
    points.write(paths[2], OperatingPoint("none", {None: None}, "calibration"), patients=[])
    ordered = work.order_points([paths[2], paths[1], paths[0]], (0.5, 0.25), [None])
    assert [point.name for point in ordered] == ["calibrated", "0.5", "0.25", "certified", "none"]


def test_a_calibrated_point_below_the_floor_of_a_noisy_test_scan_gives_way_to_the_fixed_one() -> None:
    # One of three scans is noisier than those of the calibration: its candidates are known from .4 upwards only.
    cases = [*cohort([30_000] * 3)[:2], replace(cohort([30_000])[0], case_id="noisy")]
    tree = replace(cases[2].trees[0], lowest=level_of(0.4))
    cases[2] = replace(cases[2], trees=(tree,))
    calibrated, half = (
        OperatingPoint("calibrated", {None: 0.3}, "calibration"), OperatingPoint("0.5", {None: 0.5}, "fixed")
    )  # fmt: skip
    assert [point.name for point in work.answerable([calibrated, half], cases[:2])] == ["calibrated", "0.5"]
    first, last = work.answerable([calibrated, half], cases)
    assert (first, last.name, last.thresholds) == (half, "calibrated", {None: None})
    assert last.reason is not None and "from 0.4 upwards only in 1 of 3 scans, such as noisy" in last.reason


def test_the_summary_shows_the_promise_and_what_lies_below_the_floor(tmp_path: Path) -> None:
    # Voxels are certified at .005, where the candidates of these scans are not known.
    cases, folder = cohort([300] * 19, floor=600), tmp_path / "arm"
    file = tmp_path / "certified.json"
    about: dict[str, Any] = {"arm": "a", "matchings": [OVERLAP], "part": "test", "seed": 0, "missing": []}
    about |= {"failed": [], "inputs": {}, "resamples": 100, "fixed": (0.5,), "folds": [None]}
    paths = [tmp_path / f"{each.case_id}.npz" for each in cases]
    for path, each in zip(paths, cases, strict=True):
        files.save(path, each)
    low = promised(cases, "voxel")
    assert low.thresholds == {None: 0.005}
    points.write(file, low, patients=[])
    work.summarise(paths, folder, [file], **about)
    entry = json.loads((folder / "summary.json").read_text())["also"][-1]
    assert entry["operating_point"]["threshold"] is None
    assert entry["reason"].startswith("chosen at 0.005, but candidates are known from 0.01 upwards only in 19 of 19")
    # Above the floor it is one more point, with its certificate.
    high = promised(cohort([level_of(0.3)] * 19))
    points.write(file, high, patients=[])
    work.summarise(paths, folder, [file], **about)
    entry = json.loads((folder / "summary.json").read_text())["also"][-1]
    assert (entry["operating_point"]["name"], entry["operating_point"]["certified"]) == ("certified", True)
    assert high.certificate is not None
    assert entry["operating_point"]["certificate"]["bound"] == high.certificate.bound
    assert entry["metrics"]["patient_miss_rate"]["pooled"]["value"] == 1.0


def test_statistics_that_are_gone_or_of_another_case_are_named(written: list[Path], tmp_path: Path) -> None:
    write_index(tmp_path / "statistics", [path.name for path in written])
    assert len(work.load_statistics(written)) == 19
    written[3].write_bytes(written[4].read_bytes())
    with pytest.raises(StoreError, match=r"p3\.npz must be the file that was measured\. Got another file"):
        work.load_statistics(written)
    written[3].unlink()
    with pytest.raises(StoreError, match=r"p3\.npz must be the file that was measured\. Got none"):
        work.load_statistics(written)


def test_a_promise_at_the_top_or_of_an_unknown_volume_is_empty() -> None:
    top = room.certify(cohort([60_000] * 19), OVERLAP, Certify(level="patient", miss_rate=0.2), seen=None, name="c")
    assert top.certificate is not None
    assert top.certificate.empty == "its threshold is 1, at which only certain voxels are predicted"
    pixels = [replace(each, voxel_ml=None) for each in cohort([30_000] * 19)]
    wanted = Certify(level="patient", miss_rate=0.2, false_positive_ml_per_scan=1.0)
    unknown = room.certify(pixels, OVERLAP, wanted, seen=None, name="c").certificate
    assert unknown is not None
    assert unknown.empty == "its false-positive ml per scan are not known: there are only pixels"
