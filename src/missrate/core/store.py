"""Every path and file format on disk: atomic writes, hashes, the lock, volumes, prepared data and predictions."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from missrate.core.crop import Crop
from missrate.core.errors import DataError, LockedError, StoreError
from missrate.core.grid import Grid
from missrate.core.types import LabelledScan, LabelMeaning, Prediction

MANIFEST = "missrate/manifest/2"
CASE = "missrate/case/2"
SPLIT = "missrate/split/1"
PREDICTION = "missrate/prediction/1"
VIEW = "missrate/view/1"
PROVENANCE = "missrate/provenance/1"
LEFT_FREE = 2**30
"""Bytes that unpacking and downloading leave free on a disk."""


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """The whole file or nothing, whenever the process or the machine stops. Raises StoreError with the reason.

    ``durable=False`` for the many small files of one stage: whole or absent whenever the process is killed; after
    a power failure a damaged one is found when it is read.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StoreError(
            f"{path} could not be written: {error.strerror or error}. Nothing finished was lost."
        ) from error


def remove_parts(folder: Path) -> None:
    """Removes what killed writers left beside the files that they meant; only for who holds the lock of ``folder``."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """``write_atomic`` for UTF-8 text; a file that holds it already is left as it is, time of change included."""
    data = text.encode()
    if not (path.is_file() and path.read_bytes() == data):
        write_atomic(path, data)


def write_json(path: Path, value: object) -> None:
    """Sorted, indented and with a final newline, so that equal values give equal bytes. nan is refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path, schema: str | None = None) -> Any:
    """The parsed file. Raises StoreError when it is absent, not JSON, or of another schema than ``schema``."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path} must be readable. Got: {error.strerror or error}.") from error
    except ValueError as error:
        raise StoreError(f"{path} must be JSON. Got: {error}.") from error
    if schema is not None and value.get("schema") != schema:
        raise StoreError(
            f"{path} must have schema {schema}. Got {value.get('schema')!r}; perhaps another version wrote it."
        )
    return value


def hash_file(path: Path) -> str:
    """``sha256:`` and the hex digest of the file's bytes."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Sequence[Path]) -> str:
    """One hash over names and bytes of several files, in the order of their names."""
    lines = [f"{path.name} {hash_file(path)}" for path in sorted(paths, key=lambda p: p.name)]
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def hash_array(values: NDArray[np.generic]) -> str:
    """``sha256:`` of dtype, shape and voxels in C order."""
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return "sha256:" + digest.hexdigest()


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process. Raises LockedError at once when another process holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock", timeout=0)
        held.acquire()
    except Timeout as error:
        raise LockedError(
            f"{folder} is in use by another missrate process; wait for it, or choose another --out."
        ) from error
    except OSError as error:
        raise StoreError(f"{folder} must be a folder that can be written. Got: {error.strerror or error}.") from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def working_on(path: Path) -> Iterator[None]:
    """Whatever the disk refuses below ``path`` becomes a StoreError with the reason."""
    try:
        yield
    except OSError as error:
        said = error.strerror or error
        raise StoreError(f"{path} could not be read or written: {said}. Nothing finished was lost.") from error


def require_free(folder: Path, count: int) -> None:
    """Raises StoreError unless ``count`` more bytes would leave ``LEFT_FREE`` on the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if free - count < LEFT_FREE:
        raise StoreError(
            f"{folder} must lie on a disk with {(count + LEFT_FREE) / 2**30:.1f} GiB free. Got {free / 2**30:.1f} GiB."
        )


def write_volume(path: Path, values_XYZ: NDArray[np.generic], meta: dict[str, Any]) -> None:
    """One compressed array with its metadata in one file; chunks are axial slices, so that one slice loads quickly."""
    size_x, size_y, size_z = values_XYZ.shape
    # One thread: the bytes must not depend on how many workers there are.
    packed = blosc2.asarray(
        np.ascontiguousarray(values_XYZ),
        chunks=(size_x, size_y, min(8, size_z)),
        cparams={
            "codec": blosc2.Codec.ZSTD,
            "clevel": 3,
            "filters": [blosc2.Filter.BITSHUFFLE],
            "nthreads": 1,
        },
        dparams={"nthreads": 1},
        meta={"missrate": json.dumps(meta, sort_keys=True)},
    )
    write_atomic(path, packed.to_cframe(), durable=False)


def read_volume(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The whole array and its metadata. Raises StoreError when the file is absent or damaged."""
    try:
        packed = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
        return packed[()], json.loads(packed.schunk.meta["missrate"])
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise StoreError(f"{path} must be a volume of missrate. Got: {error}.") from error


def grid_to_json(grid: Grid) -> dict[str, Any]:
    """Shape and affine as plain lists."""
    return {"shape": list(grid.shape), "affine": grid.affine and [list(row) for row in grid.affine]}


def grid_from_json(value: dict[str, Any]) -> Grid:
    """The inverse of ``grid_to_json``."""
    affine = None if value["affine"] is None else np.array(value["affine"])
    return Grid.of(tuple(value["shape"]), affine)


