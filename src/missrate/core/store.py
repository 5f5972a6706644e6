"""Every path and file format on disk: atomic writes, hashes, the lock, volumes, prepared data and predictions."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from missrate.core.crop import Box, Crop
from missrate.core.documents import CaseForm, Document, ManifestForm, ProvenanceForm, SplitForm, require_form
from missrate.core.errors import DataError, GridError, LockedError, StoreError
from missrate.core.grid import Grid
from missrate.core.guard import told, understood
from missrate.core.types import LabelledScan, LabelMeaning, Prediction

MANIFEST = "missrate/manifest/2"
CASE = "missrate/case/2"
SPLIT = "missrate/split/1"
PREDICTION = "missrate/prediction/1"
PROVENANCE = "missrate/provenance/1"
FORMS: dict[str, type[Document]] = {
    MANIFEST: ManifestForm,
    CASE: CaseForm,
    SPLIT: SplitForm,
    PROVENANCE: ProvenanceForm,
}
LEFT_FREE = 2**30
"""Bytes that unpacking and downloading leave free on a disk."""


def write_atomic(path: Path, data: bytes | Iterable[bytes], *, durable: bool = True) -> None:
    """The whole file or nothing, whenever the process or the machine stops. Raises StoreError with the reason.

    ``data`` may come in pieces, one after the other, where the whole is large.

    ``durable=False`` for the many small files of one stage: whole or absent whenever the process is killed; after
    a power failure a damaged one is found when it is read.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
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


def read_json(path: Path, schema: str | None = None, form: type[Document] | None = None) -> Any:
    """Return the parsed file, an object as all of our documents are.

    Raises StoreError when it is absent, no JSON object, of another schema than ``schema``, or not of ``form`` (by
    default that of the schema).
    """
    with understood(path, "readable JSON"):
        value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise StoreError(f"{path} must be a JSON object. Got {type(value).__name__}.")
    if schema is not None and value.get("schema") != schema:
        raise StoreError(
            f"{path} must have schema {schema}. Got {value.get('schema')!r}; perhaps another version wrote it."
        )
    form = form or FORMS.get(schema or "")
    if form is not None:
        require_form(path, value, form)
    return value


def hash_file(path: Path) -> str:
    """``sha256:`` and the hex digest of the file's bytes. Raises StoreError for what is no readable file."""
    with understood(path, "a readable file"), path.open("rb") as file:
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
            "clevel": 1,
            "filters": [blosc2.Filter.BITSHUFFLE],
            "nthreads": 1,
        },
        dparams={"nthreads": 1},
        meta={"missrate": json.dumps(meta, sort_keys=True)},
    )
    write_atomic(path, packed.to_cframe(), durable=False)


def write_image(path: Path, image_XYZ: NDArray[np.int16], grid: Grid) -> None:
    """A scan, stored as ZYX in tiles of 2 x 128 x 128: measured, a slice or a patch loads in a few milliseconds."""
    size_x, size_y, size_z = image_XYZ.shape
    chunks = (_part(size_z, 16), _part(size_y, 512), _part(size_x, 512))
    packed = blosc2.asarray(
        np.ascontiguousarray(image_XYZ.transpose(2, 1, 0)),
        chunks=chunks,
        blocks=(min(2, chunks[0]), _part(chunks[1], 128), _part(chunks[2], 128)),
        # Level 3 costs two and a half times as much for 1 % of the size.
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1},
        dparams={"nthreads": 1},
        meta={"missrate": json.dumps({"grid": grid_to_json(grid), "axes": "ZYX"}, sort_keys=True)},
    )
    write_atomic(path, packed.to_cframe(), durable=False)


