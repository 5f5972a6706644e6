"""Lesions of training patients pasted into other places of the organ, in healthy patients as well.

What a paste changes is the difference between a donor's lesion and the organ around it; whatever the host's scanner
did to the organ stays. Donors and hosts are the cases that a training was given, so nothing comes from a patient who
is validated, calibrated or tested on. All randomness comes from the generator.
A lesion is pasted voxel for voxel: where cases differ in spacing and the view keeps that, its millimetres change.

Shape letters: X right, Y anterior, Z superior.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from missrate.core.lesions import components
from missrate.core.types import IGNORED, LESION, ORGAN
from missrate.core.viewed import ViewedCase

AROUND_PX = (6, 6, 1)
"""How far around a lesion, or a place for one, the organ's level is taken from."""
LEAST_AROUND = 8
"""Voxels of organ below which there is no level to compare with."""
BLUR_PX = 0.7
"""How a paste fades out beyond its border: about as a reconstructed image does."""
FADED = 0.05
LEAST_IN_ORGAN = 0.5
"""Share of a pasted lesion that must lie on the organ: a lesion may bulge out of it, as real ones do."""
TRIES = 6


@dataclass(frozen=True, slots=True)
class Donor:
    """A lesion in its box: HU minus the organ's level, how much of it is pasted, in [0, 1], and what is labelled."""

    patient_id: str
    difference_XYZ: NDArray[np.float32]
    weight_XYZ: NDArray[np.float32]
    lesion_XYZ: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pasted:
    """A lesion in its new place: ``start`` in the host, its box in HU, and the voxels that become lesion."""

    start: tuple[int, ...]
    image_XYZ: NDArray[np.int16]
    lesion_XYZ: NDArray[np.bool_]

    @property
    def lesion_slices(self) -> NDArray[np.int64]:
        """The host's slices with a voxel of it, sorted."""
        return self.start[2] + np.flatnonzero(self.lesion_XYZ.any(axis=(0, 1)))

    def lesion_in(self, z: int) -> NDArray[np.int64]:
        """The places x, y of its voxels in a slice, (V, 2)."""
        return np.add(np.argwhere(self.lesion_XYZ[:, :, z - self.start[2]]), self.start[:2])

    def places(self) -> NDArray[np.int64]:
        """The places x, y, z of its voxels, (V, 3)."""
        return np.add(np.argwhere(self.lesion_XYZ), self.start)

    def on_image(self, part: NDArray[Any], start: tuple[int, ...]) -> NDArray[Any]:
        """A copy of a part of the host's image that begins at ``start`` (x, y, z), with the lesion in it."""
        inside, own = self._shared(part.shape, start)
        result = part.copy()
        result[inside] = self.image_XYZ[own]
        return result

    def on_label(self, part: NDArray[np.uint8], start: tuple[int, ...]) -> NDArray[np.uint8]:
        """Likewise of its label; ignored voxels stay ignored."""
        inside, own = self._shared(part.shape, start)
        result = part.copy()
        result[inside][self.lesion_XYZ[own] & (result[inside] != IGNORED)] = LESION
        return result

    def _shared(self, shape: tuple[int, ...], start: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The box in a part of the host, and the same voxels in the own arrays; both may be empty."""
        inside, own = [], []
        for size, at, mine, length in zip(shape, start, self.start, self.image_XYZ.shape, strict=True):
            low = max(mine - at, 0)
            high = max(low, min(mine - at + length, size))
            inside.append(slice(low, high))
            own.append(slice(low + at - mine, high + at - mine))
        return tuple(inside), tuple(own)


@dataclass(slots=True)
class Inserter:
    """Cases by patient: those whose lesions are taken, and those with an organ to paste into.

    Donors are cut out of a case when it is drawn for the first time; drawing searches no whole label.
    """

    givers: list[list[ViewedCase]]
    hosts: list[list[ViewedCase]]
    _known: dict[str, list[Donor]] = field(default_factory=dict)

    def draw(self, rng: np.random.Generator) -> tuple[ViewedCase, Pasted] | None:
        """A host with a lesion in it; None where no place was found (or nothing to paste).

        Patients count alike, then their scans, then their lesions; the place is a voxel of the organ in a slice with
        organ, each alike. The lesion is mirrored and turned by quarters at random.
        """
        if not self.givers or not self.hosts:
            return None
        donors = self._donors(_choose(self.givers, rng))
        if not donors:
            return None
        donor = _turned(donors[rng.integers(len(donors))], rng)
        host = _choose(self.hosts, rng)
        for _ in range(TRIES):
            z = int(host.organ_slices[rng.integers(host.organ_slices.size)])
            x, y = np.divmod(_any(np.flatnonzero(host.label_XYZ[:, :, z] == ORGAN), rng), host.label_XYZ.shape[1])
            pasted = paste(host, donor, (int(x), int(y), z))
            if pasted is not None:
                return host, pasted
        return None

    def _donors(self, case: ViewedCase) -> list[Donor]:
        if case.case_id not in self._known:
            self._known[case.case_id] = donors_of(case)
        return self._known[case.case_id]


def inserter(everyone: Sequence[Sequence[ViewedCase]], diseased: Sequence[Sequence[ViewedCase]]) -> Inserter:
    """From cases grouped by patient; hosts are all with a voxel of the organ, their own donors among them."""
    with_organ = [[case for case in cases if case.organ_slices.size] for cases in everyone]
    return Inserter([list(cases) for cases in diseased], [cases for cases in with_organ if cases])


def donors_of(case: ViewedCase) -> list[Donor]:
    """The lesions of a case, each a 26-connected component; not those with no organ around to compare with.

    A lesion at the scan's border is whole as far as the scan goes; it is taken as it is.
    """
    if not len(case.lesion_VX):
        return []
    low, high = case.lesion_VX.min(axis=0), case.lesion_VX.max(axis=0) + 1
    box = _box(low, high, case.label_XYZ.shape, AROUND_PX)
    label_XYZ, image_XYZ = np.asarray(case.label_XYZ[box]), np.asarray(case.image_XYZ[box])
    numbered_XYZ, count = components(label_XYZ == LESION)
    made = (_donor(case.patient_id, image_XYZ, label_XYZ, numbered_XYZ == k) for k in range(1, count + 1))
    return [donor for donor in made if donor is not None]


def _donor(
    patient_id: str, image_XYZ: NDArray[np.int16], label_XYZ: NDArray[np.uint8], lesion_XYZ: NDArray[np.bool_]
) -> Donor | None:
    where = np.argwhere(lesion_XYZ)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    wide = _box(low, high, lesion_XYZ.shape, AROUND_PX)
    level = _level(image_XYZ[wide], label_XYZ[wide])
    if level is None:
        return None
    tight = _box(low, high, lesion_XYZ.shape, (2, 2, 0))
    own_XYZ = lesion_XYZ[tight]
    difference_XYZ = image_XYZ[tight].astype(np.float32) - np.float32(level)
    # Beyond its border lie the donor's fat and vessels: what fades out there is the lesion's own mean.
    difference_XYZ[~own_XYZ] = difference_XYZ[own_XYZ].mean()
    weight_XYZ = gaussian_filter(own_XYZ.astype(np.float32), (BLUR_PX, BLUR_PX, 0.0), mode="constant")
    weight_XYZ[weight_XYZ < FADED] = 0.0
    weight_XYZ[own_XYZ] = 1.0  # its own edge is blurred already; a small lesion would lose its contrast
    return Donor(patient_id, difference_XYZ, weight_XYZ, own_XYZ)


def paste(host: ViewedCase, donor: Donor, place: tuple[int, int, int]) -> Pasted | None:
    """The donor with its middle at ``place`` of the host; None where too little of it would lie on the organ.

    What would lie outside of the scan is cut off.
    """
    where = np.argwhere(donor.lesion_XYZ)
    start = np.array(place) - np.rint(where.mean(axis=0)).astype(int)
    low = np.maximum(start, 0)
    high = np.minimum(start + donor.lesion_XYZ.shape, host.label_XYZ.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    own = tuple(slice(int(a), int(b)) for a, b in zip(low - start, high - start, strict=True))
    lesion_XYZ, label_XYZ = donor.lesion_XYZ[own], np.asarray(host.label_XYZ[box])
    if not lesion_XYZ.any() or (label_XYZ[lesion_XYZ] == ORGAN).sum() < LEAST_IN_ORGAN * len(where):
        return None
    wide = _box(low, high, host.label_XYZ.shape, AROUND_PX)
    level = _level(np.asarray(host.image_XYZ[wide]), np.asarray(host.label_XYZ[wide]))
    if level is None:
        return None
    weight_XYZ, difference_XYZ = donor.weight_XYZ[own], donor.difference_XYZ[own]
    hu_XYZ = host.image_XYZ[box] * (1 - weight_XYZ) + weight_XYZ * (difference_XYZ + np.float32(level))
    return Pasted(tuple(int(a) for a in low), np.rint(hu_XYZ).astype(np.int16), lesion_XYZ)


def _level(image_XYZ: NDArray[np.int16], label_XYZ: NDArray[np.uint8]) -> float | None:
    """The organ's median HU."""
    organ = image_XYZ[label_XYZ == ORGAN]
    return float(np.median(organ)) if organ.size >= LEAST_AROUND else None


def _turned(donor: Donor, rng: np.random.Generator) -> Donor:
    mirrored, quarters = [axis for axis in range(3) if rng.random() < 0.5], int(rng.integers(4))

    def turn(values: NDArray[Any]) -> NDArray[Any]:
        return np.rot90(np.flip(values, tuple(mirrored)), quarters, axes=(0, 1))

    parts = (donor.difference_XYZ, donor.weight_XYZ, donor.lesion_XYZ)
    return Donor(donor.patient_id, *(turn(part) for part in parts))


def _box(
    low: NDArray[np.integer], high: NDArray[np.integer], shape: tuple[int, ...], margin: tuple[int, ...]
) -> tuple[slice, ...]:
    """``low`` to ``high`` with a margin, within ``shape``."""
    rows = zip(low.tolist(), high.tolist(), shape, margin, strict=True)
    return tuple(slice(max(a - m, 0), min(b + m, size)) for a, b, size, m in rows)


def _choose(patients: list[list[ViewedCase]], rng: np.random.Generator) -> ViewedCase:
    own = patients[rng.integers(len(patients))]
    return own[rng.integers(len(own))]


def _any(values: NDArray[np.integer], rng: np.random.Generator) -> int:
    return int(values[rng.integers(values.size)])
