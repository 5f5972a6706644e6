"""The file of an operating point: its thresholds, on whom they were chosen, and what is promised of them."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from missrate.core.documents import CertificateForm, Document, Fold, PointForm, require_form
from missrate.core.errors import InputError, StoreError
from missrate.core.store import read_json, write_json
from missrate.core.types import Certificate, OperatingPoint

SCHEMA = "missrate/operating_point/4"


class RuleAboutForm(Document):
    """By which rule a point was chosen."""

    least_volume_ml: Annotated[float, Field(ge=0)]


class PointFileForm(PointForm):
    """The file of a point: one threshold for all scans, or one for each fold."""

    thresholds: Annotated[dict[Fold, Annotated[float, Field(gt=0, le=1)] | None], Field(min_length=1)]
    certificate: CertificateForm | None
    reason: str | None
    patients: list[str]
    matching: RuleAboutForm | None = None
    arm: str | None = None
    weights: str | None = None
    predictions: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose predictions a point was chosen for, and on whom. ``arm`` None: those of a folder, of nobody knows whom."""

    arm: str | None
    weights: str | None  # the hash of its weights; None where the arm has none
    least_volume_ml: float  # smaller candidates did not exist
    patients: frozenset[str]  # see ``hashes_of``
    predictions: str | None  # the name of the folder, where it was one

    def chosen_on(self, patients: Iterable[tuple[str, str]]) -> list[str]:
        """Return which of these patients, each with the id of one of its cases, the point was chosen on, ascending."""
        return sorted({patient for patient, case_id in patients if self.patients & {*_hashes(patient, case_id)}})


def to_json(point: OperatingPoint) -> dict[str, Any]:
    """The point as a plain value, without the patients; the fold None is written "all"."""
    return {
        "schema": SCHEMA,
        "name": point.name,
        "thresholds": {"all" if fold is None else str(fold): t for fold, t in point.thresholds.items()},
        "chosen_on": point.chosen_on,
        "target": point.target,
        "certificate": point.certificate and asdict(point.certificate),
        "reason": point.reason,
    }


def from_json(value: dict[str, Any], *, where: str = "An operating point") -> OperatingPoint:
    """The inverse of ``to_json``; further keys are about the calibration and not read.

    Raises StoreError, which names ``where``, for another schema or a missing part.
    """
    if value.get("schema") != SCHEMA:
        raise StoreError(f"{where} must have schema {SCHEMA}. Got {value.get('schema')!r}; calibrate again.")
    require_form(Path(where), value, PointFileForm)
    promised = value["certificate"]
    return OperatingPoint(
        value["name"],
        {None if fold == "all" else int(fold): t for fold, t in value["thresholds"].items()},
        value["chosen_on"],
        value["target"],
        None if promised is None else certificate_of(promised, where=where),
        value["reason"],
    )


def certificate_of(value: Any, *, where: str = "A certificate") -> Certificate:
    """Return the certificate of a plain value. Raises StoreError, which names ``where``, for one of another version."""
    try:
        return Certificate(**value)
    except TypeError as error:
        raise StoreError(
            f"{where} must be as this version of missrate writes it. Got: {error}; calibrate again."
        ) from error


def write(path: Path, point: OperatingPoint, *, patients: Iterable[tuple[str, str]], **about: Any) -> None:
    """The file, with plain values ``about`` its calibration beside the point, which was chosen on ``patients``.

    Each stands there once for each of its cases, with that case's id.
    """
    write_json(path, about | to_json(point) | {"patients": hashes_of(patients)})


def read(path: Path) -> OperatingPoint:
    """The point in the file. Raises StoreError when it cannot be read, or another version wrote it."""
    return from_json(read_json(path), where=str(path))


def origin(path: Path) -> Origin:
    """What the file says beside its point. Raises StoreError as ``read`` does, and for what missrate did not write."""
    read(path)
    value = read_json(path)
    return Origin(
        value.get("arm"),
        value.get("weights"),
        float((value.get("matching") or {}).get("least_volume_ml", 0)),
        frozenset(value["patients"]),
        value.get("predictions"),
    )


def only_threshold(point: OperatingPoint) -> float:
    """The one threshold, for scans that belong to no fold. Raises InputError where there is none, or one per fold."""
    if len(point.thresholds) != 1:
        raise InputError(
            f"Operating point {point.name!r} must have one threshold for new scans. Got one for each of "
            f"{len(point.thresholds)} folds."
        )
    (threshold,) = point.thresholds.values()
    if threshold is None:
        raise InputError(
            f"Operating point {point.name!r} must have a threshold. Got none: "
            f"{point.reason or f'none is admissible for {point.target}'}."
        )
    return threshold


def hashes_of(patients: Iterable[tuple[str, str]]) -> list[str]:
    """Return short hashes of patients' and of their cases' ids, ascending: enough to notice one that is tested later.

    Of the cases, too, since a patient may be called otherwise where nobody said whose the cases are. Ids are easily
    guessed, and so is which of them a hash belongs to: this keeps them from being read, not secret.
    """
    return sorted({each for patient, case_id in patients for each in _hashes(patient, case_id)})


def _hashes(patient: str, case_id: str) -> list[str]:
    named = (("patient", patient), ("case", case_id))
    return [hashlib.sha256(f"missrate {kind}\n{name}".encode()).hexdigest()[:16] for kind, name in named]
