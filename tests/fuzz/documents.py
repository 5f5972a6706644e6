"""A sound one of every document that missrate writes and reads back, and what uses it."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from missrate import split as splitting
from missrate.core import points, store, viewed
from missrate.core.crop import Crop
from missrate.core.grid import Grid
from missrate.core.types import Prediction
from missrate.evaluate import files
from missrate.export.about import Target as About
from missrate.study import config, folder, intake, outside, runner, side_by_side, work
from missrate.study import points as study_points
from missrate.study.plan import plan
from missrate.study.sources import SourceConfig, anchored
from tests.fuzz.command import command
from tests.fuzz.target import Target, made
from tests.readers.test_nifti import save
from tests.study import tiny


def of_study(root: Path) -> list[Target]:
    """The study file, prepared data, the split, views, and the ledger."""
    path = tiny.write(made(root / "study"))
    out = root / "study" / "out"
    stages = plan(config.read_study(path, []), out, folder=path.parent)
    for room in ("split", "view"):
        runner.run(runner.until(stages, room), out, workers=0, watch=lambda _: None)
    prepared = store.Prepared(out / "prepared" / "target")
    case = sorted(row["case_id"] for row in prepared.manifest()["cases"])[0]
    held, views = prepared.case_folder(case), next((prepared.folder / "views").iterdir())
    split = out / "split.json"
    # A study of its own: a stage with another key is moved away and made anew, under the feet of the other targets.
    apart = Path(shutil.copytree(out, root / "study" / "apart"))
    known, mark = (
        plan(config.read_study(path, []), apart, folder=path.parent),
        apart / "stages" / "prepare--target.json",
    )

    def read() -> None:
        plan(config.read_study(path, []), out, folder=path.parent)

    def export(to: About) -> None:
        shutil.rmtree(root / "exported", ignore_errors=True)
        outside.export(prepared.folder, root / "exported", to, split=split, workers=0)

    def divide() -> None:
        wanted = splitting.SplitConfig(source="target", folds=2)
        splitting.split(prepared.manifest_path, wanted, root / "again.json")

    def resume() -> None:
        runner.status(known, apart)
        runner.run(runner.until(known, "split"), apart, workers=0, watch=lambda _: None)

    def look() -> None:
        seen = viewed.read_view(views, case)
        for z in range(seen.image_XYZ.shape[2]):
            seen.lesion_in(z)
        seen.leading(2)
        np.asarray(seen.image_XYZ).sum()

    return [
        Target("study.toml", path, "toml", read),
        Target("study.toml", path, "bytes", read),
        Target("study.toml by command", path, "toml", command("status", path, "--out", out)),
        Target("manifest.json", prepared.manifest_path, "json", partial(export, "msd")),
        Target("manifest.json", prepared.manifest_path, "json", divide),
        Target("split.json", split, "json", partial(export, "nnunet")),
        Target("split.json", split, "bytes", partial(export, "nnunet")),
        Target("ledger", mark, "json", resume),
        Target("ledger", mark, "bytes", partial(runner.status, known, apart)),
        Target("ledger by command", mark, "json", command("status", path, "--out", apart)),
        Target("prepared image", held / "image.b2nd", "bytes", partial(prepared.load, case, "p")),
        Target("prepared label", held / "label.b2nd", "bytes", partial(prepared.load, case, "p")),
        Target("view", views / f"{case}.json", "json", look),
        *(Target("view", views / f"{case}.{name}.npy", "bytes", look) for name in ("image", "label", "lesion")),
    ]


def of_evaluations(root: Path) -> list[Target]:
    """What evaluate, calibrate and compare leave, and levels of a prediction."""
    rng = np.random.default_rng(1)
    for case in ("a", "b", "c"):
        noise = rng.random((9, 8, 7))
        values = np.where(rng.random((9, 8, 7)) < 0.1, noise, 0).astype(np.float32)
        save(root / "reference" / f"{case}.nii.gz", (values > 0.6).astype(np.uint8))
        save(root / "predicted" / f"{case}.nii.gz", np.clip(values + 0.2 * noise, 0, 1).astype(np.float32))
    first, second, point = root / "first", root / "second", root / "point.json"
    for out in (first, second):
        folder.evaluate(folder.Request(root / "reference", root / "predicted", out), workers=0)
    target = study_points.target_of(10.0, 1e9)
    study_points.calibrate_folder(study_points.Request(second, point, target=target))
    both = side_by_side.Request([str(first), str(second)], out=root / "compared")
    side_by_side.compare(both)
    statistics, level, grid = first / "statistics" / "a.npz", made(root / "levels") / "a.b2nd", Grid.of((9, 8, 7), None)
    levels_XYZ = rng.integers(0, 60000, (9, 8, 7)).astype(np.uint16)
    store.write_prediction(level, Prediction(Crop.whole(levels_XYZ, grid), "probability"))

    def calibrate() -> None:
        study_points.calibrate_folder(study_points.Request(first, root / "point2.json", target=target))

    def compare() -> None:
        side_by_side.comparison_table(side_by_side.compare(both))

    def use_point() -> None:
        read, _ = points.read(point), points.origin(point)
        folder.Request(root, root, root, operating_point=point).declared()
        points.only_threshold(read)

    written = partial(side_by_side.written_table, root / "compared" / "comparison.json")
    evaluate = command(
        *("evaluate", "--reference", root / "reference", "--predictions", root / "predicted", "--workers", "0"),
        *("--operating-point", point, "--out", root / "third"),
    )
    return [
        Target("statistics", statistics, "bytes", partial(files.load, statistics)),
        Target("statistics", statistics, "zipped json", calibrate),
        Target("statistics", statistics, "zipped json", compare),
        Target("summary.json", first / "summary.json", "json", compare),
        Target("summary.json", first / "summary.json", "json", calibrate),
        Target("summary.json by command", first / "summary.json", "json", command("compare", first, second)),
        Target("comparison.json", root / "compared" / "comparison.json", "json", written),
        Target("operating point", point, "json", use_point),
        Target("operating point", point, "bytes", use_point),
        Target(
            "operating point by command",
            point,
            "json",
            evaluate,
        ),
        Target("prediction levels", level, "bytes", partial(work.predicted, level, grid)),
    ]


def of_checks(root: Path) -> list[Target]:
    """What ``missrate check`` leaves of a case, from which it goes on."""
    source = SourceConfig(path=str(root / "nii"), options={"role": "labels"}, labels=None)
    known, out = anchored(source, Path(), data=root / "larder"), root / "checked"
    intake.check(known, "x", out, workers=0)
    case = out / "cases" / "a"
    go_on = partial(intake.check, known, "x", out, workers=0)
    return [
        Target("case.json", case / "case.json", "json", go_on),
        Target("case.json", case / "picture.npz", "bytes", go_on),
        Target("case.json", out / "key.json", "json", go_on),
    ]
