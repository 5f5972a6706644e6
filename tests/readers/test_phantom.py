"""The phantom reader: the same arguments give the same case, and a case holds what its location says.

The property over all cases (ranges, contrast, sizes) is tested on a few seeded patients of each cohort.
"""

import hashlib
import subprocess
import sys
from typing import Literal

import cc3d
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.stats import rankdata

from missrate.core.config import parse
from missrate.core.errors import ConfigError, DataError
from missrate.core.grid import Grid, axcodes, resample
from missrate.core.types import Entry
from missrate.readers import phantom

Cohort = Literal["target", "source"]
Case = tuple[NDArray[np.int16], NDArray[np.uint8], Grid]

TARGET = [f"phantom:target:7:128:{i}:1" for i in range(8)]
SOURCE = [f"phantom:source:7:128:{i}:1" for i in range(5)]
HEALTHY = ["phantom:target:7:128:1:0", "phantom:source:7:128:2:0"]
SMALL = [f"phantom:{cohort}:3:48:{i}:1" for cohort in ("target", "source") for i in range(6)]


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    """Every case of this file, generated once."""
    made = {}
    for location in TARGET + SOURCE + HEALTHY + SMALL:
        scan, labels = phantom.load_image(location), phantom.load_map(location)
        assert scan.grid == labels.grid
        made[location] = (scan.values_XYZ.astype(np.int16), labels.labels_XYZ.astype(np.uint8), scan.grid)
    return made


def digest(location: str) -> str:
    """A hash of both arrays and the grid."""
    scan, labels = phantom.load_image(location), phantom.load_map(location)
    parts = scan.values_XYZ.tobytes() + labels.labels_XYZ.tobytes() + repr(scan.grid).encode()
    return hashlib.sha256(parts).hexdigest()


def lesion_diameters_mm(case: Case) -> list[float]:
    """The diameter of the sphere of equal volume for each labelled lesion."""
    _, labels_XYZ, grid = case
    components = cc3d.connected_components((labels_XYZ == 2).astype(np.uint8), connectivity=26)
    assert grid.voxel_ml is not None
    volumes_mm3 = np.bincount(components.ravel())[1:] * grid.voxel_ml * 1000.0
    return [float(d) for d in np.cbrt(6.0 * volumes_mm3 / np.pi)]


def contrasts_hu(case: Case, *, at_least_voxels: int, organ_around: float) -> list[float]:
    """Organ around a lesion minus lesion, both without their rims.

    Only for lesions with enough voxels for a mean, and with the labelled organ on a share ``organ_around`` of their
    rim: beside a kidney lesion of the source cohort there may be a bit of liver, which is not its organ.
    """
    image_XYZ, labels_XYZ, _ = case
    components = cc3d.connected_components((labels_XYZ == 2).astype(np.uint8), connectivity=26)
    flat = np.ones((3, 3, 1), bool)
    organ_XYZ = binary_erosion(labels_XYZ == 1, flat)
    found = []
    for number in range(1, int(components.max()) + 1):
        lesion_XYZ = components == number
        core_XYZ = binary_erosion(lesion_XYZ, flat)
        around_XYZ = organ_XYZ & binary_dilation(lesion_XYZ, flat, iterations=8)
        rim_XYZ = binary_dilation(lesion_XYZ, flat, iterations=2) & ~lesion_XYZ
        if (labels_XYZ[rim_XYZ] == 1).mean() < organ_around:
            continue
        if core_XYZ.sum() >= at_least_voxels and around_XYZ.sum() >= at_least_voxels:
            found.append(float(image_XYZ[around_XYZ].mean() - image_XYZ[core_XYZ].mean()))
    return found


@pytest.mark.parametrize("cohort", ["target", "source"])
@pytest.mark.parametrize(("patients", "share"), [(1, 0.0), (1, 1.0), (7, 0.5), (32, 0.6)])
def test_find_gives_exactly_the_share_of_diseased(cohort: Cohort, patients: int, share: float) -> None:
    entries = phantom.find(None, phantom.Config(cohort=cohort, patients=patients, lesion_share=share, seed=5))
    assert len({e.case_id for e in entries}) == len({e.patient_id for e in entries}) == patients
    assert entries == sorted(entries, key=lambda e: e.case_id)
    assert entries[0].case_id == f"{cohort}_000"
    assert entries[0].patient_id == f"{cohort}_p000"
    assert all(e.image == e.label for e in entries)
    assert sum(str(e.image).endswith(":1") for e in entries) == round(share * patients)