def _part(size: int, most: int) -> int:
    """The length of as few equal parts as possible, none above ``most``: what does not divide is padded and packed."""
    return -(-size // -(-size // most))


class Image:
    """A stored scan of which any box is read without the rest; ``grid`` is the whole scan's."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError when the file is absent or damaged."""
        with _understood(path, "a scan of missrate"):
            self._packed, meta = _opened(path)
            if meta["axes"] != "ZYX":
                raise ValueError(f"axes {meta['axes']}")
            self.grid = grid_from_json(meta["grid"])
            if self._packed.shape != self.grid.shape[::-1] or self._packed.dtype != np.int16:
                raise ValueError(f"{self._packed.dtype} voxels {self._packed.shape} on a grid {self.grid.shape}")
        self._path = path

    def box(self, box: Box) -> NDArray[np.int16]:
        """The voxels XYZ of a box within the scan, x nearest in memory; decompresses the tiles that it touches."""
        x, y, z = box
        with understood(self._path, "a scan of missrate"):
            values_ZYX = self._packed[z.start : z.stop, y.start : y.stop, x.start : x.stop]
        return np.asarray(values_ZYX.transpose(2, 1, 0), np.int16)

    def slab(self, start: int, stop: int) -> NDArray[np.int16]:
        """The axial slices ``start`` to ``stop`` (not included)."""
        size_x, size_y, _ = self.grid.shape
        return self.box((slice(0, size_x), slice(0, size_y), slice(start, stop)))

    def whole(self) -> NDArray[np.int16]:
        """All voxels."""
        return self.slab(0, self.grid.shape[2])


def read_volume(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The whole array and its metadata. Raises StoreError when the file is absent or damaged."""
    with _understood(path, "a volume of missrate"):
        packed, meta = _opened(path)
        values = packed[()]
        if values.dtype.kind not in "biuf":
            raise ValueError(f"values of type {values.dtype}")
        return values, meta


@contextmanager
def _understood(path: Path, what: str) -> Iterator[None]:
    """``understood``, for which an impossible grid is a damaged file as well."""
    try:
        with understood(path, what):
            yield
    except GridError as error:
        raise StoreError(f"{path} must be {what}. Got: {told(error)}.") from error


def _opened(path: Path) -> tuple[Any, dict[str, Any]]:
    """The array in a file, of which nothing is read yet, and its metadata. Nothing that the file says is executed."""
    packed = blosc2.open(str(path), mode="r", dparams={"nthreads": 1}, deserialize="safe")
    if not isinstance(packed, blosc2.NDArray):
        raise TypeError(f"a {type(packed).__name__}")
    meta = json.loads(packed.schunk.meta["missrate"])
    if not isinstance(meta, dict):
        raise TypeError(f"a {type(meta).__name__} for metadata")
    return packed, meta


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
    with _understood(path, "a volume of missrate"):
        x, y, z = (int(begin) for begin, _ in meta["box"])
        return Crop(values_XYZ, (x, y, z), grid_from_json(meta["grid"])), meta


def write_prediction(path: Path, prediction: Prediction) -> None:
    """Levels cropped to the box in which they are not 0."""
    write_crop(path, prediction.levels, {"schema": PREDICTION, "binary": prediction.kind == "mask"})


def read_prediction(path: Path) -> Prediction:
    """The inverse of ``write_prediction``; errors as in ``read_crop``."""
    crop, meta = read_crop(path, PREDICTION)
    if crop.values_XYZ.dtype != np.uint16 or type(meta.get("binary")) is not bool:
        raise StoreError(f"{path} must hold the levels of a prediction. Got {crop.values_XYZ.dtype} voxels.")
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
        label, image = self.load_label(case_id), self.image(case_id)
        if image is None:
            image_XYZ = np.zeros(label.grid.shape, np.int16)
            return LabelledScan(case_id, patient_id, image_XYZ, label.full(), label.grid)
        if image.grid.shape != label.grid.shape:
            raise DataError(
                f"{case_id}: image and label in {self.folder} must have one shape. "
                f"Got {image.grid.shape}, {label.grid.shape}."
            )
        return LabelledScan(case_id, patient_id, image.whole(), label.full(), image.grid)

    def image(self, case_id: str) -> Image | None:
        """The scan, of which nothing is read yet; None where only labels were prepared. Raises StoreError."""
        path = self.case_folder(case_id) / "image.b2nd"
        return Image(path) if path.exists() else None

    def load_label(self, case_id: str) -> Crop:
        """The label alone, as in ``load``, in the box in which it is not background."""
        source, meaning = self._label(case_id)
        return Crop(meaning.apply(source.values_XYZ), source.start, source.grid)

    def meaning(self, case_id: str) -> LabelMeaning:
        """What the numbers of a case's stored label stand for."""
        return self._label(case_id)[1]

    def _label(self, case_id: str) -> tuple[Crop, LabelMeaning]:
        path = self.case_folder(case_id) / "label.b2nd"
        source, meta = read_crop(path)
        with understood(path, "a label of missrate"):
            if source.values_XYZ.dtype != np.uint8:
                raise TypeError(f"{source.values_XYZ.dtype} voxels")
            return source, LabelMeaning(**meta["meaning"])
