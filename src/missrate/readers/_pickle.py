"""The pickles of evalseg as inert data: a small machine for the few opcodes that they use, which calls nothing.

``pickle`` runs whatever a file names. Here a name is one of seven words (GLOBALS) and stays a word: REDUCE, NEWOBJ and
BUILD are written out for just the forms in which evalseg and numpy write their objects, and everything else is refused
with DataError. Arrays are views of bytes that the file really holds, of number types only. Bounded are the steps
(MOST_STEPS) and, by the caller, the bytes; memory stays within a small multiple of both.
"""

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from missrate.core.errors import DataError

MOST_STEPS = 2_000_000
NUMBER_TYPE = re.compile(r"b1|[iu][1248]|f[248]")
DTYPE_STATE = (None, None, None, -1, -1, 0)
"""What follows the version and the byte order of a type without fields, names, subarray, alignment and flags."""

Word = Literal["SegmentArray", "SingleSegment", "dtype", "ndarray", "_reconstruct", "scalar", "slice"]
GLOBALS: dict[tuple[str, str], Word] = {
    ("evalseg.io.segment_array", "SegmentArray"): "SegmentArray",
    ("evalseg.io.segment_array", "SingleSegment"): "SingleSegment",
    ("numpy", "dtype"): "dtype",
    ("numpy", "ndarray"): "ndarray",
    ("numpy.core.multiarray", "_reconstruct"): "_reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "_reconstruct"): "_reconstruct",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("builtins", "slice"): "slice",
}


@dataclass(slots=True, eq=False)
class Global:
    """A name that a pickle may say; it cannot be called."""

    word: Word


@dataclass(slots=True, eq=False)
class Thing:
    """A SegmentArray or a SingleSegment: its attributes, as the file gives them, unchecked."""

    kind: Literal["SegmentArray", "SingleSegment"]
    state: dict[str, object] | None = None


@dataclass(slots=True, eq=False)
class NumberType:
    """A numpy number type such as ``u1`` and, once built, its byte order."""

    code: str
    order: str | None = None

    def read(self, data: bytes) -> NDArray[Any]:
        """The bytes as numbers, one axis; a read-only view."""
        return np.frombuffer(data, np.dtype((self.order or "=") + self.code))


@dataclass(slots=True, eq=False)
class Array:
    """An array, once built."""

    values: NDArray[Any] | None = None


def loads(data: bytes, *, name: str) -> object:
    """The object of a pickle: None, bool, int, float, str, bytes, tuple, list, dict, slice, or a class of this file.

    Raises DataError for whatever is not of this small language, and for data that are cut short.
    """
    try:
        return _Machine(data).run()
    except DataError as error:
        raise DataError(f"{name} must be a plain pickle of evalseg. Got {error}.") from error
    except (LookupError, ValueError, TypeError, struct.error) as error:
        raise DataError(f"{name} must be a plain pickle of evalseg. Got damaged data.") from error


class _Machine:
    """The state of a pickle that is being read: a stack, the stacks below each mark, and the memo."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(MOST_STEPS):
            code = self.take(1)
            if code == b".":
                if self.at != len(self.data):
                    raise DataError("more data after its end")
                return self.stack.pop()
            if code not in STEPS:
                raise DataError(f"the opcode {code!r}")
            STEPS[code](self)
        raise DataError(f"more than {MOST_STEPS} steps")

    def take(self, count: int) -> bytes:
        """The next bytes; all of them, or a DataError."""
        end = self.at + count
        if end > len(self.data):
            raise DataError("an end too early")
        self.at, begin = end, self.at
        return self.data[begin:end]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark, taken off the stack."""
        items = self.stack
        self.stack = self.below.pop()
        return items

    def pop(self, count: int) -> tuple[Any, ...]:
        """The last values, in the order in which they were pushed. Raises LookupError when there are fewer."""
        if len(self.stack) < count:
            raise LookupError
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items


Step = Callable[[_Machine], None]


def _push(make: Callable[[_Machine], Any]) -> Step:
    def step(machine: _Machine) -> None:
        value = make(machine)  # first: it may change which stack is the top one
        machine.stack.append(value)

    return step


def _number(form: str) -> Step:
    return _push(lambda machine: machine.number(form))


def _text(form: str) -> Step:
    return _push(lambda machine: machine.take(machine.number(form)).decode())


def _bytes(form: str) -> Step:
    return _push(lambda machine: machine.take(machine.number(form)))


def _put(form: str | None) -> Step:
    def step(machine: _Machine) -> None:
        machine.memo[len(machine.memo) if form is None else machine.number(form)] = machine.stack[-1]

    return step


def _skip(form: str) -> Step:
    def step(machine: _Machine) -> None:
        machine.number(form)

    return step


