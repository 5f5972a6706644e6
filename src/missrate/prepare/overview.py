"""A source in numbers: what a person wants to know before anything is trained on it."""

from collections import Counter
from typing import Any

import numpy as np

Case = dict[str, Any]
SIZES_MM = ((0.0, 10.0), (10.0, 20.0), (20.0, np.inf))
"""Bands of lesion diameter; below 20 mm people miss about two in five on pancreas CT."""


def overview(cases: list[Case]) -> dict[str, Any]:
    """Counts, and of each quantity its least, quartiles and greatest value; None where nothing is known.

    ``slices``: per scan. ``spacing_mm``: x, y, z. ``field_of_view_mm``: x, y. ``lesion_slice_share``: slices with a
    lesion of all slices. ``contrast_hu``: lesion minus what is around it.
    """
    lesions = [lesion for case in cases for lesion in case["lesions"]]
    spacing = [case["spacing_mm"] for case in cases if case["spacing_mm"]]
    sides = [
        [n * mm for n, mm in zip(case["grid"]["shape"], case["spacing_mm"], strict=True)]
        for case in cases
        if case["spacing_mm"]
    ]
    diameters = [row["diameter_mm"] for row in lesions if row["diameter_mm"] is not None]
    slices = [case["grid"]["shape"][2] for case in cases]
    return {
        "cases": len(cases),
        "patients": len({case["patient_id"] for case in cases}),
        "healthy_cases": sum(not case["lesions"] for case in cases),
        "lesions": len(lesions),
        "slices": quartiles(slices),
        "intensities": sorted({case["intensity"] for case in cases if "intensity" in case}),
        "slices_in_all": sum(slices),
        "lesion_slice_share": sum(case["lesion_slices"] for case in cases) / sum(slices) if slices else None,
        "spacing_mm": {axis: quartiles([s[i] for s in spacing]) for i, axis in enumerate("xyz")},
        "field_of_view_mm": {axis: quartiles([s[i] for s in sides]) for i, axis in enumerate("xy")},
        "lesion_volume_ml": quartiles([row["volume_ml"] for row in lesions if row["volume_ml"] is not None]),
        "lesion_diameter_mm": quartiles(diameters),
        "lesions_by_diameter_mm": [[_band(a, b), sum(a <= d < b for d in diameters)] for a, b in SIZES_MM],
        "contrast_hu": quartiles([row["contrast_hu"] for row in lesions if row["contrast_hu"] is not None]),
        "lesions_per_case": quartiles([len(case["lesions"]) for case in cases]),
        "label_voxels": dict(sum((Counter(case["label_voxels"]) for case in cases), Counter())),
        "warnings": dict(Counter(warning["kind"] for case in cases for warning in case["warnings"])),
    }


def numbers(seen: dict[str, Any]) -> list[tuple[str, list[float]]]:
    """The quantities of an overview by the name under which they are shown; without those of which nothing is known."""
    rows = [
        ("slices per scan", seen["slices"]),
        *((f"spacing {axis}, mm", seen["spacing_mm"][axis]) for axis in "xyz"),
        *((f"field of view {axis}, mm", seen["field_of_view_mm"][axis]) for axis in "xy"),
        ("lesions per case", seen["lesions_per_case"]),
        ("lesion volume, ml", seen["lesion_volume_ml"]),
        ("lesion diameter, mm", seen["lesion_diameter_mm"]),
        (
            "lesion contrast, grey values" if "grey" in seen["intensities"] else "lesion contrast, HU",
            seen["contrast_hu"],
        ),
    ]
    return [(name, values) for name, values in rows if values]


def quartiles(values: list[float]) -> list[float] | None:
    """Minimum, quartiles and maximum; None of nothing."""
    return None if not values else [round(float(v), 4) for v in np.quantile(values, (0.0, 0.25, 0.5, 0.75, 1.0))]


def _band(low: float, high: float) -> str:
    if low == 0.0:
        return f"<{high:g}"
    return f">={low:g}" if np.isinf(high) else f"{low:g}-{high:g}"
