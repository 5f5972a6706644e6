"""The forms of the JSON documents that are read back: a damaged or hostile one is refused where it is read.

A form names the keys that are used and their types; further keys are allowed, as newer programs write them. Ids become
names of files, so a document whose ids could lead elsewhere is refused as well.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from missrate.core.errors import StoreError

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""``types.SAFE_ID``, in pydantic's own language."""
Count = Annotated[int, Field(ge=0)]
Three = Field(min_length=3, max_length=3)
Row4 = Annotated[list[float], Field(min_length=4, max_length=4)]


class Document(BaseModel):
    """The base of all forms: nothing is converted, no number is nan or infinite, and further keys are allowed."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def require_form(path: Path, value: Any, form: type[Document]) -> None:
    """Raise StoreError, which names the place of the first fault, unless ``value`` has the form."""
    try:
        form.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "it"
        said = fault["msg"].removeprefix("Value error, ")
        raise StoreError(f"{path} must be as missrate wrote it. Got in {place}: {said}.") from error


class GridForm(Document):
    """``store.grid_to_json``."""

    shape: Annotated[list[Annotated[int, Field(ge=1, le=2**31)]], Three]
    affine: Annotated[list[Row4], Field(min_length=4, max_length=4)] | None


class SizeForm(Document):
    """How large a lesion is."""

    voxels: Count
    volume_ml: float | None


class BurdenForm(Document):
    """What a split reads of a case."""

    case_id: Id
    patient_id: Id
    lesions: list[SizeForm]


class BurdensForm(Document):
    """What a split reads of a manifest."""

    cases: list[BurdenForm]


class LesionForm(SizeForm):
    """One line of ``lesions`` of a case."""

    diameter_mm: float | None
    contrast_hu: float | None


class WarningForm(Document):
    """What the doctor warns of."""

    kind: str
    text: str


class CaseForm(Document):
    """``case.json``, and a case of a manifest."""

    case_id: Id
    patient_id: Id
    grid: GridForm
    spacing_mm: Annotated[list[float], Three] | None
    source_axcodes: str | None
    image_hash: str | None
    label_hash: str | None
    lesion_slices: Count
    lesions: list[LesionForm]
    warnings: list[WarningForm]
    label_voxels: dict[str, Count] = {}
    hu_range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    intensity: str = "hu"


class ManifestForm(Document):
    """``manifest.json`` of prepared data."""

    source: Id
    cases: list[CaseForm]
    refused: Count
    excluded: list[str]
    notes: list[str]


class SplitForm(Document):
    """``split.json``: every case has a patient, every patient a fold below ``folds``, or a part."""

    manifest: str
    folds: Annotated[int, Field(ge=2, le=10_000)] | None
    patients: dict[Id, Literal["train", "validation", "calibration", "test"] | int]
    cases: dict[Id, Id]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        homeless = sorted(set(self.cases.values()) - self.patients.keys())
        if homeless:
            raise ValueError(f"patient {homeless[0]} has no place")
        for patient, place in self.patients.items():
            known = isinstance(place, str) if self.folds is None else type(place) is int and 0 <= place < self.folds
            if not known:
                raise ValueError(f"the place of patient {patient} is {place!r}")
        return self


class ProvenanceForm(Document):
    """``provenance.json`` of a run: the patients that its weights have seen, by source."""

    patients: dict[str, list[str]]


class ViewForm(Document):
    """What lies beside the arrays of a case as models see it."""

    patient_id: Id
    lesion_starts: list[Count]
    organ_slices: list[Count]
    box: Annotated[list[Annotated[list[Count], Field(min_length=2, max_length=2)]], Three]
    grid: GridForm


class NoteForm(Document):
    """What was noted of one case, or of all of them: a warning."""

    case_id: Id | Literal["all cases"]


class ReasonForm(NoteForm):
    """A case that could not be used."""

    reason: str


class CertificateForm(Document):
    """``types.Certificate``, which knows no further keys."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    level: Literal["patient", "lesion", "voxel"]
    miss_rate: float
    confidence: float
    in_expectation: bool
    n: Count
    never_found: Count
    never_found_at_most: float
    bound: str
    risk: float
    floor: float
    least_volume_ml: float
    false_positives_per_scan: float | None
    false_positive_ml_per_scan: float | None
    empty: str | None


Fold = Annotated[str, Field(pattern=r"^([0-9]{1,4}|all)$")]
FoldNumber = Annotated[str, Field(pattern="^[0-9]{1,4}$")]


class PointForm(Document):
    """A threshold and where it was chosen, as summaries show it and as ``points`` writes it."""

    name: str
    chosen_on: Literal["fixed", "calibration", "other folds"]
    target: str | None
    certificate: CertificateForm | None = None
    reason: str | None = None


class ShownPointForm(PointForm):
    """The same in a summary: of several folds each has its own."""

    threshold: float | None
    thresholds: Annotated[dict[FoldNumber, float | None], Field(min_length=1)] | None = None


class RuleForm(Document):
    """``types.Matching``."""

    rule: Literal["overlap", "iou", "point"]
    minimum: float | None
    strict: bool
    connectivity: Literal[26]
    least_volume_ml: float


class LackingForm(Document):
    """What calibrations read of ``summary.json``: whose predictions they are, and the cases without statistics."""

    arm: str
    cases: Count
    missing_predictions: list[str]
    failed: list[ReasonForm]


class SummaryForm(LackingForm):
    """What comparisons read of it."""

    operating_point: ShownPointForm
    matching: RuleForm
    raised_floors: dict[str, float]
