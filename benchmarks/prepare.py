"""What it costs to get scans ready: ours, nnU-Net's preprocessing, MONAI's PersistentDataset, JPEGs, plain nibabel.

Usage: python -m benchmarks.prepare [--repeats N]. Prints a Markdown table: CPU milliseconds a case of one thread, the
peak of memory beyond what the process holds before, and the bytes on disk. ``make bench-setup`` makes the environment.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import alone, raw

DOES = {
    "nibabel": "`get_fdata` of image and mask: loads, nothing else",
    "ours": "loads, verifies checksums, checks, describes lesions, hashes, stores image and label",
    "nnU-Net 2d": "its preprocessor called directly: crops, normalises, stores (no resampling was due)",
    "nnU-Net 3d_fullres": "the same for its 3D plan",
    "MONAI": "fills a PersistentDataset: loads, turns to RAS, windows, stores",
    "JPEG": "a coloured JPEG (viridis) and a mask a slice, as the first experiment did",
}


def nibabel(_: Path) -> int:
    import nibabel as nib

    for image, mask in raw.pairs():
        nib.load(image).get_fdata()
        nib.load(mask).get_fdata()
    return len(raw.pairs())


def ours(folder: Path) -> int:
    from missrate.core.types import LabelMeaning
    from missrate.prepare.case import prepare_case
    from missrate.readers import nifti

    entries = nifti.find(alone.DATA, nifti.Config())
    for entry in entries:
        prepare_case(nifti, entry, LabelMeaning(lesion=(1,)), folder)
    return len(entries)


def nnunet(configuration: str) -> Callable[[Path], int]:
    def run(folder: Path) -> int:
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        plans = PlansManager(str(Path(sys.argv[3]) / "preprocessed" / raw.NAME / "nnUNetPlans.json"))
        about = json.loads((Path(sys.argv[3]) / "raw" / raw.NAME / "dataset.json").read_text())
        worker, settings = DefaultPreprocessor(verbose=False), plans.get_configuration(configuration)
        for name, (image, mask) in zip(raw.cases(), raw.pairs(), strict=True):
            worker.run_case_save(str(folder / name), [image], mask, plans, settings, about)
        return len(raw.cases())

    return run


def monai(folder: Path) -> int:
    from benchmarks.loading import monai_steps
    from monai.data.dataset import PersistentDataset

    items = [{"image": image, "label": mask} for image, mask in raw.pairs()]
    data = PersistentDataset(items, monai_steps(), cache_dir=folder)
    for k in range(len(items)):
        data[k]
    return len(items)


def jpeg(folder: Path) -> int:
    import nibabel as nib
    from matplotlib import colormaps
    from PIL import Image

    paint = colormaps["viridis"]
    for name, (image, mask) in zip(raw.cases(), raw.pairs(), strict=True):
        values, label = nib.load(image).get_fdata(), nib.load(mask).get_fdata()
        grey = np.clip((values + 100) / 300, 0, 1)
        for z in range(values.shape[2]):
            coloured = (paint(grey[:, :, z].T)[..., :3] * 255).astype(np.uint8)
            Image.fromarray(coloured).save(folder / f"{name}_{z:03d}.jpg")
            Image.fromarray((label[:, :, z].T * 255).astype(np.uint8)).save(folder / f"{name}_{z:03d}_mask.png")
    return len(raw.cases())


TOOLS: dict[str, Callable[[Path], int]] = {
    "nibabel": nibabel,
    "ours": ours,
    "nnU-Net 2d": nnunet("2d"),
    "nnU-Net 3d_fullres": nnunet("3d_fullres"),
    "MONAI": monai,
    "JPEG": jpeg,
}


def main() -> None:
    """The parent asks for each tool in turn; the child prints its figures."""
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = str(parser.parse_args().repeats)
    with tempfile.TemporaryDirectory() as folder:
        raw.planned(Path(folder))
        found = {tool: alone.child("benchmarks.prepare", tool, folder, repeats) for tool in TOOLS}
    print(f"\n{len(raw.cases())} scans; {alone.machine()}; median of {repeats} rounds\n")
    print("| tool | CPU ms a case | of nibabel's | peak MB | MB on disk a case | does |\n|---|---|---|---|---|---|")
    base = found["nibabel"].get("seconds", float("nan"))
    for tool, row in found.items():
        if row["status"] == "ok":
            figures = (1000 * row["seconds"], row["seconds"] / base, row["peak_mb"], row["disk_mb"])
            numbers = "{:.1f} | {:.2f} | {:.0f} | {:.2f}".format(*figures)
        else:
            numbers = f"{row['status']} | | |"
        print(f"| {tool} | {numbers} | {DOES[tool]} |")


def _child(tool: str, planned: Path, repeats: int) -> None:
    raw.environment(planned)
    disk: list[float] = []

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            count = TOOLS[tool](Path(folder))
            disk.append(sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / count / 2**20)
        return count

    print(json.dumps(alone.measured(run, repeats) | {"disk_mb": disk[-1]}))


if __name__ == "__main__":
    main()
