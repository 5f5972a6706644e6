"""What each training step sees: a function of the seed and the step, the same for every model of a study.

Shape letters: B batch, C channels (context slices), X right, Y anterior, Z superior.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from missrate.core import seed
from missrate.core.errors import InputError
from missrate.core.recipe import Recipe
from missrate.core.store import ViewedCase
from missrate.train.augment import Augmentation, augment

Batch = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""image_BCXY in [0, 1] and label_BXY: 0 background, 1 lesion, 2 organ, 255 ignored."""
Patients = list[list[ViewedCase]]


def batch(cases: Sequence[ViewedCase], recipe: Recipe, step: int) -> Batch:
    """The batch of one optimiser step. Neither the order of ``cases`` nor the model matters.

    ``lesion_share`` of the slices hold a lesion (see ``lesion_slices``) and so do their patches; the rest is drawn
    from all slices, healthy ones included. Each time a patient is drawn first, all alike, then a scan of that
    patient, then a slice. Patches measure ``patch_px``, or else the largest slice of all cases; smaller slices are
    padded with air. Raises InputError without cases, or when lesion slices are wanted and no case has one.
    """
    config = recipe.train
    how = Augmentation(patch_size(cases, recipe), config.flip_x, config.scale, config.shift_hu)
    return _draw(cases, recipe, how, seed.generator(recipe.seed, "batch", step), lesion_share=config.lesion_share)


def validation_batch(cases: Sequence[ViewedCase], recipe: Recipe, number: int) -> Batch:
    """The fixed batch ``number`` for the validation loss: as ``batch``, without mirroring and HU variation.

    Where no case has a lesion all slices are drawn from all slices. Raises InputError without cases.
    """
    how = Augmentation(patch_size(cases, recipe))
    lesion_share = recipe.train.lesion_share if any(case.lesion_slices.size for case in cases) else 0.0
    rng = seed.generator(recipe.seed, "validation", number)
    return _draw(cases, recipe, how, rng, lesion_share=lesion_share)


def batches(cases: Sequence[ViewedCase], recipe: Recipe, steps: Iterable[int]) -> Iterator[Batch]:
    """``batch`` for each of ``steps`` in order; a thread prepares the next one while the caller uses this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as ahead:
        coming: Future[Batch] | None = None
        for step in steps:
            previous, coming = coming, ahead.submit(batch, cases, recipe, step)
            if previous is not None:
                yield previous.result()
        if coming is not None:
            yield coming.result()


def patch_size(cases: Sequence[ViewedCase], recipe: Recipe) -> tuple[int, int]:
    """``patch_px``, or else the largest X and the largest Y of all cases. Raises InputError without cases.

    Validation takes the size of training, and so does prediction (the run's recipe holds it): a network that never
    saw a slice end where this one ends finds lesions along the edge.
    """
    if not cases:
        raise InputError("Training must get at least one case. Got none; perhaps the part of the split is empty.")
    if recipe.train.patch_px is not None:
        return recipe.train.patch_px
    return max(case.image_XYZ.shape[0] for case in cases), max(case.image_XYZ.shape[1] for case in cases)


def lesion_slices(size: int, lesion_share: float, rng: np.random.Generator) -> int:
    """How many of ``size`` slices are drawn from those with a lesion: ``size * lesion_share`` rounded at random.

    It is the floor, plus one with the probability of the remainder: 8 * .3 = 2.4 gives 2 in three of five batches and
    3 in the others, so that the share holds exactly on average whatever the batch size.
    """
    return min(size, int(size * lesion_share + rng.random()))


def _draw(
    cases: Sequence[ViewedCase], recipe: Recipe, how: Augmentation, rng: np.random.Generator, *, lesion_share: float
) -> Batch:
    size, channels = recipe.train.batch, recipe.view.context_slices
    everyone = _by_patient(cases)
    diseased = _by_patient([case for case in cases if case.lesion_slices.size])
    if lesion_share > 0 and not diseased:
        raise InputError(
            f"Training with lesion_share {lesion_share:g} must get a case with a lesion. Got {len(cases)} cases "
            "without one; perhaps [labels] lesion names another number, or the lesions vanish at this spacing."
        )
    image_BCXY = np.empty((size, channels, *how.patch_px), np.float32)
    label_BXY = np.empty((size, *how.patch_px), np.uint8)
    wanted = lesion_slices(size, lesion_share, rng)
    # One generator for each slice: what happens to one does not depend on the others.
    for index, own_rng in enumerate(rng.spawn(size)):
        with_lesion = index < wanted
        case, z = _choose(diseased if with_lesion else everyone, own_rng, with_lesion=with_lesion)
        image_BCXY[index], label_BXY[index] = _example(case, z, recipe, how, own_rng, with_lesion=with_lesion)
    return image_BCXY, label_BXY


def _by_patient(cases: Sequence[ViewedCase]) -> Patients:
    """Cases grouped by patient, both in the order of their ids."""
    result: dict[str, list[ViewedCase]] = {}
    for case in sorted(cases, key=lambda c: (c.patient_id, c.case_id)):
        result.setdefault(case.patient_id, []).append(case)
    return list(result.values())


def _choose(patients: Patients, rng: np.random.Generator, *, with_lesion: bool) -> tuple[ViewedCase, int]:
    own = patients[rng.integers(len(patients))]
    case = own[rng.integers(len(own))]
    if with_lesion:
        return case, int(case.lesion_slices[rng.integers(case.lesion_slices.size)])
    return case, int(rng.integers(case.image_XYZ.shape[2]))


def _example(
    case: ViewedCase, z: int, recipe: Recipe, how: Augmentation, rng: np.random.Generator, *, with_lesion: bool
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """CXY and XY of one slice. HU are varied before the window clips them; only the slab's own slices are touched."""
    reach = recipe.view.context_slices // 2
    first = max(z - reach, 0)
    near_XYZ = case.image_XYZ[:, :, first : z + reach + 1]
    image_XYZ, label_XY = augment(near_XYZ, case.label_XYZ[:, :, z], how, rng, keep_lesion=with_lesion)
    return recipe.view.slab(image_XYZ, z - first), label_XY
