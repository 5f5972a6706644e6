"""The metrics of distance on the shelf: each reads its own family, and the table of empty masks holds for all."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest

from missrate.core import catalog
from missrate.core.errors import InputError
from missrate.core.quantise import level_of
from missrate.core.surfaces import SurfaceDistances
from missrate.evaluate.distances import measure
from tests.drawn import OVERLAP, drawn

HALF = level_of(0.5)
DISTANCES = ["hd95_directed_max_mm", "hd95_pooled_mm", "hd95_surfel_mm"]
SHARES = ["nsd_voxel", "nsd_surfel"]


@dataclass(frozen=True)
class Case:
    """Stands in for ``CaseStatistics``."""

    distances: tuple[SurfaceDistances, ...]
    case_id: str = "c"
    kind: str = "probability"
    voxel_ml: float | None = 0.001


def case(reference: str, prediction: str, *, surfels: bool = True) -> Case:
    masks = drawn(reference) > 0, drawn(prediction) > 0
    return Case((measure(*masks, (1.0, 1.0, 1.0), HALF, surfels=surfels),))


def metric(name: str) -> ModuleType:
    return catalog.load("metrics", name)


def value(name: str, of: Case, at: int = HALF) -> float | None:
    parameter = {} if name in DISTANCES else {"tolerance_mm": 2.0}
    result = metric(name).measure(of, at, OVERLAP, **parameter)
    assert result is None or isinstance(result, float)
    return result


@pytest.mark.parametrize("name", [*DISTANCES, *SHARES])
def test_members_keep_the_contract(name: str) -> None:
    member = metric(name)
    contract = [member.LEVEL, member.BETTER, getattr(member, "PARAMETER", None)]
    assert contract == (["case", "lower", None] if name in DISTANCES else ["case", "higher", "tolerance_mm"])
    assert getattr(member, "DEFAULT", True) is (name in ("hd95_directed_max_mm", "nsd_voxel"))


def test_each_reads_its_own_family() -> None:
    # The rods of 20 and 24 voxels, derived by hand in evaluate/test_distances.py.
    rods = case("#" * 20 + "....", "#" * 24)
    plane, end = 2.0 * np.sqrt(2.0), np.sqrt(3.0) / 2.0
    expected = {
        "hd95_directed_max_mm": 2.85,
        "hd95_pooled_mm": 1.85,
        "hd95_surfel_mm": 3.0,
        "nsd_voxel": 42 / 44,
        "nsd_surfel": (41 * plane + 3 * end) / (42 * plane + 4 * end),
    }
    assert {name: value(name, rods) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "prediction", "share"),
    [("##..", "....", 0.0), ("....", "..##", 0.0), ("....", "....", None), ("##..", "##..", 1.0)],
)
def test_the_table_of_empty_masks(reference: str, prediction: str, share: float | None) -> None:
    # HD95 of a total miss: 0 (perfect) in seg-metrics, nan and dropped from the mean in MONAI, an exception in medpy.
    one = case(reference, prediction)
    for name in DISTANCES:
        assert value(name, one) == (0.0 if share == 1.0 else None)
    for name in SHARES:
        assert value(name, one) == share


@pytest.mark.parametrize("name", [*DISTANCES, *SHARES])
def test_pixels_have_no_millimetres_and_another_threshold_was_not_measured(name: str) -> None:
    assert value(name, Case((), voxel_ml=None)) is None
    with pytest.raises(InputError, match="perhaps declare this threshold"):
        value(name, case("##..", ".##."), level_of(0.75))


def test_areas_must_have_been_asked_for() -> None:
    voxels_only = case("##..", ".##.", surfels=False)
    assert value("nsd_voxel", voxels_only) == 1.0
    for name in ("hd95_surfel_mm", "nsd_surfel"):
        with pytest.raises(InputError, match="must be asked for"):
            value(name, voxels_only)
