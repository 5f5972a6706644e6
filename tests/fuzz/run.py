"""The harness: draws hostile inputs for every target in turn and counts what became of them."""

import io
import json
import logging
import os
import random
import tomllib
import traceback
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from missrate.core.errors import MissrateError
from tests.fuzz import attempt, material, mutate
from tests.fuzz.target import Target


@dataclass
class Report:
    """How many inputs of each kind were read and refused, and the faults with what brought them about."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def table(self) -> str:
        width = max(map(len, self.counts), default=0)
        rows = [f"{'':<{width}} {'inputs':>7} {'read':>7} {'refused':>8} {'faults':>7}"]
        for kind, found in [*sorted(self.counts.items()), ("all", sum(self.counts.values(), Counter()))]:
            read, refused, faults = (found[key] for key in ("read", "refused", "fault"))
            rows.append(f"{kind:<{width}} {found.total():>7} {read:>7} {refused:>8} {faults:>7}")
        return "\n".join([*rows, *self.faults])


def fuzz(root: Path, count: int, seed: int, only: str = "") -> Report:
    """``count`` inputs, the targets in turn; input n depends on ``seed`` and n alone."""
    logging.disable(logging.CRITICAL)
    before, report = Path.cwd(), Report()
    made = material.build(root)
    sound = [target.path.read_bytes() for target in made.targets]
    os.chdir(made.targets[0].path.parent)
    try:
        for target in (each for each in made.targets if each.kind.startswith(only)):
            _require_sound(target)
        for number in range(count):
            index = number % len(made.targets)
            target = made.targets[index]
            if not target.kind.startswith(only):
                continue
            data = _damaged(random.Random(f"{seed} {number}"), target, sound[index], made.paths)
            target.path.write_bytes(data)
            try:
                said = attempt.outcome(target.use, made.outside)
            except attempt.Fault as error:
                said = "fault"
                what = f"input {number} of seed {seed}, {target.kind} ({target.form})"
                report.faults.append(f"{what}: {error}\n{_where(error)}")
            finally:
                target.path.write_bytes(sound[index])
            report.counts.setdefault(target.kind, Counter())[said] += 1
    finally:
        os.chdir(before)
        logging.disable(logging.NOTSET)
    return report


def _require_sound(target: Target) -> None:
    """Raise AssertionError where even the sound file is refused: damage would then show nothing."""
    try:
        target.use()
    except MissrateError as error:
        raise AssertionError(f"{target.kind}: {error}") from error


def _where(error: BaseException) -> str:
    """The last own lines of the traceback."""
    cause = error.__cause__
    frames = traceback.extract_tb(cause.__traceback__ if cause else error.__traceback__)
    own = [f"    {frame.filename}:{frame.lineno} {frame.line}" for frame in frames if "missrate" in frame.filename]
    return "\n".join(own[-3:])


def _damaged(draw: random.Random, target: Target, data: bytes, paths: list[str]) -> bytes:
    if target.form == "bytes" or draw.random() < 0.2:
        return mutate.of_bytes(draw, data)
    if target.form == "json":
        return mutate.json_text(mutate.of_value(draw, json.loads(data), paths))
    if target.form == "zipped json":
        return _zipped(draw, data, paths)
    return mutate.toml_text(draw, mutate.of_value(draw, tomllib.loads(data.decode()), paths))


def _zipped(draw: random.Random, data: bytes, paths: list[str]) -> bytes:
    """A sound archive with a hostile text in it: damage that no checksum finds."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as held, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name in held.namelist():
            content = held.read(name)
            if name.endswith(".json"):
                content = mutate.json_text(mutate.of_value(draw, json.loads(content), paths))
            made.writestr(name, content)
    return out.getvalue()
