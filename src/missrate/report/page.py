"""Composes the report: one HTML file that opens offline, without a script. It draws and recomputes nothing."""

import json
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from missrate.core import store
from missrate.report import facts, figures, material, pictures, tables, versus
from missrate.report.material import NULL_ARMS, Material
from missrate.report.words import amount, point_words, sentence, share

Json = dict[str, Any]


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
) -> None:
    """Writes the page to ``out``; the same inputs give the same bytes.

    ``study`` is the resolved study; ``summaries`` and ``lesions`` give each evaluated arm's ``summary.json`` and
    ``lesions.csv``; ``prepared`` a folder per source (without one: not used); ``runs`` the folders of each trained arm,
    fold by fold; ``predictions`` the folders of each arm by fold. Raises StoreError for a file that cannot be read.
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
        **dict(zip(("answer", "answer_null"), _answer(given), strict=True)),
        "costs": _costs(given),
        "flow": facts.flow(given),
        "parts": facts.parts(given),
        "problems": facts.problems(given),
        "forest": figures.forest(given),
        "levels": [_at_point(given, point) for point in _different_points(given)],
        "bands": tables.bands(given),
        "differences": versus.differences(given),
        "who_misses": versus.who_misses(given),
        "matrix": figures.matrix(given),
        "tradeoff": figures.tradeoff(given),
        "froc": figures.froc(given),
        "matched": versus.matched(given),
        "equal_sensitivity": versus.equal_sensitivity(given),
        "losses": figures.losses(given),
        "points": facts.points(given),
        "budgets": facts.budgets(given),
        "pictures": shown,
        "missed_in_all": sum(len(arm.missed()) for arm in given.trained_arms()),
        "missed": [facts.missed(given, arm) for arm in given.arms],
        "limits": facts.limits(given),
        "made": _made(given),
        "study": json.dumps(_without_paths(given.study), indent=1, sort_keys=True),
    }


def _answer(given: Material) -> tuple[list[str], list[str]]:
    """The comparison's own sentences, those about null arms apart."""
    sentences: list[str] = given.comparison.get("answer") or []
    null = [sentence for sentence in sentences if sentence.startswith(tuple(f"{name} " for name in NULL_ARMS))]
    return [sentence for sentence in sentences if sentence not in null], null


def _costs(given: Material) -> list[str]:
    """What the miss rates of the answer were paid with, one line per arm."""
    lines = []
    for arm in given.trained_arms():
        metrics = arm.summary["metrics"]
        if not metrics:
            lines.append(f"{arm.name}: undefined (all), {sentence(arm.summary.get('reason', 'not measured'))}")
            continue
        blocks = [metrics.get(name, {}).get("pooled", {}) for name in ("false_positives_per_scan", "voxel_precision")]
        values = ["undefined" if b.get("value") is None else b["value"] for b in blocks]
        words = [v if isinstance(v, str) else form(v) for v, form in zip(values, (amount, share), strict=True)]
        lines.append(
            f"{arm.name}: {words[0]} false positives per scan, voxel precision {words[1]}, at {point_words(arm.point)}"
        )
    return lines


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
    made = {"levels": tables.levels, "rules": tables.rules, "beside": tables.beside, "case_means": tables.case_means}
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
    rows += [("trained with", ", ".join(sorted(programs)) or "not recorded"), ("seed", str(given.split["seed"]))]
    matching = given.comparison["matching"]
    rule = f"{matching['rule']}, {matching['connectivity']}-connected"
    least = f"candidates of at least {matching['least_volume_ml']:g} ml"
    floors = sorted({arm.summary["matching"]["floor"] for arm in given.arms})
    rows += [
        (
            "primary matching rule",
            f"{rule}, {least}, from probability {', '.join(f'{floor:g}' for floor in floors)} upwards",
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


def _without_paths(study: Json) -> Json:
    """The study without the folders of the machine that it ran on: they may hold names."""
    sources = {
        name: {
            key: value if key not in ("path", "patients") or value is None else Path(value).name
            for key, value in s.items()
        }
        for name, s in study["sources"].items()
    }
    arms = [
        arm | ({"predictions": Path(arm["predictions"]).name} if arm["predictions"] else {}) for arm in study["arms"]
    ]
    return study | {"sources": sources, "arms": arms}
