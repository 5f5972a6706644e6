"""The same voxels under two ids: the leak that no split can see."""

from typing import Any

Case = dict[str, Any]
Row = dict[str, str]


def without(cases: list[Case]) -> tuple[list[Case], list[Row]]:
    """The cases without those whose voxels came before, and a line with the reason for each that was taken out.

    Where the two have different patients, these are one person: every scan of the second one is taken out, since its
    others would leak just as well.
    """
    first: dict[str, Case] = {}
    reasons: dict[str, str] = {}
    person: dict[str, str] = {}
    for case in cases:
        voxels = voxels_of(case)
        twin = first.setdefault(voxels, case) if voxels else case
        if twin is case:
            continue
        reasons[case["case_id"]] = f"Scans must differ. Got the same voxels as {twin['case_id']}{_labels(case, twin)}."
        if case["patient_id"] != twin["patient_id"]:
            person.setdefault(case["patient_id"], f"{case['case_id']} holds the voxels of {_named(twin)}")
    for case in cases:
        if case["patient_id"] in person and case["case_id"] not in reasons:
            reasons[case["case_id"]] = (
                f"A patient must have one id. Got a scan of {case['patient_id']}, whose {person[case['patient_id']]}; "
                "perhaps give both one patient_id in a table of patients."
            )
    kept = [case for case in cases if case["case_id"] not in reasons]
    refused = [case for case in cases if case["case_id"] in reasons]
    return kept, [
        {"case_id": c["case_id"], "patient_id": c["patient_id"], "reason": reasons[c["case_id"]]} for c in refused
    ]


def across(trained: list[Case], tested: list[Case]) -> dict[str, str]:
    """The cases of another source that show a tested patient, each with the tested case: all scans of the patient."""
    known = {voxels: case["case_id"] for case in tested if (voxels := voxels_of(case))}
    same = {
        case["patient_id"]: known[voxels]
        for case in trained
        if (voxels := voxels_of(case)) is not None and voxels in known
    }
    return {case["case_id"]: same[case["patient_id"]] for case in trained if case["patient_id"] in same}


def voxels_of(case: Case) -> str | None:
    """What two cases have in common exactly when they are one scan; None where nothing is known."""
    voxels: str | None = case["image_hash"] or case["label_hash"]
    return voxels


def _labels(case: Case, twin: Case) -> str:
    if case["image_hash"] and case["label_hash"] != twin["label_hash"]:
        return ", with another label"
    return ""


def _named(case: Case) -> str:
    return f"{case['case_id']} (patient {case['patient_id']})"