def test_which_patients_are_diseased_depends_on_the_seed_only() -> None:
    config = phantom.Config(seed=1)
    assert phantom.find(None, config) == phantom.find(None, phantom.Config(seed=1))
    here, there = ([str(e.image)[-1] for e in phantom.find(None, phantom.Config(seed=s))] for s in (1, 2))
    assert here != there


def test_the_same_location_gives_the_same_bits_in_another_process() -> None:
    locations = ["phantom:target:3:48:0:1", "phantom:source:3:48:0:1"]
    program = (
        "import hashlib, sys; from missrate.readers import phantom\n"
        f"for location in {locations!r}:\n"
        "    s, m = phantom.load_image(location), phantom.load_map(location)\n"
        "    b = s.values_XYZ.tobytes() + m.labels_XYZ.tobytes() + repr(s.grid).encode()\n"
        "    sys.stdout.write(hashlib.sha256(b).hexdigest() + ' ')"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert [digest(location) for location in locations] == other.split()


def test_seed_index_and_cohort_each_give_another_case() -> None:
    locations = [f"phantom:{rest}" for rest in ("target:3:48:0:1", "target:3:48:1:1", "target:4:48:0:1")]
    assert len({digest(location) for location in [*locations, "phantom:source:3:48:0:1"]}) == 4


def test_what_a_caller_does_to_an_array_does_not_reach_the_next_caller() -> None:
    location = "phantom:target:3:48:0:1"
    before = digest(location)
    phantom.load_image(location).values_XYZ[:] = 0
    phantom.load_map(location).labels_XYZ[:] = 2
    assert digest(location) == before


def test_image_and_map_have_one_grid_and_the_promised_types(cases: dict[str, Case]) -> None:
    for location, (image_XYZ, labels_XYZ, grid) in cases.items():
        assert image_XYZ.shape == labels_XYZ.shape == grid.shape
        assert axcodes(grid.matrix) == "RAS"
        assert set(np.unique(labels_XYZ)) == ({0, 1, 2} if location.endswith(":1") else {0, 1})
    scan, labels = phantom.load_image(TARGET[0]), phantom.load_map(TARGET[0])
    assert scan.values_XYZ.dtype == np.dtype(np.int16)
    assert labels.labels_XYZ.dtype == np.dtype(np.uint8)
    assert scan.intensity == "hu"


def test_spacing_and_depth_lie_in_their_ranges_and_differ(cases: dict[str, Case]) -> None:
    depths = set()
    for location in TARGET + SOURCE:
        grid = cases[location][2]
        assert grid.spacing_mm is not None
        x, y, z = grid.spacing_mm
        assert x == y
        assert 2.0 <= x <= 2.3
        assert 2.5 <= z <= 7.0
        assert grid.shape[:2] == (128, 128)
        assert 24 <= grid.shape[2] <= 60
        depths.add(grid.shape[2])
    assert len(depths) > 3


def test_the_field_of_view_does_not_depend_on_the_number_of_pixels() -> None:
    extents = []
    for size_px in (48, 96):
        grid = phantom.load_image(f"phantom:target:7:{size_px}:0:0").grid
        assert grid.spacing_mm is not None
        extents.append([n * step for n, step in zip(grid.shape, grid.spacing_mm, strict=True)])
    assert extents[0] == pytest.approx(extents[1])


def test_values_are_those_of_a_ct(cases: dict[str, Case]) -> None:
    for image_XYZ, labels_XYZ, _ in cases.values():
        assert image_XYZ.min() >= -1024
        assert abs(np.median(image_XYZ[:3, :3]) + 1000) < 70  # air at the corner; the source cohort is scaled
        assert 250 < np.percentile(image_XYZ, 99.9) < 800  # bone
        assert 60 < image_XYZ[labels_XYZ == 1].mean() < 150  # an enhanced organ
        body_XYZ = image_XYZ > -300
        assert 0.2 < body_XYZ.mean() < 0.7
        assert not body_XYZ[0].any()  # the body ends within the field of view
        assert not body_XYZ[:, 0].any()


def test_each_diseased_patient_has_lesions_of_at_least_four_voxels(cases: dict[str, Case]) -> None:
    for location, (_, labels_XYZ, _) in cases.items():
        lesions = cc3d.connected_components((labels_XYZ == 2).astype(np.uint8), connectivity=26)
        sizes = np.bincount(lesions.ravel())[1:]
        if location.endswith(":0"):
            assert sizes.size == 0
        else:
            assert 1 <= sizes.size <= (3 if "target" in location else 5)
            assert sizes.max() >= 4


def test_lesion_diameters_lie_in_their_range_and_differ(cases: dict[str, Case]) -> None:
    diameters = [d for location in TARGET + SOURCE for d in lesion_diameters_mm(cases[location])]
    # voxels of up to 7 mm: a count of a few may be off by half of the smallest volume
    assert min(diameters) > 4.5
    assert max(diameters) < 30.0
    assert max(diameters) - min(diameters) > 8.0


def test_lesions_are_darker_than_the_organ_around_them(cases: dict[str, Case]) -> None:
    for locations, organ_around in ((TARGET, 0.1), (SOURCE, 0.5)):
        found: list[float] = []
        for location in locations:
            found += contrasts_hu(cases[location], at_least_voxels=25, organ_around=organ_around)
        assert len(found) >= 3
        # declared 15 to 60; the gland's own mean is lowered where thick slices mix it with fat
        assert all(0.0 < c < 70.0 for c in found)
        assert 15.0 < np.median(found) < 60.0


def test_disease_changes_the_scan_only_near_the_lesion() -> None:
    location = "phantom:target:7:128:0:"
    ill, well = phantom.load_image(location + "1"), phantom.load_image(location + "0")
    lesion_XYZ = phantom.load_map(location + "1").labels_XYZ == 2
    changed_XYZ = np.abs(ill.values_XYZ.astype(np.int32) - well.values_XYZ.astype(np.int32)) > 1
    assert changed_XYZ[lesion_XYZ].any()
    assert not changed_XYZ[~binary_dilation(lesion_XYZ, np.ones((3, 3, 3), bool), iterations=4)].any()


def test_source_lesions_lie_in_liver_or_kidneys_and_target_lesions_in_the_pancreas(
    cases: dict[str, Case],
) -> None:
    for location in TARGET + SOURCE:
        _, labels_XYZ, grid = cases[location]
        organ_ml = float((labels_XYZ > 0).sum()) * float(grid.voxel_ml or 0.0)
        if "source" in location:
            assert organ_ml > 300.0  # a liver
            middle_x = float(np.argwhere(labels_XYZ == 1)[:, 0].mean()) / grid.shape[0]
            assert middle_x > 0.55  # the patient's right
        else:
            assert organ_ml < 150.0
            near_XYZ = binary_dilation(labels_XYZ == 1, np.ones((3, 3, 3), bool), iterations=2)
            components = cc3d.connected_components((labels_XYZ == 2).astype(np.uint8), connectivity=26)
            assert all((near_XYZ & (components == k)).any() for k in range(1, int(components.max()) + 1))


def test_the_source_cohort_is_noisier(cases: dict[str, Case]) -> None:
    def noise_hu(location: str) -> float:
        image_XYZ, labels_XYZ, _ = cases[location]
        inside_XYZ = binary_erosion(labels_XYZ == 1, np.ones((3, 3, 1), bool))
        return float(image_XYZ[inside_XYZ].std())

    assert np.median([noise_hu(s) for s in SOURCE]) > np.median([noise_hu(t) for t in TARGET])


@pytest.mark.parametrize(
    "location",
    [
        "",
        "scan.nii.gz",
        "phantom:target:0:128:3",
        "phantom:target:0:128:3:2",
        "phantom:other:0:128:3:1",
        "phantom:target:0:47:3:1",
        "phantom:target:zero:128:3:1",
        "phantom:target:0:128:-1:1",
        "phantom:target:00:128:3:1",
    ],
)
def test_another_location_is_refused(location: str) -> None:
    with pytest.raises(DataError, match="must be phantom"):
        phantom.load_image(location)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patient": 3}, "patients"),
        ({"patients": 0}, "patients"),
        ({"size_px": 47}, "size_px"),
        ({"lesion_share": 1.1}, "lesion_share"),
        ({"cohort": "train"}, "cohort"),
    ],
)
def test_an_unknown_key_or_a_value_out_of_range_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(phantom.Config, values, where="[sources.demo]")


