"""ROOM prepared/ -> split.json: assigns patients, never slices, to parts or folds, stratified by lesion burden."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from missrate.core import store
from missrate.core.config import Frozen, parse
from missrate.core.documents import BurdensForm
from missrate.core.errors import ConfigError, ProvenanceError
from missrate.core.seed import generator
from missrate.split import given
from missrate.split.given import PARTS

logger = logging.getLogger(__name__)


class SplitConfig(Frozen):
    """``parts`` (numbers of patients, or shares that sum to 1) or ``folds``, of the cases of one source.

    ``file``: those that somebody else assigned; ``resolved`` fills in which of the two it holds.
    """

    source: str
    parts: dict[str, float] | None = None
    folds: int | None = Field(default=None, ge=2, le=1000)
    file: Path | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.file is not None and self.parts is None and self.folds is None:
            return self
        if (self.parts is None) == (self.folds is None):
            raise ValueError("must hold one of parts, folds and file")
        for part, amount in (self.parts or {}).items():
            if part not in PARTS:
                raise ValueError(f"parts must be among {', '.join(PARTS)}, not {part!r}")
            if amount < 0:
                raise ValueError(f"parts.{part} must not be negative")
        amounts = list((self.parts or {}).values())
        if any(amount != int(amount) for amount in amounts) and abs(sum(amounts) - 1.0) > 1e-9:
            raise ValueError(
                f"parts must be shares that sum to 1, or numbers of patients; they sum to {sum(amounts):g}"
            )
        if self.parts is not None and not self.parts.get("test"):
            raise ValueError("parts must give test at least one patient")
        return self


def resolved(config: SplitConfig, folder: Path) -> SplitConfig:
    """With ``file`` below ``folder``, and the folds or parts that it holds. Raises ConfigError."""
    if config.file is None:
        return config
    path = folder / config.file
    found = given.read(path)
    if config.folds not in (None, found.folds):
        raise ConfigError(f"[split] folds must be those of {path}. Got {config.folds} and {found.folds}.")
    # Validated anew: parts without a test patient are no split.
    values = {"source": config.source, "file": path, "folds": found.folds, "parts": found.parts(), "seed": config.seed}
    return parse(SplitConfig, values, where=str(path))


def split(manifest_path: Path, config: SplitConfig, out: Path) -> None:
    """Writes ``split.json``: every patient's part or fold, and the hash of the manifest that it was made for."""
    manifest = store.read_json(manifest_path, store.MANIFEST, BurdensForm)
    burden_ml: dict[str, float] = defaultdict(float)
    for case in manifest["cases"]:
        # Without millimetres the voxel count orders the patients just as well.
        burden_ml[case["patient_id"]] += sum(lesion["volume_ml"] or lesion["voxels"] for lesion in case["lesions"])
    cases = {case["case_id"]: case["patient_id"] for case in manifest["cases"]}
    if config.file is not None:
        patients, unknown = given.patients(given.read(config.file), cases, path=config.file)
        if unknown:
            logger.warning("%s names what is not in the data: %s (%d)", config.file, unknown[:5], len(unknown))
    else:
        places = list(range(config.folds)) if config.folds else list(PARTS)
        assigned = assign(dict(burden_ml), _targets(config, len(burden_ml)), seed=config.seed)
        patients = {patient: places[index] for patient, index in assigned.items()}
    value = {"schema": store.SPLIT, "manifest": store.hash_file(manifest_path), "seed": config.seed}
    store.write_json(out, value | {"folds": config.folds, "patients": patients, "cases": cases})


def require_enough(config: SplitConfig, patients: int) -> None:
    """Raise ConfigError where so many patients cannot be split as ``config`` says."""
    if config.file is None:
        _targets(config, patients)


def assign(burden: dict[str, float], targets: list[int], *, seed: int) -> dict[str, int]:
    """Each patient's place 0..len(targets)-1, ``targets[i]`` patients in place i, every place across all burdens.

    Patients are ordered by burden (ties at random); each in turn goes to the place that lags furthest behind its share,
    so neighbours in burden part ways. The same patients and seed give the same places, whatever their order.
    """
    assert sum(targets) == len(burden)
    rng = generator(seed, "split")
    names = sorted(burden)
    order = sorted(zip(names, rng.random(len(names)), strict=True), key=lambda pair: (burden[pair[0]], pair[1]))
    given = np.zeros(len(targets))
    result: dict[str, int] = {}
    for index, (patient, _) in enumerate(order):
        due = np.array(targets) * (index + 1) / len(order) - given
        due[given >= targets] = -np.inf
        place = int((due + 1e-6 * rng.random(len(targets))).argmax())
        given[place] += 1
        result[patient] = place
    return result


def _targets(config: SplitConfig, patients: int) -> list[int]:
    """How many patients each place gets; sums to ``patients``. Raises ConfigError when they do not suffice."""
    if config.folds:
        if patients < config.folds:
            raise ConfigError(f"[split] folds must not exceed the patients. Got {config.folds} for {patients}.")
        return [patients // config.folds + (k < patients % config.folds) for k in range(config.folds)]
    assert config.parts is not None
    amounts = np.array([config.parts.get(part, 0.0) for part in PARTS])
    shares = bool(abs(amounts.sum() - 1.0) < 1e-9)
    exact = amounts * patients if shares else amounts
    counts = np.floor(exact).astype(int)
    if shares:
        for index in np.argsort(counts - exact, kind="stable")[: patients - counts.sum()]:
            counts[index] += 1
    if counts.sum() != patients or ((amounts > 0) & (counts == 0)).any():
        wanted = ", ".join(f"{part} {amount:g}" for part, amount in config.parts.items())
        raise ConfigError(f"[split] parts must sum to 1 or to the {patients} patients. Got {wanted}.")
    return [int(n) for n in counts]


def patients_in(split_value: dict[str, Any], part: str | int) -> list[str]:
    """The patients of a part or fold, sorted."""
    return sorted(p for p, place in split_value["patients"].items() if place == part)


def read(path: Path, manifest_path: Path) -> dict[str, Any]:
    """The split. Raises ProvenanceError when it was made for other data than this manifest."""
    value: dict[str, Any] = store.read_json(path, store.SPLIT)
    if value["manifest"] != store.hash_file(manifest_path):
        raise ProvenanceError(f"{path} must belong to {manifest_path}. Got the split of other data; run split again.")
    return value
