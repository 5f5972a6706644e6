"""Wall and CPU seconds: children and threads count, sums survive calls, and nothing else depends on them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from missrate.core import store
from missrate.core.errors import StoreError
from missrate.core.timing import TIMING, Cost, Timing, cpu_seconds, duration, measured, read_timing

BUSY = "import time\nwhile time.process_time() < {}: pass"


def test_an_ended_child_counts() -> None:
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", BUSY.format(0.3)], check=True)
    assert cpu_seconds() - before >= 0.3  # its own clock says so, whatever else the machine does


def test_a_block_is_measured_also_where_it_fails() -> None:
    with measured() as cost:
        time.sleep(0.2)
    assert cost.seconds >= 0.2 and cost.tasks == 1
    with pytest.raises(KeyError), measured() as broken:
        raise KeyError
    assert broken.seconds > 0


def test_costs_add_up_over_calls_and_are_forgotten_where_a_stage_begins_anew(tmp_path: Path) -> None:
    first = Timing(tmp_path)
    first.add("train/a", Cost(10.0, 8.0, 1))
    first.add("train/b", Cost(1.0, 1.0, 1))
    first.write()
    second = Timing(tmp_path)
    second.add("train/a", Cost(5.0, 4.0, 1))
    second.reset("train/b")
    second.write()
    assert read_timing(tmp_path) == {"train/a": Cost(15.0, 12.0, 2)}
    assert store.read_json(tmp_path / "stages" / "timing.json", TIMING)["stages"]["train/a"]["cpu_seconds"] == 12.0


def test_where_nothing_was_measured_there_is_nothing(tmp_path: Path) -> None:
    assert read_timing(tmp_path) == {}
    store.write_json(tmp_path / "stages" / "timing.json", {"schema": "another"})
    with pytest.raises(StoreError, match="must have schema"):
        read_timing(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (89.9, "89.9 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_a_duration_has_the_unit_of_its_size(seconds: float, said: str) -> None:
    assert duration(seconds) == said
