"""The file of one case's statistics: small, versioned, without pickle; equal statistics give equal bytes."""

import io
import json
import zipfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from missrate.core.case import CaseStatistics, Histogram, Lesions, Tree
from missrate.core.errors import StoreError
from missrate.core.store import write_atomic
from missrate.core.surfaces import Spread, SurfaceDistances

SCHEMA = "missrate/statistics/2"
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
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as file:
            plain, data = json.loads(file.read("case.json")), file.read("arrays")
        if plain.get("schema") != SCHEMA:
            raise StoreError(f"{path} must have schema {SCHEMA}. Got {plain.get('schema')!r}; evaluate again.")
        case = _put_together(plain["case"], _unpacked(plain["arrays"], data))
        if not isinstance(case, CaseStatistics):
            raise ValueError("no case in it")
        return case
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} must be a readable statistics file. Got: {error}.") from error


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
    return KINDS[value["kind"]](**{name: _put_together(part, arrays) for name, part in value["parts"].items()})


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
