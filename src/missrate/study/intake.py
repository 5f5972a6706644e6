"""``missrate check``: every case of a source through the doctor, and what was found as numbers, table and page."""

import shutil
from pathlib import Path
from typing import Any

from missrate.core import own, store
from missrate.core.config import fingerprint
from missrate.core.types import Entry, LabelMeaning
from missrate.engine import Task
from missrate.prepare import manifest
from missrate.prepare.overview import numbers, overview
from missrate.study import meaning, sources, work
from missrate.study.cases import run_cases
from missrate.study.sources import SourceConfig
from missrate.study.stages import arguments

Json = dict[str, Any]
CHECK = "missrate/check/1"


def check(source: SourceConfig, name: str, out: Path, *, workers: int | None = None, most: int | None = None) -> Json:
    """Writes ``check.json``, ``refused.csv`` and ``index.html`` below ``out``; gives what ``check.json`` holds.

    ``source`` is anchored. At most ``most`` cases, evenly from the whole set. Killed and called again it goes on where
    it was, unless the source or its settings have changed. Raises InputError when there is nothing to look at.
    """
    entries = sources.find(source)
    images = any(entry.image for entry in entries)
    if not images:  # references alone: a set to evaluate on
        entries = sources.find(source, images=False)
    seen = entries if most is None or most >= len(entries) else _evenly(entries, most)
    known, said = meaning.of(source, seen)
    with store.lock(out):
        _clear_unless_same(out, source, seen, known)
        shared = arguments(reader=source.reader, meaning=known, folder=out, images=images, keep="picture")
        tasks = [Task(f"check {entry.case_id}", work.prepare, shared | arguments(entry=entry)) for entry in seen]
        run_cases(tasks, "check", workers)
        notes = sources.notes(source, images=images)
        manifest.finish(out, name, seen, excluded=source.exclude, notes=notes, least=0)
        value = _value(out, name, source, known, said=said, images=images)
        patients = len({entry.patient_id for entry in entries})
        value |= {"not_looked_at": len(entries) - len(seen), "patients_in_all": patients}
        store.write_json(out / "check.json", value)
        _draw(out)
    return store.read_json(out / "check.json", CHECK)  # type: ignore[no-any-return]


def _evenly(entries: list[Entry], most: int) -> list[Entry]:
    return [entries[i * len(entries) // most] for i in range(most)]


def _value(out: Path, name: str, source: SourceConfig, known: LabelMeaning, *, said: str, images: bool) -> Json:
    found = store.read_json(out / "manifest.json", store.MANIFEST)
    seen = overview(found["cases"])
    return {
        "schema": CHECK,
        "source": name,
        "reader": own.identity(source.reader),
        "labels": known.model_dump(),
        "labels_said": said,
        "images": images,
        "overview": seen,
        "numbers": numbers(seen),
        "cases": found["cases"],
        "refused": manifest.read_refused(out),
        "excluded": found["excluded"],
        "notes": found["notes"],
    }


def _clear_unless_same(out: Path, source: SourceConfig, entries: list[Entry], known: LabelMeaning) -> None:
    """Removes what an earlier call left of other files or settings."""
    places = [[e.case_id, e.patient_id, *map(sources.fingerprint_of, (e.image, e.label))] for e in entries]
    _, options = sources.reader_of(source)
    settings = [source.reader, options.model_dump(mode="json"), known.model_dump(), store.CASE]
    key = {"schema": CHECK, "key": fingerprint([settings, places])}
    if not (out / "key.json").exists() or store.read_json(out / "key.json") != key:
        for folder in ("cases", "refused"):
            shutil.rmtree(out / folder, ignore_errors=True)
    store.write_json(out / "key.json", key)


def _draw(out: Path) -> None:
    from missrate.report import data_page

    data_page.write(out / "index.html", out / "check.json", out / "cases")


def table(value: Json, *, most: int = 40) -> str:
    """What a person reads: the set in numbers, what was refused and why, warnings by kind, and the cases."""
    seen = value["overview"]
    lines = [f"{value['source']}: {value['reader']}, {_counted(seen)}"]
    lines += [line for line in (value["labels_said"], *value["notes"]) if line]
    if value["not_looked_at"]:
        lines.append(f"{value['not_looked_at']} further cases were not looked at.")
    lines += ["", *_numbers(value)]
    lines += _list_of(
        "refused", [f"{row['case_id']}: {row['reason']}" for row in value["refused"]], len(value["refused"])
    )
    for kind, texts in _by_kind(value["cases"]).items():
        lines += _list_of(f"warning: {kind}", texts, 5)
    if value["excluded"]:
        lines.append(f"excluded: {', '.join(value['excluded'])}")
    return "\n".join([*lines, "", *_rows(value["cases"], most)])


def _counted(seen: Json) -> str:
    return (
        f"{seen['cases']} cases of {seen['patients']} patients, {seen['lesions']} lesions, "
        f"{seen['healthy_cases']} cases without one"
    )


def _numbers(value: Json) -> list[str]:
    seen = value["overview"]
    head = f"{'':<22}" + "".join(f"{word:>10}" for word in ("least", "quarter", "median", "3/4", "greatest"))
    lines = [f"{name:<22}" + "".join(f"{v:>10.4g}" for v in values) for name, values in value["numbers"]]
    if seen["lesion_slice_share"] is not None:
        lines.append(f"{100 * seen['lesion_slice_share']:.3g} % of {seen['slices_in_all']} slices show a lesion")
    return [head, *lines]


def _by_kind(cases: list[Json]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for case in cases:
        for warning in case["warnings"]:
            kinds.setdefault(warning["kind"], []).append(f"{case['case_id']}: {warning['text']}")
    return dict(sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])))


def _list_of(title: str, texts: list[str], most: int) -> list[str]:
    if not texts:
        return []
    more = [f"  ... and {len(texts) - most} more"] if len(texts) > most else []
    return ["", f"{title} ({len(texts)})", *(f"  {text}" for text in texts[:most]), *more]


def _rows(cases: list[Json], most: int) -> list[str]:
    """A line for each case."""
    if not cases:
        return []
    width = max(len(case["case_id"]) for case in cases[:most])
    lines = [f"{'case':<{width}}  {'shape':<15} {'spacing, mm':<18} lesions        ml  contrast  warnings"]
    for case in cases[:most]:
        shape = " x ".join(map(str, case["grid"]["shape"]))
        spacing = " x ".join(f"{side:.3g}" for side in case["spacing_mm"]) if case["spacing_mm"] else "pixels only"
        volumes = [row["volume_ml"] for row in case["lesions"] if row["volume_ml"] is not None]
        contrasts = [row["contrast_hu"] for row in case["lesions"] if row["contrast_hu"] is not None]
        contrast = f"{sum(contrasts) / len(contrasts):+.0f}" if contrasts else ""
        volume = f"{sum(volumes):.2f}" if volumes else ""
        line = f"{case['case_id']:<{width}}  {shape:<15} {spacing:<18} {len(case['lesions']):>7} {volume:>9}"
        lines.append(f"{line} {contrast:>9}  {len(case['warnings']) or ''}".rstrip())
    return [*lines, *([f"... and {len(cases) - most} more (--json, or the page)"] if len(cases) > most else [])]
