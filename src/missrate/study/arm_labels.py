"""Which number is the lesion in an arm's folder of predictions, and what its maps hold, judged once all are read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from missrate.core import store
from missrate.core.errors import ConfigError
from missrate.core.types import LabelMeaning
from missrate.evaluate.summary import ALL
from missrate.export.about import About
from missrate.study import label_names
from missrate.study.config import ArmConfig
from missrate.study.numbers import NUMBERS, Asked, judge
from missrate.study.sources import SourceConfig, meaning_of


def asked_of(arm: ArmConfig, source: SourceConfig, folder: Path) -> Asked:
    """Return what the numbers of an arm mean: by its ``labels``, else by their ``dataset.json``, else as the source's.

    Raises ConfigError for ``labels`` without a lesion.
    """
    perhaps = f"perhaps say labels = {{ lesion = [...] }} in arm {arm.name!r}"
    if arm.labels is not None:
        if not arm.labels.lesion:
            raise ConfigError(f"labels of arm {arm.name!r} must name the lesion, such as {{ lesion = [2] }}. Got none.")
        return Asked(frozenset(arm.labels.lesion), frozenset(arm.labels.known()), perhaps)
    described, own = label_names.of_predictions(folder), meaning_of(source)
    if described is not None and described.lesion:
        said = f"the lesion of the predictions is {sorted(described.lesion)}, as their dataset.json says"
        same = described.lesion == own.lesion
        return Asked(frozenset(described.lesion), frozenset(described.known()), perhaps, said="" if same else said)
    known = own.known() | (set() if described is None else described.known())
    return Asked(frozenset(own.lesion), frozenset(known), perhaps, as_references=described is None)


def settle(folder: Path, asked: Asked, source: SourceConfig, *, where: Path) -> None:
    """Judge the maps that were imported into ``folder``: writes warnings, and what cannot be used becomes a failure.

    Raises DataError where none can be used, see ``numbers.judge``.
    """
    rows = [store.read_json(path) for path in sorted(folder.glob(f"*{NUMBERS}"))]
    judged = judge({row["case_id"]: row["numbers"] for row in rows}, asked, where=str(where))
    for case_id, reason in judged.refused.items():
        (folder / f"{case_id}.b2nd").unlink(missing_ok=True)
        store.write_json(folder / f"{case_id}.failed.json", {"case_id": case_id, "reason": reason})
    doubt = _as_exported(rows, meaning_of(source)) if asked.as_references else ""
    warnings = judged.warnings | ({ALL: f"{doubt}; {asked.perhaps}"} if doubt else {})
    for case_id, text in warnings.items():
        _warn(folder / f"{'' if case_id == ALL else case_id}.warning.json", case_id, text)


def _as_exported(rows: Iterable[dict[str, Any]], meaning: LabelMeaning) -> str:
    """Why the numbers may be those of ``missrate export`` instead of the source's; empty where they cannot be."""
    names = About("", "nnunet", meaning).names()
    held = {number for row in rows for number in row["numbers"] or ()}
    lesion = names["lesion"]
    if lesion in meaning.lesion or lesion not in held or not held <= set(names.values()):
        return ""
    said = ", ".join(f"{number} {name}" for name, number in names.items() if number)
    return (
        f"the maps hold {sorted(held)} alone, as an export has them ({said}), and were read by the source's numbers "
        f"(lesion {list(meaning.lesion)})"
    )


def _warn(path: Path, case_id: str, text: str) -> None:
    """Beside what was said about the case already, once."""
    earlier = store.read_json(path)["warning"] if path.exists() else ""
    if text not in earlier:
        store.write_json(path, {"case_id": case_id, "warning": f"{earlier}; {text}" if earlier else text})
