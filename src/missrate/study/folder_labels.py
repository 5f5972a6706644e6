"""Which number is the lesion in a folder of references, and in the predictions beside them."""

from missrate.core import foreign
from missrate.core.crop import Crop
from missrate.core.errors import DataError, InputError
from missrate.core.types import Entry
from missrate.prepare.case import load_reference
from missrate.readers._detect import Source
from missrate.study import label_names
from missrate.study.numbers import Asked

PERHAPS = "perhaps give --prediction-label"


def of_references(references: Source, entries: list[Entry], given: int | None) -> int | None:
    """Return the value that is the lesion: ``given``, or the one value of the first reference that is not empty.

    None when all of them are empty. Raises InputError for a reference of several values, and for a given value that no
    reference holds although they hold others: then every patient would count as healthy.
    """
    if given is not None:
        _require_positive("--lesion-label", given)
        _require_occurs(references, entries, given)
        return given
    for entry in entries:
        try:
            label = _only_label(load_reference(references.reader, str(entry.label)), entry.case_id)
        except InputError as error:
            if not isinstance(error, DataError):  # a damaged file is named when it is measured
                raise
            continue
        if label is not None:
            return label
    return None


def require_same(reference: Crop, case_id: str, label: int | None) -> None:
    """Raise InputError for a reference whose one value is another than ``label``, or that has several."""
    own = _only_label(reference, case_id)
    if own not in (None, label):
        values = sorted({label or 0, own or 0})
        raise InputError(f"--lesion-label must say which value is the lesion. Got {values} in two references.")


def of_predictions(predictions: Source, label: int | None, given: int | None) -> Asked:
    """Return what the numbers of predictions mean: ``given``, else by their ``dataset.json``, else as the references.

    ``label`` is the lesion of the references; without it, and without the others, none is named.
    """
    if given is not None:
        _require_positive("--prediction-label", given)
    described = label_names.of_predictions(predictions.root)
    known = frozenset() if described is None else frozenset(described.known())
    if given is not None:
        return Asked(frozenset({given}), known | {given}, PERHAPS)
    if described is not None and described.lesion:
        lesion = frozenset(described.lesion)
        said = f"the lesion of the predictions is {sorted(lesion)}, as their dataset.json says"
        return Asked(lesion, known, PERHAPS, said="" if lesion == {label} else said)
    lesion = frozenset() if label is None else frozenset({label})
    return Asked(lesion, known | lesion, PERHAPS, as_references=described is None and label is not None)


def _require_positive(option: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{option} must be at least 1, since 0 is the background. Got {value}.")


def _require_occurs(references: Source, entries: list[Entry], label: int) -> None:
    """Looks no farther than the first reference that holds the label."""
    found: set[int] = set()
    for entry in entries:
        try:
            found.update(foreign.numbers_of(load_reference(references.reader, str(entry.label)).values_XYZ))
        except DataError:  # it is named when it is measured
            continue
        if label in found:
            return
    if found:
        raise InputError(f"--lesion-label must be a value of the references. Got {label}; they hold {sorted(found)}.")


def _only_label(reference: Crop, case_id: str) -> int | None:
    """The one value of a map other than 0; None for an empty one. Raises InputError that lists several."""
    values = foreign.numbers_of(reference.values_XYZ)
    if len(values) > 1:
        raise InputError(
            f"--lesion-label must say which value is the lesion. Got {list(values)} in the reference {case_id}."
        )
    return values[0] if values else None
