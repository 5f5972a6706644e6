"""The program, and the options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="missrate",
    help="Tells which tumours a segmentation model misses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut long options at 80 columns
)

StudyFile = Annotated[Path, typer.Argument(help="A study file (TOML).", metavar="STUDY.toml")]
Out = Annotated[Path | None, typer.Option(help="Where the study lives (default: missrate-<name of the study>).")]
Assign = Annotated[list[str] | None, typer.Option("--set", help="Override a value, such as budget.steps=500.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes (default: one per processor; 0: none).")]
Offline = Annotated[bool, typer.Option("--offline", help="Open no socket: weights must already be on disk.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
