"""Steps for each CPU second, memory, and time to one validation loss: ours, torchvision's reference loop, a plain loop.

Usage: python -m benchmarks.training [--quick]. One network (the small Mask R-CNN of the demo, and ResNet-50 for the
speed alone), one set of patients (synthetic), slices of one size, one batch size; a process with one thread each.

``ours``: missrate's loop with its defaults. ``reference``: what torchvision's references/detection does, written anew
for these slices: a DataLoader that makes instances of masks, SGD with a rate in proportion to the batch, warm-up from
a thousandth, float32, a log of every loss; it diverges from random weights, so it is measured
with gradients clipped at 5, too. ``plain``: what one writes first: random slices out of arrays in memory,
Adam at 1e-3, float32. Validation is the loss of four fixed batches of other patients; its time does not count.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import alone

SMALL = {"backbone": "resnet18", "fpn_channels": 64, "box_channels": 256, "mask_channels": 64}
SIZES: dict[str, tuple[dict[str, Any], int, int, int]] = {
    "small Mask R-CNN": (SMALL, 96, 8, 30),
    "Mask R-CNN ResNet-50-FPN": ({}, 128, 2, 8),
}
"""Config, pixels, batch and steps that are timed."""
TOOLS = ("ours", "reference", "reference, clipped", "plain")
LOOK = 20
"""Validation every so many steps."""
BUDGET = {"ours": 200, "reference": 500, "reference, clipped": 500, "plain": 500}
"""Steps at most until the validation loss must have come down to where ours was at two thirds of its own."""


def patients(seed: int, count: int, pixels: int) -> list[Any]:
    """Synthetic patients with lesions, as models see them."""
    from missrate.core.types import LabelMeaning
    from missrate.core.view import View
    from missrate.core.viewed import ViewedCase
    from missrate.readers import phantom

    view, cases = View(spacing_mm=250 / pixels, crop="body"), []
    meaning = LabelMeaning(lesion=phantom.LESION, organ=phantom.ORGAN)
    for entry in phantom.find(None, phantom.Config(patients=count, seed=seed, lesion_share=1.0)):
        scan, labels = phantom.load_image(str(entry.image)), phantom.load_map(str(entry.label)).labels_XYZ
        image_XYZ = np.asarray(scan.values_XYZ, np.int16)
        box = view.box(image_XYZ)
        seen = view.look(image_XYZ, box, scan.grid), view.apply_label(meaning.apply(labels), box, scan.grid)
        image, label = (np.asfortranarray(values) for values in seen)
        cases.append(ViewedCase.of((entry.case_id, entry.patient_id), image, label, box, scan.grid))
    return cases


def recipe(config: dict[str, Any], pixels: int, batch: int, steps: int) -> Any:
    from missrate.core.recipe import Recipe, TrainConfig

    train = TrainConfig(steps=steps, batch=batch, patch_px=(pixels, pixels), insertion=0.0)
    train = train.model_copy(update={"validate_every": 10**9, "snapshot_every": 10**9})
    return Recipe(arm="bench", model="maskrcnn", config=config, train=train)


def validation(model: Any, cases: list[Any], how: Any) -> float:
    """The sum of torchvision's losses on four fixed batches."""
    import torch

    from missrate.core import seed
    from missrate.train.batches import validation_batch

    model.train()
    frozen = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for module in frozen:
        module.eval()
    total = 0.0
    with torch.no_grad():
        for number in range(4):
            torch.manual_seed(seed.number(0, "validation", number))
            image, label = validation_batch(cases, how, number)
            total += float(sum(model(torch.from_numpy(image), torch.from_numpy(label)).values())) / 4
    model.train()
    return total


def ours(how: Any, cases: list[Any]) -> Iterator[Any]:
    """Each step yields the model."""
    from missrate.train import loop as loops

    with tempfile.TemporaryDirectory() as folder:
        made = loops._Loop(Path(folder), how, loops._fabric(how), identity="")
        made.begin(None, offline=True, folder=Path())
        # One step a call: the thread that prepares batches ahead is given all steps at once, as in a training.
        from missrate.train.batches import batches

        made.model.train()
        for step, data in enumerate(batches(cases, how, range(how.train.steps))):
            made.kept.log.append(made._step(step, data))
            yield made.model


