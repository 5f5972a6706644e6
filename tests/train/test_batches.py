"""A batch depends on the seed, the step and the cases, and holds its share of lesions."""

import numpy as np
import pytest

from missrate.core.errors import InputError
from missrate.core.recipe import Recipe
from missrate.core.types import LESION, ORGAN
from missrate.core.view import View
from missrate.core.viewed import ViewedCase
from missrate.train.batches import Grouped, batch, batches, lesion_slices, validation_batch, volume_batch
from tests.train import drawn

STEPS = range(200)


def plain(**train: object) -> Recipe:
    """Without variations of HU, so that a pixel can be traced back."""
    return drawn.recipe(scale=0.0, shift_hu=0.0, **train)  # type: ignore[arg-type]


def test_the_same_step_gives_the_same_batch_to_every_model_in_any_order_of_cases() -> None:
    cases = drawn.cohort()
    other = drawn.recipe(model="maskrcnn", config={"backbone": "resnet18"}, lr=1.0, optimiser="sgd")
    for step in range(5):
        image_BCXY, label_BXY = batch(cases, drawn.recipe(), step)
        for again in (batch(cases, other, step), batch(cases[::-1], drawn.recipe(), step)):
            assert np.array_equal(again[0], image_BCXY) and np.array_equal(again[1], label_BXY)


def test_another_step_and_another_seed_give_another_batch() -> None:
    cases = drawn.cohort()
    first = batch(cases, drawn.recipe(), 0)[0]
    assert not np.array_equal(batch(cases, drawn.recipe(), 1)[0], first)
    assert not np.array_equal(batch(cases, drawn.recipe(seed=1), 0)[0], first)


def test_a_batch_has_the_shape_type_and_range_that_models_expect() -> None:
    image_BCXY, label_BXY = batch(drawn.cohort(), drawn.recipe(patch_px=(10, 12)), 0)
    assert image_BCXY.shape == (4, 3, 10, 12) and image_BCXY.dtype == np.float32
    assert label_BXY.shape == (4, 10, 12) and label_BXY.dtype == np.uint8
    assert image_BCXY.min() >= 0 and image_BCXY.max() <= 1


def test_without_a_patch_size_the_largest_slice_counts_and_air_is_around_the_others() -> None:
    cases = [drawn.case("small", shape=(8, 9, 3), lesion=None), drawn.case("large", shape=(12, 10, 3))]
    image_BCXY, _ = batch(cases, plain(lesion_share=0.0, batch=16), 0)
    assert image_BCXY.shape[2:] == (12, 10)
    # The drawn image is 0 HU (and so black, as air) in one pixel at most.
    assert {int((image > 0).sum()) for image in image_BCXY[:, 1]} <= {71, 72, 119, 120}


def test_the_channels_are_the_neighbouring_slices_and_edges_repeat() -> None:
    image_BCXY, _ = batch([drawn.case("a", shape=(4, 4, 3), lesion=None)], plain(lesion_share=0.0, batch=64), 0)
    hu = np.rint(image_BCXY[:, :, 1, 1] * 2000).astype(int) - 101
    assert {tuple(row) for row in hu} == {(0, 0, 1), (0, 1, 2), (1, 2, 2)}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_share_of_lesion_slices_is_kept(share: float) -> None:
    # A scan of 1 lesion slice among 50: a slice drawn from all has a lesion in 1 of 50 cases.
    rare = drawn.case("a", shape=(8, 8, 50), lesion=np.s_[2:4, 2:4, 7:8])
    recipe = drawn.recipe(lesion_share=share, batch=4, patch_px=(6, 6))
    with_lesion = [(batch([rare], recipe, step)[1] == LESION).any(axis=(1, 2)).sum() for step in STEPS]
    assert min(with_lesion) >= int(share * 4)
    assert np.mean(with_lesion) / 4 == pytest.approx(share + (1 - share) / 50, abs=0.04)


