"""The verbs about data: check, new, export."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from missrate.cli._app import AsJson, Offline, Workers, app
from missrate.core.errors import ConfigError

Lesion = Annotated[list[int] | None, typer.Option("--lesion", help="A value that is the lesion; may be repeated.")]
Organ = Annotated[list[int] | None, typer.Option("--organ", help="A value that is the organ; may be repeated.")]
Other = Annotated[list[int] | None, typer.Option("--background", help="A value that is neither; may be repeated.")]
Ignore = Annotated[list[int] | None, typer.Option("--ignore", help="A value that nobody is sure of; repeatable.")]
Labels = Annotated[
    str | None, typer.Option("--labels", help="Name a data set whose values are known instead, such as panorama.")
]
Format = Annotated[str | None, typer.Option("--format", help="Set the format (default: recognised).")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="Set an option of the format, such as flip_labels=y; repeatable (docs/data.md)."),
]
Patients = Annotated[Path | None, typer.Option("--patients", help="Read who is who from a CSV case_id,patient_id.")]
Data = Annotated[Path, typer.Option("--data", help="Set where archives are unpacked and downloads kept.")]
LARDER = Path("missrate-data")


@app.command()
def check(  # noqa: PLR0917 - typer calls it by name
    source: Annotated[str, typer.Argument(help="A folder, archive, address, msd:TASK, or a study file.")],
    reader: Format = None,
    lesion: Lesion = None,
    organ: Organ = None,
    background: Other = None,
    ignore: Ignore = None,
    labels: Labels = None,
    option: Options = None,
    patients: Patients = None,
    out: Annotated[
        Path | None, typer.Option(help="Set the folder for the results (default: missrate-check-<name>).")
    ] = None,
    data: Data = LARDER,
    workers: Workers = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Examine a data set: what is wrong with which case, in numbers and pictures; exit 1 when any case is refused."""
    from missrate.study import front, intake

    values = front.labels_of(lesion, organ, background, ignore, named=labels)
    given = front.named_sources(
        source, reader=reader, labels=values, options=option or [], patients=patients, data=data, offline=offline
    )
    refused = 0
    for name, config in given.items():
        folder = (out or Path(f"missrate-check-{name}")) / (name if out and len(given) > 1 else "")
        found = intake.check(config, name, folder, workers=workers)
        refused += len(found["refused"])
        typer.echo(json.dumps(found, indent=1, sort_keys=True) if as_json else intake.table(found))
        typer.echo(f"Overview: {folder / 'index.html'}", err=as_json)
    if refused:
        raise typer.Exit(1)


@app.command()
def new(  # noqa: PLR0917 - typer calls it by name
    source: Annotated[str, typer.Argument(help="A folder, archive, address, or msd:TASK.")],
    reader: Format = None,
    lesion: Lesion = None,
    organ: Organ = None,
    background: Other = None,
    ignore: Ignore = None,
    labels: Labels = None,
    option: Options = None,
    patients: Patients = None,
    out: Annotated[Path, typer.Option(help="Set the study file to write.")] = Path("study.toml"),
    workers: Workers = None,
    offline: Offline = False,
) -> None:
    """Look at a data set and write a commented study for it that runs."""
    from missrate.study import draft, front

    values = front.labels_of(lesion, organ, background, ignore, named=labels)
    data = out.parent / LARDER
    given = front.named_sources(
        source, reader=reader, labels=values, options=option or [], patients=patients, data=data, offline=offline
    )
    name, config = next(iter(given.items()))
    typer.echo(draft.write(source, name, config, out, workers=workers))


@app.command()
def export(  # noqa: PLR0917 - typer calls it by name
    prepared: Annotated[Path, typer.Argument(help="Prepared data, such as missrate-STUDY/prepared/SOURCE.")],
    to: Annotated[Literal["nnunet", "msd", "coco", "slices"], typer.Option(help="Set the layout to write.")],
    out: Annotated[Path, typer.Option(help="Set an empty folder, or that of a begun export of the same.")],
    split: Annotated[Path | None, typer.Option(help="Take a study's split.json along: its parts or folds.")] = None,
    window: Annotated[str, typer.Option(help="Set the HU of black and of white in COCO's pictures.")] = "-100,200",
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Prepared data in the layout of another tool, with the same voxels and the same patients apart."""
    from missrate.study import outside

    try:
        low, high = (float(part) for part in window.split(","))
    except ValueError as error:
        raise ConfigError(f"--window must look like -100,200. Got {window!r}.") from error
    value = outside.export(prepared, out, to, split=split, window_hu=(low, high), workers=workers)
    typer.echo(json.dumps(value, indent=1, sort_keys=True) if as_json else outside.told(value))
