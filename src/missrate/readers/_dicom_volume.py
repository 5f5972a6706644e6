"""A series of slices to one volume: put in order along its normal, refused where slices lack, overlap or differ.

Shape letters: I columns, J rows, K slices, as the scanner wrote them; positions are LPS in DICOM and RAS here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError
from missrate.readers._dicom_tree import Header, once, quiet, read

LEAST_SLICES = 3
ANGLE = 1e-4
UNEQUAL = 0.02
ROUNDED_MM = 0.005
"""Distances of slices may differ from their median by a fiftieth, and by what rounding explains."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MOST_VOXELS = 2**31

Volume = tuple[NDArray[Any], NDArray[np.float64]]
"""Values IJK in HU, and their affine to RAS mm."""


def load(files: Sequence[Header], name: str) -> Volume:
    """The volume of a series. ``name`` is what errors call it. Raises DataError."""
    files = once(files)
    if len(files) == 1 and files[0].frames > 1:
        return _multiframe(files[0], name)
    slices = [_geometry(header, f"{name}, file {i + 1} of {len(files)}") for i, header in enumerate(files)]
    ordered = _in_order(slices, name)
    affine = _affine(ordered, name)
    shape = (ordered[0]["columns"], ordered[0]["rows"], len(ordered))
    if np.prod(shape, dtype=np.int64) > MOST_VOXELS:
        raise DataError(f"{name} must have at most {MOST_VOXELS} voxels. Got {shape}.")
    values_IJK: NDArray[Any] = np.empty(shape, np.float32, order="F")
    for k, one in enumerate(ordered):
        values_IJK[:, :, k] = _pixels(one, f"{name}, file {one['number']} of {len(files)}").T
    return as_int16(values_IJK), affine


def geometry(files: Sequence[Header], name: str) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape IJK and affine of a series, without pixels. Raises DataError as ``load``."""
    files = once(files)
    if len(files) == 1 and files[0].frames > 1:
        values, affine = _multiframe(files[0], name)
        return (values.shape[0], values.shape[1], values.shape[2]), affine
    slices = [_geometry(header, f"{name}, file {i + 1} of {len(files)}") for i, header in enumerate(files)]
    ordered = _in_order(slices, name)
    return (ordered[0]["columns"], ordered[0]["rows"], len(ordered)), _affine(ordered, name)


def as_int16(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in the range of int16 as such: half of the memory, and no rounding later."""
    if np.abs(values).max() >= 2**15:
        return values
    small = values.astype(np.int16)
    return small if (small == values).all() else values


Slice = dict[str, Any]


def _geometry(header: Header, what: str) -> Slice:
    """What of a slice its place in the volume depends on."""
    data = read(header.path, what, stop_before_pixels=True)
    try:
        with quiet():
            place = np.array([float(v) for v in data.ImagePositionPatient])
            turn = np.array([float(v) for v in data.ImageOrientationPatient]).reshape(2, 3)
            spacing = np.array([float(v) for v in data.PixelSpacing])
            size = {"rows": int(data.Rows), "columns": int(data.Columns)}
    except Exception:
        raise DataError(f"{what} must say where it lies. Got no position, orientation or pixel spacing.") from None
    whole = place.shape == (3,) and spacing.shape == (2,) and np.isfinite([*place, *turn.ravel(), *spacing]).all()
    if not whole or spacing.min() <= 0 or np.abs(turn @ turn.T - np.eye(2)).max() > 1e-3 or min(size.values()) < 1:
        raise DataError(f"{what} must lie at a sensible place. Got a damaged position, orientation or pixel spacing.")
    number = int(what.rpartition("file ")[2].split(" ", maxsplit=1)[0])
    return {"header": header, "place": place, "turn": turn, "spacing": spacing, "number": number, **size}


