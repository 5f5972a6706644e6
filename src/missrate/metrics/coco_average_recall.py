"""COCO's mask AR: recall of at most 100 candidates per scan, averaged over IoU thresholds .50 to .95."""

from missrate.core.case import CaseStatistics
from missrate.core.sweep import Floats
from missrate.core.types import Matching
from missrate.metrics._coco import averages, averages_at

UNIT = "share"
BETTER = "higher"
LEVEL = "cohort"
NEEDS = ("scores", "voxels")
DEFAULT = False
RESAMPLED = False  # pycocotools accumulates a cohort in milliseconds at best


def measure(
    cases: list[CaseStatistics],
    at: int,
    matching: Matching,
    weight_per_patient: dict[str, float] | None,
) -> float | None:
    """Candidates at level ``at`` against lesions by pycocotools, a scan being an image; ``_coco.averages`` says how.

    None without lesions, scores or voxels of candidates. Of ``matching`` only the least volume plays a part.
    """
    result = averages(cases, [at] * len(cases), matching, weight_per_patient)
    return None if result is None else result.recall


def measure_at(
    cases: list[CaseStatistics], levels: list[int], matching: Matching, weights_BP: Floats
) -> list[float | None]:
    """``measure`` with each case at its own level, under weightings of the patients (sorted) by whole numbers."""
    return [None if each is None else each.recall for each in averages_at(cases, levels, matching, weights_BP)]
