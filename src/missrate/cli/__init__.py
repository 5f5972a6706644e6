"""The verbs: each parses, calls one function, prints. Data goes to stdout, everything else to stderr.

Exit codes: 0 done; 1 done, and the answer is no; 2 what was given cannot be used (one sentence, no traceback).
"""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from missrate.cli import data as _data  # noqa: F401 - its verbs are added to the program
from missrate.cli._app import AsJson, Assign, Offline, Out, StudyFile, Workers, app
from missrate.core.errors import ConfigError, InputError, MissrateError

__all__ = ["app", "main"]
NO_MEMORY = (
    "This must fit into memory. Got no more of it; perhaps use fewer --workers. What was finished is kept; run the "
    "same command again."
)


def main() -> None:
    """The command ``missrate``."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        app()
    except MissrateError as error:
        if debug:
            raise
        typer.echo(f"missrate: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # of names that were given here; whatever is read or written says so itself
        if debug:
            raise
        typer.echo(f"missrate: {InputError(f'Files must be reachable. Got: {error}.')}", err=True)
        sys.exit(2)
    except MemoryError:
        if debug:
            raise
        typer.echo(f"missrate: {NO_MEMORY}", err=True)
        sys.exit(2)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """``--debug`` is taken in ``main``; it stands here so that ``--help`` names it."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo"),
    assign: Assign = None,
    workers: Workers = None,
) -> None:
    """The whole study on an embedded synthetic CT cohort, in minutes; ends by naming the report."""
    from missrate.study import front

    typer.echo(front.run(front.DEMO, out, assign=assign or [], workers=workers))


@app.command()
def run(  # noqa: PLR0917 - typer calls it by name
    study: StudyFile,
    out: Out = None,
    assign: Assign = None,
    workers: Workers = None,
    offline: Offline = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the stages, their cost, and what would fail.")
    ] = False,
) -> None:
    """Prepare, split, train every arm, predict, evaluate, calibrate, compare, report; resumes where it stopped."""
    from missrate.study import front

    if dry_run:
        typer.echo(front.dry_run(study, out, assign=assign or [], offline=offline))
    else:
        typer.echo(front.run(study, out, assign=assign or [], workers=workers, offline=offline))


@app.command()
def status(study: StudyFile, out: Out = None, assign: Assign = None, as_json: AsJson = False) -> None:
    """Which stages of a study are done, stale or missing."""
    from missrate.study import front

    typer.echo(front.status(study, out, assign=assign or [], as_json=as_json))


def _until(room: str, text: str) -> None:
    """Adds the verb of one room: the stages of a study up to and including it."""

    def command(
        study: StudyFile, out: Out = None, assign: Assign = None, workers: Workers = None, offline: Offline = False
    ) -> None:
        from missrate.study import front

        typer.echo(front.run(study, out, assign=assign or [], workers=workers, offline=offline, room=room))

    app.command(name=room, help=text)(command)


_until("prepare", "Check and store the scans of a study, on their own grids.")
_until("split", "Assign the patients of a study to parts or folds.")
_until("train", "Train the arms of a study.")
_until("report", "Draw the report of a study.")