def _mark(machine: _Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _extend(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise DataError("an append to something else than a list")
    target.extend(items)


def _update(machine: _Machine, items: list[Any]) -> None:
    """Keys must be str: the hash of a tuple within tuples may take for ever."""
    target, keys = machine.stack[-1], items[::2]
    if type(target) is not dict or len(items) % 2 or any(type(key) is not str for key in keys):
        raise DataError("an assignment to something else than a name in a dict")
    target.update(zip(keys, items[1::2], strict=True))


def _global(module: object, name: object) -> Global:
    if type(module) is not str or type(name) is not str:
        raise DataError("a name that is no text")
    if (module, name) not in GLOBALS:
        raise DataError(f"the name {module[:80]}.{name[:80]}")
    return Global(GLOBALS[module, name])


def _line(machine: _Machine) -> str:
    end = machine.data.index(b"\n", machine.at)
    text = machine.take(end - machine.at).decode()
    machine.at += 1
    return text


def _reduce(machine: _Machine) -> object:
    function, arguments = machine.pop(2)
    if type(function) is not Global or type(arguments) is not tuple:
        raise DataError("a call of something that has no name")
    match function.word, arguments:
        case "dtype", (str(code), bool(), bool()) if NUMBER_TYPE.fullmatch(code):
            return NumberType(code)
        case "_reconstruct", (Global(word="ndarray"), (0,), b"b"):
            return Array()
        case "scalar", (NumberType() as kind, bytes(data)) if len(data) == int(kind.code[1:]):
            return kind.read(data)[0].item()
        case "slice", (start, stop, step) if all(v is None or type(v) is int for v in (start, stop, step)):
            return slice(start, stop, step)
    raise DataError(f"a call of {function.word} that evalseg never makes")


def _new(machine: _Machine) -> object:
    kind, arguments = machine.pop(2)
    if type(kind) is not Global or kind.word not in ("SegmentArray", "SingleSegment") or arguments != ():
        raise DataError("a new object of another class")
    return Thing(kind.word)


def _build(machine: _Machine) -> None:
    state, target = machine.stack.pop(), machine.stack[-1]
    if type(target) is Thing and target.state is None and type(state) is dict:
        target.state = state
    elif type(target) is NumberType and target.order is None and type(state) is tuple and _plain_type(state):
        target.order = state[1]
    elif type(target) is Array and target.values is None and type(state) is tuple:
        target.values = _array(*state)
    else:
        raise DataError("a state that its object cannot have")


def _plain_type(state: tuple[Any, ...]) -> bool:
    if len(state) != 8 or any(type(v) not in (int, str, type(None)) for v in state):
        return False
    return state[0] == 3 and state[1] in ("<", ">", "|", "=") and state[2:] == DTYPE_STATE


def _array(version: object, shape: object, kind: object, fortran: object, data: object) -> NDArray[Any]:
    """A view of exactly the bytes given; at most three axes, none of them empty."""
    if version != 1 or type(kind) is not NumberType or type(fortran) is not bool or type(data) is not bytes:
        raise DataError("an array of something else than numbers")
    if type(shape) is not tuple or not 1 <= len(shape) <= 3 or any(type(n) is not int or n < 1 for n in shape):
        raise DataError("an array with another shape than up to three positive numbers")
    if math.prod(shape) * int(kind.code[1:]) != len(data):
        raise DataError("an array whose shape does not fit its bytes")
    return kind.read(data).reshape(shape, order="F" if fortran else "C")


STEPS: dict[bytes, Step] = {
    b"\x80": _skip("<B"),  # PROTO
    b"\x95": _skip("<Q"),  # FRAME
    b"N": _push(lambda _: None),
    b"\x88": _push(lambda _: True),
    b"\x89": _push(lambda _: False),
    b"K": _number("<B"),  # BININT1, BININT2, BININT, BINFLOAT, LONG1
    b"M": _number("<H"),
    b"J": _number("<i"),
    b"G": _number(">d"),
    b"\x8a": _push(lambda m: int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    b"\x8c": _text("<B"),  # SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
    b"X": _text("<I"),
    b"\x8d": _text("<Q"),
    b"C": _bytes("<B"),  # SHORT_BINBYTES, BINBYTES, BINBYTES8
    b"B": _bytes("<I"),
    b"\x8e": _bytes("<Q"),
    b"\x94": _put(None),  # MEMOIZE, BINPUT, LONG_BINPUT
    b"q": _put("<B"),
    b"r": _put("<I"),
    b"h": _push(lambda m: m.memo[m.number("<B")]),  # BINGET, LONG_BINGET
    b"j": _push(lambda m: m.memo[m.number("<I")]),
    b"(": _mark,
    b")": _push(lambda _: ()),
    b"\x85": _push(lambda m: m.pop(1)),
    b"\x86": _push(lambda m: m.pop(2)),
    b"\x87": _push(lambda m: m.pop(3)),
    b"t": _push(lambda m: tuple(m.since_mark())),
    b"]": _push(lambda _: []),
    b"}": _push(lambda _: {}),
    b"a": lambda m: _extend(m, list(m.pop(1))),  # APPEND, APPENDS, SETITEM, SETITEMS
    b"e": lambda m: _extend(m, m.since_mark()),
    b"s": lambda m: _update(m, list(m.pop(2))),
    b"u": lambda m: _update(m, m.since_mark()),
    b"c": _push(lambda m: _global(_line(m), _line(m))),  # GLOBAL, STACK_GLOBAL
    b"\x93": _push(lambda m: _global(*m.pop(2))),
    b"R": _push(_reduce),
    b"\x81": _push(_new),  # NEWOBJ
    b"b": _build,
}
