"""Sound files of every kind that missrate reads, and what uses each: written once, then damaged again and again."""

from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import documents, readers, trained
from tests.fuzz.target import Target, made

CANARY = "from pathlib import Path\nPath({path!r}).touch()\nclass Config: pass\n"


@dataclass(frozen=True)
class Material:
    """All targets; ``outside`` must stay as it is, ``paths`` are texts that lead there from wherever they are used."""

    targets: list[Target]
    outside: Path
    paths: list[str]


def build(root: Path) -> Material:
    """Writes everything below ``root``; takes some seconds, most of them for imports."""
    outside, inside = made(root / "outside"), made(root / "inside")
    code = root / "hostile.py"
    code.write_text(CANARY.format(path=str(outside / "executed")))
    up = "../" * 12 + str(outside / "relative").lstrip("/")
    targets = [
        *readers.targets(inside),
        *documents.of_study(inside),
        *documents.of_evaluations(inside),
        *documents.of_checks(inside),
        *trained.targets(inside),
    ]
    return Material(targets, outside, [str(code), str(outside / "absolute"), up, "../up"])
