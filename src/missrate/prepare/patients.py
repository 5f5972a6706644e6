"""Tables about patients: which case is whose, and further columns."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

from missrate.core.errors import DataError
from missrate.core.types import Entry


def with_patients(entries: list[Entry], table: Path | None) -> list[Entry]:
    """The entries with the patient ids of a CSV with columns ``case_id, patient_id``; without one, as they are.

    Raises DataError when a case is missing from the table.
    """
    if table is None:
        return entries
    patients = column(entries, table, "patient_id")
    return [replace(entry, patient_id=patients[entry.case_id]) for entry in entries]


def column(entries: list[Entry], table: Path, name: str) -> dict[str, str]:
    """What a CSV with the column ``case_id`` says of each case in the column ``name``.

    Raises DataError when there is no such column, and when a case is missing from the table.
    """
    rows, columns = patients_table(table)
    if "case_id" not in columns or name not in columns:
        raise DataError(f"{table} must be a CSV with columns case_id and {name}. Got {', '.join(columns) or 'none'}.")
    require_once(table, rows, "case_id")
    values = {row["case_id"]: row[name] or "" for row in rows}
    absent = [entry.case_id for entry in entries if entry.case_id not in values]
    if absent:
        raise DataError(f"{table} must name every case. Got none for {', '.join(absent[:5])} ({len(absent)} in all).")
    return {entry.case_id: values[entry.case_id] for entry in entries}


def patients_table(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a CSV about patients or cases, and its columns; a byte-order mark is no part of a name.

    Raises DataError when it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            return list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} must be a readable CSV. Got: {error}.") from error


def require_once(path: Path, rows: list[dict[str, str]], key: str) -> None:
    """Raises DataError when two rows have one id: nobody knows which of them counts."""
    often = Counter(row[key] for row in rows)
    twice = sorted(each for each, count in often.items() if count > 1)
    if twice:
        raise DataError(f"{path} must have one row for each {key}. Got {', '.join(twice[:5])} more than once.")
