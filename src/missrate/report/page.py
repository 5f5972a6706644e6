"""Composes the report: one HTML file that opens offline, without a script. It draws and recomputes nothing."""

import json
import re
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from missrate.core import store
from missrate.report import answer, facts, figures, forests, material, pictures, price, ranks, tables, versus
from missrate.report import ladder as ladders
from missrate.report.material import Material

Json = dict[str, Any]
PATH = re.compile(r"(?<![^:=])(/(?!/)|[A-Za-z]:[/\\]|\.\.?/|~/).*")
"""An absolute or a climbing path, alone or behind the kind of thing that it is ("backbone:/...")."""


def write(
    out: Path,
    *,
    study: Json,
    summaries: dict[str, Path],
    lesions: dict[str, Path],
    comparison: Path,
    split: Path,
    prepared: dict[str, Path],
    runs: dict[str, list[Path]],
    predictions: dict[str, dict[int | None, Path]],
    ladder: Path | None = None,
    promises: dict[str, Path] | None = None,
) -> None:
    """Writes the page to ``out``; the same inputs give the same bytes.

    ``study`` is the resolved study; ``summaries`` and ``lesions`` give each evaluated arm's ``summary.json`` and
    ``lesions.csv``; ``prepared`` a folder per source (without one: not used); ``runs`` the folders of each trained arm,
    fold by fold; ``predictions`` the folders of each arm by fold; ``ladder`` the file of one, if any; ``promises`` the
    certified point of each arm, if any. Raises StoreError for a file that cannot be read.
    """
    given = material.read(
        study=study,
        summaries=summaries,
        lesions=lesions,
        comparison=comparison,
        split=split,
        prepared=prepared,
        runs=runs,
        predictions=predictions,
        ladder=ladder,
        promises=promises,
    )
    store.write_text(out, render(given))


def render(given: Material) -> str:
    """The page as text."""
    folder = resources.files("missrate.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    style = folder.joinpath("style.css").read_text(encoding="utf-8")
    return template.render(style=style, **_context(given))


def _context(given: Material) -> Json:
    shown = pictures.missed(given)
    return {
        "title": given.study["report"]["title"],
        "note": given.study["report"]["note"],
        "many": given.many,
        "answer": answer.short(given),
        "answer_each": answer.each(given),
        "answer_null": answer.null_arms(given),
        "costs": answer.costs(given),
        "flow": facts.flow(given),
        "parts": facts.parts(given),
        "problems": facts.problems(given),
        "forest": forests.forest(given),
        "levels": [_at_point(given, point) for point in _different_points(given)],
        "bands_drawn": forests.bands(given),
        "bands": tables.bands(given),
        "ranks": ranks.ranks(given),
        "stability": ranks.stability(given),
        "differences_drawn": forests.differences(given),
        "differences": versus.differences(given),
        "differences_by_band": versus.by_band(given),
        "subgroups": ranks.subgroups(given),
        "seeds": ranks.seeds(given),
        "who_misses": versus.who_misses(given),
        "matrix": figures.matrix(given),
        "tradeoff": figures.tradeoff(given),
        "froc": figures.froc(given),
        "masks": given.masks,
        "matched": None if given.masks else versus.matched(given),
        "equal_sensitivity": None if given.masks else versus.equal_sensitivity(given),
        "ladder_drawn": ladders.drawing(given),
        "ladder_table": ladders.table(given),
        "losses": figures.losses(given) if given.runs else None,
        "elsewhere": len(given.foreign),
        "points": facts.points(given),
        "price": price.drawing(given),
        "budgets": facts.budgets(given),
        "pictures": shown,
        "missed_in_all": sum(len(arm.missed()) for arm in given.trained_arms()),
        "missed": [] if given.many else [facts.missed(given, arm) for arm in given.arms],
        "missed_by": facts.missed_by(given) if given.many else None,
        "limits": facts.limits(given),
        "made": _made(given),
        "study": json.dumps(_without_paths(given.study), indent=1, sort_keys=True),
    }


def _different_points(given: Material) -> list[str]:
    """The names of operating points, without one whose thresholds equal those of a point before it."""
    seen: list[list[Any]] = []
    result = []
    for point in given.points():
        entries = [arm.entry(point) for arm in given.arms]
        values = [e and [e["operating_point"].get("thresholds"), e["operating_point"]["threshold"]] for e in entries]
        if values not in seen:
            seen.append(values)
            result.append(point)
    return result


def _at_point(given: Material, point: str) -> Json:
    made = {
        "levels": tables.levels,
        "rules": tables.rules,
        "beside": tables.beside,
        "distances": tables.distances,
        "case_means": tables.case_means,
    }
    return {"name": point, **{name: make(given, point) for name, make in made.items()}}


def _made(given: Material) -> list[tuple[str, str]]:
    """Programs, seeds and hashes."""
    rows = [("missrate", version("missrate"))]
    programs = {
        f"{name} {number}"
        for runs in given.runs.values()
        for run in runs
        for name, number in run.provenance.get("versions", {}).items()
    }
    if given.runs:
        rows.append(("trained with", ", ".join(sorted(programs)) or "not recorded"))
    rows.append(("seed", str(given.split["seed"])))
    matching = given.comparison["matching"]
    rule = f"{matching['rule']}, {matching['connectivity']}-connected"
    least = f"candidates of at least {matching['least_volume_ml']:g} ml"
    floors = sorted({arm.summary["matching"]["floor"] for arm in given.arms})
    rows += [
        (
            "primary matching rule",
            f"{rule}, {least}"
            + ("" if given.masks else f", from probability {', '.join(f'{floor:g}' for floor in floors)} upwards"),
        ),
        ("resamples", f"{given.comparison['resamples']}, seed {given.comparison['seed']}"),
        ("manifest.json", given.split["manifest"]),
    ]
    rows += sorted(given.hashes.items())
    for name, runs in given.runs.items():
        for run in runs:
            fold = run.provenance.get("fold")
            place = f"{name}, fold {fold}" if fold is not None else name
            rows += [(f"initial weights of {place}", line[:300]) for line in run.provenance.get("loaded", [])[:1]]
    return rows


def _without_paths(value: Any) -> Any:
    """The study without the folders of the machine that it ran on: they may hold names."""
    if isinstance(value, dict):
        return {key: _without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(inner) for inner in value]
    return PATH.sub(lambda found: Path(found[0]).name, value) if isinstance(value, str) else value
