"""All cases of one source: the manifest, the refused, and what only the whole set can tell."""

import csv
import io
from pathlib import Path
from typing import Any

from missrate.core import store
from missrate.core.documents import ReasonForm
from missrate.core.errors import DataError
from missrate.core.guard import understood
from missrate.core.types import Entry
from missrate.prepare import cohort, twins

Row = dict[str, str]


def finish(
    folder: Path,
    source: str,
    entries: list[Entry],
    *,
    excluded: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    least: int = 1,
) -> list[Path]:
    """Writes ``manifest.json`` and ``refused.csv`` from what the case tasks left; every entry is in one of them.

    The same voxels under a second id are refused: within a set they would leak from training into the test.
    ``excluded`` and ``notes`` are what was left out before, and why. Raises DataError when fewer than ``least`` cases
    can be used.
    """
    cases, refused = _read(folder, entries)
    cases, same = twins.without(cases)
    refused = sorted(refused + same, key=lambda row: row["case_id"])
    cohort.warn(cases)
    paths = [folder / "refused.csv", folder / "manifest.json"]
    store.write_text(paths[0], _as_csv(refused))
    if len(cases) < least:
        reasons = "; ".join(list(dict.fromkeys(row["reason"] for row in refused))[:2])
        raise DataError(f"Source {source!r} must have at least one usable case. Got 0 of {len(entries)}: {reasons}")
    notes += _without_lesions(cases)
    manifest = {"schema": store.MANIFEST, "source": source, "cases": cases, "refused": len(refused)}
    store.write_json(paths[1], manifest | {"excluded": list(excluded), "notes": list(notes)})
    return paths


def _without_lesions(cases: list[dict[str, Any]]) -> tuple[str, ...]:
    """What is to be said of a source in which every case is healthy although its maps are not empty."""
    values = sorted({int(value) for case in cases for value in case["label_voxels"]})
    if not values or any(case["lesions"] for case in cases):
        return ()
    return (f"No map holds a lesion; the values that occur are {values}: perhaps the lesion is another one.",)


def read_refused(folder: Path) -> list[Row]:
    """The lines of ``refused.csv``: case_id, patient_id, reason."""
    path = folder / "refused.csv"
    with understood(path, "a readable table that missrate wrote"), path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _read(folder: Path, entries: list[Entry]) -> tuple[list[dict[str, Any]], list[Row]]:
    cases, refused = [], []
    for entry in entries:
        refusal = folder / "refused" / f"{entry.case_id}.json"
        if refusal.exists():
            refused.append(store.read_json(refusal, None, ReasonForm))
        else:
            cases.append(store.read_json(folder / "cases" / entry.case_id / "case.json", store.CASE))
    return cases, refused


def _as_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["case_id", "patient_id", "reason"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
