"""What each training step sees: a function of the seed and the step, the same for every model of a study.

Shape letters: B batch, C channels (context slices; 1 in 3D), X right, Y anterior, Z superior.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from missrate.core import seed
from missrate.core.errors import InputError
from missrate.core.patch import cut
from missrate.core.recipe import Recipe
from missrate.core.viewed import ViewedCase
from missrate.train.augment import Augmentation, Variation, draw, hu_of, label_of
from missrate.train.insert import Inserter, Pasted, inserter

Batch = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""image_BCXY[Z] in [0, 1] and label_BXY[Z]: 0 background, 1 lesion, 2 organ, 255 ignored."""
Patients = list[list[ViewedCase]]


@dataclass(frozen=True, slots=True)
class Grouped:
    """Cases by patient, in the order of their ids: all of them, those with a lesion, and lesions to paste."""

    everyone: Patients
    diseased: Patients
    inserter: Inserter

    @staticmethod
    def of(cases: Sequence[ViewedCase]) -> "Grouped":
        """Once for a training: with a thousand cases this takes longer than a batch."""
        everyone, diseased = _by_patient(cases), _by_patient([case for case in cases if len(case.lesion_VX)])
        return Grouped(everyone, diseased, inserter(everyone, diseased))


def batch(cases: Sequence[ViewedCase], recipe: Recipe, step: int, grouped: Grouped | None = None) -> Batch:
    """The batch of one optimiser step. Neither the order of ``cases`` nor the model matters.

    ``lesion_share`` of the slices hold a lesion (see ``lesion_slices``) and so do their patches; the rest is drawn
    from all slices, healthy ones included. Each time a patient is drawn first, all alike, then a scan of that
    patient, then a slice. Of the slices with a lesion ``insertion`` (a probability for each) show one that was pasted
    into the organ of some patient, see ``insert``; where no place is found, a lesion where it is. Patches measure
    ``patch_px``, or else the largest slice of all cases; smaller slices are padded with air. ``grouped``: the cases, if
    they were grouped before.
    Raises InputError without cases, or when lesion slices are wanted and no case has one.
    """
    how = _augmentation(recipe, patch_size(cases, recipe))
    rng = seed.generator(recipe.seed, "batch", step)
    return _draw(grouped or Grouped.of(cases), recipe, how, rng)


def volume_batch(
    cases: Sequence[ViewedCase],
    recipe: Recipe,
    step: int,
    patch_voxels: tuple[int, int, int],
    grouped: Grouped | None = None,
) -> Batch:
    """As ``batch`` for a network of three dimensions: patches of ``patch_voxels`` (X, Y, Z), image_BCXYZ with C = 1.

    A patch with a lesion holds a voxel that was drawn from all lesion voxels of its scan.
    """
    rng = seed.generator(recipe.seed, "batch", step)
    how = _augmentation(recipe, patch_voxels)
    return _draw(grouped or Grouped.of(cases), recipe, how, rng)


def _augmentation(recipe: Recipe, patch_px: tuple[int, ...]) -> Augmentation:
    config = recipe.train
    return Augmentation(patch_px, config.flip_x, config.scale, config.shift_hu, config.rotate_deg, config.zoom)


def validation_batch(cases: Sequence[ViewedCase], recipe: Recipe, number: int) -> Batch:
    """The fixed batch ``number`` for the validation loss: as ``batch``, without mirroring, HU variation and insertion.

    Where no case has a lesion all slices are drawn from all slices. Raises InputError without cases.
    """
    how = Augmentation(patch_size(cases, recipe))
    grouped = Grouped.of(cases)
    shares = {"insertion": 0.0, "lesion_share": recipe.train.lesion_share if grouped.diseased else 0.0}
    rng = seed.generator(recipe.seed, "validation", number)
    as_they_are = recipe.model_copy(update={"train": recipe.train.model_copy(update=shares)})
    return _draw(grouped, as_they_are, how, rng)


