"""An operating point without a study: from a folder that ``missrate evaluate`` wrote to one file and what it says."""

import csv
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

from missrate import calibrate
from missrate.core import points, store
from missrate.core.case import CaseStatistics
from missrate.core.config import parse
from missrate.core.documents import LackingForm
from missrate.core.errors import ConfigError, InputError, some
from missrate.core.intervals import outwards
from missrate.core.matching import outcome, voxel_counts
from missrate.core.quantise import level_of
from missrate.core.types import Certificate, Matching, OperatingPoint, Ratio
from missrate.evaluate import summary
from missrate.study.work import load_statistics

NAMES = {
    "target": "--false-positives-per-scan with --false-positive-ml-per-scan",
    "patient_miss_rate": "--patient-miss-rate",
    "f_beta": "--f-beta",
    "certify": "--certify",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What ``missrate calibrate EVALUATION`` was asked: one of four kinds of point."""

    evaluation: Path
    out: Path
    target: calibrate.Target | None = None
    patient_miss_rate: float | None = None
    f_beta: float | None = None
    certify: calibrate.Certify | None = None
    seen: Path | None = None
    least_volume_ml: float = 0.0

    def __post_init__(self) -> None:
        asked = [option for kind, option in NAMES.items() if getattr(self, kind) is not None]
        if len(asked) != 1:
            raise ConfigError(
                f"calibrate must get exactly one of {'; '.join(NAMES.values())}. Got {', '.join(asked) or 'none'}."
            )
        for name, value, most in (
            ("--patient-miss-rate", self.patient_miss_rate, 1.0),
            ("--least-volume-ml", self.least_volume_ml, 1e6),
        ):
            if value is not None and not 0.0 <= value <= most:
                raise ConfigError(f"{name} must lie in [0, {most:g}]. Got {value:g}.")
        if self.f_beta is not None and not 0.001 <= self.f_beta <= 1000.0:
            raise ConfigError(f"--f-beta must lie in [.001, 1000]. Got {self.f_beta:g}.")


def target_of(
    false_positives_per_scan: float | None, false_positive_ml_per_scan: float | None
) -> calibrate.Target | None:
    """Both bounds or none. Raises ConfigError for one alone, and for two that bound nothing."""
    bounds = {
        "false_positives_per_scan": false_positives_per_scan,
        "false_positive_ml_per_scan": false_positive_ml_per_scan,
    }
    given = {name: value for name, value in bounds.items() if value is not None}
    if not given:
        return None
    if len(given) == 1:
        raise ConfigError(
            f"calibrate must get {NAMES['target']}. Got one of them: a bound on the count alone admits the map that "
            "calls everything one tumour; perhaps give inf for the other."
        )
    if inf in given.values() and not any(map(isfinite, given.values())):
        raise ConfigError(f"{NAMES['target']} must bound something. Got inf for both.")
    return parse(calibrate.Target, given, where="calibrate")


def certify_of(
    level: str | None,
    miss_rate: float | None,
    confidence: float | None,
    bounds: calibrate.Target | None = None,
    *,
    in_expectation: bool = False,
) -> calibrate.Certify | None:
    """What to promise, or None; ``bounds`` are those beyond which it is empty.

    Raises ConfigError for a part without the others, or an impossible one.
    """
    if level is None:
        if miss_rate is not None or confidence is not None or in_expectation:
            raise ConfigError(
                "--miss-rate, --confidence and --in-expectation must come with --certify. Got no --certify."
            )
        return None
    if miss_rate is None:
        raise ConfigError("--certify must come with --miss-rate. Got none; perhaps --miss-rate .1.")
    values = {"level": level, "miss_rate": miss_rate, "in_expectation": in_expectation}
    values |= {} if confidence is None else {"confidence": confidence}
    wanted = parse(calibrate.Certify, values, where="--certify")
    return wanted if bounds is None else wanted.bounded_by(bounds)


def calibrate_folder(request: Request) -> tuple[OperatingPoint, str]:
    """Writes the point to ``out``; gives it, and what a person should read of it.

    A point without a threshold is written too, with the reason. Raises InputError for a folder that cannot calibrate
    and for masks, ProvenanceError for a certificate from patients that were seen.
    """
    cases, absent, missed, arm = _load(request.evaluation)
    calibrate.require_scores(cases)
    seen = None if request.seen is None else read_patients(request.seen)
    matching = Matching("overlap", least_volume_ml=request.least_volume_ml)
    point = _choose(cases, matching, request, absent, seen)
    facts = _facts(cases, matching, point)
    about = {"rule": matching.rule, "least_volume_ml": matching.least_volume_ml}
    price = _prices(cases, matching, request, absent)
    points.write(
        request.out,
        point,
        patients=[(case.patient_id, case.case_id) for case in cases],
        calibration=facts,
        predictions=arm,
        matching=about,
        without_prediction=absent,
        price=price,
    )
    return point, "\n".join([_told(point, facts, absent, missed), *_told_price(price)])


def read_patients(path: Path) -> set[str]:
    """Patient ids of a CSV with a column ``patient_id``, or of a plain list, one a line. Raises InputError for none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        rows = [row for row in csv.reader(line for line in lines if line) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--seen must be a list of patient ids. Got {path}: {error}.") from error
    column = rows[0].index("patient_id") if rows and "patient_id" in rows[0] else None
    if column is None and any(len(row) > 1 for row in rows):
        raise InputError(f"--seen must be a plain list, or a CSV with a column patient_id. Got {rows[0]} in {path}.")
    ids = {row[column or 0].strip() for row in rows[0 if column is None else 1 :] if len(row) > (column or 0)} - {""}
    if not ids:
        raise InputError(f"--seen must name at least one patient. Got none in {path}.")
    return ids


def _load(evaluation: Path) -> tuple[list[CaseStatistics], list[str], list[str], str]:
    """The statistics, the cases that have none, those without a prediction that count as empty ones; whose they are."""
    folder = evaluation / "statistics"
    if (folder / "index.json").exists():
        raise InputError(
            f"{evaluation} must be a folder that evaluate wrote. Got an arm of a study, which holds the test patients "
            "too; perhaps run missrate calibrate with the study file."
        )
    about = store.read_json(evaluation / "summary.json", summary.SCHEMA, LackingForm)
    named = {*about["missing_predictions"], *(row["case_id"] for row in about["failed"])}
    cases = load_statistics(sorted(folder.glob("*.npz")))
    if not cases:
        raise InputError(f"{evaluation} must hold the statistics of at least one case. Got none.")
    if len(cases) != about["cases"]:
        raise InputError(
            f"{folder} must hold the statistics of the {about['cases']} cases of the summary beside it. Got "
            f"{len(cases)}; perhaps evaluate again."
        )
    ids = {case.case_id for case in cases}
    return cases, sorted(named - ids), sorted(named & ids), about["arm"]


def _choose(
    cases: list[CaseStatistics], matching: Matching, request: Request, absent: list[str], seen: set[str] | None
) -> OperatingPoint:
    if request.certify is not None:
        if absent:  # who could not be predicted would silently be left out of the promise
            reason = f"not certifiable without predictions of {some(absent)}"
            return OperatingPoint("certified", {None: None}, "calibration", str(request.certify), reason=reason)
        return calibrate.certify(cases, matching, request.certify, seen=seen, name="certified")
    point = _plain(cases, matching, request)
    used = sorted({case.patient_id for case in cases} & (seen or set()))
    if used and point.thresholds[None] is not None:
        point = replace(point, reason=f"the model was trained or selected on {some(used)}")
    return point


def _plain(cases: list[CaseStatistics], matching: Matching, request: Request) -> OperatingPoint:
    name = "calibrated"
    if request.patient_miss_rate is not None:
        return calibrate.greatest_with_patient_miss_rate(cases, matching, at_most=request.patient_miss_rate, name=name)
    if request.f_beta is not None:
        return calibrate.best_f_beta(cases, matching, beta=request.f_beta, name=name)
    assert request.target is not None
    return calibrate.choose(cases, matching, target=request.target, name=name)


def _facts(cases: list[CaseStatistics], matching: Matching, point: OperatingPoint) -> dict[str, Any]:
    """Who calibrated, and what the point misses and costs on these very patients."""
    sick = {case.patient_id for case in cases if not case.healthy}
    facts: dict[str, Any] = {
        "cases": len(cases),
        "patients": len({case.patient_id for case in cases}),
        "patients_with_lesion": len(sick),
        "lesions": sum(case.lesion_peak.size for case in cases),
    }
    threshold = point.thresholds[None]
    if threshold is None:
        return facts
    level = level_of(threshold)
    voxels = [voxel_counts(case, level) for case in cases]
    facts["missed_voxels"] = sum(v.false_negatives for v in voxels)
    facts["reference_voxels"] = sum(v.true_positives + v.false_negatives for v in voxels)
    outside, healthy = sum(v.false_positives for v in voxels), sum(v.true_negatives for v in voxels)
    facts["share_of_other_voxels"] = Ratio(outside, outside + healthy).value
    count, facts["false_positive_ml_per_scan"] = calibrate.cost(cases, matching, level)
    if count is None:  # a promise about voxels may lie below the candidates that are known
        return facts
    outcomes = [outcome(case, level, matching) for case in cases]
    found = {case.patient_id for case, each in zip(cases, outcomes, strict=True) if each.found.any()}
    facts["missed_patients"] = len(sick - found)
    facts["missed_lesions"] = int(sum((~each.found).sum() for each in outcomes))
    facts["false_positives_per_scan"] = count
    return facts


def _told(point: OperatingPoint, facts: dict[str, Any], absent: list[str], missed: list[str]) -> str:
    who = (
        f"{facts['patients']} patients ({facts['patients_with_lesion']} with a lesion), {facts['cases']} scans, "
        f"{facts['lesions']} lesions"
    )
    threshold = point.thresholds[None]
    lines = [f"asked for: {point.target}, on {who}"]
    lines += [f"without a prediction, and left out: {some(absent)}"] if absent else []
    lines += [f"without a prediction, and counted as one in which nothing is found: {some(missed)}"] if missed else []
    if threshold is None:
        reason = point.reason or "no threshold was admissible"
        return "\n".join([*lines, reason if reason.startswith("no ") else f"no threshold: {reason}"])
    lines += [f"threshold {threshold:.6g}", *_on_these(facts)]
    if point.certificate is not None:
        return "\n".join([*lines, *_told_certificate(point.certificate)])
    why = f": {point.reason}" if point.reason else ": nothing is promised for new patients"
    return "\n".join([*lines, f"not certified{why}"])


def _told_certificate(promised: Certificate) -> list[str]:
    share = outwards(promised.never_found_at_most, 4, upper=True)
    never = f"{promised.never_found} of {promised.n}, so at most {share:g} of all patients"
    lines = [
        f"certified: {promised.bound}",
        f"on these patients the loss is {promised.risk:.4g}; no false positives are bounded",
        f"found at no threshold: {never} ({promised.confidence:g} confidence)",
    ]
    return [*lines, *([f"an empty promise: {promised.empty}"] if promised.empty else [])]


def _prices(
    cases: list[CaseStatistics], matching: Matching, request: Request, absent: list[str]
) -> list[dict[str, float | None]]:
    return [] if request.certify is None or absent else calibrate.prices(cases, matching, request.certify)


def _told_price(price: list[dict[str, float | None]]) -> list[str]:
    """A few of the promises that could be made, the strictest first."""
    if not price:
        return []
    rows = [price[k] for k in sorted({round(k * (len(price) - 1) / 4) for k in range(5)})]
    said = [
        f"{row['miss_rate']:g}: "
        + ("unknown" if row["false_positives_per_scan"] is None else f"{row['false_positives_per_scan']:.4g}")
        for row in rows
    ]
    return [f"price of a promise (miss rate: false positives per scan on these patients): {', '.join(said)}"]


def _on_these(facts: dict[str, Any]) -> list[str]:
    """What the threshold misses and costs; the false-positive volume always stands beside the count."""
    missed = [f"{facts['missed_voxels']} of {facts['reference_voxels']} lesion voxels"]
    cost = []
    if "missed_patients" in facts:
        missed[:0] = [
            f"{facts['missed_patients']} of {facts['patients_with_lesion']} patients",
            f"{facts['missed_lesions']} of {facts['lesions']} lesions",
        ]
        cost.append(f"{facts['false_positives_per_scan']:.4g} false positives per scan")
    if facts["false_positive_ml_per_scan"] is not None:
        cost.append(f"{facts['false_positive_ml_per_scan']:.4g} false-positive ml per scan")
    if facts["share_of_other_voxels"] is not None:
        cost.append(f"{100 * facts['share_of_other_voxels']:.3g} % of the voxels outside the lesions")
    return [f"missed on these patients: {', '.join(missed)}", f"cost on these patients: {', '.join(cost)}"]
