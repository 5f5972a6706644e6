"""docs/results/promise.md: the price of a promise of a real detector, on half of the LUNA16 scans, tested on the other.

    python -m studies.promise_page        # from the project's root, with ../shared/data/luna16

Scans go to calibration and test in turn, by id; nothing is chosen on the test scans. Writes between the
page's marks.
"""

import re
from dataclasses import asdict
from pathlib import Path

from benchmarks.populations import luna

from missrate import calibrate
from missrate.core.case import CaseStatistics
from missrate.core.quantise import level_of
from missrate.core.resampling import clopper_pearson
from missrate.core.types import Matching
from missrate.report.material import COLOURS, MARKERS, Style
from missrate.report.price import of_promises

PAGE = Path("docs/results/promise.md")
RULE = Matching()
ASKED = {
    "at most 10 % of patients": calibrate.Certify(level="patient", miss_rate=0.1, false_positives_per_scan=1),
    "at most 5 % of patients": calibrate.Certify(level="patient", miss_rate=0.05, false_positives_per_scan=1),
    "at most 20 % of a patient's nodules": calibrate.Certify(level="lesion", miss_rate=0.2, false_positives_per_scan=1),
}


def main() -> None:
    cases = sorted(luna(), key=lambda case: case.case_id)
    calibration, test = cases[::2], cases[1::2]
    promises, rows = {}, []
    for name, wanted in ASKED.items():
        point = calibrate.certify(calibration, RULE, wanted, seen=None, name=name)
        promises[name] = {
            "price": calibrate.prices(calibration, RULE, wanted),
            "certificate": point.certificate and asdict(point.certificate),
            "reason": point.reason,
        }
        rows.append(_row(name, point, test))
    styles = {name: Style(COLOURS[k], MARKERS[k], "-") for k, name in enumerate(ASKED)}
    # What patients cost is one line, whichever share of them is promised; its mark is the first of these promises.
    drawn = {name: each for name, each in promises.items() if each["certificate"]}
    drawing = of_promises(drawn, styles)
    PAGE.with_name("promise.svg").write_text(_alone(drawing.svg), encoding="utf-8")
    table = [
        "| promise | threshold | found at no threshold | on calibration scans | on test scans |",
        "|---|---|---|---|---|",
    ]
    text = PAGE.read_text(encoding="utf-8")
    parts = {"table": "\n".join([*table, *rows]), "caption": drawing.read}
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        text = text[: text.index(begin) + len(begin)] + f"\n{part}\n" + text[text.index(end) :]
    PAGE.write_text(text, encoding="utf-8")


def _row(name: str, point: calibrate.OperatingPoint, test: list[CaseStatistics]) -> str:
    promised, threshold = point.certificate, point.thresholds[None]
    if promised is None or threshold is None:
        return f"| {name} | none: {point.reason} | | | |"
    level = level_of(threshold)
    count, _ = calibrate.cost(test, RULE, level)
    losses = calibrate.losses_of(test, RULE, promised.level)
    shares = [float(each.counts[each.levels < level].sum() / each.counts.sum()) for each in losses.values()]
    missed = f"{sum(shares) / len(shares):.3f} missed (mean of {len(shares)} patients)"
    if promised.level == "patient":
        low, high = clopper_pearson(round(sum(shares)), len(shares)) or (0.0, 1.0)
        missed = f"{round(sum(shares))} of {len(shares)} patients missed [{low:.3f}, {high:.3f}]"
    empty = f"; **empty**: {promised.empty}" if promised.empty else ""
    never = f"{promised.never_found} of {promised.n}, at most {promised.never_found_at_most:.3f}"
    here = f"{promised.risk:.3f} missed, {promised.false_positives_per_scan:.2f} FP per scan{empty}"
    there = f"{missed}, {count:.2f} FP per scan"
    return f"| {name} | {threshold:.5g} | {never} | {here} | {there} |"


def _alone(svg: str) -> str:
    """A drawing of the report as a file of its own."""
    return svg if "xmlns=" in svg else re.sub("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', svg, count=1)


if __name__ == "__main__":
    main()