def _simple_statistics(entry: Entry) -> list[float]:
    """What a lazy model could go by: sizes, places and grey values of a patient, without looking for a lesion."""
    scan, organ_XYZ = (
        phantom.load_image(str(entry.image)),
        np.asarray(phantom.load_map(str(entry.label)).labels_XYZ) > 0,
    )
    image_XYZ = scan.values_XYZ.astype(np.float64)
    body_XYZ = image_XYZ > -300
    spacing_mm = scan.grid.spacing_mm
    assert spacing_mm is not None
    grain = np.diff(image_XYZ, axis=0)[body_XYZ[1:] & body_XYZ[:-1]]
    places = (np.argwhere(organ_XYZ).mean(axis=0) / organ_XYZ.shape).tolist()
    return [
        spacing_mm[0],
        spacing_mm[2],
        float(image_XYZ.shape[2]),
        float(body_XYZ.mean()),
        float(image_XYZ[body_XYZ].mean()),
        float(image_XYZ[body_XYZ].std()),
        float(np.median(np.abs(grain))),
        float(organ_XYZ.sum() * np.prod(spacing_mm)),
        float(np.median(image_XYZ[organ_XYZ])),
        *places,
    ]


def _separates(values_PS: NDArray[np.float64], diseased_P: NDArray[np.bool_]) -> list[float]:
    """How far the area under the curve of each statistic, and of their best mixture, lies from .5: in its own sd.

    Mann and Whitney 1947; the mixture is linear, fitted without the patient whom it is asked about.
    """
    centred = (values_PS - values_PS.mean(axis=0)) / values_PS.std(axis=0)
    mixture = []
    for left_out in range(len(centred)):
        kept = np.arange(len(centred)) != left_out
        design = np.column_stack([np.ones(kept.sum()), centred[kept]])
        fitted = np.linalg.lstsq(design, diseased_P[kept] - diseased_P[kept].mean(), rcond=None)[0]
        mixture.append(fitted[0] + centred[left_out] @ fitted[1:])
    ill, well = int(diseased_P.sum()), int((~diseased_P).sum())
    sd = np.sqrt((ill + well + 1) / (12 * ill * well))
    columns = [*centred.T, np.array(mixture)]
    areas = [(rankdata(column)[diseased_P].sum() - ill * (ill + 1) / 2) / (ill * well) for column in columns]
    return [abs(area - 0.5) / sd for area in areas]


