"""The ladder's task: every rung counted on the same tested patients."""

from pathlib import Path

from missrate.core import points as point_files
from missrate.core import store
from missrate.core.crop import Crop
from missrate.core.ladder import SCHEMA as LADDER
from missrate.core.ladder import Rung
from missrate.core.quantise import level_of
from missrate.core.types import LESION
from missrate.evaluate import ladder
from missrate.study.work import predicted, without_ignored


def climb(
    rungs: list[tuple[Rung, dict[str, Path], dict[str, int]]],
    prepared: Path,
    cases: dict[str, str],
    points: dict[str, Path],
    out: Path,
    *,
    folds: dict[str, int | None],
    as_misses: bool,
    resamples: int,
    seed: int,
) -> None:
    """Writes ``ladder.json``. Each rung comes with the prediction of each of its cases and the first slice that counts.

    ``cases``: patients, ``folds``: the fold of each case, ``points``: the operating point's file of arms that have one.
    A case without a prediction counts ``as_misses``, or on no rung of the tested patients, so that rungs differ in one
    thing only.
    """
    data, rows = store.Prepared(prepared), []

    def lacking(predictions: dict[str, Path]) -> set[str]:
        return set() if as_misses else {case_id for case_id, path in predictions.items() if not path.exists()}

    of_any = set().union(*(lacking(predictions) for _, predictions, first in rungs if not first))
    for rung, predictions, first in rungs:
        absent = sorted(predictions.keys() & (lacking(predictions) if first else of_any))
        counted: list[ladder.SliceCounts] = []
        thresholds, reason = {}, None
        for case_id in (c for c in predictions if c not in absent):
            if rung.threshold == "calibrated":
                threshold = point_files.read(points[rung.arm]).thresholds[folds[case_id]]
            else:
                threshold = rung.threshold
            if threshold is None:
                counted, reason = [], f"{rung.arm} has no calibrated threshold"
                break
            thresholds[str(folds[case_id])] = threshold
            label = data.load_label(case_id)
            counted.append(
                ladder.count_slices(
                    Crop(label.values_XYZ == LESION, label.start, label.grid),
                    without_ignored(predicted(predictions[case_id], label.grid), label).levels,
                    level_of(threshold),
                    patient_id=cases[case_id],
                    largest_share=rung.largest_share,
                    first=first.get(case_id, 0),
                )
            )
        measured = ladder.measure(counted, rung, resamples=resamples, seed=seed)
        used = sorted(set(thresholds.values()))
        said = rung.model_dump(mode="json")
        said["slices_counted"] = said.pop("slices")
        rows.append({**said, **measured, "thresholds": used, "absent": absent, "reason": reason})
    store.write_json(out, {"schema": LADDER, "resamples": resamples, "rungs": rows})
