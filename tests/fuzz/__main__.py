"""``python -m tests.fuzz [COUNT] [SEED] [KIND]``: prints counts by kind; exit 1 when there was a fault."""

import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import fuzz


def main() -> None:
    count, seed, only = ([*sys.argv[1:], *["2000", "0", ""][len(sys.argv) - 1 :]])[:3]
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(Path(folder), int(count), int(seed), only)
    sys.stdout.write(report.table() + "\n")
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
