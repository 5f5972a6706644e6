"""Insertion: what is pasted, where, and from whom."""

import numpy as np

from missrate.core.grid import Grid
from missrate.core.types import IGNORED, LESION, ORGAN
from missrate.core.viewed import ViewedCase
from missrate.train.batches import Grouped, batch, volume_batch
from missrate.train.insert import Donor, donors_of, inserter, paste
from tests.train.drawn import recipe

SHAPE = (24, 20, 8)


def organ_case(name: str, *, level: int, darker: int | None, patient: str | None = None) -> ViewedCase:
    """Fat at -100 HU, an organ of ``level`` HU in a box, and perhaps a lesion of 3 x 3 x 2 in it."""
    label_XYZ = np.zeros(SHAPE, np.uint8)
    label_XYZ[4:20, 4:16, 1:7] = ORGAN
    image_XYZ = np.where(label_XYZ == ORGAN, level, -100).astype(np.int16)
    if darker is not None:
        label_XYZ[8:11, 8:11, 3:5] = LESION
        image_XYZ[8:11, 8:11, 3:5] = level - darker
    box = (slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(0, SHAPE[2]))
    return ViewedCase.of((name, patient or name), image_XYZ, label_XYZ, box, Grid.of(SHAPE, None))


def test_a_paste_carries_the_difference_and_not_the_level() -> None:
    (donor,) = donors_of(organ_case("a", level=100, darker=40))
    host = organ_case("b", level=60, darker=None)
    pasted = paste(host, donor, (12, 10, 4))
    assert pasted is not None
    seen = pasted.on_image(host.image_XYZ, (0, 0, 0))
    label = pasted.on_label(host.label_XYZ, (0, 0, 0))
    assert (label == LESION).sum() == 18
    assert label[11:14, 9:12, 3:5].min() == LESION or label[11:14, 9:12, 4:6].min() == LESION
    assert (seen[label == LESION] == 60 - 40).all()  # nothing of it is blurred away
    where = seen != host.image_XYZ
    assert (np.argwhere(where).min(axis=0) >= [9, 7, 3]).all()
    assert (np.argwhere(where).max(axis=0) <= [15, 13, 5]).all()
    assert seen[where].min() >= 20
    assert seen[where].max() < 60  # darker everywhere, and no darker than the lesion was


def test_nothing_changes_but_the_place_itself() -> None:
    (donor,) = donors_of(organ_case("a", level=100, darker=40))
    host = organ_case("b", level=60, darker=None)
    before = host.image_XYZ.copy(), host.label_XYZ.copy()
    pasted = paste(host, donor, (12, 10, 4))
    assert pasted is not None
    for start in ((0, 0, 0), (11, 3, 2), (20, 0, 0)):  # any part of the host shows the same as the whole
        part = tuple(slice(a, None) for a in start)
        assert np.array_equal(
            pasted.on_image(host.image_XYZ[part], start), pasted.on_image(host.image_XYZ, (0, 0, 0))[part]
        )
        assert np.array_equal(
            pasted.on_label(host.label_XYZ[part], start), pasted.on_label(host.label_XYZ, (0, 0, 0))[part]
        )
    assert np.array_equal(host.image_XYZ, before[0])
    assert np.array_equal(host.label_XYZ, before[1])


def test_the_donors_surroundings_do_not_come_along() -> None:
    case = organ_case("a", level=100, darker=40)
    case.image_XYZ[7, 8:11, 3:5] = 1000  # a vessel full of contrast beside the lesion
    (donor,) = donors_of(case)
    assert donor.difference_XYZ.max() <= 0


def test_at_least_half_of_a_lesion_lies_on_the_organ() -> None:
    (donor,) = donors_of(organ_case("a", level=100, darker=40))
    host = organ_case("b", level=60, darker=None)
    assert paste(host, donor, (4, 10, 4)) is not None  # the organ begins at 4: two thirds of it lie inside
    assert paste(host, donor, (3, 10, 4)) is None  # one third
    assert paste(host, donor, (1, 1, 0)) is None


def test_ignored_voxels_stay_ignored() -> None:
    (donor,) = donors_of(organ_case("a", level=100, darker=40))
    host = organ_case("b", level=60, darker=None)
    host.label_XYZ[12, 10, :] = IGNORED
    pasted = paste(host, donor, (12, 10, 4))
    assert pasted is not None
    label = pasted.on_label(host.label_XYZ, (0, 0, 0))
    assert (label[12, 10] == IGNORED).all()


