"""What every target needs to know: the labels, the parts, and the settings of one export."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from missrate.core.types import IGNORED, LESION, ORGAN, LabelMeaning

Target = Literal["nnunet", "msd", "coco", "slices"]
TRAINED = ("train", "validation")


@dataclass(frozen=True, slots=True)
class About:
    """``parts``: the part or fold of each case, empty without a split; ``folds``: their number, None with parts."""

    name: str
    target: Target
    meaning: LabelMeaning
    window_hu: tuple[float, float] = (-100.0, 200.0)
    parts: dict[str, str | int] = field(default_factory=dict)
    folds: int | None = None

    @property
    def lesion(self) -> int:
        """The value of lesion voxels."""
        return 2 if self.meaning.organ else 1

    @property
    def ignore(self) -> int:
        """nnU-Net wants the highest value without a gap; the others get one that is no class by accident."""
        return self.lesion + 1 if self.target == "nnunet" else IGNORED

    def names(self) -> dict[str, int]:
        """Every value that is written, by name."""
        organ = {"organ": 1} if self.meaning.organ else {}
        ignored = {"ignore": self.ignore} if self.meaning.ignore else {}
        return {"background": 0, **organ, "lesion": self.lesion, **ignored}

    def labels(self, label_XYZ: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a model sees as what is written, any shape."""
        table = np.zeros(256, np.uint8)
        table[[LESION, ORGAN, IGNORED]] = [self.lesion, 1, self.ignore]
        return np.asarray(table[label_XYZ], np.uint8)

    def trained(self, case_id: str) -> bool:
        """Whether a case is one to train on: with folds, and without a split, every one is."""
        return self.folds is not None or not self.parts or self.parts[case_id] in TRAINED


Case = dict[str, Any]
"""A case of the manifest."""