@app.command()
def predict(  # noqa: PLR0917 - typer calls it by name
    run: Annotated[Path, typer.Argument(help="A run (folder with weights.safetensors), or a study file.")],
    scans: Annotated[list[Path] | None, typer.Argument(help="NIfTI scans.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the masks of new scans (default: predictions); of a study file: where the study lives."
        ),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Of the mask beside the probability (default .5).")] = None,
    operating_point: Annotated[Path | None, typer.Option(help="Instead: a point that calibrate wrote.")] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Execute the files that the run names.")] = False,
) -> None:
    """New scans to probability and mask on the scan's own grid (NIfTI), a table of candidates and a picture."""
    from missrate.study import front

    if run.suffix == ".toml":
        if scans or trust_code or threshold is not None or operating_point is not None:
            raise ConfigError(
                "Scans, --threshold, --operating-point and --trust-code must come with a run. Got a study file."
            )
        typer.echo(front.run(run, out, assign=[], room="predict"))
    else:
        done, failed = front.predict_scans(
            run, scans or [], out or Path("predictions"), threshold, point=operating_point, trust_code=trust_code
        )
        typer.echo("\n".join([*done, *failed]))
        if failed:
            raise typer.Exit(1)


@app.command()
def evaluate(  # noqa: PLR0917 - typer calls it by name
    study: Annotated[Path | None, typer.Argument(help="A study file; or give two folders.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of reference maps.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Folder of masks, probabilities or candidates.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results of two folders; of a study file: where the study lives.")
    ] = None,
    lesion_label: Annotated[
        int | None, typer.Option(help="Set the reference value that is the lesion (default: the only value beside 0).")
    ] = None,
    prediction_label: Annotated[
        int | None,
        typer.Option(help="Set the value of the lesion in predicted masks (default: as dataset.json, else as above)."),
    ] = None,
    reader: Annotated[str | None, typer.Option(help="Set the format of the references (default: recognised).")] = None,
    prediction_reader: Annotated[
        str | None, typer.Option(help="Set the format of the predictions (default: recognised).")
    ] = None,
    patients: Annotated[
        Path | None, typer.Option(help="Read a CSV case_id,patient_id,... (default: each case is a patient).")
    ] = None,
    subgroup: Annotated[
        list[str] | None, typer.Option(help="Repeat the main numbers by a column of --patients.")
    ] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Set a threshold of probabilities (default: .5); repeatable.")
    ] = None,
    operating_point: Annotated[
        Path | None, typer.Option(help="Use the threshold of a file that calibrate wrote.")
    ] = None,
    floor: Annotated[float, typer.Option(help="Know candidates from this threshold upwards.")] = 0.01,
    least_volume_ml: Annotated[float, typer.Option(help="Ignore candidates smaller than this, in ml.")] = 0.0,
    iou_minimum: Annotated[float, typer.Option(help="Set the least overlap (IoU) of one-to-one matches.")] = 0.1,
    point_rule: Annotated[bool, typer.Option("--point-rule", help="Match by point in lesion, too.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Add a metric of `missrate list metrics`, or your own ./FILE.py; repeatable."),
    ] = None,
    tolerance_mm: Annotated[
        list[float] | None,
        typer.Option(help="Set the tolerance of surface Dice (NSD), in mm (default: 2); repeatable."),
    ] = None,
    missing: Annotated[
        Literal["fail", "as-misses"],
        typer.Option(help="Name a case without prediction and exit with 1, or count it as an empty prediction."),
    ] = "fail",
    stop: Annotated[bool, typer.Option("--stop", help="Write no summary when any case cannot be used.")] = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Any folder of predictions against a folder of references: voxels, slices, lesions, patients."""
    if study is not None:
        from missrate.study import front

        typer.echo(front.run(study, out, assign=[], workers=workers, room="evaluate"))
        return
    if reference is None or predictions is None or out is None:
        given = {"--reference": reference, "--predictions": predictions, "--out": out}
        lacking = " and ".join(name for name, value in given.items() if value is None)
        raise ConfigError(f"evaluate must get a study file, or --reference, --predictions and --out. Got no {lacking}.")
    from missrate.study import folder

    request = folder.Request(
        reference=reference,
        predictions=predictions,
        out=out,
        reference_reader=reader,
        prediction_reader=prediction_reader,
        lesion_label=lesion_label,
        prediction_label=prediction_label,
        patients=patients,
        subgroups=tuple(subgroup or ()),
        thresholds=tuple(threshold or (0.5,)),
        operating_point=operating_point,
        floor=floor,
        least_volume_ml=least_volume_ml,
        iou_minimum=iou_minimum,
        point_rule=point_rule,
        metrics=tuple(metric or ()),
        tolerances_mm=tuple(tolerance_mm or (2.0,)),
        missing=missing,
        stop=stop,
    )
    summary = folder.evaluate(request, workers=workers)
    table = folder.table(summary, patients_given=patients is not None)
    typer.echo(json.dumps(summary, indent=1, sort_keys=True) if as_json else table)
    if (summary["missing_predictions"] and missing == "fail") or summary["failed"]:
        raise typer.Exit(1)


@app.command()
def calibrate(  # noqa: PLR0917 - typer calls it by name
    evaluation: Annotated[Path, typer.Argument(help="A folder that evaluate wrote, or a study file.")],
    out: Annotated[Path | None, typer.Option(help="The point's file (JSON); or where the study lives.")] = None,
    assign: Assign = None,
    workers: Workers = None,
    offline: Offline = False,
    false_positives_per_scan: Annotated[
        float | None,
        typer.Option(
            help="Largest number of false positives per scan that the threshold may cause; with --certify: beyond it "
            "the promise is called empty."
        ),
    ] = None,
    false_positive_ml_per_scan: Annotated[
        float | None,
        typer.Option(
            help="Largest false-positive volume per scan, in ml; a count alone admits the map that is all tumour."
        ),
    ] = None,
    patient_miss_rate: Annotated[
        float | None, typer.Option(help="Choose the greatest threshold that misses at most this share of patients.")
    ] = None,
    f_beta: Annotated[
        float | None, typer.Option(help="Choose the threshold with the best F-beta of voxels, of this beta.")
    ] = None,
    certify: Annotated[
        Literal["patient", "lesion", "voxel"] | None, typer.Option(help="Promise a miss rate for new patients.")
    ] = None,
    miss_rate: Annotated[float | None, typer.Option(help="Set the miss rate to promise.")] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Confidence of the promise over calibrations (default: .95).")
    ] = None,
    in_expectation: Annotated[
        bool, typer.Option("--in-expectation", help="Promise the mean over calibrations instead: a weaker statement.")
    ] = False,
    seen: Annotated[
        Path | None, typer.Option(help="Patients trained or selected on: a list, or CSV with patient_id.")
    ] = None,
    least_volume_ml: Annotated[float, typer.Option(help="Ignore candidates smaller than this, in ml.")] = 0.0,
) -> None:
    """Choose an operating point on calibration patients, with or without a promise for new ones."""
    from missrate.study import points

    target = points.target_of(false_positives_per_scan, false_positive_ml_per_scan)
    promise = points.certify_of(certify, miss_rate, confidence, target, in_expectation=in_expectation)
    if evaluation.suffix == ".toml":
        from missrate.study import front

        if least_volume_ml or any(v is not None for v in (target, promise, patient_miss_rate, f_beta, seen)):
            raise ConfigError("A study must say in [evaluate] which points it wants. Got options; perhaps use --set.")
        typer.echo(front.run(evaluation, out, assign=assign or [], workers=workers, offline=offline, room="calibrate"))
        return
    if out is None:
        raise ConfigError("calibrate must get --out POINT.json beside an evaluation. Got none.")
    request = points.Request(
        evaluation=evaluation,
        out=out,
        target=None if promise else target,
        patient_miss_rate=patient_miss_rate,
        f_beta=f_beta,
        certify=promise,
        seen=seen,
        least_volume_ml=least_volume_ml,
    )
    point, told = points.calibrate_folder(request)
    typer.echo(told)
    if point.thresholds[None] is None:
        raise typer.Exit(1)


@app.command()
def compare(  # noqa: PLR0917 - typer calls it by name
    evaluations: Annotated[
        list[str],
        typer.Argument(help="A study file, or folders that evaluate wrote: FOLDER, NAME=FOLDER, NAME=SEED1,SEED2."),
    ],
    against: Annotated[str | None, typer.Option(help="The reference arm: name or folder (default: the first).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for comparison.json (default: none is written); of a study file: where the study lives."
        ),
    ] = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse",
            help="Exit 1 when an arm misses more than the reference, beyond noise; 2 when the patients cannot tell.",
        ),
    ] = False,
    level: Annotated[
        Literal["voxel", "slice", "lesion", "patient"], typer.Option(help="Whose miss rate --fail-if-worse judges.")
    ] = "lesion",
    margin: Annotated[float, typer.Option(help="Increase of the rate that is allowed (.02: 2 points).")] = 0.0,
    detect: Annotated[
        float, typer.Option(help="Increase beyond the margin that must be excluded for an arm to pass.")
    ] = 0.2,
    underpowered: Annotated[
        Literal["refuse", "pass"],
        typer.Option(help="When the patients cannot tell: exit 2 (refuse), or 0 (pass)."),
    ] = "refuse",
    confidence: Annotated[float, typer.Option(help="One-sided confidence of --fail-if-worse.")] = 0.95,
    pairs: Annotated[Literal["reference", "all"], typer.Option(help="Which arms are compared.")] = "reference",
    patients: Annotated[Path | None, typer.Option(help="CSV with case_id or patient_id and further columns.")] = None,
    subgroup: Annotated[list[str] | None, typer.Option(help="Compare within the values of this column.")] = None,
    as_json: AsJson = False,
) -> None:
    """Paired comparison of arms on the same patients; a regression gate with --fail-if-worse (exit 1: worse)."""
    from missrate.compare import Gate
    from missrate.study import side_by_side

    gate = Gate(level, margin, confidence, detect)
    if not fail_if_worse and (gate != Gate() or underpowered != "refuse"):
        raise ConfigError(
            "--level, --margin, --detect, --confidence and --underpowered must come with --fail-if-worse. Got it not."
        )
    if evaluations[0].endswith(".toml"):
        from missrate.study import front

        if fail_if_worse or pairs != "reference" or subgroup:
            raise ConfigError("--fail-if-worse, --pairs and --subgroup must come with evaluations. Got a study file.")
        typer.echo(front.run(Path(evaluations[0]), out, assign=[], room="compare"))
        return
    request = side_by_side.Request(
        arms=evaluations,
        against=against,
        out=out,
        pairs=pairs,
        patients=patients,
        columns=tuple(subgroup or ()),
        gate=gate if fail_if_worse else None,
    )
    value = side_by_side.compare(request)
    typer.echo(json.dumps(value, indent=1, sort_keys=True) if as_json else side_by_side.comparison_table(value))
    if fail_if_worse:
        if value["gate"]["worse"]:
            raise typer.Exit(1)
        open_questions = side_by_side.undecided(value, underpowered=underpowered == "refuse")
        if open_questions:
            raise InputError(" ".join(open_questions))


@app.command(name="list")
def list_shelf(
    shelf: Annotated[Literal["models", "losses", "readers", "metrics"], typer.Argument(help="Which shelf.")],
    as_json: AsJson = False,
) -> None:
    """What a shelf holds, one line each."""
    from missrate.core import catalog

    held = {name: catalog.describe(shelf, name) for name in catalog.names(shelf)}
    if as_json:
        typer.echo(json.dumps(held, indent=1, sort_keys=True))
    else:
        width = max(map(len, held), default=0)
        typer.echo("\n".join(f"{name:<{width}}  {text}" for name, text in held.items()))


if __name__ == "__main__":
    main()
