"""One pass over a reference mask and a prediction: ``CaseStatistics``, and their file.

Shapes: XYZ voxels, L lesions, K candidate levels, M candidate rows, Q overlap rows.
"""

import io
import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError, GridError, InputError, StoreError
from missrate.core.grid import Grid
from missrate.core.lesions import components, measure
from missrate.core.quantise import TOP, Levels, level_of
from missrate.core.store import write_atomic
from missrate.core.types import CaseStatistics, Lesions

SCHEMA = "missrate/statistics/1"
_HISTOGRAMS = ("inside", "outside")
_PLAIN = ("schema", "case_id", "patient_id", "fold", "voxel_ml", "binary")


def default_candidate_levels(thresholds: list[float]) -> NDArray[np.uint16]:
    """The levels of .01, .02, ..., 1.00 and of the declared thresholds, ascending, each once; shape (K,)."""
    return np.unique([level_of(t) for t in [*(k / 100 for k in range(1, 101)), *thresholds]]).astype(np.uint16)


def measure_case(
    reference_XYZ: NDArray[np.bool_],
    levels_XYZ: Levels,
    grid: Grid,
    *,
    case_id: str,
    patient_id: str,
    fold: int | None,
    candidate_levels: NDArray[np.uint16],
    floor_level: int,
    binary: bool = False,
) -> CaseStatistics:
    """Everything that metrics need of one case. Axial slices are axis 2.

    ``levels_XYZ`` are quantised probabilities; candidates exist at those of ``candidate_levels`` (ascending)
    that are at least ``floor_level``. An empty reference gives L = 0, an empty prediction M = 0. Raises GridError
    when a shape is not the grid's, DataError for a wrong type or a level above TOP, InputError for candidate
    levels that do not ascend.
    """
    _require(reference_XYZ, levels_XYZ, grid, case_id)
    kept_K = _kept_levels(candidate_levels, floor_level)
    lesion_labels_XYZ, count = components(reference_XYZ)
    rows = _candidates(lesion_labels_XYZ, levels_XYZ, kept_K, count)
    inside_XYZ = np.where(reference_XYZ, levels_XYZ, np.uint16(0))
    return CaseStatistics(
        case_id=case_id,
        patient_id=patient_id,
        fold=fold,
        voxel_ml=grid.voxel_ml,
        inside=np.bincount(levels_XYZ[reference_XYZ], minlength=TOP + 1).astype(np.int64),
        outside=np.bincount(levels_XYZ[~reference_XYZ], minlength=TOP + 1).astype(np.int64),
        slice_voxels=reference_XYZ.sum(axis=(0, 1)).astype(np.int64),
        slice_peak_inside=inside_XYZ.max(axis=(0, 1)),
        slice_peak=levels_XYZ.max(axis=(0, 1)),
        lesions=measure(lesion_labels_XYZ, count, grid),
        lesion_peak=_peaks(lesion_labels_XYZ, levels_XYZ, count),
        candidate_levels=kept_K,
        candidate_level=rows.level,
        candidate_voxels=rows.voxels,
        candidate_peak=rows.peak,
        overlap_candidate=rows.overlap_candidate,
        overlap_lesion=rows.overlap_lesion,
        overlap_voxels=rows.overlap_voxels,
        binary=binary,
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    level: NDArray[np.int32]
    voxels: NDArray[np.int64]
    peak: NDArray[np.uint16]
    overlap_candidate: NDArray[np.int32]
    overlap_lesion: NDArray[np.int32]
    overlap_voxels: NDArray[np.int64]

    def moved(self, level: int, first: int) -> "_Rows":
        """The same components as rows of another level, whose first candidate row is ``first``."""
        return _Rows(
            np.full_like(self.level, level),
            self.voxels,
            self.peak,
            (self.overlap_candidate + first).astype(np.int32),
            self.overlap_lesion,
            self.overlap_voxels,
        )


def _require(reference_XYZ: NDArray[np.bool_], levels_XYZ: Levels, grid: Grid, case_id: str) -> None:
    for name, array in (("reference", reference_XYZ), ("prediction", levels_XYZ)):
        if array.shape != grid.shape:
            raise GridError(f"The {name} of case {case_id} must have shape {grid.shape}. Got {array.shape}.")
    if reference_XYZ.dtype != np.bool_ or levels_XYZ.dtype != np.uint16:
        raise DataError(
            f"Case {case_id} must be a boolean reference and uint16 levels. "
            f"Got {reference_XYZ.dtype} and {levels_XYZ.dtype}."
        )
    if int(levels_XYZ.max()) > TOP:
        raise DataError(f"Levels of case {case_id} must be at most {TOP}. Got {int(levels_XYZ.max())}.")


def _kept_levels(candidate_levels: NDArray[np.uint16], floor_level: int) -> NDArray[np.uint16]:
    whole = candidate_levels.astype(np.int64)
    if (np.diff(whole) <= 0).any() or (whole < 1).any() or (whole > TOP).any():
        raise InputError(f"Candidate levels must ascend within 1 to {TOP}. Got {whole[:8].tolist()}...")
    return candidate_levels[whole >= floor_level].astype(np.uint16)


def _candidates(
    lesion_labels_XYZ: NDArray[np.int32], levels_XYZ: Levels, kept_K: NDArray[np.uint16], lesions: int
) -> _Rows:
    """The components at each level. A mask that lost no voxel since the level below has the same components."""
    lowest = int(kept_K[0]) if kept_K.size else TOP + 1
    box = _bounding_box(levels_XYZ >= lowest)
    levels_box, labels_box = levels_XYZ[box], lesion_labels_XYZ[box]
    parts: list[_Rows] = []
    before, first = -1, 0
    for k, level in enumerate(kept_K):
        mask = levels_box >= level
        voxels = int(mask.sum())
        if voxels != before:
            part = _components_at(mask, levels_box, labels_box, lesions)
        parts.append(part.moved(k, first))
        before, first = voxels, first + part.voxels.size
    return _Rows(
        level=_joined([p.level for p in parts], np.int32),
        voxels=_joined([p.voxels for p in parts], np.int64),
        peak=_joined([p.peak for p in parts], np.uint16),
        overlap_candidate=_joined([p.overlap_candidate for p in parts], np.int32),
        overlap_lesion=_joined([p.overlap_lesion for p in parts], np.int32),
        overlap_voxels=_joined([p.overlap_voxels for p in parts], np.int64),
    )


def _components_at(
    mask_XYZ: NDArray[np.bool_], levels_XYZ: Levels, lesion_labels_XYZ: NDArray[np.int32], lesions: int
) -> _Rows:
    labels_XYZ, count = components(mask_XYZ)
    shared_XYZ = (labels_XYZ > 0) & (lesion_labels_XYZ > 0)
    candidate, lesion = labels_XYZ[shared_XYZ] - 1, lesion_labels_XYZ[shared_XYZ] - 1
    pair, voxels = np.unique(candidate.astype(np.int64) * max(lesions, 1) + lesion, return_counts=True)
    return _Rows(
        level=np.zeros(count, np.int32),
        voxels=np.bincount(labels_XYZ.ravel(), minlength=count + 1)[1:].astype(np.int64),
        peak=_peaks(labels_XYZ, levels_XYZ, count),
        overlap_candidate=(pair // max(lesions, 1)).astype(np.int32),
        overlap_lesion=(pair % max(lesions, 1)).astype(np.int32),
        overlap_voxels=voxels.astype(np.int64),
    )


def _peaks(labels_XYZ: NDArray[np.int32], levels_XYZ: Levels, count: int) -> NDArray[np.uint16]:
    """The highest level within each of the labels 1..count; shape (count,)."""
    peaks = np.zeros(count + 1, np.uint16)
    labelled_XYZ = labels_XYZ > 0
    np.maximum.at(peaks, labels_XYZ[labelled_XYZ], levels_XYZ[labelled_XYZ])
    return peaks[1:]


def _bounding_box(mask_XYZ: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The smallest box that holds all true voxels; an empty mask gives the first voxel, so that no axis is empty."""
    if not mask_XYZ.any():
        return slice(0, 1), slice(0, 1), slice(0, 1)
    spans = [np.flatnonzero(mask_XYZ.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    x, y, z = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return x, y, z


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)


def save(path: Path, case: CaseStatistics) -> None:
    """Writes ``case`` to one compressed .npz without pickle, all or nothing; equal statistics give equal bytes.

    The histograms are stored as the levels that occur and their counts; everything that is no array is one JSON text.
    """
    plain = {name: getattr(case, name) for name in _PLAIN if name != "schema"}
    arrays: dict[str, NDArray[Any]] = {"plain": np.array(json.dumps({"schema": SCHEMA, **plain}, sort_keys=True))}
    for field in fields(case):
        value = getattr(case, field.name)
        if field.name in _HISTOGRAMS:
            occurring = np.flatnonzero(value)
            arrays[f"{field.name}_levels"] = occurring.astype(np.uint16)
            arrays[f"{field.name}_counts"] = value[occurring]
        elif field.name == "lesions":
            arrays |= {f"lesions_{part.name}": getattr(value, part.name) for part in fields(value)}
        elif field.name not in _PLAIN:
            arrays[field.name] = value
    buffer = io.BytesIO()
    # numpy stamps every member with the zip format's first date, so the bytes hold no clock (a test verifies it).
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def load(path: Path) -> CaseStatistics:
    """The inverse of ``save``. Raises StoreError when the file is absent, damaged or of another schema."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
        plain: dict[str, Any] = json.loads(str(arrays.pop("plain")))
        schema = plain.pop("schema", None)
        if schema != SCHEMA:
            raise StoreError(f"{path} must have schema {SCHEMA}. Got {schema!r}.")
        return _unpacked(plain, arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} must be a readable statistics file. Got: {error}.") from error


def _unpacked(plain: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> CaseStatistics:
    for name in _HISTOGRAMS:
        histogram = np.zeros(TOP + 1, np.int64)
        histogram[arrays.pop(f"{name}_levels")] = arrays.pop(f"{name}_counts")
        arrays[name] = histogram
    lesions = Lesions(**{part.name: arrays.pop(f"lesions_{part.name}") for part in fields(Lesions)})
    everything: dict[str, Any] = {**plain, **arrays, "lesions": lesions}
    return CaseStatistics(**everything)
