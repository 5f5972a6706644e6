"""Training slices and patches for each CPU second: ours, nnU-Net's loader, MONAI's datasets, a folder of JPEGs.

Usage: python -m benchmarks.loading [--repeats N] [--only TOOL ...]. All draw patches of one size, half of them
with a lesion, unchanged or mirrored and with the HU scaled and shifted. Prints Markdown tables.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import alone, raw

PATCH = {"2D": (192, 192, 1), "3D": (128, 128, 32)}
"""X, Y, Z."""
BATCH = {"2D": 12, "3D": 2}
CPU_SECONDS = 3.0
"""One round draws batches for this long."""
Next = Callable[[], int]
"""Draws a batch; gives its size."""


def ours(folder: Path, kind: str, change: str) -> Next:
    from missrate.core.recipe import Recipe, TrainConfig
    from missrate.core.store import Prepared
    from missrate.core.types import LabelMeaning
    from missrate.core.view import View
    from missrate.core.viewed import read_view
    from missrate.prepare.case import prepare_case
    from missrate.prepare.views import materialise
    from missrate.readers import nifti
    from missrate.train.batches import Grouped, batch, volume_batch

    for entry in nifti.find(alone.DATA, nifti.Config()):
        prepare_case(nifti, entry, LabelMeaning(lesion=(1,)), folder)
        materialise(Prepared(folder), entry.case_id, entry.patient_id, view=View(), folder=folder / "views")
    cases = [read_view(folder / "views", name) for name in raw.cases()]
    varied = {"flip_x": True, "scale": 0.1, "shift_hu": 20.0} if change == "varied" else {"scale": 0.0, "shift_hu": 0.0}
    train = TrainConfig.model_validate({"batch": BATCH[kind], "patch_px": PATCH[kind][:2], **varied})
    recipe, grouped, step = Recipe(arm="a", model="unet2d", train=train), Grouped.of(cases), iter(range(10**9))

    def draw() -> int:
        if kind == "2D":
            return len(batch(cases, recipe, next(step), grouped)[0])
        return len(volume_batch(cases, recipe, next(step), PATCH[kind], grouped)[0])

    return draw


def nnunet(folder: Path, kind: str, change: str) -> Next:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    planned = Path(sys.argv[5])
    plans = PlansManager(str(planned / "preprocessed" / raw.NAME / "nnUNetPlans.json"))
    about = json.loads((planned / "raw" / raw.NAME / "dataset.json").read_text())
    settings = plans.get_configuration("2d" if kind == "2D" else "3d_fullres")
    for name, (image, mask) in zip(raw.cases(), raw.pairs(), strict=True):
        DefaultPreprocessor(verbose=False).run_case_save(str(folder / name), [image], mask, plans, settings, about)
    patch = PATCH[kind][1::-1] if kind == "2D" else PATCH[kind][::-1]
    labels = plans.get_label_manager(about)
    loader = nnUNetDataLoader(
        nnUNetDatasetBlosc2(str(folder)), BATCH[kind], patch, patch, labels, oversample_foreground_percent=0.5,
        transforms=_nnunet_transforms(change, patch),
    )  # fmt: skip
    return lambda: len(loader.generate_train_batch()["data"])


def _nnunet_transforms(change: str, patch: tuple[int, ...]) -> Any:
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

    if change == "none":
        return None
    if change == "varied":
        brightness = MultiplicativeBrightnessTransform((0.9, 1.1), synchronize_channels=True, p_per_channel=1.0)
        return ComposeTransforms([MirrorTransform(allowed_axes=(len(patch) - 1,)), brightness])
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    angle = (-np.pi, np.pi) if len(patch) == 2 else (-np.pi / 6, np.pi / 6)
    return nnUNetTrainer.get_training_transforms(
        patch, angle, None, tuple(range(len(patch))), do_dummy_2d_data_aug=False, use_mask_for_norm=[False]
    )


def monai_steps() -> Any:
    """Loading, as far as it is kept."""
    from monai.transforms.compose import Compose
    from monai.transforms.intensity.dictionary import ScaleIntensityRanged
    from monai.transforms.io.dictionary import LoadImaged
    from monai.transforms.spatial.dictionary import Orientationd
    from monai.transforms.utility.dictionary import EnsureChannelFirstd

    both = ("image", "label")
    return Compose(
        [
            LoadImaged(both),
            EnsureChannelFirstd(both),
            Orientationd(both, axcodes="RAS"),
            ScaleIntensityRanged("image", -100, 200, 0, 1, clip=True),
        ]
    )


def monai(cached: bool) -> Callable[[Path, str, str], Next]:
    def prepare(folder: Path, kind: str, change: str) -> Next:
        from monai.data.dataset import CacheDataset, PersistentDataset
        from monai.data.utils import list_data_collate
        from monai.transforms.compose import Compose
        from monai.transforms.croppad.dictionary import RandCropByPosNegLabeld, SpatialPadd
        from monai.transforms.intensity.dictionary import RandScaleIntensityd, RandShiftIntensityd
        from monai.transforms.spatial.dictionary import RandFlipd

        both = ("image", "label")
        crop = RandCropByPosNegLabeld(both, "label", PATCH[kind], pos=1, neg=1, num_samples=1)
        steps = [*monai_steps().transforms, SpatialPadd(both, PATCH[kind]), crop]
        if change == "varied":
            steps += [
                RandFlipd(both, prob=0.5, spatial_axis=0),
                RandScaleIntensityd("image", factors=0.1, prob=1.0),
                RandShiftIntensityd("image", offsets=20 / 300, prob=1.0),
            ]
        items = [{"image": image, "label": mask} for image, mask in raw.pairs()]
        data: Any = (
            CacheDataset(items, Compose(steps), num_workers=1, progress=False)
            if cached
            else PersistentDataset(items, Compose(steps), cache_dir=folder)
        )
        for k in range(len(items)):
            data[k]

        def draw() -> int:
            examples = [data[random.randrange(len(items))][0] for _ in range(BATCH[kind])]
            return len(list_data_collate(examples)["image"])

        return draw

    return prepare


def jpeg(folder: Path, kind: str, change: str) -> Next:
    """As the first experiment, but grey: a picture and a mask a slice; half of the slices drawn show a lesion."""
    if kind == "3D":
        raise NotImplementedError
    import nibabel as nib
    import torch
    from PIL import Image
    from torchvision.transforms import functional

    slices: dict[bool, list[Path]] = {True: [], False: []}
    for name, (image, mask) in zip(raw.cases(), raw.pairs(), strict=True):
        grey = np.clip((nib.load(image).get_fdata() + 100) / 300 * 255, 0, 255).astype(np.uint8)
        label = nib.load(mask).get_fdata() > 0
        for z in range(grey.shape[2]):
            path = folder / f"{name}_{z:03d}.jpg"
            Image.fromarray(grey[:, :, z].T).save(path)
            Image.fromarray(label[:, :, z].T.astype(np.uint8) * 255).save(path.with_suffix(".png"))
            slices[bool(label[:, :, z].any())].append(path)
    every = slices[True] + slices[False]

    def one(path: Path) -> Any:
        image = functional.to_tensor(Image.open(path))
        mask = functional.pil_to_tensor(Image.open(path.with_suffix(".png")))
        short = [max(0, n - size) for n, size in zip(PATCH["2D"][:2], image.shape[:0:-1], strict=True)]
        if any(short):
            image, mask = (functional.pad(t, [0, 0, *short]) for t in (image, mask))
        top, left = (random.randint(0, size - 192) for size in image.shape[1:])
        image, mask = (t[:, top : top + 192, left : left + 192] for t in (image, mask))
        if change == "varied":
            if random.random() < 0.5:
                image, mask = functional.hflip(image), functional.hflip(mask)
            image = (image * random.uniform(0.9, 1.1) + random.uniform(-20, 20) / 300).clamp(0, 1)
        return image, mask

    def draw() -> int:
        paths = [random.choice(slices[True] if k % 2 else every) for k in range(BATCH["2D"])]
        return len(torch.stack([one(path)[0] for path in paths]))

    return draw


TOOLS: dict[str, Callable[[Path, str, str], Next]] = {
    "ours": ours,
    "nnU-Net": nnunet,
    "MONAI PersistentDataset": monai(cached=False),
    "MONAI CacheDataset": monai(cached=True),
    "JPEG folder": jpeg,
}


def main() -> None:
    """The parent asks for each tool in turn; the child prints its figures."""
    if sys.argv[1:2] == ["--child"]:
        _child(*sys.argv[2:5], repeats=int(sys.argv[6]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    tools = [tool for tool in TOOLS if given.only is None or tool in given.only]
    with tempfile.TemporaryDirectory() as folder:
        raw.planned(Path(folder))
        print(f"\n{len(raw.cases())} scans; {alone.machine()}; median of {given.repeats} rounds of {CPU_SECONDS:g} s")
        for kind in PATCH:
            _table(kind, tools, folder, given.repeats)


def _table(kind: str, tools: list[str], folder: str, repeats: int) -> None:
    size = " x ".join(map(str, PATCH[kind][::-1] if kind == "3D" else PATCH[kind][:2]))
    print(f"\n{kind}, {size}, batches of {BATCH[kind]}: samples for each CPU second (ours / this one)\n")
    print("| tool | unchanged | mirrored, HU varied | peak MB | MB held |\n|---|---|---|---|---|", flush=True)
    asked = [(tool, change) for tool in tools for change in ("none", "varied")]
    if "nnU-Net" in tools:
        asked.append(("nnU-Net", "its own"))
    found = {(t, c): alone.child("benchmarks.loading", t, kind, c, folder, str(repeats)) for t, c in asked}
    for tool in tools:
        cells = [_cell(found, tool, change) for change in ("none", "varied")]
        row = found[tool, "varied"]
        memory = f"{row['peak_mb']:.0f} | {row['held_mb']:.0f}" if row["status"] == "ok" else " | "
        print(f"| {tool} | {' | '.join(cells)} | {memory} |")
    own = found.get(("nnU-Net", "its own"))
    if own:
        said = f"{1 / own['seconds']:.0f}" if own["status"] == "ok" else own["status"]
        print(f"\nnnU-Net with its own augmentation (rotation, zoom, blur and more): {said}", flush=True)


def _cell(found: dict[tuple[str, str], dict[str, Any]], tool: str, change: str) -> str:
    row, mine = found[tool, change], found.get(("ours", change), {})
    if row["status"] != "ok":
        return str(row["status"])
    ratio = f" ({row['seconds'] / mine['seconds']:.1f})" if tool != "ours" and mine.get("status") == "ok" else ""
    return f"{1 / row['seconds']:.0f}{ratio}"


def _child(tool: str, kind: str, change: str, *, repeats: int) -> None:
    random.seed(0)
    np.random.seed(0)
    raw.environment(Path(sys.argv[5]))
    with tempfile.TemporaryDirectory() as folder:
        try:
            draw = TOOLS[tool](Path(folder), kind, change)
        except NotImplementedError:
            print(json.dumps({"status": "-"}))
            return

        def run() -> int:
            began, count = time.process_time(), 0
            while time.process_time() - began < CPU_SECONDS:
                count += draw()
            return count

        print(json.dumps(alone.measured(run, repeats)))


if __name__ == "__main__":
    main()