def batches(cases: Sequence[ViewedCase], recipe: Recipe, steps: Iterable[int]) -> Iterator[Batch]:
    """``batch`` for each of ``steps`` in order; a thread prepares the next one while the caller uses this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as ahead:
        coming: Future[Batch] | None = None
        grouped = Grouped.of(cases)
        for step in steps:
            previous, coming = coming, ahead.submit(batch, cases, recipe, step, grouped)
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


def _draw(grouped: Grouped, recipe: Recipe, how: Augmentation, rng: np.random.Generator) -> Batch:
    size, flat = recipe.train.batch, len(how.patch_px) == 2
    lesion_share, insertion = recipe.train.lesion_share, recipe.train.insertion
    if lesion_share > 0 and not grouped.diseased:
        raise InputError(
            f"Training with lesion_share {lesion_share:g} must get a case with a lesion. Got "
            f"{sum(map(len, grouped.everyone))} cases without one; perhaps [labels] lesion names another number, or "
            "the lesions vanish at this spacing."
        )
    image = np.empty((size, recipe.view.channels if flat else 1, *how.patch_px), np.float32)
    label = np.empty((size, *how.patch_px), np.uint8)
    wanted = lesion_slices(size, lesion_share, rng)
    # One generator for each example: what happens to one does not depend on the others.
    for index, own_rng in enumerate(rng.spawn(size)):
        with_lesion = index < wanted
        found = None
        if with_lesion and insertion > 0 and own_rng.random() < insertion:
            found = grouped.inserter.draw(own_rng)
        case, pasted = found or (_choose(grouped.diseased if with_lesion else grouped.everyone, own_rng), None)
        example = _flat_example if flat else _deep_example
        image[index], label[index] = example(case, pasted, recipe, how, own_rng, with_lesion=with_lesion)
    return image, label


def _by_patient(cases: Sequence[ViewedCase]) -> Patients:
    """Cases grouped by patient, both in the order of their ids."""
    result: dict[str, list[ViewedCase]] = {}
    for case in sorted(cases, key=lambda c: (c.patient_id, c.case_id)):
        result.setdefault(case.patient_id, []).append(case)
    return list(result.values())


def _choose(patients: Patients, rng: np.random.Generator) -> ViewedCase:
    if not patients:
        raise InputError("Training must get at least one case. Got none; perhaps the part of the split is empty.")
    own = patients[rng.integers(len(patients))]
    return own[rng.integers(len(own))]


def _flat_example(
    case: ViewedCase,
    pasted: Pasted | None,
    recipe: Recipe,
    how: Augmentation,
    rng: np.random.Generator,
    *,
    with_lesion: bool,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """CXY and XY of one slice. HU are varied before the window clips them; only the slab's own slices are touched."""
    slices = (pasted or case).lesion_slices if with_lesion else None
    z = int(rng.integers(case.image_XYZ.shape[2]) if slices is None else slices[rng.integers(slices.size)])
    shape = case.image_XYZ.shape
    drawn = draw(shape[:2], how, rng, (pasted or case).lesion_in(z) if with_lesion else None)
    reach = recipe.view.context_slices // 2
    first, last = max(z - reach, 0), min(z + reach, shape[2] - 1)
    slab_XYZ, label_XY = case.image_XYZ[:, :, first : last + 1], case.label_XYZ[:, :, z]
    if pasted is not None:
        slab_XYZ = pasted.on_image(slab_XYZ, (0, 0, first))
        label_XY = pasted.on_label(case.label_XYZ[:, :, z : z + 1], (0, 0, z))[:, :, 0]
    seen_CXY = _seen(slab_XYZ, recipe, drawn)
    if len(seen_CXY) < recipe.view.channels:  # edges repeat
        each = recipe.view.channels // recipe.view.context_slices
        wanted = [min(max(k, first), last) - first for k in range(z - reach, z + reach + 1)]
        seen_CXY = seen_CXY.reshape(-1, each, *seen_CXY.shape[1:])[wanted].reshape(-1, *seen_CXY.shape[1:])
    return seen_CXY, label_of(label_XY, drawn)


def _seen(slab_XYZ: NDArray[np.int16], recipe: Recipe, drawn: Variation) -> NDArray[np.float32]:
    """CXY of a patch. A picture is made of whole slices, as it was exported, and cut afterwards; padding is black.

    Pictures are not turned: a recipe says so.
    """
    if recipe.view.encoding == "window":
        return recipe.view.windowed(hu_of(slab_XYZ, drawn))
    whole = Variation((0, 0), slab_XYZ.shape[:2], False, drawn.scale, drawn.shift_hu)
    picture_XYC = recipe.view.encoded(hu_of(slab_XYZ, whole)).transpose(1, 2, 0)
    part = np.ascontiguousarray(cut(picture_XYC, drawn.start, drawn.patch_px, fill=0).transpose(2, 0, 1))
    return part[:, ::-1] if drawn.mirrored else part


def _deep_example(
    case: ViewedCase,
    pasted: Pasted | None,
    recipe: Recipe,
    how: Augmentation,
    rng: np.random.Generator,
    *,
    with_lesion: bool,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """CXYZ and XYZ of one patch."""
    places = None if not with_lesion else case.lesion_VX if pasted is None else pasted.places()
    drawn = draw(case.image_XYZ.shape, how, rng, places)
    image_XYZ, label_XYZ = case.image_XYZ, case.label_XYZ
    if pasted is not None:  # only what the patch shows is copied
        inside = tuple(slice(max(a, 0), max(a, 0) + n) for a, n in zip(drawn.start, how.patch_px, strict=True))
        start = tuple(span.start for span in inside)
        image_XYZ = pasted.on_image(image_XYZ[inside], start)
        label_XYZ = pasted.on_label(label_XYZ[inside], start)
        drawn = replace(drawn, start=tuple(min(a, 0) for a in drawn.start))
    return recipe.view.windowed(hu_of(image_XYZ, drawn))[None], label_of(label_XYZ, drawn)
