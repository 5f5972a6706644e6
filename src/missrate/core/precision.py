"""Whether to compute in bfloat16: only where the processor or the device has instructions for it."""

from functools import cache
from pathlib import Path
from typing import Literal


def uses_bf16(precision: Literal["auto", "bf16", "float32"], device: Literal["cpu", "cuda", "mps"] | str) -> bool:
    """What a recipe's ``precision`` means on a kind of device; ``auto`` asks the hardware."""
    if precision != "auto":
        return precision == "bf16"
    if device == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and _quick_on_cpu(cpu_info("flags").split(), cpu_info("vendor_id"))


def _quick_on_cpu(flags: list[str], vendor: str) -> bool:
    """Tiles, or AMD's vector instructions: .23 against .29 s for a step of the small Mask R-CNN.

    Intel's vector instructions without tiles are slower than float32 (.56 against .45 s), and without either bfloat16
    is emulated.
    """
    return "amx_bf16" in flags or ("avx512_bf16" in flags and vendor == "AuthenticAMD")


@cache
def cpu_info(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo, such as "model name"; empty where the system has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == field)
    return next(values, "")
