"""Run in an environment without torch: the core alone evaluates and compares folders through the command line."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np


def write(folder: Path, shift: int) -> None:
    """Six cases with one lesion each; the prediction lies ``shift`` voxels beside it."""
    folder.mkdir()
    for case in range(6):
        values = np.zeros((20, 20, 8), np.uint8)
        values[4 + case + shift : 8 + case + shift, 5:9, 2:5] = 1
        nib.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(folder / f"case{case}.nii.gz")


def missrate(*words: str) -> str:
    """Runs the command; gives what it printed."""
    return subprocess.run([sys.executable, "-m", "missrate", *words], check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Exits with a traceback when something is not as it must be."""
    assert importlib.util.find_spec("torch") is None, "this environment must be without torch"
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name, shift in (("reference", 0), ("near", 1), ("far", 6)):
            write(root / name, shift)
        for name in ("near", "far"):
            folders = ["--reference", str(root / "reference"), "--predictions", str(root / name)]
            summary = json.loads(missrate("evaluate", *folders, "--out", str(root / f"e_{name}"), "--json"))
            missed = summary["metrics"]["lesion_miss_rate"]["pooled"]
            # One voxel aside still overlaps; six voxels aside a lesion of four does not.
            assert missed["value"] == {"near": 0.0, "far": 1.0}[name], missed
            assert missed["n"] == 6
        answer = missrate("compare", str(root / "e_near"), str(root / "e_far"))
        assert "the lesions: 100.0% against 0.0%" in answer, answer
    sys.stdout.write("the core alone: 1 passed, 0 failed\n")


if __name__ == "__main__":
    main()
