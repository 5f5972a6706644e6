"""Stages by key: what is done stays, what a change makes stale is moved away, what fails stops only what needs it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from missrate.core import store
from missrate.core.errors import DataError, LockedError, MissrateError, ProvenanceError
from missrate.core.timing import read_timing
from missrate.engine import Task
from missrate.study import runner
from missrate.study.runner import Event
from missrate.study.stages import Stage


def copy(source: Path | None, target: Path, text: str) -> None:
    """A task: the input's text and one's own."""
    if text == "fail":
        raise DataError("A text must not be 'fail'. Got it.")
    store.write_text(target, (source.read_text() if source else "") + text)


def stage(out: Path, name: str, text: str, *inputs: str, parts: int = 1) -> Stage:
    files = [out / name / f"{k}.txt" for k in range(parts)]
    source = out / inputs[0] / "0.txt" if inputs else None

    def tasks() -> list[Task]:
        return [Task(f"{name}{k}", copy, {"source": source, "target": f, "text": text}) for k, f in enumerate(files)]

    return Stage(name, inputs, text, (name,), tasks, lambda: files)


def go(stages: list[Stage], out: Path) -> list[str]:
    """Runs; gives the stages that worked, in the order of their ends."""
    ended: list[str] = []

    def watch(event: Event) -> None:
        if event.kind == "ended":
            ended.append(event.stage)
        assert 0 <= event.done <= event.of or event.kind == "ticked"

    runner.run(stages, out, workers=0, watch=watch)
    return ended


def chain(out: Path, first: str = "a", last: str = "c") -> list[Stage]:
    return [stage(out, "one", first, parts=2), stage(out, "two", "b", "one"), stage(out, "three", last, "two", "one")]


def test_a_second_run_does_nothing_and_touches_nothing(tmp_path: Path) -> None:
    assert go(chain(tmp_path), tmp_path) == ["one", "two", "three"]
    assert (tmp_path / "three" / "0.txt").read_text() == "abc"
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.txt")}
    assert go(chain(tmp_path), tmp_path) == []
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.txt")} == before


def test_a_change_repeats_what_depends_on_it_and_keeps_the_old(tmp_path: Path) -> None:
    go(chain(tmp_path), tmp_path)
    changed = chain(tmp_path, last="C")
    assert [s.state for s in runner.status(changed, tmp_path)] == ["done", "done", "stale"]
    assert go(changed, tmp_path) == ["three"]
    assert [p.read_text() for p in (tmp_path / "stale").rglob("0.txt")] == ["abc"]


def test_going_back_and_forth_keeps_every_version(tmp_path: Path) -> None:
    for last in ("c", "C", "c", "C"):
        assert "three" in go(chain(tmp_path, last=last), tmp_path)
        assert (tmp_path / "three" / "0.txt").read_text() == f"ab{last}"
    assert sorted(p.read_text() for p in (tmp_path / "stale").rglob("0.txt")) == ["abC", "abc", "abc"]


def test_files_that_no_mark_vouches_for_are_not_taken_for_results(tmp_path: Path) -> None:
    go(chain(tmp_path), tmp_path)
    (tmp_path / "stages" / "three.json").unlink()
    assert go(chain(tmp_path, last="C"), tmp_path) == ["three"]
    assert (tmp_path / "three" / "0.txt").read_text() == "abC"
    assert (tmp_path / "stale" / "unmarked" / "three" / "0.txt").read_text() == "abc"


def test_a_change_that_changes_no_output_stops_there(tmp_path: Path) -> None:
    go(chain(tmp_path), tmp_path)
    same = chain(tmp_path)
    # Another configuration, the same files: what comes after must not run again.
    same[0] = Stage("one", (), "renamed", ("one",), same[0].tasks, same[0].finish)
    assert go(same, tmp_path) == ["one"]


def test_missing_output_is_made_again(tmp_path: Path) -> None:
    go(chain(tmp_path), tmp_path)
    (tmp_path / "two" / "0.txt").unlink()
    assert go(chain(tmp_path), tmp_path) == ["two"]


def test_output_that_was_altered_is_refused(tmp_path: Path) -> None:
    go(chain(tmp_path), tmp_path)
    (tmp_path / "two" / "0.txt").write_text("altered")
    with pytest.raises(ProvenanceError, match="must be as that stage left them"):
        go(chain(tmp_path), tmp_path)


def test_a_failure_stops_only_what_needs_it(tmp_path: Path) -> None:
    stages = [stage(tmp_path, "bad", "fail"), stage(tmp_path, "after", "x", "bad"), stage(tmp_path, "other", "y")]
    with pytest.raises(MissrateError, match=r"1 stage\(s\) could not finish.*bad: A text must not be 'fail'"):
        go(stages, tmp_path)
    assert (tmp_path / "other" / "0.txt").exists()
    assert not (tmp_path / "after").exists()


def test_until_takes_a_room_and_all_that_it_needs(tmp_path: Path) -> None:
    stages = [*chain(tmp_path), stage(tmp_path, "four", "d", "one")]
    assert [s.name for s in runner.until(stages, "two")] == ["one", "two"]
    assert [s.name for s in runner.until(stages, "four")] == ["one", "four"]
    assert runner.until(stages, None) == stages


def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with store.lock(tmp_path), pytest.raises(LockedError, match="in use by another missrate process"):
        go(chain(tmp_path), tmp_path)


def spend(target: Path) -> None:
    """A task that has a child work for a fifth of a second."""
    code = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    store.write_text(target, "done")


@pytest.mark.parametrize("workers", [0, 1])
def test_each_stage_keeps_what_its_tasks_took_children_included(tmp_path: Path, workers: int) -> None:
    targets = [tmp_path / "busy" / f"{k}.txt" for k in range(2)]
    tasks = [Task(f"busy{k}", spend, {"target": target}) for k, target in enumerate(targets)]
    busy = Stage("busy", (), "c", ("busy",), lambda: tasks, lambda: targets)
    runner.run([busy], tmp_path, workers=workers, watch=lambda _: None)
    cost = read_timing(tmp_path)["busy"]
    assert cost.tasks == 2 and cost.cpu_seconds >= 0.4 and cost.seconds > 0
    runner.run([busy], tmp_path, workers=workers, watch=lambda _: None)
    assert read_timing(tmp_path)["busy"] == cost  # what is done costs nothing more
    targets[0].unlink()
    runner.run([busy], tmp_path, workers=workers, watch=lambda _: None)
    assert read_timing(tmp_path)["busy"].tasks == 2  # made anew, not on top


def test_a_stage_waits_for_what_it_comes_after_and_its_key_does_not(tmp_path: Path) -> None:
    late = replace(stage(tmp_path, "late", "x"), after=("check", "elsewhere"))
    ended = go([late, stage(tmp_path, "check", "y")], tmp_path)
    assert ended == ["check", "late"]
    assert go([late], tmp_path) == []
    failing = replace(stage(tmp_path, "other", "x"), after=("bad",))
    with pytest.raises(MissrateError, match=r"1 stage\(s\) could not finish"):
        go([failing, stage(tmp_path, "bad", "fail")], tmp_path)
    assert not (tmp_path / "other").exists()


def test_events_say_how_much_of_the_stage_that_runs_is_done(tmp_path: Path) -> None:
    told: list[tuple[str, str, float, int]] = []
    runner.run(
        [stage(tmp_path, "one", "a", parts=2)],
        tmp_path,
        workers=0,
        watch=lambda e: told.append((e.kind, e.stage, e.done, e.of)) if e.kind != "ticked" else None,
    )
    assert told == [
        ("begun", "one", 0, 2),
        ("started", "one", 0, 2),
        ("finished", "one", 1, 2),
        ("started", "one", 1, 2),
        ("finished", "one", 2, 2),
        ("ended", "one", 2, 2),
    ]
