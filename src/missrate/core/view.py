"""How a model sees a scan: crop, resample, window. One type for training and prediction, and its inverse."""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from missrate.core.config import Frozen, fingerprint
from missrate.core.errors import DataError
from missrate.core.grid import Grid, resample
from missrate.core.lesions import components
from missrate.core.picture import as_picture
from missrate.core.types import BACKGROUND, IGNORED, LESION, ORGAN

Box = tuple[slice, slice, slice]
FORM = 3
"""Of what ``viewed.write_view`` leaves: raised with it, so that views of older programs are made anew."""
MOST_VOXELS = 8192
BODY_HU = -300.0
"""Between fat (-100) and air (-1000): above it lies the patient (or the table, a smaller component)."""


class View(Frozen):
    """``spacing_mm`` is the pixel in an axial plane and ``slice_mm`` between slices; None keeps the scan's own.

    ``encoding`` "window" maps HU through ``window_hu``; "picture" is a fault on purpose, see ``picture.as_picture``.
    """

    window_hu: tuple[float, float] = (-100.0, 200.0)
    spacing_mm: float | None = Field(default=None, gt=0)
    slice_mm: float | None = Field(default=None, gt=0)
    context_slices: int = Field(default=1, ge=1)
    crop: Literal["none", "body"] = "none"
    encoding: Literal["window", "picture"] = "window"

    @property
    def channels(self) -> int:
        """Of an image as models see it: one for each slice, three in a picture."""
        return self.context_slices * (3 if self.encoding == "picture" else 1)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.window_hu[0] >= self.window_hu[1]:
            raise ValueError("window_hu must be (low, high) with low < high")
        if self.context_slices % 2 == 0:
            raise ValueError("context_slices must be odd: as many neighbours above as below")
        return self

    def key(self) -> str:
        """Names the materialised form on disk; what is applied later does not count: window, context, encoding."""
        return fingerprint([FORM, self.model_dump(mode="json", include={"spacing_mm", "slice_mm", "crop"})])[:12]

    def box(self, image_XYZ: NDArray[np.int16]) -> Box:
        """The part of the scan that is seen: all of it, or the body's box in the axial plane with every slice."""
        whole = (slice(0, image_XYZ.shape[0]), slice(0, image_XYZ.shape[1]), slice(0, image_XYZ.shape[2]))
        if self.crop == "none":
            return whole
        coarse, count = components(image_XYZ[::2, ::2, ::2] > BODY_HU)
        if count == 0:
            return whole
        body = coarse == 1 + np.bincount(coarse.ravel())[1:].argmax()
        spans = [np.flatnonzero(body.any(axis=axes)) * 2 for axes in ((1, 2), (0, 2))]
        x, y = (
            slice(max(int(s[0]) - 1, 0), min(int(s[-1]) + 2, n))
            for s, n in zip(spans, image_XYZ.shape[:2], strict=True)
        )
        return x, y, whole[2]

    def shape(self, box: Box, grid: Grid) -> tuple[int, int, int]:
        """The number of voxels after resampling; without millimetres the scan's own.

        Raises DataError where resampling gives more than MOST_VOXELS along an axis: then its spacing cannot be right.
        """
        sizes = [b.stop - b.start for b in box]
        if grid.spacing_mm is not None:
            wanted_mm = (self.spacing_mm, self.spacing_mm, self.slice_mm)
            sizes = [
                size if mm is None else max(1, round(size * own_mm / mm))
                for size, own_mm, mm in zip(sizes, grid.spacing_mm, wanted_mm, strict=True)
            ]
            most = max((size for size, mm in zip(sizes, wanted_mm, strict=True) if mm is not None), default=0)
            if most > MOST_VOXELS:
                own = " x ".join(f"{mm:g}" for mm in grid.spacing_mm)
                raise DataError(
                    f"A resampled scan must have at most {MOST_VOXELS} voxels along an axis. "
                    f"Got {most}; perhaps its spacing of {own} mm is wrong."
                )
        return sizes[0], sizes[1], sizes[2]

    def apply_image(self, image_XYZ: NDArray[np.int16], grid: Grid) -> NDArray[np.int16]:
        """Cropped and resampled, still HU in int16. An int16 result costs at most half a HU and half of the disk."""
        return self.look(image_XYZ, self.box(image_XYZ), grid)

    def look(self, image_XYZ: NDArray[np.int16], box: Box, grid: Grid) -> NDArray[np.int16]:
        """``apply_image`` in a box that is known; of some slices of a scan the box's slices count from the first."""
        seen = resample(image_XYZ[box].astype(np.float32), self.shape(box, grid))
        return np.rint(seen).astype(np.int16)

    def apply_label(self, label_XYZ: NDArray[np.uint8], box: Box, grid: Grid) -> NDArray[np.uint8]:
        """0 background, 1 lesion, 2 organ, 255 ignored: each where it is half of the voxel, lesion first.

        A lesion that nowhere fills half a voxel keeps one: to train on it as background would teach to miss it.
        """
        shape = self.shape(box, grid)
        cropped = label_XYZ[box]
        seen = np.full(shape, BACKGROUND, np.uint8)
        for value in (ORGAN, IGNORED, LESION):
            mask = cropped == value
            if mask.any():
                seen[resample(mask.astype(np.float32), shape) >= 0.5] = value
        for centre in _lost(cropped == LESION, seen == LESION):
            seen[centre] = LESION
        return seen

    def invert(self, probability_XYZ: NDArray[np.float32], box: Box, grid: Grid) -> NDArray[np.float32]:
        """A probability in the view, back on the scan's whole grid; 0 where the view did not look. Stays in [0, 1].

        Where the slices are the scan's own, ``probability_XYZ`` may hold some of them: then those come back.
        """
        size = (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)
        depth = grid.shape[2]
        if self.slice_mm is None:  # of the box's slices, those that are given
            depth = grid.shape[2] - size[2] + probability_XYZ.shape[2]
            box = (box[0], box[1], slice(box[2].start, box[2].start + probability_XYZ.shape[2]))
            size = (size[0], size[1], probability_XYZ.shape[2])
        full = np.zeros((*grid.shape[:2], depth), np.float32)
        full[box] = np.clip(resample(probability_XYZ, size), 0.0, 1.0)
        return full

    def encoded(self, hu_CXY: NDArray[np.float32]) -> NDArray[np.float32]:
        """Slices in HU as the channels of a model's image, in [0, 1]. May work in place."""
        return as_picture(hu_CXY) if self.encoding == "picture" else self.windowed(hu_CXY)

    def windowed(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """HU to [0, 1] through the window; any shape. In place."""
        low, high = self.window_hu
        hu -= np.float32(low)
        hu /= np.float32(high - low)
        return np.clip(hu, 0.0, 1.0, out=hu)

    def slab(self, image_XYZ: NDArray[np.int16], z: int) -> NDArray[np.float32]:
        """Slice ``z`` and its neighbours as channels, shape (channels, X, Y), in [0, 1]; edges repeat."""
        reach = self.context_slices // 2
        wanted = np.clip(np.arange(z - reach, z + reach + 1), 0, image_XYZ.shape[2] - 1)
        return self.encoded(np.moveaxis(image_XYZ[:, :, wanted], 2, 0).astype(np.float32))


def _lost(mask_XYZ: NDArray[np.bool_], seen_XYZ: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """For each lesion of the mask with no voxel left near its middle in the coarser one: where it was."""
    if seen_XYZ.shape == mask_XYZ.shape:
        return []
    labels_XYZ, count = components(mask_XYZ)
    ratio = np.array(seen_XYZ.shape) / mask_XYZ.shape
    centres = [np.argwhere(labels_XYZ == k).mean(axis=0) for k in range(1, count + 1)]
    places = [tuple(((centre + 0.5) * ratio).astype(int).tolist()) for centre in centres]
    return [p for p in places if not seen_XYZ[tuple(slice(max(i - 1, 0), i + 2) for i in p)].any()]
