"""Weights on disk: safetensors, written last, so that their presence says that a training is finished.

Nothing here imports torch before a function is called: rooms that only read results ask ``finished`` without it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from missrate.core import store
from missrate.core.guard import understood

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "weights.safetensors"


def save(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Writes all tensors (any shape and device, also ones that share memory) atomically; equal values, equal bytes.

    Raises StoreError when the file cannot be written.
    """
    import safetensors.torch

    # A clone each: safetensors refuses tensors that share memory or that are not contiguous.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    store.write_atomic(path, safetensors.torch.save(whole))


def load(path: Path) -> "dict[str, Tensor]":
    """The tensors by name, on the CPU. Raises StoreError when the file is absent or damaged."""
    import safetensors.torch

    with understood(path, "safetensors", perhaps="perhaps the file is damaged"):
        tensors: dict[str, Tensor] = safetensors.torch.load(path.read_bytes())
    return tensors


def finished(run: Path) -> bool:
    """Whether the training in this folder ended: its weights are written after everything else."""
    return (run / WEIGHTS).is_file()
