"""The null arms: what a position in the image alone tells."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from missrate.core.errors import InputError, UnknownNameError
from missrate.core.grid import Grid
from missrate.core.quantise import TOP, decode
from missrate.predict.null import FRAME, NULL_ARMS, fit_prior, predict_null

GRID = Grid((20, 30, 7), None)


def label(shape: tuple[int, int, int], *, right: bool) -> NDArray[np.uint8]:
    """Lesion in the half of the scan with high or low x; organ (2) and ignored (255) elsewhere."""
    result = np.full(shape, 2, np.uint8)
    result[:, :, -1] = 255
    half = np.s_[shape[0] // 2 :] if right else np.s_[: shape[0] // 2]
    result[half] = 1
    return result


def test_nothing_and_everything() -> None:
    assert predict_null("nothing", GRID, None).tolist() == np.zeros(GRID.shape, int).tolist()
    assert (predict_null("everything", GRID, None) == TOP).all()
    assert {predict_null(name, GRID, np.zeros(FRAME, np.float32)).dtype for name in NULL_ARMS} == {np.dtype(np.uint16)}


def test_the_prior_is_the_mean_mask_whatever_the_scans_sizes() -> None:
    scans = [label((20, 30, 7), right=True), label((64, 10, 3), right=True), label((12, 12, 40), right=True)]
    prior = fit_prior(iter([*scans, label((30, 30, 30), right=False)]))
    assert prior.shape == FRAME and prior.dtype == np.float32
    assert prior[: FRAME[0] // 2 - 3].max() == pytest.approx(0.25) == prior[: FRAME[0] // 2 - 3].min()
    assert prior[FRAME[0] // 2 + 3 :].min() == pytest.approx(0.75) == prior[FRAME[0] // 2 + 3 :].max()


def test_the_prior_lies_on_the_right_voxels_of_any_grid() -> None:
    prior = fit_prior([label((20, 30, 7), right=True)])
    for shape in ((20, 30, 7), (101, 5, 1), (1, 1, 1)):
        probability_XYZ = decode(predict_null("location_prior", Grid(shape, None), prior))
        assert probability_XYZ.shape == shape
        if shape[0] > 1:
            assert (probability_XYZ[: shape[0] // 2 - 4] == 0).all()
            assert (probability_XYZ[shape[0] // 2 + 4 :] > 0.9999).all()
        else:
            assert probability_XYZ.item() == pytest.approx(0.5, abs=1e-3)


def test_healthy_scans_count() -> None:
    healthy = np.zeros((5, 5, 5), np.uint8)
    assert fit_prior([healthy, np.ones((5, 5, 5), np.uint8)]) == pytest.approx(np.full(FRAME, 0.5))
    assert fit_prior([healthy]).max() == 0


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="at least one training scan"):
        fit_prior([])
    with pytest.raises(InputError, match="must get the prior"):
        predict_null("location_prior", GRID, None)
    with pytest.raises(UnknownNameError, match="nothing, everything, location_prior"):
        predict_null("nothin", GRID, None)


def test_no_torch_is_needed() -> None:
    code = "import sys, missrate.predict.null; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
