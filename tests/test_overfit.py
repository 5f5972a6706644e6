"""The command that shows that a recipe can learn; that real models do is measured by hand, not here."""

import pytest
import torch

from missrate.core.errors import InputError
from missrate.overfit import overfit
from tests.train import drawn


def test_a_model_that_can_learn_these_cases_reaches_them() -> None:
    torch.set_num_threads(1)
    cases = [drawn.case("a"), drawn.case("b", lesion=None)]
    for case in cases:
        case.image_XYZ[case.label_XYZ == 1] = 2000
    recipe = drawn.recipe(
        config={"dropout": 0.0},
        seed=2,
        steps=150,
        batch=8,
        lr=0.1,
        weight_decay=0.0,
        patch_px=(8, 8),
        lesion_share=0.75,
        shift_hu=0.0,
        scale=0.0,
        snapshot_every=150,
    )
    assert overfit(recipe, cases) > 0.9


def test_cases_without_a_lesion_are_refused() -> None:
    with pytest.raises(InputError, match="must get cases with a lesion"):
        overfit(drawn.recipe(), [drawn.case("a", lesion=None)])
