"""The overview of a data set as one HTML page that opens offline: numbers, histograms, faults and pictures.

Pictures are axial slices in radiological convention: the patient's right on the left, anterior up.
"""

from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.ticker import MaxNLocator

from missrate.core import store
from missrate.core.guard import understood
from missrate.core.types import LESION, ORGAN
from missrate.report.canvas import drawn_on, svg_of
from missrate.report.pictures import axial
from missrate.report.raster import outline, png
from missrate.report.words import Drawing

Json = dict[str, Any]
MOST_PICTURES, MOST_LINES = 60, 4
BINS = 24
BAR = "#4b6b8a"


def write(out: Path, check: Path, cases: Path) -> None:
    """Writes the page of ``check.json`` and of the pictures in ``cases/ID/picture.npz``; equal inputs, equal bytes."""
    value: Json = store.read_json(check)
    folder = resources.files("missrate.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("data.html").read_text(encoding="utf-8"))
    shown = _chosen(value["cases"])
    page = template.render(
        style=folder.joinpath("style.css").read_text(encoding="utf-8"),
        version=version("missrate"),
        histograms=[drawing for drawing in _histograms(value["cases"]) if drawing.read],
        kinds=_kinds(value["cases"]),
        pictures=[_picture(case, cases / case["case_id"] / "picture.npz", images=value["images"]) for case in shown],
        **value,
    )
    store.write_text(out, page)


def _chosen(cases: list[Json]) -> list[Json]:
    """Those with doubts first, since they are what a person should look at; the others evenly, lesions before none."""
    doubtful = [case for case in cases if any(w["kind"] != "no lesion" for w in case["warnings"])][:MOST_PICTURES]
    others = sorted((case for case in cases if case not in doubtful), key=lambda case: not case["lesions"])
    room = MOST_PICTURES - len(doubtful)
    return doubtful + (others[:: -(-len(others) // room)] if room and others else [])


def _histograms(cases: list[Json]) -> list[Drawing]:
    """Depth first: with it the first experiment of this kind began, and found that no two scans are equally deep."""
    lesions = [row for case in cases for row in case["lesions"]]
    depth = [case["grid"]["shape"][2] for case in cases]
    share = [100.0 * case["lesion_slices"] / case["grid"]["shape"][2] for case in cases]
    spacing = [case["spacing_mm"] for case in cases if case["spacing_mm"]]
    unit = "grey values" if any(case.get("intensity") == "grey" for case in cases) else "HU"
    diameters, contrasts = (
        [row[key] for row in lesions if row[key] is not None] for key in ("diameter_mm", "contrast_hu")
    )
    return [
        _histogram("depth", "Depth", depth, "slices per scan", "scans"),
        _histogram("slice-spacing", "Distance of slices", [s[2] for s in spacing], "mm", "scans"),
        _histogram("pixel-spacing", "Pixel size", [s[0] for s in spacing], "mm", "scans"),
        _histogram("share", "Slices with a lesion", share, "% of a scan's slices", "scans"),
        _histogram("diameter", "Lesion size", diameters, "diameter of the sphere of equal volume, mm", "lesions"),
        _histogram("contrast", "Lesion contrast", contrasts, f"{unit} inside minus around", "lesions"),
    ]


def _histogram(name: str, title: str, values: list[float], what: str, whom: str) -> Drawing:
    if not values:
        return Drawing(title, "", "", "")
    low, high = min(values), max(values)
    if low == high:
        return Drawing(title, "", f"{low:.4g} {what}, in all {len(values)} {whom}.", "")
    with drawn_on(3.4, 2.1) as (figure, (panel,)):
        panel.hist(values, bins=list(np.linspace(low, high, BINS + 1)), color=BAR)
        panel.set(xlabel=what, ylabel=whom)
        panel.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        svg = svg_of(figure, name)
    middle = float(np.median(values))
    return Drawing(title, svg, f"n = {len(values)} {whom}; median {middle:.4g}, from {low:.4g} to {high:.4g}.", "")


def _kinds(cases: list[Json]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Warnings by kind, the most frequent first: case and text."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for case in cases:
        for warning in case["warnings"]:
            kinds.setdefault(warning["kind"], []).append((case["case_id"], warning["text"]))
    return sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))


def _picture(case: Json, path: Path, *, images: bool) -> Json:
    with understood(path, "a picture of a case"), np.load(path, allow_pickle=False) as held:
        grey, label, spacing = held["grey_XY"], held["label_XY"], held["spacing_mm"]
        grey_YX, label_YX = (axial(values[:, :, None], 0) for values in (grey, label))
        spacing_YX = (float(spacing[1]), float(spacing[0]))
    said = [warning["text"] for warning in case["warnings"]]
    more = [f"and {len(said) - MOST_LINES} more"] if len(said) > MOST_LINES else []
    return {
        "case_id": case["case_id"],
        "lines": [_about(case), *said[:MOST_LINES], *more],
        "png": png(np.ascontiguousarray(grey_YX)) if images else "",
        "width": grey_YX.shape[1] * spacing_YX[1],
        "height": grey_YX.shape[0] * spacing_YX[0],
        "lesion": outline(label_YX == LESION, spacing_YX),
        "organ": outline(label_YX == ORGAN, spacing_YX),
    }


def _about(case: Json) -> str:
    shape = " × ".join(map(str, case["grid"]["shape"]))
    spacing = " × ".join(f"{side:.3g}" for side in case["spacing_mm"]) + " mm" if case["spacing_mm"] else "pixels only"
    count = len(case["lesions"])
    volume = sum(row["volume_ml"] for row in case["lesions"]) if case["spacing_mm"] else None
    lesions = f"{count} lesion{'' if count == 1 else 's'}"
    return f"{shape}, {spacing}, {lesions}" + (f", {volume:.3g} ml" if volume else "")
