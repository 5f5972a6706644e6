"""What the verbs call for a study: read it, plan it, run it, and say what came out."""

import json
import logging
from importlib.resources import files
from pathlib import Path

from missrate.core import checkpoint, points, store
from missrate.core.config import override, parse
from missrate.core.errors import ConfigError, DataError, InputError
from missrate.core.quantise import level_of
from missrate.core.recipe import read_recipe, require_no_code
from missrate.core.timing import Cost, duration, read_timing
from missrate.core.types import LabelMeaning, OperatingPoint
from missrate.study import checks, config, runner
from missrate.study.plan import plan
from missrate.study.progress import slices_told, watcher
from missrate.study.sources import SourceConfig, anchored, safe_name
from missrate.study.stages import Stage

logger = logging.getLogger(__name__)
DEMO = Path(str(files("missrate"))) / "demo.toml"


def run(
    study_path: Path,
    out: Path | None,
    *,
    assign: list[str],
    workers: int | None = None,
    offline: bool = False,
    room: str | None = None,
) -> str:
    """Brings a study, or its stages up to ``room``, to "done"; gives what the user reads at the end."""
    study, out, stages = _plan(study_path, out, assign, offline=offline)
    wanted = runner.until(stages, room)
    if left := [row.stage for row in runner.status(wanted, out) if row.state != "done"]:
        checks.require_sound(study, left)
    with watcher(wanted) as watch:
        runner.run(wanted, out, workers=runner.default_workers() if workers is None else workers, watch=watch)
    return _outcome(out, wanted)


def dry_run(study_path: Path, out: Path | None, *, assign: list[str], offline: bool = False) -> str:
    """The stages that would run, with an estimate of time, memory and disk.

    Raises ConfigError with everything that would fail, as far as it can be known without reading a voxel.
    """
    study, out, stages = _plan(study_path, out, assign, offline=offline)
    rows = [s for s in runner.status(stages, out) if s.state != "done"]
    checks.require_whole(study, [row.stage for row in rows])
    lines = [f"{'stage':<40} {'state':<8} {'CPU min':>8} {'MB each':>8} {'MB disk':>8}"]
    for row in rows:
        cost = row.stage.estimate
        lines.append(
            f"{row.stage.name:<40} {row.state:<8} {cost.seconds / 60:8.1f} {cost.memory_mb:8.0f} {cost.disk_mb:8.1f}"
        )
    minutes = sum(row.stage.estimate.seconds for row in rows) / 60
    workers = runner.default_workers()
    disk_mb = sum(row.stage.estimate.disk_mb for row in rows)
    lines.append(
        f"{len(rows)} of {len(stages)} stages to do: about {minutes:.0f} CPU minutes, {minutes / workers:.0f} minutes "
        f"with {workers} workers, {disk_mb:.0f} MB of disk, in {out}. Rough estimates: they ignore your processor."
    )
    return "\n".join(lines)


def status(study_path: Path, out: Path | None, *, assign: list[str], as_json: bool) -> str:
    """Every stage as done, stale or missing, and what it took: its tasks' wall and CPU time, one after the other."""
    _, out, stages = _plan(study_path, out, assign)
    states, costs = {row.stage.name: row.state for row in runner.status(stages, out)}, read_timing(out)
    if as_json:
        return json.dumps(states, indent=1)
    counts = {state: sum(s == state for s in states.values()) for state in ("done", "stale", "missing")}
    lines = [f"{state:<8} {name:<44} {_spent(costs.get(name))}".rstrip() for name, state in states.items()]
    total = Cost()
    for name in states.keys() & costs.keys():
        total.add(costs[name])
    lines.append(", ".join(f"{count} {state}" for state, count in counts.items()) + f" in {out}")
    return "\n".join([*lines, *([f"Spent on them: {_spent(total)}"] if total.tasks else [])])


def _spent(cost: Cost | None) -> str:
    """What a stage's tasks took so far, on the clock and of the processors."""
    return "" if cost is None else f"{duration(cost.seconds)}, CPU {duration(cost.cpu_seconds)}"


def labels_of(*values: list[int] | None, named: str | None) -> LabelMeaning | str | None:
    """The labels of the options --lesion, --organ, --background, --ignore, or --labels. Raises ConfigError for both."""
    given = dict(zip(("lesion", "organ", "background", "ignore"), values, strict=True))
    stated = {key: value for key, value in given.items() if value}
    if named is not None and stated:
        raise ConfigError("labels must be given as values or as --labels NAME. Got both.")
    if stated and "lesion" not in stated:
        raise ConfigError("--lesion must say which value is the lesion. Got other labels only.")
    return named if named is not None else (parse(LabelMeaning, stated, where="labels") if stated else None)


