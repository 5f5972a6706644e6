"""What is written of speed and memory: the tables say what ``ratios.toml`` says, and drift is noticed."""

import re
import sys
from pathlib import Path

import pytest
from benchmarks.evaluation import Row

from benchmarks import drift

DOCS = Path(__file__).parents[2] / "docs"
RATIO = re.compile(r"(?:(?P<tool>[A-Za-z][^;|]*?) )?(?P<inferred>~?)[\d,.]+ \((?P<ratio>[\d.e+]+)x?\)")


def rows_of(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_the_table_of_evaluation_is_what_is_compared() -> None:
    written, seen = drift.read()["evaluation"], 0
    for row in rows_of("results/evaluation.md"):
        if len(row) != 7 or row[1] not in written:
            continue
        task, volume, _, plain, others, peaks, _ = row
        known, found = written[volume][task], {}
        for match in RATIO.finditer(f"plain {plain}; {others}"):
            if not match["inferred"]:
                found[match["tool"].strip()] = float(match["ratio"])
        assert found == pytest.approx({k: v for k, v in known.items() if k != "memory"}, rel=0.02), row
        if "memory" in known:
            peak = re.search(r"ours (\d+)", peaks)
            assert peak is not None
            memory = drift.memory(volume.split()[0], float(peak[1]))
            assert memory == pytest.approx(known["memory"], rel=0.03), row
        seen += 1
    assert seen == sum(len(tasks) for tasks in written.values()) > 12


def test_the_tables_of_loading_are_what_is_compared() -> None:
    written, kind, ours_held, seen = drift.read()["loading"], "", 0.0, 0
    for line in (DOCS / "benchmarks.md").read_text(encoding="utf-8").splitlines():
        kind = line[:2] if re.match(r"[23]D, .*samples for each CPU second", line) else kind
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if not kind or not line.startswith("|") or len(row) != 5:
            continue
        if row[0] == "ours":
            ours_held = float(row[4])
        for change, cell in zip(("unchanged", "varied"), row[1:3], strict=True):
            ratio = re.search(r"\(([\d.]+)\)", cell)
            if ratio is not None:
                assert written[kind][change][row[0]] == float(ratio[1]), line
                seen += 1
        if row[0] == "nnU-Net":
            assert written[kind]["varied"]["memory"] == pytest.approx(float(row[4]) / ours_held, rel=0.01)
    assert seen == sum(len(known) - 1 for changes in written.values() for known in changes.values()) > 10


@pytest.mark.parametrize(("now", "moved"), [(1.3, False), (1.34, True), (0.76, False), (0.74, True), (None, True)])
def test_what_moves_by_more_than_a_third_has_moved(now: float | None, moved: bool) -> None:
    assert drift.Pair("x", 1.0, now).moved is moved
    assert drift.Pair("x", 200.0, None if now is None else 200.0 * now).moved is moved


def test_ratios_by_hand() -> None:
    def told(ms: float, peak_mb: float = 0.0, scale: float = 1.0) -> dict[str, float]:
        return {"ms": ms, "peak_mb": peak_mb, "scale": scale}

    tools = {"ours": told(10.0, 20.0), "plain": told(25.0), "cc3d": told(4.0), "MONAI": told(99.0, scale=9.9)}
    row = Row("lesions", "256x256x64 clean", tools | {"floor": told(1.0), "medpy": {"status": "not installed"}})
    # 2 ** 22 voxels of 5 bytes are 20 MB: with as much beyond them memory is twice the arrays. MONAI's was inferred.
    assert drift.ratios_of(row) == {"plain": 2.5, "cc3d": 0.4, "memory": 2.0}


@pytest.mark.parametrize(("now", "code"), [(1.9, 0), (1.4, 1), (None, 1)])
def test_the_exit_code_says_whether_something_moved(
    now: float | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drift, "evaluation", lambda _: [drift.Pair("small, lesions: plain", 2.0, now)])
    monkeypatch.setattr(sys, "argv", ["drift", "--only", "evaluation"])
    monkeypatch.setattr(drift, "read", lambda: {"evaluation": {}})
    with pytest.raises(SystemExit) as ended:
        drift.main()
    assert ended.value.code == code
    assert ("small, lesions: plain" in capsys.readouterr().out.splitlines()[-1]) is bool(code)
