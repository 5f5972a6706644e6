"""A quick part of the harness, the same inputs each time; ``make fuzz`` draws many more."""

import subprocess
import sys

QUICK = 250


def test_hostile_inputs_are_values_or_one_sentence() -> None:
    """In a process of its own: what is forced upon torch, numba or signals there touches no other test."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", str(QUICK)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    assert "faults" in ran.stdout and "reader dicom SEG" in ran.stdout
