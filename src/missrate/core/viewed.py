"""A case as models see it, on disk: mapped, not read, with the places of its lesion voxels beside it."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core import store
from missrate.core.crop import Box
from missrate.core.documents import ViewForm
from missrate.core.grid import Grid
from missrate.core.guard import understood
from missrate.core.types import LESION, ORGAN

VIEW = "missrate/view/3"
LONGEST_HEADER = 256
"""Bytes before the numbers of an array that we wrote, and room for a few numbers."""


@dataclass(frozen=True, slots=True)
class ViewedCase:
    """int16 HU and uint8 labels on the view's voxels, and each lesion voxel, so that drawing one searches no label.

    ``lesion_VX``: places x, y, z in the order of slices, then x, then y. ``starts``: for each slice where its own
    begin, and at the end how many there are. ``organ_slices``: those with a voxel of the organ, sorted.
    """

    case_id: str
    patient_id: str
    image_XYZ: NDArray[np.int16]
    label_XYZ: NDArray[np.uint8]
    lesion_VX: NDArray[np.int16]  # (V, 3)
    starts: NDArray[np.int64]  # (Z + 1,)
    organ_slices: NDArray[np.int64]
    box: Box
    grid: Grid  # of the whole scan, for the way back

    @staticmethod
    def of(
        ids: tuple[str, str], image_XYZ: NDArray[np.int16], label_XYZ: NDArray[np.uint8], box: Box, grid: Grid
    ) -> "ViewedCase":
        """With lesion voxels and organ slices found. ``ids``: case and patient."""
        found_ZXY = np.argwhere(label_XYZ.transpose(2, 0, 1) == LESION)
        counts = np.bincount(found_ZXY[:, 0], minlength=label_XYZ.shape[2])
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        lesion_VX = np.ascontiguousarray(found_ZXY[:, [1, 2, 0]], np.int16)
        organ_slices = np.flatnonzero((label_XYZ == ORGAN).any(axis=(0, 1)))
        return ViewedCase(*ids, image_XYZ, label_XYZ, lesion_VX, starts, organ_slices, box, grid)

    @property
    def lesion_slices(self) -> NDArray[np.int64]:
        """The slices with a lesion, sorted."""
        return np.flatnonzero(np.diff(self.starts))

    def leading(self, slices: int) -> "ViewedCase":
        """Its first ``slices`` slices as a case of their own."""
        image_XYZ, label_XYZ = self.image_XYZ[:, :, :slices], self.label_XYZ[:, :, :slices]
        return ViewedCase.of((self.case_id, self.patient_id), image_XYZ, label_XYZ, self.box, self.grid)

    def lesion_in(self, z: int) -> NDArray[np.int16]:
        """The places x, y of the lesion voxels of a slice, (V, 2)."""
        return self.lesion_VX[self.starts[z] : self.starts[z + 1], :2]


def write_view(folder: Path, case: ViewedCase) -> None:
    """Four files of one case; the ``.json`` comes last and says that the case is whole."""
    # Slices lie together on disk: reading one touches its own pages and not all of them.
    arrays: dict[str, NDArray[Any]] = {
        "image": np.asfortranarray(case.image_XYZ),
        "label": np.asfortranarray(case.label_XYZ),
        "lesion": case.lesion_VX,
    }
    for name, values in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, values)
        store.write_atomic(folder / f"{case.case_id}.{name}.npy", buffer.getvalue())
    value = {
        "schema": VIEW,
        "patient_id": case.patient_id,
        "lesion_starts": case.starts.tolist(),
        "organ_slices": case.organ_slices.tolist(),
        "box": [[b.start, b.stop] for b in case.box],
        "grid": store.grid_to_json(case.grid),
    }
    store.write_json(folder / f"{case.case_id}.json", value)


def read_view(folder: Path, case_id: str) -> ViewedCase:
    """Return the case, memory-mapped. Raises StoreError when it is absent, damaged or of another schema."""
    path = folder / f"{case_id}.json"
    value = store.read_json(path, VIEW, ViewForm)
    with understood(path, "a view of a case"):
        x, y, z = (slice(*span) for span in value["box"])
        case = ViewedCase(
            case_id,
            value["patient_id"],
            _mapped(folder / f"{case_id}.image.npy", np.int16, 3),
            _mapped(folder / f"{case_id}.label.npy", np.uint8, 3),
            np.array(_mapped(folder / f"{case_id}.lesion.npy", np.int16, 2)),
            np.array(value["lesion_starts"], np.int64),
            np.array(value["organ_slices"], np.int64),
            (x, y, z),
            store.grid_from_json(value["grid"]),
        )
        _require_whole(case)
    return case


def _mapped(path: Path, kind: type[np.generic], axes: int) -> NDArray[Any]:
    """An array on the disk, checked to be as long as its header says."""
    with understood(path, "a whole array of a view"):
        # An array of no numbers cannot be mapped.
        empty = path.stat().st_size < LONGEST_HEADER
        values: NDArray[Any] = np.load(path, mmap_mode=None if empty else "r", allow_pickle=False)
        if values.dtype != kind or values.ndim != axes:
            raise TypeError(f"{values.dtype} numbers {values.shape}")
    return values


def _require_whole(case: ViewedCase) -> None:
    """Raise ValueError unless the places of lesion voxels lead into the arrays, and the box lies in the scan."""
    shape, starts, lesion_VX = case.image_XYZ.shape, case.starts, case.lesion_VX
    sound = (
        case.label_XYZ.shape == shape
        and starts.shape == (shape[2] + 1,)
        and starts[0] == 0
        and (np.diff(starts) >= 0).all()
        and lesion_VX.shape == (starts[-1], 3)
        and ((lesion_VX >= 0) & (lesion_VX < shape)).all()
        and (case.organ_slices < shape[2]).all()
        and all(0 <= b.start < b.stop <= n for b, n in zip(case.box, case.grid.shape, strict=True))
    )
    if not sound:
        raise ValueError("parts that do not fit together")
