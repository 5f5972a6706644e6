"""One case: load, examine, store. What cannot be used becomes a file of ``refused/`` with its reason."""

from pathlib import Path
from typing import Any, Literal

from missrate.core import store
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.types import Entry, LabelMeaning, Map, Scan
from missrate.prepare import thumbnail
from missrate.prepare.examine import Examined, examine

Keep = Literal["volumes", "picture"]
"""What is stored beside ``case.json``: image and label, or a small picture of them (``missrate check``)."""


def prepare_case(
    reader: Any,
    entry: Entry,
    meaning: LabelMeaning,
    folder: Path,
    *,
    images: bool = True,
    keep: Keep = "volumes",
) -> None:
    """Writes ``cases/<case_id>/{image,label}.b2nd, case.json`` or ``refused/<case_id>.json``; finished cases stay.

    ``reader`` is a member of the shelf. Without ``images`` only labels are looked for, since nothing is trained.
    ``case.json`` comes last and says that the case is whole. Never raises for a bad case: the others go on.
    """
    target = folder / "cases" / entry.case_id
    refusal = folder / "refused" / f"{entry.case_id}.json"
    if (target / "case.json").exists() or refusal.exists():
        return
    identity = {"schema": store.CASE, "case_id": entry.case_id, "patient_id": entry.patient_id}
    try:
        examined = examine(*_load(reader, entry, images=images), meaning)
    except DataError as error:
        store.write_json(refusal, {"case_id": entry.case_id, "patient_id": entry.patient_id, "reason": str(error)})
        return
    if keep == "picture":
        thumbnail.write(target / "picture.npz", examined, meaning)
    else:
        _store(target, examined, meaning)
    store.write_json(target / "case.json", identity | examined.facts)


def load_reference(reader: Any, location: str) -> Crop:
    """Return a label map in the box that the format keeps, or whole. Raises DataError, also for values below 0."""
    if hasattr(reader, "load_reference"):
        crop: Crop = reader.load_reference(location)
    else:
        label_map: Map = reader.load_map(location)
        crop = Crop.whole(label_map.labels_XYZ, label_map.grid)
    if crop.values_XYZ.dtype.kind == "i" and (lowest := int(crop.values_XYZ.min())) < 0:
        raise DataError(
            f"Label values must be 0 or more. Got {lowest}; perhaps a type with a sign holds values from 128 on, or "
            "-1 means that nobody knows: write 0 and a value for that."
        )
    return crop


def _load(reader: Any, entry: Entry, *, images: bool) -> tuple[Scan | None, Crop]:
    if entry.label is None:
        raise DataError("A case must have a label. Got an image without one; perhaps the ids differ.")
    if not images:
        return None, load_reference(reader, entry.label)
    if entry.image is None:
        raise DataError("A case must have an image. Got a label without one; perhaps the ids differ.")
    return reader.load_image(entry.image), load_reference(reader, entry.label)


def _store(target: Path, examined: Examined, meaning: LabelMeaning) -> None:
    label = examined.label
    if examined.image_XYZ is not None:
        store.write_image(target / "image.b2nd", examined.image_XYZ, label.grid)
    store.write_crop(target / "label.b2nd", label, {"meaning": meaning.model_dump()})
