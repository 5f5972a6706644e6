"""A whole study in seconds: phantoms of 48 pixels, four steps, two arms that train and the three null arms."""

from pathlib import Path

STUDY = """
[sources.target]
reader = "phantom"
options = { cohort = "target", patients = 10, seed = 3, size_px = 48, lesion_share = 0.8 }

[sources.source]
reader = "phantom"
options = { cohort = "source", patients = 2, seed = 3, size_px = 48, lesion_share = 1.0 }

[split]
source = "target"
%s

[budget]
steps = 4
batch = 2
warmup = 1
snapshot_every = 2
validate_every = 2

[models.maskrcnn]
backbone = "resnet18"
fpn_channels = 16
box_channels = 16
mask_channels = 16
mask_layers = 1
proposals_train = [20, 10]
proposals_test = [20, 10]
detections_per_slice = 2

[[arms]]
name = "pretrain"
source = "source"
model = "maskrcnn"
evaluate = false

[[arms]]
name = "maskrcnn"
model = "maskrcnn"
init = "arm:pretrain"

[[arms]]
name = "unet"
model = "unet2d"
config = { decoder_channels = [16, 8, 8, 8, 8] }
loss = { name = "dice_ce" }

[[arms]]
name = "averaged"
run = "maskrcnn"
config = { combine = "mean" }

[evaluate]
resamples = 100
against = "maskrcnn"
"""

PARTS = "parts = { train = 5, validation = 1, calibration = 2, test = 2 }"
FOLDS = "folds = 2"


def write(folder: Path, split: str = PARTS) -> Path:
    """The study file, written."""
    path = folder / "tiny.toml"
    path.write_text(STUDY % split)
    return path