def test_the_number_of_lesion_slices_is_exact_on_average() -> None:
    rng = np.random.default_rng(0)
    counts = [lesion_slices(8, 0.3, rng) for _ in range(5000)]
    assert set(counts) == {2, 3} and np.mean(counts) == pytest.approx(2.4, abs=0.02)
    assert {lesion_slices(8, 0.5, rng) for _ in range(100)} == {4}
    assert {lesion_slices(8, 1.0, rng) for _ in range(100)} == {8}


def test_each_lesion_slice_shows_its_lesion_in_any_patch() -> None:
    for step in range(50):
        label_BXY = batch(drawn.cohort(), drawn.recipe(lesion_share=1.0, patch_px=(3, 3)), step)[1]
        assert (label_BXY == LESION).any(axis=(1, 2)).all()


def test_patients_count_alike_however_many_scans_they_have() -> None:
    many = [drawn.case(f"many{k}", patient_id="many", shape=(4, 4, 9), lesion=None) for k in range(9)]
    one = drawn.case("one", shape=(4, 4, 1), lesion=None)
    one.image_XYZ[:] = 2000
    recipe = plain(lesion_share=0.0, patch_px=(4, 4), batch=8)
    of_one = [(batch([*many, one], recipe, step)[0][:, 1].min(axis=(1, 2)) == 1.0).mean() for step in STEPS]
    assert np.mean(of_one) == pytest.approx(0.5, abs=0.04)


def test_healthy_patients_are_seen_too() -> None:
    healthy = drawn.case("healthy", lesion=None)
    healthy.image_XYZ[:] = 2000
    recipe = plain(patch_px=(4, 4))
    seen = [(batch([drawn.case("a"), healthy], recipe, step)[0] == 1.0).all(axis=(1, 2, 3)).sum() for step in STEPS]
    # Half of each batch is drawn from all slices, and half of those patients are healthy.
    assert np.mean(seen) == pytest.approx(1.0, abs=0.15) and max(seen) == 2


def test_a_mapped_case_may_be_read_only() -> None:
    case = drawn.case("a")
    case.image_XYZ.setflags(write=False)
    case.label_XYZ.setflags(write=False)
    assert batch([case], drawn.recipe(flip_x=True), 0)[0].flags.writeable


def test_no_lesion_anywhere_is_refused_unless_none_is_wanted() -> None:
    healthy = [drawn.case("a", lesion=None)]
    with pytest.raises(InputError, match=r"must get a case with a lesion. Got 1 cases without one; perhaps"):
        batch(healthy, drawn.recipe(), 0)
    with pytest.raises(InputError, match="must get at least one case"):
        batch([], drawn.recipe(), 0)
    assert batch(healthy, drawn.recipe(lesion_share=0.0), 0)[1].max() == 0


def test_validation_batches_are_fixed_and_not_varied() -> None:
    cases, recipe = drawn.cohort(), drawn.recipe(scale=0.5, shift_hu=500.0, flip_x=True)
    image_BCXY, label_BXY = validation_batch(cases, recipe, 0)
    assert np.array_equal(validation_batch(cases, recipe, 0)[0], image_BCXY)
    assert not np.array_equal(validation_batch(cases, recipe, 1)[0], image_BCXY)
    assert np.array_equal(validation_batch(cases, plain(), 0)[0], image_BCXY)
    assert (label_BXY == LESION).any(axis=(1, 2)).sum() >= 2


def test_validation_patients_may_all_be_healthy() -> None:
    assert validation_batch([drawn.case("a", lesion=None)], drawn.recipe(), 0)[1].max() == 0


def test_batches_made_ahead_are_those_of_their_steps() -> None:
    cases, recipe = drawn.cohort(), drawn.recipe()
    for step, (image_BCXY, _) in zip(range(3, 7), batches(cases, recipe, range(3, 7)), strict=True):
        assert np.array_equal(image_BCXY, batch(cases, recipe, step)[0])
    assert list(batches(cases, recipe, [])) == []