@pytest.fixture(scope="module")
def eighty() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    entries = phantom.find(None, phantom.Config(patients=80, size_px=64, seed=11, lesion_share=0.5))
    values = np.array([_simple_statistics(entry) for entry in entries])
    return values, np.array([str(entry.image).endswith(":1") for entry in entries])


def test_sizes_places_and_grey_values_do_not_tell_who_is_ill(
    eighty: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    assert max(_separates(*eighty)) < 3.0


def test_a_cue_of_one_standard_deviation_would_be_found(
    eighty: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    values_PS, diseased_P = eighty[0].copy(), eighty[1]
    values_PS[diseased_P, 4] += values_PS[:, 4].std()
    assert max(_separates(values_PS, diseased_P)) > 3.0


def test_where_lesions_tend_to_be_does_not_tell_who_is_ill() -> None:
    """The mean mask of half of the patients, laid over the organ of the others: no one's organ holds more of it."""
    entries = phantom.find(None, phantom.Config(patients=80, size_px=48, seed=12, lesion_share=0.5))
    labels = [
        resample(np.asarray(phantom.load_map(str(e.label)).labels_XYZ == 2, float), (24, 24, 12)) for e in entries
    ]
    prior = np.mean(labels[:40], axis=0)
    scores = []
    for entry in entries[40:]:
        organ_XYZ = np.asarray(phantom.load_map(str(entry.label)).labels_XYZ) > 0
        scores.append([float((resample(organ_XYZ.astype(float), prior.shape) * prior).sum())])
    diseased_P = np.array([str(entry.image).endswith(":1") for entry in entries[40:]])
    assert _separates(np.array(scores), diseased_P)[0] < 3.0
