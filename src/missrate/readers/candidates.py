"""Candidates as one CSV table: a row is a place and a score, for all cases; as LUNA and its like are answered.

Columns: `case_id` (or LUNA's `seriesuid`), `score` (or `probability`) in [0, 1], and one of `x_mm,y_mm,z_mm` (RAS+
millimetres), `coordX,coordY,coordZ` (LUNA: LPS millimetres), or `i,j,k` (voxels of the reference's array as its file
holds it). Other columns are ignored. A case without a row has no candidates: it is no missing prediction.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from missrate.core.config import Frozen
from missrate.core.errors import DataError
from missrate.core.quantise import BEYOND, encode
from missrate.core.types import Entry, Map, Points, Scan
from missrate.readers import _files

LESION: tuple[int, ...] = ()
ORGAN: tuple[int, ...] = ()
ABSENT_IS_EMPTY = True

CASE = ("case_id", "seriesuid")
SCORE = ("score", "probability")
OTHERS = (".nii", ".nii.gz", ".npy", ".npz", ".pkl", ".pkl.gz")


@dataclass(frozen=True, slots=True)
class Places:
    """Three columns that say where a candidate is, in which space, and what turns them to it."""

    columns: tuple[str, str, str]
    space: Literal["mm", "voxel"]
    sign: tuple[float, float, float] = (1.0, 1.0, 1.0)


PLACES = (
    Places(("x_mm", "y_mm", "z_mm"), "mm"),
    Places(("coordX", "coordY", "coordZ"), "mm", (-1.0, -1.0, 1.0)),
    Places(("i", "j", "k"), "voxel"),
)


class Config(Frozen):
    """Nothing to set: a .csv file, or a folder with just one."""


def recognises(root: Path) -> bool:
    """A .csv file, or a folder with just one and nothing that another reader would take."""
    if root.is_file():
        return root.suffix.lower() == ".csv"
    folders = [p for p in root.iterdir() if p.is_dir() and p.name[0] != "."] if root.is_dir() else []
    return len(_files.files(root, ".csv")) == 1 and not _files.files(root, *OTHERS) and not folders


def find(root: Path, config: Config) -> list[Entry]:  # noqa: ARG001
    """Every case that has a row, sorted; its location is ``path#case_id``. The whole table is checked."""
    path = root
    if not root.is_file():
        tables = _files.files(root, ".csv")
        if len(tables) != 1:
            raise DataError(f"A table of candidates must be one .csv file. Got {len(tables)} in {root}.")
        path = tables[0]
    return [Entry(case_id, case_id, None, f"{path}#{case_id}") for case_id in sorted(_table(path))]


def load_image(location: str) -> Scan:
    """Raises DataError: candidates are no image."""
    raise DataError(f"Candidates must serve as a prediction. Got {location} as an image.")


def load_map(location: str) -> Map:
    """Raises DataError: candidates are no label map."""
    raise DataError(f"Candidates must serve as a prediction. Got {location} as a label map.")


def load_prediction(location: str, labels: tuple[int, ...]) -> Points:  # noqa: ARG001
    """The candidates of one case in the order of their rows; every row is a lesion candidate, whatever ``labels``.

    Raises DataError that names the line for a score outside of [0, 1] and for what is no number.
    """
    path, _, case_id = location.rpartition("#")
    points = _table(Path(path)).get(case_id)
    if points is None:
        raise DataError(f"{path} must have a row of case {case_id}. Got none.")
    return points


def _table(path: Path) -> dict[str, Points]:
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path} must be a readable file. Got: {error.strerror or error}.") from error
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)
def _read(path: Path, modified: int, size: int) -> dict[str, Points]:  # noqa: ARG001
    """The table by case; kept while the file stays as it is, since each case asks for it."""
    rows: dict[str, list[tuple[float, float, float, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, restkey="")
            case, score, places = _columns(lines.fieldnames or [], path)
            for row in lines:
                numbers = _numbers(row, (*places.columns, score), f"{path}, line {lines.line_num}")
                rows.setdefault(str(row[case]).strip(), []).append(numbers)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} must be a table of text. Got: {error}.") from error
    return {case_id: _points(rows[case_id], places) for case_id in rows}


def _columns(names: Sequence[str], path: Path) -> tuple[str, str, Places]:
    """The columns of the case and of the score, and those of the place. Raises DataError when one is absent."""
    case = next((name for name in CASE if name in names), None)
    score = next((name for name in SCORE if name in names), None)
    places = [kind for kind in PLACES if set(kind.columns) <= set(names)]
    if case is None or score is None or len(places) != 1:
        known = " or ".join(",".join(kind.columns) for kind in PLACES)
        raise DataError(f"{path} must have the columns case_id, score and just {known}. Got {', '.join(names)[:200]}.")
    return case, score, places[0]


def _numbers(row: dict[str, str], columns: tuple[str, ...], where: str) -> tuple[float, float, float, float]:
    try:
        x, y, z, score = (float(row[name]) for name in columns)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {', '.join(columns)} must be numbers. Got another text.") from error
    if not np.isfinite([x, y, z]).all():
        raise DataError(f"{where}: a place must be finite. Got {x:g}, {y:g}, {z:g}.")
    if not -BEYOND <= score <= 1.0 + BEYOND:
        perhaps = "it is a percentage: divide by 100" if 10.0 < score <= 100.0 else "it is a logit"
        raise DataError(f"{where}: a score must lie in [0, 1]. Got {score:g}; perhaps {perhaps}.")
    return x, y, z, score


def _points(rows: list[tuple[float, float, float, float]], places: Places) -> Points:
    values = np.array(rows, np.float64)
    position = values[:, :3] * np.array(places.sign)
    position.flags.writeable = False  # the table is kept for the next case
    return Points(position, places.space, encode(values[:, 3]))