def _in_order(slices: list[Slice], name: str) -> list[Slice]:
    if len(slices) < LEAST_SLICES:
        raise DataError(f"{name} must have at least {LEAST_SLICES} slices. Got {len(slices)}.")
    first = slices[0]
    for one in slices:
        if (one["rows"], one["columns"]) != (first["rows"], first["columns"]):
            raise DataError(f"The slices of {name} must have one size. Got {_size(first)} and {_size(one)}.")
        if np.abs(one["turn"] - first["turn"]).max() > ANGLE:
            raise DataError(f"The slices of {name} must be parallel. Got several orientations; perhaps a localiser.")
        if np.abs(one["spacing"] - first["spacing"]).max() > 1e-4:
            raise DataError(f"The slices of {name} must have one pixel spacing. Got several.")
    normal = np.cross(*first["turn"])
    slices = sorted(slices, key=lambda one: float(one["place"] @ normal))
    along_mm = np.array([one["place"] @ normal for one in slices])
    apart_mm = np.diff(along_mm)
    middle_mm = float(np.median(apart_mm))
    if apart_mm.min() < max(1e-3, 0.01 * middle_mm):
        raise DataError(
            f"The slices of {name} must lie at different places. Got two at one; perhaps two reconstructions or "
            "phases under one series."
        )
    if np.abs(apart_mm - middle_mm).max() > UNEQUAL * middle_mm + ROUNDED_MM:
        raise DataError(
            f"The slices of {name} must be equally far apart. Got {apart_mm.min():.4g} to {apart_mm.max():.4g} mm, "
            f"mostly {middle_mm:.4g}; perhaps a slice is missing."
        )
    return slices


def _size(one: Slice) -> str:
    return f"{one['columns']} x {one['rows']}"


def _affine(slices: list[Slice], name: str) -> NDArray[np.float64]:
    """Columns run along the first direction cosine, rows along the second."""
    first, last = slices[0], slices[-1]
    affine = np.eye(4)
    affine[:3, 0] = first["turn"][0] * first["spacing"][1]
    affine[:3, 1] = first["turn"][1] * first["spacing"][0]
    affine[:3, 2] = (last["place"] - first["place"]) / (len(slices) - 1)
    affine[:3, 3] = first["place"]
    wanted = first["place"] + np.arange(len(slices))[:, None] * affine[:3, 2]
    off_mm = np.abs(np.array([one["place"] for one in slices]) - wanted).max()
    if off_mm > UNEQUAL * float(np.linalg.norm(affine[:3, 2])) * 2 + ROUNDED_MM:
        raise DataError(f"The slices of {name} must lie on one line. Got places {off_mm:.3g} mm beside it.")
    return LPS_TO_RAS @ affine


def _pixels(one: Slice, what: str) -> NDArray[np.float32]:
    """HU, rows x columns."""
    data = read(one["header"].path, what)
    try:
        with quiet():
            if int(getattr(data, "SamplesPerPixel", 1)) != 1 or data.PhotometricInterpretation != "MONOCHROME2":
                raise DataError(f"{what} must be grey, dark at low values. Got another kind of picture.")
            values = np.asarray(data.pixel_array)
            slope = float(getattr(data, "RescaleSlope", None) or 1.0)
            raw = getattr(data, "RescaleIntercept", None)
            intercept = 0.0 if raw is None else float(raw)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{what} must hold pixels that can be decoded. Got: {type(error).__name__}; perhaps it is cut short, or "
            "pip install 'missrate[dicom]' for compressed ones."
        ) from None
    if values.shape != (one["rows"], one["columns"]) or not np.isfinite([slope, intercept]).all():
        raise DataError(f"{what} must have the size and scale that its header says. Got others.")
    return (values * np.float64(slope) + intercept).astype(np.float32)


def _multiframe(header: Header, name: str) -> Volume:
    """An enhanced CT: all slices in one file."""
    try:
        import highdicom
    except ImportError:
        raise DataError(f"{name} must have highdicom. Got none; perhaps pip install 'missrate[dicom]'.") from None
    try:
        with quiet():
            volume = highdicom.imread(header.path).get_volume(dtype=np.float64, apply_real_world_transform=False)
            values_KJI, affine_KJI = np.asarray(volume.array), np.asarray(volume.affine)
    except Exception as error:
        raise DataError(
            f"{name} must be one stack of equally distant slices. Got frames that make none: {type(error).__name__}."
        ) from None
    if values_KJI.ndim != 3 or len(values_KJI) < LEAST_SLICES:
        raise DataError(f"{name} must have at least {LEAST_SLICES} grey slices. Got {values_KJI.shape}.")
    affine = LPS_TO_RAS @ affine_KJI[:, [2, 1, 0, 3]]
    return as_int16(values_KJI.transpose(2, 1, 0).astype(np.float32)), affine
