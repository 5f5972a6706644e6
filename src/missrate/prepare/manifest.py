"""All cases of one source: the manifest, the refused, and the same voxels under two ids."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

from missrate.core import store
from missrate.core.errors import DataError
from missrate.core.types import Entry


def with_patients(entries: list[Entry], table: Path | None) -> list[Entry]:
    """The entries with the patient ids of a CSV with columns ``case_id, patient_id``; without one, as they are.

    Raises DataError when a case is missing from the table.
    """
    if table is None:
        return entries
    patients = column(entries, table, "patient_id")
    return [Entry(e.case_id, patients[e.case_id], e.image, e.label) for e in entries]


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


def finish(folder: Path, source: str, entries: list[Entry]) -> list[Path]:
    """Writes ``manifest.json`` and ``refused.csv`` from what the case tasks left; every entry is in one of them.

    The same voxels under a second id are refused: within a set they would leak from training into the test.
    Raises DataError when nothing is left.
    """
    cases: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    seen: dict[str, str] = {}
    for entry in entries:
        refusal = folder / "refused" / f"{entry.case_id}.json"
        if refusal.exists():
            refused.append(store.read_json(refusal))
            continue
        case = store.read_json(folder / "cases" / entry.case_id / "case.json", store.CASE)
        voxels = case["image_hash"] or case["label_hash"]
        twin = seen.setdefault(voxels, entry.case_id) if voxels else entry.case_id
        if twin != entry.case_id:
            reason = f"Scans must differ. Got the same voxels as {twin}; perhaps one patient under two ids."
            refused.append({"case_id": entry.case_id, "patient_id": entry.patient_id, "reason": reason})
            continue
        cases.append(case)
    paths = [folder / "refused.csv", folder / "manifest.json"]
    store.write_text(paths[0], _as_csv(refused))
    if not cases:
        reasons = "; ".join(list(dict.fromkeys(row["reason"] for row in refused))[:2])
        raise DataError(f"Source {source!r} must have at least one usable case. Got 0 of {len(entries)}: {reasons}")
    manifest = {"schema": store.MANIFEST, "source": source, "cases": cases, "refused": len(refused)}
    store.write_json(paths[1], manifest)
    return paths


def _as_csv(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["case_id", "patient_id", "reason"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
