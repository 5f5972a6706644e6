"""Small cases whose image says where each pixel was: HU = 100 * x + y, so that a patch can be traced back."""

from pathlib import Path

import numpy as np

from missrate.core.grid import Grid
from missrate.core.recipe import Recipe, TrainConfig
from missrate.core.types import LESION
from missrate.core.view import View
from missrate.core.viewed import ViewedCase

TINY = str(Path(__file__).with_name("tiny.py"))


def case(
    case_id: str,
    *,
    patient_id: str | None = None,
    shape: tuple[int, int, int] = (16, 20, 6),
    lesion: tuple[slice, slice, slice] | None = np.s_[3:6, 8:12, 2:4],
) -> ViewedCase:
    """A scan whose slices differ by 1 HU, with a box as lesion; None means healthy."""
    x, y, z = np.indices(shape)
    label_XYZ = np.zeros(shape, np.uint8)
    if lesion is not None:
        label_XYZ[lesion] = LESION
    box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    image_XYZ = (100 * x + y + z).astype(np.int16)
    return ViewedCase.of((case_id, patient_id or case_id), image_XYZ, label_XYZ, box, Grid(shape, None))


def cohort() -> list[ViewedCase]:
    """Three patients with a lesion and one without."""
    return [case("a"), case("b", lesion=np.s_[9:12, 2:5, 1:3]), case("c", lesion=None), case("d", shape=(14, 18, 5))]


def recipe(*, model: str = TINY, config: dict[str, object] | None = None, seed: int = 0, **train: object) -> Recipe:
    """The tiny model of ``tiny.py``, eight steps, a snapshot after the third and the sixth."""
    settings = {"steps": 8, "batch": 4, "warmup": 2, "snapshot_every": 3, "validate_every": 4, "precision": "float32"}
    return Recipe(
        arm="tiny",
        model=model,
        config=config or {},
        view=View(window_hu=(0.0, 2000.0), context_slices=3),
        train=TrainConfig.model_validate(settings | train),
        seed=seed,
    )
