"""The file of one case's statistics: small, versioned, without pickle; equal statistics give equal bytes."""

import io
import json
import zipfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import blosc2
import numpy as np
from numpy.typing import NDArray

from missrate.core.case import CaseStatistics, Histogram, Lesions, Tree
from missrate.core.errors import StoreError
from missrate.core.guard import understood
from missrate.core.quantise import TOP
from missrate.core.store import write_atomic
from missrate.core.surfaces import Spread, SurfaceDistances

SCHEMA = "missrate/statistics/2"
MOST_BYTES = 2**30
"""A statistics file that unpacks to more is none of ours: they hold some kilobytes."""
_Packed = tuple[str, tuple[int, ...], bytes]
"""An array: type, shape, compressed bytes."""
KINDS = {kind.__name__: kind for kind in (CaseStatistics, Histogram, Lesions, Tree, Spread, SurfaceDistances)}


def save(path: Path, case: CaseStatistics) -> None:
    """Writes ``case``, all or nothing: every array compressed, everything else in one JSON text."""
    arrays: dict[_Packed, int] = {}
    value = _taken_apart(case, arrays)
    packed = [data for _, _, data in arrays]
    about = [[dtype, list(shape), len(data)] for dtype, shape, data in arrays]
    text = json.dumps({"schema": SCHEMA, "case": value, "arrays": about}, sort_keys=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        # A ZipInfo of its own bears the format's first date: the bytes hold no clock.
        file.writestr(zipfile.ZipInfo("case.json"), text, zipfile.ZIP_DEFLATED)
        file.writestr(zipfile.ZipInfo("arrays"), b"".join(packed))
    write_atomic(path, buffer.getvalue(), durable=False)


def load(path: Path) -> CaseStatistics:
    """The inverse of ``save``. Raises StoreError when the file is absent, damaged or of another schema."""
    with understood(path, "a readable statistics file"):
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as file:
            if sum(member.file_size for member in file.infolist()) > MOST_BYTES:
                raise ValueError("a bomb")
            plain, data = json.loads(file.read("case.json")), file.read("arrays")
        if plain.get("schema") != SCHEMA:
            raise StoreError(f"{path} must have schema {SCHEMA}. Got {plain.get('schema')!r}; evaluate again.")
        case = _put_together(plain["case"], _unpacked(plain["arrays"], data))
        if not isinstance(case, CaseStatistics):
            raise TypeError("no case in it")
        _require_whole(case)
        return case


def _taken_apart(value: Any, arrays: dict[_Packed, int]) -> Any:
    """Plain JSON: an array becomes its number in ``arrays``, a dataclass a table that names it.

    Equal arrays are one: the distances of a mask are the same at every threshold.
    """
    if isinstance(value, np.ndarray):
        return {"array": arrays.setdefault((value.dtype.str, value.shape, _packed(value)), len(arrays))}
    if is_dataclass(value):
        parts = {field.name: _taken_apart(getattr(value, field.name), arrays) for field in fields(value)}
        return {"kind": type(value).__name__, "parts": parts}
    return [_taken_apart(each, arrays) for each in value] if isinstance(value, tuple) else value


def _put_together(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return tuple(_put_together(each, arrays) for each in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    kind = KINDS[value["kind"]]
    result = kind(**{name: _put_together(part, arrays) for name, part in value["parts"].items()})
    for name, hint in get_type_hints(kind).items():
        if not _fits(getattr(result, name), hint):
            raise TypeError(f"a wrong {name} in {kind.__name__}")
    return result


def _fits(value: object, hint: Any) -> bool:
    """Whether a value has the type of a field: plain values, literals, unions, tuples, arrays by type of number."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        kinds = [inner[0]] * len(value) if isinstance(value, tuple) and inner[-1] is Ellipsis else inner
        return isinstance(value, tuple) and len(kinds) == len(value) and all(map(_fits, value, kinds))
    if origin is np.ndarray:
        return isinstance(value, np.ndarray) and value.dtype == np.dtype(get_args(inner[1])[0])
    if inner:
        return any(_fits(value, each) for each in inner)
    return type(value) is hint or (hint is float and type(value) is int)


def _require_whole(case: CaseStatistics) -> None:
    """Raise ValueError unless arrays that belong together have one length, and indices lead into them."""
    lesions, count = case.lesions, case.lesion_peak.size
    together = [
        (case.inside.levels, case.inside.counts),
        (case.outside.levels, case.outside.counts),
        (case.slice_voxels, case.slice_peak_inside, case.slice_peak),
        (case.lesion_peak, lesions.voxels, lesions.volume_ml, lesions.diameter_mm, lesions.centre_XYZ),
        *((tree.level, tree.until, tree.first, tree.voxels, tree.peak, tree.point) for tree in case.trees),
        *((tree.overlap_row, tree.overlap_lesion, tree.overlap_voxels) for tree in case.trees),
    ]
    if any(len({array.shape[0] for array in arrays}) > 1 for arrays in together) or not case.trees:
        raise ValueError("arrays of several lengths")
    for tree in case.trees:
        rows = np.arange(tree.level.size)
        sound = (
            ((tree.first >= 0) & (tree.first <= rows)).all()
            and ((tree.point >= -1) & (tree.point < count)).all()
            and ((tree.overlap_row >= 0) & (tree.overlap_row < rows.size)).all()
            and ((tree.overlap_lesion >= 0) & (tree.overlap_lesion < count)).all()
            and 0 <= tree.lowest <= tree.highest <= TOP + 1
        )
        if not sound:
            raise ValueError("candidates that lead nowhere")


def _packed(array: NDArray[Any]) -> bytes:
    if array.size == 0:
        return b""
    values = np.ascontiguousarray(array)
    return bytes(blosc2.compress2(values, typesize=values.itemsize, codec=blosc2.Codec.ZSTD, clevel=1, nthreads=1))


def _unpacked(about: list[list[Any]], data: bytes) -> list[NDArray[Any]]:
    arrays, at = [], 0
    for kind, shape, size in about:
        dtype = np.dtype(kind)
        if dtype.hasobject:
            raise ValueError(f"an array of type {kind}")
        raw = blosc2.decompress2(data[at : at + size], nthreads=1) if size else b""
        arrays.append(np.frombuffer(raw, dtype).reshape(shape).copy())
        at += size
    return arrays