def named_sources(
    source: str,
    *,
    reader: str | None,
    labels: LabelMeaning | str | None,
    options: list[str],
    patients: Path | None,
    data: Path,
    offline: bool,
) -> dict[str, SourceConfig]:
    """The source that the user named, by a short name; of a study file all of its sources."""
    if source.endswith(".toml"):
        if reader or labels or options or patients:
            raise ConfigError("A study must say itself how its sources are read. Got options; change the file.")
        return config.read_study(Path(source), [], offline=offline).sources
    stated = SourceConfig(
        reader=reader or "", path=source, labels=labels, patients=patients, options=override({}, options)
    )
    name = safe_name(source)
    return {name: anchored(stated, Path(), data=data, offline=offline)}


def predict_scans(
    run_folder: Path,
    scans: list[Path],
    out: Path,
    threshold: float | None = None,
    *,
    point: Path | None = None,
    trust_code: bool = False,
) -> tuple[list[str], list[str]]:
    """Applies a run to new scans: a line for each that went well, and one for each that cannot be used.

    The mask is that of ``threshold`` (.5), or of the operating point in the file ``point``. Raises ConfigError for
    both, InputError for a point that has no threshold for new scans, and for a run whose recipe names code of its own
    unless that is trusted (``trust_code``): a folder of weights is data.
    """
    from missrate.study.scans import names, predict_scan

    if not scans:
        raise InputError("predict must get a run and at least one scan. Got no scan.")
    if point is not None and threshold is not None:
        raise ConfigError("predict must get --threshold or --operating-point. Got both.")
    at, chosen, least_volume_ml = (0.5 if threshold is None else threshold), None, 0.0
    if point is not None:
        read, origin = points.read(point), points.origin(point)
        at, least_volume_ml = points.only_threshold(read), origin.least_volume_ml
        _require_own(origin, run_folder)
        chosen = f"operating point {read.name}: {read.target}, {_promised(read, origin)}"
    level_of(at)
    if checkpoint.finished(run_folder):
        recipe = run_folder / "recipe.toml"
        for told in require_no_code(read_recipe(recipe), recipe, trust_code=trust_code):
            logger.warning("%s names code of its own, which is trusted and executed: %s", recipe, told)
    named = names(scans)
    done, failed = [], []
    for number, (scan, name) in enumerate(zip(scans, named, strict=True), start=1):
        with slices_told(f"[{number}/{len(scans)}] {scan.name}") as progress:
            try:
                done.append(
                    predict_scan(
                        run_folder,
                        scan,
                        out,
                        name=name,
                        threshold=at,
                        chosen=chosen,
                        least_volume_ml=least_volume_ml,
                        trust_code=trust_code,
                        progress=progress,
                    )
                )
            except DataError as error:
                failed.append(f"{scan}: failed: {error}")
    return done, failed


def _require_own(origin: points.Origin, run: Path) -> None:
    """Raises InputError for the point of another arm, or of other weights; of a folder's point nobody knows."""
    if origin.arm is None or not checkpoint.finished(run):
        return
    arm = read_recipe(run / "recipe.toml").arm
    if (origin.arm, origin.weights) != (arm, store.hash_file(run / checkpoint.WEIGHTS)):
        other = f"arm {origin.arm!r}" if origin.arm != arm else f"other weights of arm {arm!r}"
        raise InputError(f"An operating point must be that of the run, arm {arm!r}. Got that of {other}.")


def _promised(point: OperatingPoint, origin: points.Origin) -> str:
    """The promise holds for predictions made as those that it was chosen on."""
    told = "certified" if point.certified else "not certified"
    if point.certificate is not None and point.certificate.empty:
        told = f"certified, but empty: {point.certificate.empty}"
    return told if origin.arm else f"{told}; of a folder, perhaps of another model's predictions"


def _plan(
    study_path: Path, out: Path | None, assign: list[str], *, offline: bool = False
) -> tuple[config.StudyConfig, Path, list[Stage]]:
    study = config.read_study(study_path, assign, offline=offline)
    folder = (out or Path(f"missrate-{study_path.stem}")).resolve()
    return study, folder, plan(study, folder, offline=offline, folder=study_path.resolve().parent)


def _outcome(out: Path, stages: list[Stage]) -> str:
    """What a person reads at the end: the cases used, and of each report the answer and where it lies."""
    from missrate.study import side_by_side

    lines = []
    for stage in stages:
        place = out / stage.name.partition("@")[2]
        if stage.room == "prepare":
            lines.append(_cases(place / "prepared" / stage.name.partition("@")[0].split("/")[1]))
        if stage.room == "report":
            table = side_by_side.written_table(place / "comparison" / "comparison.json")
            lines += ["", table, "", f"Report: {place / 'report' / 'index.html'}"]
    if stages[-1].room != "report":
        lines.append(f"{len(stages)} stages done, up to {stages[-1].room}, in {out}")
    return "\n".join(lines)


def _cases(prepared: Path) -> str:
    """How many cases of a source are used, and where the refused ones are named."""
    manifest = store.Prepared(prepared).manifest()
    used, refused = len(manifest["cases"]), manifest["refused"]
    where = f", {refused} refused: see {prepared / 'refused.csv'}" if refused else ", none refused"
    return f"{manifest['source']}: {used} cases{where}"