def test_grouping_before_changes_nothing() -> None:
    cases = drawn.cohort()
    grouped = Grouped.of(cases[::-1])
    for step in range(5):
        once, again = batch(cases, drawn.recipe(), step), batch(cases, drawn.recipe(), step, grouped)
        assert np.array_equal(once[0], again[0]) and np.array_equal(once[1], again[1])


def test_hu_are_rounded_before_the_window() -> None:
    """The window of 2000 HU shows whole HU only, whatever scale and shift were drawn."""
    recipe = drawn.recipe(scale=0.3, shift_hu=50.0, batch=16)
    hu = batch(drawn.cohort(), recipe, 7)[0].astype(np.float64) * 2000
    assert np.abs(hu - np.rint(hu)).max() < 1e-3
    assert np.unique(np.rint(hu)).size > 100


def test_patches_of_three_dimensions_follow_the_same_rules() -> None:
    cases, recipe = drawn.cohort(), plain(batch=8, lesion_share=0.5)
    image_BCXYZ, label_BXYZ = volume_batch(cases, recipe, 0, (6, 5, 4))
    assert image_BCXYZ.shape == (8, 1, 6, 5, 4) and label_BXYZ.shape == (8, 6, 5, 4)
    assert (label_BXYZ == LESION).any(axis=(1, 2, 3)).sum() >= 4
    again = volume_batch(cases[::-1], recipe, 0, (6, 5, 4))
    assert np.array_equal(again[0], image_BCXYZ) and np.array_equal(again[1], label_BXYZ)
    for image_XYZ in np.rint(image_BCXYZ[:, 0] * 2000).astype(int):  # HU = 100 x + y + z wherever it was cut
        assert (np.diff(image_XYZ, axis=0) == 100).all()
        assert (np.diff(image_XYZ, axis=1) == 1).all() and (np.diff(image_XYZ, axis=2) == 1).all()


def test_a_patch_larger_than_the_scan_has_air_around_it() -> None:
    image_BCXYZ, label_BXYZ = volume_batch(
        [drawn.case("a", shape=(4, 5, 3), lesion=np.s_[1:2, 1:3, 1:2])], plain(batch=2), 0, (6, 6, 6)
    )
    assert (np.count_nonzero(image_BCXYZ, axis=(1, 2, 3, 4)) <= 4 * 5 * 3).all()
    assert (label_BXYZ == LESION).any()


def test_validation_shows_lesions_where_they_are() -> None:
    cases = [drawn.case("v", lesion=np.s_[3:6, 8:12, 2:4])]
    cases[0].label_XYZ[cases[0].label_XYZ == 0] = ORGAN
    cases = [ViewedCase.of(("v", "v"), cases[0].image_XYZ, cases[0].label_XYZ, cases[0].box, cases[0].grid)]
    plain, inserting = (validation_batch(cases, drawn.recipe(insertion=share), 0) for share in (0.0, 1.0))
    assert np.array_equal(plain[1], inserting[1]) and np.array_equal(plain[0], inserting[0])


def test_a_picture_is_made_of_the_whole_slice_wherever_the_patch_is_cut() -> None:
    case = drawn.case("a", shape=(24, 24, 3), lesion=np.s_[3:6, 8:12, 0:3])
    view = View(encoding="picture")
    for patch_px in ((8, 8), (24, 24), (32, 30)):
        own = drawn.recipe(shift_hu=0.0, scale=0.0, patch_px=patch_px).model_copy(update={"view": view})
        image, _ = batch([case], own, 0)
        assert image.shape == (4, 3, *patch_px)
        whole = np.concatenate([view.slab(case.image_XYZ, z).reshape(3, -1) for z in range(3)], axis=1)
        colours = {tuple(c) for c in whole.T.tolist()} | {(0.0, 0.0, 0.0)}
        assert {tuple(c) for c in image.transpose(1, 0, 2, 3).reshape(3, -1).T.tolist()} <= colours
