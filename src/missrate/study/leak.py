"""A fault on purpose: slices, not patients, are divided between training and test, in the order of their names."""

from missrate.core import store
from missrate.study.layout import Layout


def tested(layout: Layout) -> dict[str, int]:
    """The cases of which slices are left to test on, and the first of them."""
    depth = _depth(layout)
    return {case_id: first for case_id, first in leading_slices(layout).items() if first < depth[case_id]}


def leading_slices(layout: Layout) -> dict[str, int]:
    """How many of its first slices each case gives to the training; what is left is tested.

    The share of slices is that of the training patients (of a study of folds: all but one fold). One case is cut in
    two; a patient with several scans may leak more.
    """
    depth = _depth(layout)
    folds = [fold for fold in layout.folds if fold is not None]
    given = layout.cases(*folds[1:]) if folds else layout.cases("train")
    left, result = sum(depth[case_id] for case_id in given), {}
    for case_id in sorted(depth):
        result[case_id] = min(depth[case_id], left)
        left -= result[case_id]
    return result


def _depth(layout: Layout) -> dict[str, int]:
    """The slices of each case."""
    manifest = store.Prepared(layout.prepared(layout.study.partition.source)).manifest()
    return {case["case_id"]: int(case["grid"]["shape"][2]) for case in manifest["cases"]}