def write_crop(path: Path, crop: Crop, meta: dict[str, Any]) -> None:
    """The smallest box in which something is, with the whole grid beside it."""
    small = crop.trimmed()
    box = [[b.start, b.stop] for b in small.box]
    write_volume(path, small.values_XYZ, meta | {"grid": grid_to_json(crop.grid), "box": box})


def read_crop(path: Path, schema: str | None = None) -> tuple[Crop, dict[str, Any]]:
    """The box, and what else was written. Raises StoreError also for another schema than ``schema``."""
    values_XYZ, meta = read_volume(path)
    if schema is not None and meta.get("schema") != schema:
        raise StoreError(f"{path} must have schema {schema}. Got {meta.get('schema')!r}.")
    x, y, z = (int(begin) for begin, _ in meta["box"])
    return Crop(values_XYZ, (x, y, z), grid_from_json(meta["grid"])), meta


def write_prediction(path: Path, prediction: Prediction) -> None:
    """Levels cropped to the box in which they are not 0."""
    write_crop(path, prediction.levels, {"schema": PREDICTION, "binary": prediction.kind == "mask"})


def read_prediction(path: Path) -> Prediction:
    """The inverse of ``write_prediction``; errors as in ``read_crop``."""
    crop, meta = read_crop(path, PREDICTION)
    return Prediction(crop, "mask" if meta["binary"] else "probability")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder that the prepare room wrote: ``manifest.json``, ``refused.csv``, ``cases/<case_id>/``."""

    folder: Path

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """``{"schema", "source", "cases", "refused", "excluded", "notes"}``.

        A case has what ``prepare.examine`` says of it, with case_id and patient_id.
        """
        value: dict[str, Any] = read_json(self.manifest_path, MANIFEST)
        return value

    def case_folder(self, case_id: str) -> Path:
        return self.folder / "cases" / case_id

    def load(self, case_id: str, patient_id: str) -> LabelledScan:
        """Image in int16 and label in uint8, with what the source's numbers meant already applied (core.types).

        A case that has no image, only a label, gets one of 0 HU.
        """
        label, path = self.load_label(case_id), self.case_folder(case_id) / "image.b2nd"
        if not path.exists():
            image_XYZ = np.zeros(label.grid.shape, np.int16)
            return LabelledScan(case_id, patient_id, image_XYZ, label.full(), label.grid)
        image_XYZ, meta = read_volume(path)
        if image_XYZ.shape != label.grid.shape:
            raise DataError(
                f"{case_id}: image and label in {self.folder} must have one shape. "
                f"Got {image_XYZ.shape}, {label.grid.shape}."
            )
        return LabelledScan(case_id, patient_id, image_XYZ, label.full(), grid_from_json(meta["grid"]))

    def load_label(self, case_id: str) -> Crop:
        """The label alone, as in ``load``, in the box in which it is not background."""
        source, meta = read_crop(self.case_folder(case_id) / "label.b2nd")
        return Crop(LabelMeaning(**meta["meaning"]).apply(source.values_XYZ), source.start, source.grid)


@dataclass(frozen=True, slots=True)
class ViewedCase:
    """One case as a model sees it: int16 HU and uint8 labels on the view's voxels, mapped from disk, not read."""

    case_id: str
    patient_id: str
    image_XYZ: NDArray[np.int16]
    label_XYZ: NDArray[np.uint8]
    lesion_slices: NDArray[np.int32]
    box: tuple[slice, slice, slice]
    grid: Grid  # of the whole scan, for the way back


def write_view(folder: Path, case: ViewedCase) -> None:
    """Three files of one case; the ``.json`` comes last and says that the case is whole."""
    for name, values in (("image", case.image_XYZ), ("label", case.label_XYZ)):
        buffer = io.BytesIO()
        # Slices lie together on disk: reading one touches its own pages and not all of them.
        np.save(buffer, np.asfortranarray(values))
        write_atomic(folder / f"{case.case_id}.{name}.npy", buffer.getvalue())
    value = {
        "schema": VIEW,
        "patient_id": case.patient_id,
        "lesion_slices": case.lesion_slices.tolist(),
        "box": [[b.start, b.stop] for b in case.box],
        "grid": grid_to_json(case.grid),
    }
    write_json(folder / f"{case.case_id}.json", value)


def read_view(folder: Path, case_id: str) -> ViewedCase:
    """The case, memory-mapped. Raises StoreError when it is absent or of another schema."""
    value = read_json(folder / f"{case_id}.json", VIEW)
    image_XYZ, label_XYZ = (np.load(folder / f"{case_id}.{name}.npy", mmap_mode="r") for name in ("image", "label"))
    x, y, z = (slice(*span) for span in value["box"])
    lesion_slices = np.array(value["lesion_slices"], np.int32)
    grid = grid_from_json(value["grid"])
    return ViewedCase(case_id, value["patient_id"], image_XYZ, label_XYZ, lesion_slices, (x, y, z), grid)
