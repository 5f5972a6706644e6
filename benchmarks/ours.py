"""Our own functions, one per task, each given what ``plain`` and the peers are given.

NotImplementedError stands for a task that is not measured yet; the table shows it as "-".
"""

from typing import Any

import numpy as np
from benchmarks.volumes import Case, Patients
from numpy.typing import NDArray


def counts(case: Case, threshold: float) -> Any:
    """Voxels right and wrong at one threshold."""
    raise NotImplementedError


def curve(case: Case) -> Any:
    """Precision and miss rate at every level."""
    raise NotImplementedError


def matching(case: Case, threshold: float) -> Any:
    """Lesions found and false positives at one threshold, any overlap and IoU >= .1 one to one."""
    raise NotImplementedError


def lesions(case: Case, levels_K: NDArray[np.integer]) -> Any:
    """The same at every level of ``levels_K``, ascending."""
    raise NotImplementedError


def surfaces(case: Case, threshold: float) -> Any:
    """HD95 (directed maximum) and NSD (border voxels, 2 mm) at one threshold."""
    raise NotImplementedError


def bootstrap(patients: Patients, resamples: int) -> Any:
    """95 % intervals of the pooled precision and miss rate at each level, whole patients resampled."""
    raise NotImplementedError


def everything(case: Case, levels_K: NDArray[np.integer], threshold: float) -> Any:
    """All of one case."""
    raise NotImplementedError
