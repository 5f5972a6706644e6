"""Folds or parts that somebody else assigned: nnU-Net's ``splits_final.json``, or a CSV.

Taken over so that results can be compared with theirs; never when a patient would cross.
"""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from missrate.core.errors import ConfigError
from missrate.core.guard import understood

PARTS = ("train", "validation", "calibration", "test")
MOST_BYTES = 2**26
Place = str | int


@dataclass(frozen=True, slots=True)
class Given:
    """The place of each case, or of each patient: a fold 0..folds-1, or a part (``folds`` None)."""

    by: Literal["case_id", "patient_id"]
    places: dict[str, Place]
    folds: int | None

    def parts(self) -> dict[str, float] | None:
        """How many ids each part has; None where there are folds."""
        if self.folds is not None:
            return None
        return {part: float(sum(place == part for place in self.places.values())) for part in PARTS}


def read(path: Path) -> Given:
    """Raises ConfigError for a file that cannot be read, and for one that is not a partition."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} must be a list of folds. Got more than {MOST_BYTES} bytes.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} must be a readable file of folds or parts. Got: {error}.") from error
    return _nnunet(text, path) if path.suffix == ".json" else _csv(text, path)


def patients(given: Given, cases: dict[str, str], *, path: Path) -> tuple[dict[str, Place], list[str]]:
    """The place of each patient of ``cases`` (case to patient), and the ids of the file that are not there.

    Raises ConfigError for a case that the file does not name, and for a patient in two places.
    """
    wanted = {case: case if given.by == "case_id" else patient for case, patient in cases.items()}
    absent = sorted({one for one in wanted.values() if one not in given.places})
    if absent:
        raise ConfigError(f"{path} must name every {given.by}. Got none of {', '.join(absent[:5])} ({len(absent)}).")
    found: dict[str, set[Place]] = defaultdict(set)
    for case, patient in cases.items():
        found[patient].add(given.places[wanted[case]])
    for patient, places in found.items():
        if len(places) > 1:
            said = ", ".join(map(str, sorted(places, key=str)))
            raise ConfigError(f"{path} must keep a patient's scans together. Got {patient} in {said}.")
    unknown = sorted(given.places.keys() - set(wanted.values()))
    return {patient: next(iter(places)) for patient, places in found.items()}, unknown


def _nnunet(text: str, path: Path) -> Given:
    """A list with ``train`` and ``val`` for each fold: the fold of a case is the one that validates on it."""
    try:
        folds = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} must be JSON. Got: {error}.") from error
    if not isinstance(folds, list) or len(folds) < 2 or not all(map(_is_fold, folds)):
        raise ConfigError(f"{path} must be a list of at least two folds, each with train and val. Got something else.")
    places: dict[str, Place] = {}
    for number, fold in enumerate(folds):
        both = sorted(set(fold["train"]) & set(fold["val"]))
        if both:
            raise ConfigError(f"{path} must not validate on what it trains on. Got {both[0]} in both, fold {number}.")
        for case in fold["val"]:
            if places.setdefault(case, number) != number:
                raise ConfigError(f"{path} must test each case once. Got {case} in folds {places[case]} and {number}.")
    return Given("case_id", places, len(folds))


def _is_fold(fold: Any) -> bool:
    return isinstance(fold, dict) and all(
        isinstance(fold.get(key), list) and all(isinstance(case, str) for case in fold[key]) for key in ("train", "val")
    )


def _csv(text: str, path: Path) -> Given:
    """Columns ``case_id`` or ``patient_id``, and ``fold`` (0, 1, ...) or ``part``."""
    with understood(path, "a readable CSV", kind=ConfigError):
        rows = list(csv.DictReader(text.splitlines()))
    columns = set(rows[0]) if rows else set()
    by = next((name for name in ("case_id", "patient_id") if name in columns), None)
    what = next((name for name in ("fold", "part") if name in columns), None)
    if by is None or what is None:
        seen = ", ".join(sorted(map(str, columns))) or "none"
        raise ConfigError(f"{path} must have columns case_id or patient_id, and fold or part. Got {seen}.")
    places: dict[str, Place] = {}
    for line, row in enumerate(rows, start=2):
        place = _place(row[what] or "", what, f"{path}, line {line}")
        if places.setdefault(row[by] or "", place) != place:
            raise ConfigError(f"{path} must give each {by} one {what}. Got two for {row[by]}.")
    if what == "part":
        return Given("case_id" if by == "case_id" else "patient_id", places, None)
    folds = {int(place) for place in places.values()}
    if folds != set(range(len(folds))) or len(folds) < 2:
        raise ConfigError(f"{path} must number its folds 0, 1, ... without a gap. Got {sorted(folds)[:10]}.")
    return Given("case_id" if by == "case_id" else "patient_id", places, len(folds))


def _place(text: str, what: str, where: str) -> Place:
    if what == "part":
        if text not in PARTS:
            raise ConfigError(f"{where}: part must be one of {', '.join(PARTS)}. Got {text!r}.")
        return text
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"{where}: fold must be a whole number from 0. Got {text!r}.")
    return int(text)
