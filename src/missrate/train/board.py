"""What a training shows while it runs: scalars and pictures for TensorBoard, where that is installed.

Nothing reads these files again; they hold times, so they are no part of what makes a run the same as another.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from missrate.core.types import LESION
from missrate.train.batches import Batch

FOLDER = "tensorboard"
PICTURES = 4
REFERENCE, PREDICTION = (0.0, 0.75, 0.3), (0.9, 0.25, 0.0)


class Board:
    """Writes below ``run/tensorboard``; does nothing where TensorBoard is not installed.

    A training that goes on after ``step`` makes what an earlier process wrote beyond it disappear from the curves.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(run / FOLDER), purge_step=step + 1)

    @property
    def open(self) -> bool:
        """Whether anybody will see what is shown."""
        return self._writer is not None

    def row(self, row: dict[str, Any]) -> None:
        """A line of the log as scalars."""
        if self._writer is None:
            return
        group = "validation" if "validation" in row else "train"
        values = {f"{group}/{name}": value for name, value in row.get("losses", row.get("validation", {})).items()}
        values |= {name: row[name] for name in ("loss", "lr", "grad_norm", "validation_loss") if name in row}
        for name, value in values.items():
            self._writer.add_scalar(name, value, row["step"])

    def pictures(self, name: str, model: nn.Module, data: Batch, step: int) -> None:
        """The first slices of a batch: as seen, with the reference, with the probability.

        Leaves no trace in the model, which ends in training mode.
        """
        if self._writer is None:
            return
        image_BCXY, label_BXY = (values[:PICTURES] for values in data)
        device = next(model.parameters()).device
        model.eval()
        with torch.no_grad():
            probability_B1XY = model.probability(torch.from_numpy(image_BCXY).to(device))  # type: ignore[operator]
        model.train()
        seen = probability_B1XY[:, 0].float().cpu().numpy()
        rows = [_row(*each) for each in zip(image_BCXY, label_BXY, seen, strict=True)]
        self._writer.add_image(name, np.concatenate(rows), step, dataformats="HWC")

    def close(self) -> None:
        """What is written is on the disk."""
        if self._writer is not None:
            self._writer.close()


def _row(image_CXY: NDArray[np.float32], label_XY: NDArray[np.uint8], seen_XY: NDArray[np.float32]) -> NDArray[Any]:
    """Three pictures side by side, anterior up: (Y, 3 X, 3) in [0, 1]."""
    plain = np.repeat(image_CXY[len(image_CXY) // 2][:, :, None], 3, axis=2)
    reference = _tinted(plain, (label_XY == LESION).astype(np.float32), REFERENCE)
    predicted = _tinted(plain, np.clip(seen_XY, 0.0, 1.0), PREDICTION)
    return np.concatenate([part.transpose(1, 0, 2)[::-1] for part in (plain, reference, predicted)], axis=1)


def _tinted(
    plain_XYC: NDArray[np.float32], weight_XY: NDArray[np.float32], colour: tuple[float, float, float]
) -> NDArray[np.float32]:
    weight = 0.6 * weight_XY[:, :, None]
    tinted: NDArray[np.float32] = (plain_XYC * (1 - weight) + weight * np.array(colour, np.float32)).astype(np.float32)
    return tinted
