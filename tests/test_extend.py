"""The exercise of docs/extend.md: a reader, a loss, a model and a metric, each one new file, in one study."""

from pathlib import Path

import pytest

import missrate.losses
import missrate.metrics
import missrate.models
import missrate.readers
from missrate.core import catalog, store
from missrate.study import config, runner
from missrate.study.plan import plan

READER = '''"""Cubes: bright cubes in the dark, one a patient."""

import numpy as np

from missrate.core.config import Frozen
from missrate.core.grid import Grid
from missrate.core.types import Entry, Map, Scan

LESION, ORGAN = (1,), ()


class Config(Frozen):
    patients: int = 6


def find(root, config):
    return [Entry(f"cube{k}", f"p{k}", str(k), str(k)) for k in range(config.patients)]


def _where(k):
    mask = np.zeros((32, 32, 4), np.uint8)
    mask[4 + 2 * k : 12 + 2 * k, 10:18, 1:3] = 1
    return mask, Grid.of(mask.shape, np.diag([1.0, 1.0, 3.0, 1.0]))


def load_image(location):
    mask, grid = _where(int(location))
    return Scan((mask * 150).astype(np.int16), grid)


def load_map(location):
    return Map(*_where(int(location)))
'''

LOSS = '''"""Squared error between the probability and the lesion."""

from missrate.core.config import Frozen


class Config(Frozen):
    weight: float = 1.0


def build(config):
    def squared(logits, label):
        return config.weight * ((logits.sigmoid() - (label == 1).float()) ** 2).mean()

    return squared
'''

MODEL = '''"""Threshold: brighter than a learned number is lesion."""

import torch
from torch import nn

from missrate.core.config import Frozen


class Config(Frozen):
    start: float = 0.3


class Threshold(nn.Module):
    ndim = 2

    def __init__(self, config, loss):
        super().__init__()
        self.cut, self.loss = nn.Parameter(torch.tensor(config.start)), loss

    def logits(self, image):
        return 20 * (image - self.cut)

    def forward(self, image, label):
        return {"squared": self.loss(self.logits(image), label)}

    def probability(self, image):
        return self.logits(image).sigmoid().float()

    def backbone(self):
        return self


def build(config, loss, *, channels):
    return Threshold(config, loss)
'''

METRIC = '''"""Largest candidate: its voxels."""

UNIT, BETTER, LEVEL = "voxels", "higher", "case"


def measure(case, at, matching):
    tree = case.tree_at(at)
    return float(tree.voxels[tree.standing(at)].max(initial=0))
'''

STUDY = """
[sources.cubes]
reader = "cubes"

[split]
source = "cubes"
parts = { train = 3, calibration = 1, test = 2 }

[budget]
steps = 2
batch = 2

[[arms]]
name = "threshold"
model = "threshold"
loss = { name = "squared", weight = 2.0 }

[evaluate]
resamples = 100
"""


def test_one_new_file_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = {"readers": ("cubes", READER), "losses": ("squared", LOSS), "models": ("threshold", MODEL)}
    new["metrics"] = ("largest_candidate", METRIC)
    for shelf, (name, text) in new.items():
        (tmp_path / shelf).mkdir()
        (tmp_path / shelf / f"{name}.py").write_text(text)
        package = getattr(missrate, shelf)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / shelf)])
        assert name in catalog.names(shelf)  # type: ignore[arg-type]
    assert catalog.describe("models", "threshold") == "Threshold: brighter than a learned number is lesion."
    study, out = tmp_path / "study.toml", tmp_path / "out"
    study.write_text(STUDY)
    runner.run(plan(config.read_study(study, []), out), out, workers=0, watch=lambda _: None)
    metrics = store.read_json(out / "evaluation" / "threshold" / "summary.json")["metrics"]
    # Cubes of 8 x 8 x 2 voxels of 150 HU, which the window maps to .83, far above any cut near .3.
    assert metrics["largest_candidate"]["case_mean"]["value"] == 128.0
    assert metrics["dice"]["pooled"]["value"] == 1.0
    assert metrics["lesion_miss_rate"]["pooled"]["value"] == 0.0
