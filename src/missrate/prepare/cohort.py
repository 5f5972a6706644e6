"""What only the whole set can tell: a scan that is unlike the others."""

from collections import Counter
from typing import Any

import numpy as np

from missrate.prepare.examine import warned

Case = dict[str, Any]
FAR = 2.0
"""A spacing or a field of view this many times larger or smaller than the set's median is worth a look."""


def warn(cases: list[Case]) -> None:
    """Adds to the cases' warnings: voxels, field of view or orientation unlike those of the set. In place."""
    _far(cases, "unusual spacing", {c["case_id"]: c["spacing_mm"] for c in cases if c["spacing_mm"]}, names="xyz")
    seen = {c["case_id"]: _in_plane_mm(c) for c in cases if c["spacing_mm"]}
    _far(cases, "unusual field of view", seen, names="xy")
    sizes = [case["spacing_mm"] for case in cases if case["spacing_mm"]]
    for case in cases:
        if case["spacing_mm"] == [1.0, 1.0, 1.0] and sizes.count(case["spacing_mm"]) * 2 < len(sizes):
            text = "voxels of exactly 1 x 1 x 1 mm, unlike most: perhaps their size was lost in an export"
            case["warnings"].append(warned("lost spacing", text))
    codes = Counter(case["source_axcodes"] for case in cases if case["source_axcodes"])
    usual = max(codes, key=lambda code: (codes[code], code), default=None)
    for case in cases:
        if case["source_axcodes"] not in (None, usual):
            text = f"its file is oriented {case['source_axcodes']}, {codes[usual]} of {len(cases)} are {usual}"
            case["warnings"].append(warned("other orientation", text))


def _in_plane_mm(case: Case) -> list[float]:
    return [n * mm for n, mm in zip(case["grid"]["shape"], case["spacing_mm"], strict=True)][:2]


def _far(cases: list[Case], kind: str, sizes_mm: dict[str, list[float]], *, names: str) -> None:
    if len(sizes_mm) < 3:  # of two nobody knows which one is unusual
        return
    median = np.median(list(sizes_mm.values()), axis=0)
    for case in cases:
        own = np.array(sizes_mm.get(case["case_id"], median))
        far = np.flatnonzero((own > FAR * median) | (own * FAR < median))
        if far.size:
            said = ", ".join(f"{names[i]} {own[i]:.4g} mm (the set's median {median[i]:.4g})" for i in far)
            case["warnings"].append(warned(kind, said))
