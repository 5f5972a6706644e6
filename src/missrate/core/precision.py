"""Whether to compute in bfloat16: only where the processor or the device has instructions for it."""

from functools import cache
from pathlib import Path
from typing import Literal

CPU_BF16 = ("avx512_bf16", "amx_bf16")
"""Without one of these, bfloat16 on a CPU is emulated and slower than float32."""


def uses_bf16(precision: Literal["auto", "bf16", "float32"], device: Literal["cpu", "cuda", "mps"] | str) -> bool:
    """What a recipe's ``precision`` means on a kind of device; ``auto`` asks the hardware."""
    if precision != "auto":
        return precision == "bf16"
    if device == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and any(flag in cpu_info("flags").split() for flag in CPU_BF16)


@cache
def cpu_info(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo, such as "model name"; empty where the system has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == field)
    return next(values, "")
