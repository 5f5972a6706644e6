"""A whole scan through one trained network: ours, torchvision's own evaluation loop, a plain loop over slices.

Usage: python -m benchmarks.prediction [--quick]. The small Mask R-CNN of the demo and ResNet-50, at random weights with
a score threshold of 0, so that every slice fills all of its detections: the worst case. A process with one thread each.

``ours``: missrate's prediction, from HU on the scan's grid to levels there. ``reference``: as torchvision's evaluation
does, a slice at a time in float32, then the maximum of score x mask. ``plain``: the same with the scan's probability
in float64 beside a normalised copy of the scan. All give the same map, but for bfloat16.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from benchmarks.training import SMALL, row

from benchmarks import alone

TOOLS = ("ours", "reference", "plain")
TASKS: dict[str, tuple[dict[str, Any], tuple[int, int, int], float | None]] = {
    "small, 128 x 128 x 60": (SMALL, (128, 128, 60), None),
    "ResNet-50, 256 x 256 x 12": ({}, (256, 256, 12), None),
    "small, 512 x 512 x 750 seen at 128 px": (SMALL, (512, 512, 750), 4.0),
}
"""Config, the scan's voxels (1 x 1 x 1 mm), and the pixels that the network sees, in mm."""


def scan(shape: tuple[int, int, int]) -> Any:
    """Noise in a body: what is in it does not matter to the clock."""
    image_XYZ = np.full(shape, -1000, np.int16)
    rng = np.random.default_rng(0)
    x, y = shape[0] // 8, shape[1] // 8
    for z in range(shape[2]):
        image_XYZ[x:-x, y:-y, z] = rng.integers(-80, 180, (shape[0] - 2 * x, shape[1] - 2 * y), np.int16)
    return image_XYZ


def predict(tool: str, task: str) -> dict[str, Any]:
    """CPU seconds a slice, the peak beyond scan and network, and the mean of the map, to compare results by."""
    import torch

    from missrate.core.grid import Grid, resample
    from missrate.core.quantise import TOP
    from missrate.core.recipe import Recipe
    from missrate.core.view import View
    from missrate.models._build import build_model
    from missrate.models.maskrcnn import detections_to_map
    from missrate.predict.run2d import Loaded, predict_scan

    config, shape, spacing = TASKS[task]
    view = View(spacing_mm=spacing)
    recipe = Recipe(arm="b", model="maskrcnn", config=config | {"score_threshold": 0.0}, view=view)
    model = build_model(recipe).eval()
    net: Any = model.net
    image_XYZ, grid = scan(shape), Grid.of(shape, np.eye(4))
    size = view.shape(tuple(slice(0, n) for n in shape), grid)

    def one(slice_XY: Any) -> Any:
        with torch.no_grad():
            tensor = torch.from_numpy(slice_XY).T[None].repeat(3, 1, 1)
            (found,) = net([tensor])
            return detections_to_map(found["scores"], found["masks"][:, 0].mT, combine="max", mask="soft").numpy()

    def slices() -> Any:
        for z in range(shape[2]):
            seen = resample(image_XYZ[:, :, z : z + 1].astype(np.float32), (*size[:2], 1))[:, :, 0]
            yield np.clip((seen + 100) / 300, 0, 1)

    def ours() -> Any:
        return predict_scan(Loaded(model, recipe, torch.device("cpu"), (1, 1)), image_XYZ, grid)

    def reference() -> Any:
        result = np.empty(shape, np.float32)
        for z, seen in enumerate(slices()):
            result[:, :, z] = resample(one(seen)[:, :, None], (*shape[:2], 1))[:, :, 0]
        return result

    def plain() -> Any:
        whole = resample(image_XYZ.astype(np.float32), size)
        whole = np.clip((whole + 100) / 300, 0, 1)
        result = np.zeros(size)
        for z in range(size[2]):
            result[:, :, z] = one(np.ascontiguousarray(whole[:, :, z]))
        return resample(result.astype(np.float32), shape)

    one(np.zeros(size[:2], np.float32))
    before, began = alone.reset_peak(), time.process_time()
    result = {"ours": ours, "reference": reference, "plain": plain}[tool]()
    seconds = time.process_time() - began
    mean = float(result.mean(dtype=np.float64)) / (TOP if tool == "ours" else 1)
    return {"status": "ok", "seconds": seconds / shape[2], "peak_mb": alone.peak_mb() - before, "mean": mean}


def main() -> None:
    """Prints a Markdown table; every figure comes from this one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first task only")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        import torch

        torch.set_num_threads(1)
        print(json.dumps(predict(*asked.child)))
        return
    print(f"{alone.machine()}\n")
    row("task", "tool", "CPU s a slice", "of ours", "peak MB", "mean probability")
    row(*["---"] * 6)
    for task in list(TASKS)[: 1 if asked.quick else None]:
        found = {tool: alone.child("benchmarks.prediction", tool, task) for tool in TOOLS}
        for tool, each in found.items():
            if each["status"] != "ok":
                row(task, tool, each["status"], "", "", "")
                continue
            ratio = each["seconds"] / found["ours"]["seconds"]
            row(task, tool, f"{each['seconds']:.4f}", f"{ratio:.2f}", f"{each['peak_mb']:.0f}", f"{each['mean']:.5f}")


if __name__ == "__main__":
    sys.exit(main())
