"""Names are literal in every figure and table: nothing that a person wrote is a formula, a tag or a format."""

import html
import json
from pathlib import Path
from typing import Any

import pytest

from missrate.core import store
from missrate.core.ladder import METRICS, SCHEMA
from missrate.report.canvas import drawn_on, svg_of
from tests.report.test_page import Reader, write

NAMES = ["$\\frac{1$", "$x^2$ and $y$", "a & <b> %s {0}"]


def rung(name: str, arm: str) -> dict[str, Any]:
    found = {"value": 0.5, "ci95": [0.4, 0.6], "undefined": 0}
    about = {"threshold": 0.5, "thresholds": [0.5], "slices_counted": "all", "average": "pooled", "largest_share": None}
    counted: dict[str, Any] = {"slices": 9, "patients": 3, "reason": None, "absent": []}
    return {"name": name, "arm": arm, **about, **counted, "metrics": dict.fromkeys(METRICS, found)}


def renamed(inputs: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """The study with its arm "unet" called otherwise, in every file and setting."""

    def copy(path: Path) -> Path:
        target = folder / f"{len(list(folder.iterdir()))}_{path.name}"
        target.write_text(path.read_text().replace('"unet"', json.dumps(name)))
        return target

    def keys(values: dict[str, Any]) -> dict[str, Any]:
        return {name if key == "unet" else key: value for key, value in values.items()}

    changed = {
        "summaries": {key: copy(path) for key, path in keys(inputs["summaries"]).items()},
        "comparison": copy(inputs["comparison"]),
        "study": json.loads(json.dumps(inputs["study"]).replace('"unet"', json.dumps(name))),
    }
    return inputs | {key: keys(inputs[key]) for key in ("lesions", "runs", "predictions")} | changed


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_and_a_rung_of_any_name_are_drawn_as_they_are_called(
    name: str, inputs: dict[str, Any], tmp_path: Path
) -> None:
    ladder, copies = tmp_path / "ladder.json", tmp_path / "copies"
    copies.mkdir()
    rungs = [rung(name, name), rung("plain", "scratch")]
    store.write_json(ladder, {"schema": SCHEMA, "resamples": 100, "rungs": rungs})
    text = write(renamed(inputs, name, copies), tmp_path, ladder=ladder, study=inputs["study"])
    assert Reader(text).open == []
    figures = [part for part in text.split("<svg")[1:] if html.escape(name, quote=False) in part.split("</svg>")[0]]
    assert len(figures) >= 4, "the forest, the trade-off, the missed lesions, the ladder"


def test_a_figure_writes_any_label_as_it_is() -> None:
    with drawn_on(3, 2) as (figure, (panel,)):
        panel.set(xlabel=NAMES[0], title=NAMES[1])
        panel.plot([0, 1], [0, 1], label=NAMES[2])
        panel.legend()
        svg = svg_of(figure, "x")
    for name in NAMES:
        assert html.escape(name, quote=False) in svg
