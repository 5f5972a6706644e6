"""A run that predict takes, its weights, initial weights, and a training that was stopped."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch

from missrate.core import checkpoint, store
from missrate.core.recipe import Recipe, TrainConfig, read_recipe
from missrate.models._build import build_model
from missrate.models._initial import initialise
from missrate.predict import run2d
from missrate.study import front, work
from missrate.train.state import Snapshot, load_snapshot, save_snapshot
from tests.fuzz.command import command
from tests.fuzz.target import Target, made
from tests.readers.test_nifti import save


def targets(root: Path) -> list[Target]:
    """Everything below ``root``; the model is as small as its kind allows."""
    run, initial, new = made(root / "run"), made(root / "initial"), root / "new"
    recipe = Recipe(
        arm="unet",
        model="unet2d",
        config={"decoder_channels": [8, 8, 8, 8, 8], "encoder": "resnet18"},
        loss={"name": "dice_ce"},
        train=TrainConfig(steps=1, patch_px=(32, 32)),
    )
    model = build_model(recipe)
    (run / "recipe.toml").write_text(recipe.to_toml())
    checkpoint.save(run / checkpoint.WEIGHTS, model.state_dict())
    store.write_json(run / "provenance.json", {"schema": store.PROVENANCE, "patients": {"target": ["p"]}})
    scan = save(root / "scan" / "a.nii.gz", np.zeros((32, 32, 2), np.int16))
    small = {name: tensor for name, tensor in model.state_dict().items() if 0 < tensor.numel() < 100}
    save_snapshot(run, Snapshot(step=1, model=small), "identity")
    torch.save(small, initial / "w.pth")
    checkpoint.save(initial / "w.safetensors", small)

    def load() -> None:
        run2d._load.cache_clear()
        run2d.load_run(run)

    def predict() -> None:
        run2d._load.cache_clear()
        front.predict_scans(run, [scan], new)

    def begin(path: Path) -> None:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        initialise(model, f"full:{path.name}#sha256={sha256}", arm_weights=None, offline=True, folder=initial)

    return [
        Target("recipe.toml", run / "recipe.toml", "toml", predict),
        Target("recipe.toml", run / "recipe.toml", "bytes", partial(read_recipe, run / "recipe.toml")),
        Target(
            "recipe.toml by command", run / "recipe.toml", "toml", command("predict", run, scan, "--out", root / "n")
        ),
        Target("weights", run / checkpoint.WEIGHTS, "bytes", load),
        Target("provenance.json", run / "provenance.json", "json", partial(work.seen_by, run, "target")),
        Target("training state", run / "state.pt", "bytes", partial(load_snapshot, run, "identity")),
        *(Target("initial weights", path, "bytes", partial(begin, path)) for path in sorted(initial.iterdir())),
    ]