def test_a_lesion_without_organ_around_it_is_no_donor() -> None:
    case = organ_case("a", level=100, darker=40)
    case.label_XYZ[case.label_XYZ == ORGAN] = 0
    assert donors_of(case) == []
    assert donors_of(organ_case("b", level=60, darker=None)) == []


def test_each_component_is_a_donor_of_its_own() -> None:
    case = organ_case("a", level=100, darker=40)
    case.label_XYZ[15:17, 12:14, 2] = LESION
    again = ViewedCase.of(("a", "a"), case.image_XYZ, case.label_XYZ, case.box, case.grid)
    assert [int(donor.lesion_XYZ.sum()) for donor in donors_of(again)] == [18, 4]


def test_donors_and_hosts_are_the_given_patients_and_healthy_ones_are_hosts() -> None:
    sick, healthy = organ_case("a", level=100, darker=40), organ_case("b", level=60, darker=None)
    made = inserter([[sick], [healthy]], [[sick]])
    rng = np.random.default_rng(0)
    hosts = {found[0].case_id for _ in range(40) if (found := made.draw(rng)) is not None}
    assert hosts == {"a", "b"}
    assert {donor.patient_id for donors in made._known.values() for donor in donors} == {"a"}


def test_without_donor_or_organ_nothing_is_drawn() -> None:
    healthy = organ_case("b", level=60, darker=None)
    assert inserter([[healthy]], []).draw(np.random.default_rng(0)) is None
    bare = organ_case("a", level=100, darker=40)
    bare.label_XYZ[bare.label_XYZ == ORGAN] = 0
    bare = ViewedCase.of(("a", "a"), bare.image_XYZ, bare.label_XYZ, bare.box, bare.grid)
    assert inserter([[bare]], [[bare]]).draw(np.random.default_rng(0)) is None


def test_every_pasted_batch_shows_a_lesion_and_healthy_patients_get_some() -> None:
    cases = [organ_case("a", level=100, darker=40), organ_case("b", level=60, darker=None)]
    own = recipe(insertion=1.0, lesion_share=1.0, batch=6, patch_px=(8, 8), shift_hu=0.0, scale=0.0)
    seen_dark = 0
    for step in range(6):
        image, label = batch(cases, own, step)
        assert (label == LESION).any(axis=(1, 2)).all()
        # window 0 to 2000: a lesion pasted into the host of 60 HU lies at 20 HU, which no patient's own does
        seen_dark += int(((image[:, 1][label == LESION] * 2000) < 55).any())
    assert seen_dark


def test_a_batch_shows_slices_as_they_are_unless_lesions_are_inserted() -> None:
    cases = [organ_case("a", level=100, darker=40), organ_case("b", level=60, darker=None)]

    def own_slices(insertion: float) -> list[bool]:
        own = recipe(insertion=insertion, shift_hu=0.0, scale=0.0, patch_px=SHAPE[:2])
        known = [own.view.slab(case.image_XYZ, z)[0] for case in cases for z in range(SHAPE[2])]
        images = np.concatenate([batch(cases, own, step)[0][:, 0] for step in range(4)])
        return [any(np.array_equal(image, slice_XY) for slice_XY in known) for image in images]

    assert all(own_slices(0.0))
    assert not all(own_slices(1.0))


def test_patches_of_three_dimensions_show_pasted_lesions_too() -> None:
    cases = [organ_case("a", level=100, darker=40), organ_case("b", level=60, darker=None)]
    own = recipe(insertion=1.0, lesion_share=1.0, batch=8, shift_hu=0.0, scale=0.0)
    for step in range(4):
        image, label = volume_batch(cases, own, step, (8, 8, 4), Grouped.of(cases))
        assert image.shape == (8, 1, 8, 8, 4)
        assert (label == LESION).any(axis=(1, 2, 3)).all()


def test_what_lies_outside_of_the_scan_is_cut_off() -> None:
    ones = np.ones((9, 9, 9), np.float32)
    big = Donor("d", ones, ones, ones > 0)
    host = organ_case("b", level=60, darker=None)
    host.label_XYZ[:] = ORGAN
    pasted = paste(host, big, (2, 10, 4))
    assert pasted is not None
    assert pasted.start == (0, 6, 0)
    assert pasted.lesion_XYZ.shape == (7, 9, 8)
    assert pasted.lesion_slices.tolist() == list(range(8))
    assert pasted.places().min(axis=0).tolist() == [0, 6, 0]
