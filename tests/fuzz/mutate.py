"""Hostile variants of a sound file, drawn from a seed: bytes turned, cut and inserted; values of documents swapped."""

import copy
import json
import random
import re
from typing import Any

import tomli_w

DEPTH = 100_000
DEEP = "@deep@"
"""Stands for a nest that no library would write: it is put in as text."""
DIGITS = "@digits@"


def of_bytes(draw: random.Random, data: bytes) -> bytes:
    """Some bits turned, the end cut off, bytes put in, taken out or set to one value, or another file altogether."""
    size = max(len(data), 1)
    at, span = draw.randrange(size), draw.randint(1, 64)
    kind = draw.randrange(8)
    if kind <= 2:
        # Half of the turned bits strike the first bytes, where headers are.
        turned = bytearray(data or b"\0")
        for _ in range(draw.randint(1, 8)):
            reach = min(len(turned), 400) if draw.random() < 0.5 else len(turned)
            turned[draw.randrange(reach)] ^= 1 << draw.randrange(8)
        return bytes(turned)
    if kind == 3:
        return data[:at]
    if kind == 4:
        return data[:at] + draw.randbytes(span) + data[at:]
    if kind == 5:
        return data[:at] + data[at + span :]
    if kind == 6:
        return data[:at] + draw.choice([b"\0", b"\xff", b"9", b"-", b"["]) * span + data[at + span :]
    return draw.choice(OTHERS)


OTHERS = (
    b"",
    b"\n",
    b"0.5",
    b"true",
    b"[1]",
    b"null",
    b'"text"',
    b"{}",
    b"[" * DEPTH,
    b'{"a":' * DEPTH,
    b"9" * 5000,
    "größe = 1".encode("latin-1"),
    "title = 1".encode("utf-16"),
    b"\xef\xbb\xbf{}",
    b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    b"PK\x05\x06" + bytes(18),
    b"\x1f\x8b\x08\x00" + bytes(20),
    b"SIMPLE  =                    T",
    b"\x93NUMPY\x01\x00\x10\x00{'descr': '|O'} ",
)


def hostile(draw: random.Random, paths: list[str]) -> Any:
    """A value that no document of ours holds at any place, or not at this one."""
    return copy.deepcopy(draw.choice(paths if draw.random() < 0.3 else VALUES))


VALUES: tuple[Any, ...] = (
    True,
    False,
    0,
    -1,
    1,
    7,
    2**31,
    -(2**63),
    10**400,
    0.5,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "..",
    "\x00",
    "a\nb",
    "$\\frac{1$",
    "x" * 5000,
    "sha256:" + "0" * 64,
    [],
    [1],
    [[1]],
    [0.5, "x"],
    {},
    {"x": 1},
    [0] * 3000,
    DEEP,
    DIGITS,
)


def of_value(draw: random.Random, value: Any, paths: list[str]) -> Any:
    """A copy with one to three places swapped for hostile values, taken out, doubled or named otherwise."""
    result = copy.deepcopy(value)
    for _ in range(draw.randint(1, 3)):
        place = _place(draw, result)
        if place is None:
            return hostile(draw, paths)
        held, key = place
        action = draw.random()
        if action < 0.7:
            held[key] = hostile(draw, paths)
        elif action < 0.85:
            del held[key]
        elif isinstance(held, dict):
            held[draw.choice(["", "x", "..", "\x00", *paths])] = held.pop(key)
        else:
            held.append(held[key])
    return result


def _place(draw: random.Random, value: Any) -> tuple[Any, Any] | None:
    """A container and a key in it, any depth alike; None for what is no container or an empty one."""
    places = list(_places(value, 0))
    if not places:
        return None
    deepest = draw.choice(sorted({depth for depth, _, _ in places}))
    _, held, key = draw.choice([place for place in places if place[0] == deepest])
    return held, key


def _places(value: Any, depth: int) -> Any:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value[:20])
    for key, inner in items:
        yield depth, value, key
        yield from _places(inner, depth + 1)


DATES = ("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "0x_", "nan")


def json_text(value: Any) -> bytes:
    text = json.dumps(value)
    return _with_nests(text, "[" * DEPTH + "]" * DEPTH)


def toml_text(draw: random.Random, value: Any) -> bytes:
    """TOML has dates and no null; what it cannot write at all is left to the bytes."""
    try:
        text = tomli_w.dumps(value if isinstance(value, dict) else {"x": value})
    except (TypeError, ValueError):
        return of_bytes(draw, b"")
    if draw.random() < 0.2:
        text = re.sub(r"= [^\n]+", f"= {draw.choice(DATES)}", text, count=1)
    return _with_nests(text, "[" * 2000 + "]" * 2000)


def _with_nests(text: str, nest: str) -> bytes:
    text = text.replace(f'"{DEEP}"', nest).replace(f'"{DIGITS}"', "9" * 5000)
    return text.encode("utf-8", "surrogatepass")