def _slices(cases: list[Any], how: Any) -> Callable[[np.random.Generator], tuple[Any, dict[str, Any]]]:
    """A random slice in [0, 1] of the network's size, half of the time one with a lesion, and its instances."""
    import torch
    from scipy import ndimage

    pixels = how.train.patch_px[0]

    def draw(rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        case = cases[rng.integers(len(cases))]
        z = int(rng.choice(case.lesion_slices) if rng.random() < 0.5 else rng.integers(case.image_XYZ.shape[2]))
        image = np.full((pixels, pixels), -1000.0, np.float32)
        label = np.zeros((pixels, pixels), np.uint8)
        x, y = (min(pixels, n) for n in case.image_XYZ.shape[:2])
        image[:x, :y], label[:x, :y] = case.image_XYZ[:x, :y, z], case.label_XYZ[:x, :y, z]
        image = np.clip((image + 100) / 300, 0, 1)
        numbered, count = ndimage.label((label == 1).T, np.ones((3, 3)))
        masks = np.stack([numbered == k for k in range(1, count + 1)]) if count else np.zeros((0, pixels, pixels), bool)
        boxes = [[c.min(), r.min(), c.max() + 1, r.max() + 1] for r, c in (np.nonzero(mask) for mask in masks)]
        target = {
            "boxes": torch.tensor(np.array(boxes, np.float32).reshape(-1, 4)),
            "labels": torch.ones(count, dtype=torch.int64),
            "masks": torch.from_numpy(masks.astype(np.uint8)),
        }
        return torch.from_numpy(image.T.copy())[None].repeat(3, 1, 1), target

    return draw


def reference(how: Any, cases: list[Any], clip: float = 0.0) -> Iterator[Any]:
    import torch

    from missrate.models._build import build_model

    draw, steps, batch = _slices(cases, how), how.train.steps, how.train.batch

    class Slices(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return steps * batch

        def __getitem__(self, index: int) -> Any:
            return draw(np.random.default_rng(index))

    model = build_model(how)
    net: Any = model.net
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=0.02 / 16 * batch, momentum=0.9, weight_decay=1e-4)
    warmup = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1e-3, total_iters=max(1, steps // 26))
    together = {"shuffle": True, "collate_fn": lambda rows: tuple(zip(*rows, strict=True))}
    loader: Any = torch.utils.data.DataLoader(Slices(), batch_size=batch, **together)
    logged: list[dict[str, float]] = []
    for images, targets in loader:
        losses = net(list(images), list(targets))
        total = sum(losses.values())
        logged.append({name: value.item() for name, value in losses.items()})
        if not np.isfinite(total.item()):
            raise ValueError(f"loss is {total.item()} at step {len(logged)}")
        optimiser.zero_grad()
        total.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimiser.step()
        warmup.step()
        yield model


def plain(how: Any, cases: list[Any]) -> Iterator[Any]:
    import torch

    from missrate.models._build import build_model

    draw, rng, model = _slices(cases, how), np.random.default_rng(0), build_model(how)
    net: Any = model.net
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(how.train.steps):
        images, targets = zip(*(draw(rng) for _ in range(how.train.batch)), strict=True)
        total = sum(net(list(images), list(targets)).values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        yield model


LOOPS = {
    "ours": ours,
    "reference": reference,
    "reference, clipped": partial(reference, clip=5.0),
    "plain": plain,
}


def speed(tool: str, size: str) -> dict[str, Any]:
    """CPU seconds of a step after three to warm up, their median, the loader's share (ours), and the peak."""
    from missrate.train.batches import Grouped, batch

    config, pixels, count, steps = SIZES[size]
    how, cases = recipe(config, pixels, count, steps + 3), patients(1, 8, pixels)
    each: list[float] = []
    wall, before = 0.0, 0.0
    began = time.process_time()
    try:
        for number, _ in enumerate(LOOPS[tool](how, cases)):
            if number == 2:
                before, wall = alone.reset_peak(), time.perf_counter()
            each.append(time.process_time() - began)
            began = time.process_time()
    except ValueError as error:
        print(f"{tool}: {error}", file=sys.stderr)
    steps = len(each) - 3
    seconds = float(np.median(each[3:]))
    result = {"seconds": seconds, "wall": (time.perf_counter() - wall) / steps, "peak_mb": alone.peak_mb() - before}
    if tool == "ours":
        grouped = Grouped.of(cases)
        began = time.process_time()
        for step in range(50):
            batch(cases, how, step, grouped)
        result["loader"] = (time.process_time() - began) / 50 / seconds
    return {"status": "ok", **result}


def learning(tool: str) -> dict[str, Any]:
    """The CPU seconds of training and the validation loss at every ``LOOK`` steps."""
    config, pixels, count, _ = SIZES["small Mask R-CNN"]
    how = recipe(config, pixels, count, BUDGET[tool])
    cases, others = patients(1, 16, pixels), patients(2, 6, pixels)
    spent, curve, began = 0.0, [], time.process_time()
    try:
        for number, model in enumerate(LOOPS[tool](how, cases), start=1):
            spent += time.process_time() - began
            if number % LOOK == 0:
                curve.append([number, spent, validation(model, others, how)])
            began = time.process_time()
    except ValueError as error:
        return {"status": "ok", "curve": curve, "ended": str(error)}
    return {"status": "ok", "curve": curve, "ended": ""}


def main() -> None:
    """Prints two Markdown tables; every figure comes from this one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the speed only")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        import torch

        torch.set_num_threads(1)
        kind, tool, *rest = asked.child
        print(json.dumps(speed(tool, *rest) if kind == "speed" else learning(tool)))
        return
    print(f"{alone.machine()}\n")
    row("network", "tool", "CPU s a step", "of ours", "steps a second", "peak MB", "loader")
    row(*["---"] * 7)
    for size, (_, pixels, count, _) in SIZES.items():
        found = {tool: alone.child("benchmarks.training", "speed", tool, size) for tool in TOOLS}
        for tool, each in found.items():
            row(f"{size}, {pixels} px, batch {count}", tool, *_speed_cells(each, found["ours"]))
    if not asked.quick:
        print_learning({tool: alone.child("benchmarks.training", "learn", tool) for tool in TOOLS})


def row(*cells: str) -> None:
    """A line of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def _speed_cells(each: dict[str, Any], own: dict[str, Any]) -> list[str]:
    if each["status"] != "ok":
        return [each["status"], *[""] * 4]
    loader = f"{each['loader']:.1%}" if "loader" in each else ""
    ratio = each["seconds"] / own["seconds"]
    return [f"{each['seconds']:.3f}", f"{ratio:.2f}", f"{1 / each['wall']:.2f}", f"{each['peak_mb']:.0f}", loader]


def print_learning(curves: dict[str, Any]) -> None:
    """When each came down to the loss that ours had after two thirds of its budget."""
    own = curves["ours"]["curve"]
    step, _, goal = own[len(own) * 2 // 3 - 1]
    mine = next(spent for _, spent, loss in own if loss <= goal)
    print(f"\nTo a validation loss of {goal:.3f} (ours after {step} of {BUDGET['ours']} steps):\n")
    row("tool", "step", "CPU s", "of ours", "lowest loss")
    row(*["---"] * 5)
    for tool, found in curves.items():
        points = found.get("curve", [])
        lowest = f"{min(point[2] for point in points):.3f}" if points else ""
        reached = next((point for point in points if point[2] <= goal), None)
        if reached is not None:
            row(tool, str(reached[0]), f"{reached[1]:.1f}", f"{reached[1] / mine:.2f}", lowest)
        else:
            last = points[-1] if points else [0, 0.0]
            why = found.get("ended") or found["status"]
            row(tool, f"not in {last[0]} ({why})", f"over {last[1]:.0f}", f"over {last[1] / mine:.1f}", lowest)


if __name__ == "__main__":
    sys.exit(main())
