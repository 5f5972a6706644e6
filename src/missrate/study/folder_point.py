"""A point that was chosen elsewhere, on a folder of predictions: when it is refused, and what is said of it."""

from typing import TYPE_CHECKING

from missrate.core import points
from missrate.core.case import CaseStatistics
from missrate.core.errors import InputError, ProvenanceError, some
from missrate.core.types import Entry
from missrate.evaluate import summary

if TYPE_CHECKING:
    from missrate.study.folder import Request


def require_fit(request: "Request", entries: list[Entry]) -> None:
    """Raise before anything is measured, or written over, where the point cannot be tested on these references.

    ProvenanceError for a certified one on any patient that certified it, since such patients prove nothing new;
    InputError for another least volume than it was chosen with.
    """
    if request.operating_point is None:
        return
    point, origin = points.read(request.operating_point), points.origin(request.operating_point)
    if origin.least_volume_ml != request.least_volume_ml:
        raise InputError(
            f"Operating point {point.name!r} must be tested with the least volume that it was chosen with. Got "
            f"{request.least_volume_ml:g} ml; perhaps --least-volume-ml {origin.least_volume_ml:g}."
        )
    known = origin.chosen_on((entry.patient_id, entry.case_id) for entry in entries)
    if known and point.certified:
        raise ProvenanceError(
            f"Operating point {point.name!r} must be tested on other patients. Got {len(known)} of "
            f"{len({entry.patient_id for entry in entries})} that it was certified on: {some(known)}."
        )


def notes(request: "Request", cases: list[CaseStatistics]) -> list[tuple[str, str]]:
    """Return what is to be said of a point: on patients that it was chosen on, of other predictions, and of masks."""
    if request.operating_point is None:
        return []
    point, origin = points.read(request.operating_point), points.origin(request.operating_point)
    tested = {case.patient_id for case in cases}
    known = origin.chosen_on((case.patient_id, case.case_id) for case in cases)
    said = []
    mine = request.predictions.resolve().name
    if origin.predictions is not None and origin.predictions != mine:
        said.append(
            f"the threshold {point.name!r} was chosen for predictions called {origin.predictions!r}, and these are "
            f"called {mine!r}: of another model it says nothing"
            + (f", and {point.target} is not promised of it" if point.certified else "")
        )
    if known:
        said.append(
            f"the threshold {point.name!r} was chosen on {len(known)} of these {len(tested)} patients, so what it "
            "misses of them is no estimate for others"
        )
    if not any(case.scored for case in cases):
        said.append(
            f"the predictions are masks, to which the threshold {point.name!r} changes nothing"
            + (", so that nothing is promised of them" if point.certified else "")
        )
    return [(summary.ALL, text) for text in said]
