"""A recipe: all that is needed to train one model, and, beside its weights, to rebuild it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, PositiveInt, field_validator, model_validator

from missrate.core import own
from missrate.core.config import Frozen, parse, read_toml
from missrate.core.errors import ConfigError, InputError
from missrate.core.view import View

INIT = re.compile(r"random|(backbone|full|arm):\S.*")


PRESETS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "torchvision": {
        "optimiser": "sgd",
        "weight_decay": 1e-4,
        "schedule": "steps",
        "clip": 0.0,
        "shift_hu": 0.0,
        "scale": 0.0,
        "flip_x": True,
    },
}
"""``torchvision``: what its references/detection trains Mask R-CNN with, its 26 epochs as shares of the steps."""
TORCHVISION_LR = 0.02 / 16
"""For each image of a batch: eight GPUs with two images each took .02, and the rate is proportional to the batch."""


class TrainConfig(Frozen):
    """The budget and the optimiser. Lengths are optimiser steps; ``patch_px`` is (X, Y) in the view's pixels.

    ``preset`` changes the defaults: what is given counts. ``milestones`` are shares of ``steps`` after each of which
    the schedule "steps" takes a tenth of the rate. ``clip`` 0 is
    no clipping. ``insertion``: the share of lesion slices whose lesion is pasted in.
    """

    preset: Literal["adamw", "torchvision"] = "adamw"
    steps: int = Field(default=200, ge=1)
    batch: int = Field(default=8, ge=1)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: int = Field(default=15, ge=0)
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (16 / 26, 22 / 26)
    clip: float = Field(default=5.0, ge=0)
    precision: Literal["auto", "bf16", "float32"] = "auto"
    lesion_share: float = Field(default=0.5, ge=0, le=1)
    insertion: float = Field(default=0.0, ge=0, le=1)
    patch_px: tuple[PositiveInt, PositiveInt] | None = None
    flip_x: bool = False
    shift_hu: float = Field(default=20.0, ge=0)
    scale: float = Field(default=0.1, ge=0, lt=1)
    rotate_deg: float = Field(default=0.0, ge=0, le=180)
    zoom: float = Field(default=0.0, ge=0, le=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    validate_every: int = Field(default=50, ge=1)
    snapshot_every: int = Field(default=50, ge=1)

    @model_validator(mode="after")
    def _preset(self) -> Self:
        """The preset's values where nothing was given. They do not count as given: an arm can change presets."""
        values = dict(PRESETS[self.preset])
        if self.preset == "torchvision":
            values |= {"lr": TORCHVISION_LR * self.batch, "warmup": min(1000, max(1, self.steps // 26))}
        self.__dict__.update({key: value for key, value in values.items() if key not in self.model_fields_set})
        return self


class PredictConfig(Frozen):
    """How a trained model is applied; another arm may reuse a run with other values."""

    batch: int = Field(default=8, ge=1)
    flip_x: bool = False


class Recipe(Frozen):
    """``config`` belongs to the model and ``loss`` to the loss; each is checked by the Config of its own file."""

    arm: str
    model: str
    config: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] | None = None
    init: str = "random"
    view: View = View()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    seed: int = 0

    @field_validator("init")
    @classmethod
    def _known_init(cls, init: str) -> str:
        if not INIT.fullmatch(init):
            raise ValueError("must be random, backbone:<weights>, full:<weights> or arm:<name>")
        return init

    @model_validator(mode="after")
    def _no_turned_pictures(self) -> Self:
        if self.view.encoding == "picture" and (self.train.rotate_deg or self.train.zoom):
            raise ValueError('rotate_deg and zoom must be 0 with encoding = "picture", which is made of whole slices')
        return self

    def to_toml(self) -> str:
        """The resolved recipe as text; values that are None are left out, as TOML has no word for them.

        Own files stand there by name and hash, without their place.
        """
        return tomli_w.dumps(own.without_places(self.model_dump(mode="json", exclude_none=True)))

    def own_files(self) -> list[str]:
        """The model and the loss where they are the user's own files, as they were pinned (``core.own``); sorted.

        Raises ConfigError for two different files of one name: both are copied into the run.
        """
        members = {self.model, str((self.loss or {}).get("name", ""))}
        found = sorted({own.identity(name): name for name in members if own.is_own(name)}.values())
        if len({own.path_of(name).name for name in found}) < len(found):
            raise ConfigError(
                f"The own files of arm {self.arm!r} must differ in name. Got {own.path_of(found[0]).name} twice, as "
                "model and as loss, with different contents."
            )
        return found

    def placed(self, folder: Path) -> "Recipe":
        """The same recipe, whose own files are those in ``folder``; their hashes stay as they are."""
        return self._with_members(lambda name: own.placed(name, folder))

    def pinned(self, folder: Path) -> "Recipe":
        """The same recipe, whose own files below ``folder`` are pinned. Raises as ``own.pinned``."""
        return self._with_members(lambda name: own.pinned(name, folder))

    def _with_members(self, change: Callable[[str], str]) -> "Recipe":
        loss = self.loss and {key: change(str(value)) if key == "name" else value for key, value in self.loss.items()}
        return self.model_copy(update={"model": change(self.model), "loss": loss})


def require_no_code(recipe: Recipe, path: Path, *, trust_code: bool = False) -> list[str]:
    """Return the files, each with its hash, that the recipe in ``path`` would execute. Raises InputError for any.

    A folder of weights is data, whoever sent it; with ``trust_code`` nothing is raised. The recipe is one as
    ``read_recipe`` gives it, whose own files have their hashes.
    """
    found = [f"{own.path_of(name)} (sha256:{own.sha256_of(name)})" for name in recipe.own_files()]
    if found and not trust_code:
        raise InputError(
            f"{path} must name no code of its own. Got {' and '.join(found)}, which would be executed; perhaps read it "
            "and give --trust-code."
        )
    return found


def read_recipe(path: Path) -> Recipe:
    """The recipe beside a run's weights; its own files lie there, too. Raises ConfigError.

    An own file without a hash is refused: nobody knows whether it is what the weights were trained with.
    """
    recipe = parse(Recipe, read_toml(path), where=str(path))
    nameless = [name for name in recipe.own_files() if own.sha256_of(name) is None]
    if nameless:
        raise ConfigError(f"{path} must say the hash of its own files, FILE.py#sha256=<hex>. Got {nameless[0]}.")
    return recipe.placed(path.parent)
