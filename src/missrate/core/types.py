"""The frozen values that pass between rooms. A stage's type is its progress: what a later room needs is a new type."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from missrate.core.config import Frozen
from missrate.core.crop import Crop
from missrate.core.errors import DataError
from missrate.core.grid import Grid

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TAKEN = re.compile(r".*\.(failed|numbers)|index")
"""Ids of cases whose files would be taken for those that say what is wrong with a case, or list them all."""
BACKGROUND, LESION, ORGAN, IGNORED = 0, 1, 2, 255
"""What a model sees, whatever the numbers in the source's map were."""


BytesProgress = Callable[[str, int, int | None], None]
"""Told what is fetched or unpacked, how many of its bytes are done, and of how many (None where nobody knows)."""

LabelValue = Annotated[int, Field(ge=1, le=255)]


class LabelMeaning(Frozen):
    """What the numbers of a source's map stand for. 0 is always background; any other number must be declared."""

    lesion: tuple[LabelValue, ...] = ()
    organ: tuple[LabelValue, ...] = ()
    ignore: tuple[LabelValue, ...] = ()
    background: tuple[LabelValue, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> Self:
        every = [*self.lesion, *self.organ, *self.ignore, *self.background]
        twice = sorted({value for value in every if every.count(value) > 1})
        if twice:
            raise ValueError(f"a number can stand for one thing only, and {twice} come twice")
        return self

    def known(self) -> set[int]:
        """Every declared number."""
        return {*self.lesion, *self.organ, *self.ignore, *self.background}

    def apply(self, labels_XYZ: NDArray[np.generic]) -> NDArray[np.uint8]:
        """The source's numbers as BACKGROUND, LESION, ORGAN, IGNORED; the same shape."""
        if labels_XYZ.dtype == np.uint8:  # one look at a table
            table = np.full(256, BACKGROUND, np.uint8)
            for values, target in ((self.organ, ORGAN), (self.ignore, IGNORED), (self.lesion, LESION)):
                table[list(values)] = target
            return np.asarray(table[labels_XYZ], np.uint8)
        result = np.full(labels_XYZ.shape, BACKGROUND, np.uint8)
        for values, target in ((self.organ, ORGAN), (self.ignore, IGNORED), (self.lesion, LESION)):
            if values:
                result[np.isin(labels_XYZ, values)] = target
        return result


NAMED_LABELS = {
    "msd-pancreas": LabelMeaning(lesion=(2,), organ=(1,)),
    # PDAC only; parenchyma and duct are the organ. 2 veins, 3 arteries, 6 bile duct. Old versions hold stray 7 and 8.
    "panorama": LabelMeaning(lesion=(1,), organ=(4, 5), background=(2, 3, 6)),
    "lits": LabelMeaning(lesion=(2,), organ=(1,)),
    # 3 is a cyst, which is no tumour.
    "kits": LabelMeaning(lesion=(2,), organ=(1,), background=(3,)),
}
"""Public data sets whose numbers are known: a study may name one of them instead of the numbers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One case as a reader found it, before any voxel was touched.

    ``image`` and ``label`` are locations that only the reader understands (usually paths); None where there is none.
    Raises DataError for an id that could not be a file name.
    """

    case_id: str
    patient_id: str
    image: str | None
    label: str | None

    def __post_init__(self) -> None:
        for name in (self.case_id, self.patient_id):
            if not SAFE_ID.fullmatch(name):
                raise DataError(f"An id must be letters, digits, '.', '_' or '-'. Got {name!r}.")
        if TAKEN.fullmatch(self.case_id):
            raise DataError(f"A case must not be called 'index' nor end in .failed or .numbers. Got {self.case_id!r}.")


@dataclass(frozen=True, slots=True)
class Scan:
    """An image in RAS+: XYZ, int16 or float32; ``hu`` is calibrated CT, ``grey`` an exported picture."""

    values_XYZ: NDArray[np.generic]
    grid: Grid
    intensity: Literal["hu", "grey"] = "hu"
    source_axcodes: str = "RAS"


@dataclass(frozen=True, slots=True)
class Map:
    """An integer map in RAS+: XYZ, any integer type, the source's own values."""

    labels_XYZ: NDArray[np.generic]
    grid: Grid


@dataclass(frozen=True, slots=True)
class Prediction:
    """What some software said of a scan, in RAS+: uint16 levels (core.quantise) or probabilities (float).

    A mask has the levels 0 and TOP only. ``numbers`` are the whole numbers other than 0 that the map of a reader held,
    ascending, whether they are lesion or not (none: an empty map); None where it held no whole numbers.
    """

    levels: Crop
    kind: Literal["mask", "probability"]
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """Candidates without voxels: a place and a score each. ``space`` says what the places are.

    ``mm``: RAS+ millimetres; ``voxel``: indices of the reference's array, by readers as its file holds it
    (``foreign.onto`` turns them to those of the RAS+ array).
    """

    position_CX: NDArray[np.float64]  # (C, 3)
    space: Literal["mm", "voxel"]
    level: NDArray[np.uint16]  # (C,) score as a level


@dataclass(frozen=True, slots=True)
class LabelledScan:
    """A checked pair: the image in int16 and the map on one grid."""

    case_id: str
    patient_id: str
    image_XYZ: NDArray[np.int16]
    label_XYZ: NDArray[np.uint8]
    grid: Grid


@dataclass(frozen=True, slots=True)
class Ratio:
    """Two whole numbers, kept until the last moment. 0/0 is undefined: its value is None, never nan, 0 or 1."""

    numerator: int
    denominator: int

    def __add__(self, other: "Ratio") -> "Ratio":
        return Ratio(self.numerator + other.numerator, self.denominator + other.denominator)

    @property
    def value(self) -> float | None:
        """The quotient, or None when the denominator is 0."""
        return None if self.denominator == 0 else self.numerator / self.denominator


@dataclass(frozen=True, slots=True)
class Matching:
    """The rule by which a lesion counts as found, printed beside every number.

    ``overlap``: any shared voxel (a candidate may find several lesions; monotone in the threshold).
    ``iou``: one to one, intersection over union of at least ``minimum``, as many matches as possible, then overlap;
    a candidate without a match of its own that overlaps some lesion with at least ``minimum`` is no false positive
    (the PI-CAI convention) unless ``strict``.
    ``point``: the candidate's point, the middle of its highest plateau, lies in the lesion; a further candidate in the
    same lesion is no false positive unless ``strict``. Candidates below ``least_volume_ml`` do not exist.
    """

    rule: Literal["overlap", "iou", "point"] = "overlap"
    minimum: float | None = None
    strict: bool = False
    least_volume_ml: float = 0.0
    connectivity: Literal[26] = 26


CertifiedLevel = Literal["patient", "lesion", "voxel"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is promised of a threshold for new patients with a lesion, and of which patients that was concluded.

    ``empty`` says why a promise is worth nothing although it is true: its threshold is the floor, or it costs more
    false positives than was stated.
    """

    level: CertifiedLevel
    miss_rate: float
    confidence: float
    in_expectation: bool  # the bound is on the mean over calibrations; ``confidence`` then bounds never found patients
    n: int  # calibration patients with a lesion
    never_found: int  # of these, at no threshold
    never_found_at_most: float  # upper bound of their share among all patients
    bound: str  # the promise and its condition, a sentence
    risk: float  # mean loss of these very patients at the threshold: no estimate for others
    floor: float  # the lowest threshold that could have been certified
    least_volume_ml: float
    false_positives_per_scan: float | None  # on these patients; None where candidates are not known so far down
    false_positive_ml_per_scan: float | None
    empty: str | None


def matching_rules(least_volume_ml: float, iou_minimum: float, *, point: bool) -> list[Matching]:
    """The rules under which everything is shown, the primary one first."""
    rules = [Matching("overlap"), Matching("iou", iou_minimum), *([Matching("point")] if point else [])]
    return [replace(rule, least_volume_ml=least_volume_ml) for rule in rules]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and where it was chosen. With folds each fold has its own, chosen on the other folds.

    ``thresholds`` maps the fold (None without folds) to the threshold; None as threshold means that no point was
    admissible, and then the arm has no result at this point. ``reason`` says why a threshold or a certificate that
    was asked for is not there.
    """

    name: str
    thresholds: dict[int | None, float | None]
    chosen_on: Literal["fixed", "calibration", "other folds"]
    target: str | None = None
    certificate: Certificate | None = None
    reason: str | None = None

    @property
    def certified(self) -> bool:
        """Whether something is promised for new patients."""
        return self.certificate is not None


@dataclass(frozen=True, slots=True)
class Lesions:
    """The components of a reference mask; all arrays of length L, ordered by first voxel."""

    voxels: NDArray[np.int64]
    volume_ml: NDArray[np.float64]  # nan where the grid knows no millimetres
    diameter_mm: NDArray[np.float64]  # of the sphere of equal volume; nan likewise
    centre_XYZ: NDArray[np.int32]  # (L, 3): a voxel of the lesion in its largest axial slice
