"""Initial weights: one switch for every model, and a line for whatever it loaded and left out."""

import difflib
import hashlib
import io
import pickle
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import FrozenBatchNorm2d

from missrate.core.errors import ConfigError
from missrate.core.guard import understood
from missrate.models._backbones import first_convolution, timm_name

Weights = Mapping[str, Tensor]
FILE = re.compile(r"(?P<path>.+\.(?:pth|pt|safetensors))(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?")
COCO_V1_SHA256 = "bf2d0c1e"
"""How the hash of torchvision's maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth begins."""

FROZEN_EPS = 1e-5
OLD_NAMES = (
    (re.compile(r"(fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
)
"""torchvision renamed these between 2019, when its COCO weights were written, and now; so it does itself on loading,
but only where every shape fits."""
OLD_MASK_LAYER = re.compile(r"(mask_head)\.mask_fcn(\d)\.(weight|bias)$")


def initialise(
    model: nn.Module, init: str, *, arm_weights: Path | None, offline: bool, folder: Path = Path()
) -> list[str]:
    """Loads the recipe's ``init`` into a model at random weights; returns what was and what was not loaded.

    ``random`` does nothing. ``backbone:X`` fills the Segmenter's ``backbone()``, ``full:X`` all that fits; X is a
    name in torchvision ("ResNet50_Weights.IMAGENET1K_V1") or a file below ``folder`` with its hash
    ("weights.pth#sha256=..."; also .safetensors). ``arm:NAME`` reads ``arm_weights`` (safetensors) as ``full`` does.
    Tensors of another shape are left out and listed, but a backbone is filled wholly or refused; the first convolution
    is adapted (see ``_adapted``). With ``offline`` no socket is opened: torchvision's file must lie in torch's cache.
    Raises ConfigError where the weights are absent, are not what the hash says, cannot be read without executing code,
    or do not fit.
    """
    if init == "random":
        return ["random: nothing was loaded"]
    part, _, source = init.partition(":")
    if part == "arm":
        if arm_weights is None or not arm_weights.is_file():
            raise ConfigError(f"init {init!r} must name an arm that was trained. Got no weights at {arm_weights}.")
        return _load(model, part, _read(arm_weights, arm_weights.read_bytes()), init)
    state, sha256 = _from(source, offline=offline, folder=folder)
    if sha256.startswith(COCO_V1_SHA256) and any(isinstance(part, FrozenBatchNorm2d) for part in model.modules()):
        state = _without_eps(state)
    return _load(model, part, state, init)


def require_weights(init: str, *, offline: bool, folder: Path = Path()) -> None:
    """Fetches, hashes and reads what ``init`` names, so that a mistake is told before anything long runs.

    Raises ConfigError as ``initialise``; of another arm's weights nothing can be known yet.
    """
    part, _, source = init.partition(":")
    if part in ("backbone", "full"):
        _from(source, offline=offline, folder=folder)


def to_be_fetched(init: str) -> bool:
    """Whether ``init`` names weights of torchvision that are not in torch's cache. Raises ConfigError for no name."""
    part, _, source = init.partition(":")
    if part not in ("backbone", "full") or FILE.fullmatch(source):
        return False
    return not _cached(_named(source)).is_file()


def require_fit(model: nn.Module, init: str, parent: nn.Module) -> None:
    """Loads the random weights of the ``parent`` that ``init`` (an arm) names. Raises ConfigError where none fits."""
    _load(model, "arm", parent.state_dict(), init)


def _cached(weights: Any) -> Path:
    """Where torch keeps weights of torchvision."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name


def _from(source: str, *, offline: bool, folder: Path) -> tuple[Weights, str]:
    """The tensors, and the hash of their file."""
    file = FILE.fullmatch(source)
    return _from_file(file, folder) if file else _from_torchvision(source, offline=offline)


def _from_file(file: re.Match[str], folder: Path) -> tuple[Weights, str]:
    path, wanted = folder / file["path"], file["sha256"]
    if wanted is None:
        raise ConfigError(f"A weights file must be given with its hash, {path}#sha256=<64 hex digits>. Got none.")
    if not path.is_file():
        raise ConfigError(f"Initial weights must be a readable file. Got {path}.")
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != wanted.lower():
        raise ConfigError(f"{path} must have the SHA-256 {wanted.lower()}. Got {sha256}.")
    return _read(path, content), sha256


def _from_torchvision(name: str, *, offline: bool) -> tuple[Weights, str]:
    """Through torchvision's own download and cache; its file is hashed again, as a cached one is not by torch."""
    weights = _named(name)
    cached = _cached(weights)
    if not cached.is_file():
        if offline:
            raise ConfigError(f"{name} must lie at {cached} to be used offline. Put {weights.url} there.")
        try:
            weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise ConfigError(
                f"{name} could not be downloaded: {error}. Perhaps put {weights.url} at {cached} by hand."
            ) from error
    content = cached.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    beginning = re.search(r"-([0-9a-f]{8,})\.", cached.name)
    if beginning and not sha256.startswith(beginning[1]):
        raise ConfigError(f"{cached} must have a SHA-256 that begins with {beginning[1]}. Got {sha256}; delete it.")
    return _read(cached, content), sha256


def _named(name: str) -> Any:
    """torchvision's entry of that name."""
    try:
        return models.get_weight(name)
    except (ValueError, KeyError) as error:
        owners = [vars(models), vars(models.detection), vars(models.segmentation)]
        kinds = {k: v for owner in owners for k, v in owner.items() if k.endswith("_Weights")}
        known = [f"{kind}.{member}" for kind, members in kinds.items() for member in members.__members__]
        near = difflib.get_close_matches(name, known, n=1)
        perhaps = f" Perhaps {near[0]!r}." if near else ""
        raise ConfigError(
            "Initial weights must be a name in torchvision, such as ResNet50_Weights.IMAGENET1K_V1, or a file "
            f"weights.pth#sha256=<hex>. Got {name!r}.{perhaps}"
        ) from error


def _read(path: Path, content: bytes) -> Weights:
    """A state dict from bytes that were hashed; nothing in them is executed."""
    with understood(path, "a file of tensors and nothing else", kind=ConfigError):
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load(content)
        else:
            with warnings.catch_warnings():  # torch warns of old formats, and of those that it will refuse
                warnings.simplefilter("ignore")
                state = _from_torch(content)
    for key in ("model", "state_dict"):  # as torchvision's references and many others save theirs
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ConfigError(f"{path} must hold a state dict, names to tensors. Got {type(state).__name__}.")
    return {_renamed(name): value for name, value in state.items()}


def _from_torch(content: bytes) -> Any:
    """What torch reads without executing anything; it advises to execute what else there is, which we do not."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError("what cannot be read without executing it, or is damaged") from error


def _renamed(name: str) -> str:
    for old, new in OLD_NAMES:
        name = old.sub(new, name)
    return timm_name(OLD_MASK_LAYER.sub(lambda found: f"{found[1]}.{int(found[2]) - 1}.0.{found[3]}", name))


def _without_eps(state: Weights) -> Weights:
    """Gives a FrozenBatchNorm2d with torchvision's eps the output that these weights have with eps = 0.

    torchvision calls ``overwrite_eps(model, 0.0)`` for this one file. An attribute would be lost when the trained
    model is rebuilt from its recipe; weight * sqrt((variance + eps) / variance) says the same and is saved.
    """
    adjusted = dict(state)
    for name, variance in state.items():
        weight = name.removesuffix("running_var") + "weight"
        if name.endswith("running_var") and weight in state:
            exact = variance.double()
            factor = torch.where(exact > 0, ((exact + FROZEN_EPS) / exact).sqrt(), 1.0)
            adjusted[weight] = (state[weight].double() * factor).to(state[weight].dtype)
    return adjusted


def _backbone(model: nn.Module) -> nn.Module:
    backbone = model.backbone()  # type: ignore[operator]
    assert isinstance(backbone, nn.Module)
    return backbone


def _places(model: nn.Module, part: str, state: Weights) -> list[tuple[nn.Module, str]]:
    """Where names may begin, in the model and in the file.

    A foreign file knows nothing of the Segmenter around its network, and a backbone may lie deep in a file.
    """
    if part != "backbone":
        return [(place, "") for place in (model, *model.children())]
    body = _backbone(model)
    first = f"{first_convolution(body)}.weight"
    return [(body, name.removesuffix(first)) for name in state if f".{name}".endswith(f".{first}")]


def _load(model: nn.Module, part: str, state: Weights, init: str) -> list[str]:
    """Loads the tensors that fit at the place where most of them do."""
    fits = [
        (place, prefix, _fitting(place, _below(state, prefix), model)) for place, prefix in _places(model, part, state)
    ]
    place, prefix, fitting = max(fits, key=lambda fit: len(fit[2]), default=(model, "", {}))
    own = _counted(place.state_dict())
    missing = [name for name in own if name not in fitting]
    if len(missing) == len(own):
        raise ConfigError(f"init {init!r} must fit the model. Got {len(state)} tensors of which none fits.")
    if part == "backbone" and missing:
        raise ConfigError(
            f"init {init!r} must fill the whole backbone, so perhaps its depth differs. "
            f"Got nothing that fits {len(missing)} of its {len(own)} tensors, the first {missing[0]}."
        )
    place.load_state_dict(fitting, strict=False)
    head = f"{init}: loaded {len(own) - len(missing)} of the {len(own)} tensors of {type(place).__name__}"
    return [head, *_account(own, _counted(_below(state, prefix)), fitting)]


def _below(state: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _counted(state: Weights) -> Weights:
    """Without the counters of batches, which fit everywhere and say nothing."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def _account(own: Weights, theirs: Weights, loaded: Weights) -> list[str]:
    """What was adapted or not loaded, by name."""
    shapes = {name: f"{tuple(theirs[name].shape)} for {tuple(own[name].shape)}" for name in own if name in theirs}
    differing = [name for name in shapes if theirs[name].shape != own[name].shape]
    lists = {
        "adapted to other channels": [f"{name} {shapes[name]}" for name in differing if name in loaded],
        "left out, another shape": [f"{name} {shapes[name]}" for name in differing if name not in loaded],
        "left out, not in the model": [name for name in theirs if name not in own],
        "still random, not in the file": [name for name in own if name not in theirs],
    }
    return [f"{what}: {', '.join(names)}" for what, names in lists.items() if names]


def _fitting(place: nn.Module, state: Weights, model: nn.Module) -> dict[str, Tensor]:
    """Those tensors of the file that have a name and the shape of the place's own, the first convolution adapted."""
    own = place.state_dict()
    body = _backbone(model)
    first = first_convolution(body)
    adapted = None if first is None else body.get_submodule(first)
    adaptable = {f"{name}.weight" for name, module in place.named_modules() if module is adapted}
    fitting = {}
    for name in own.keys() & state.keys():
        value = _adapted(state[name], own[name].shape) if name in adaptable else state[name]
        if value.shape == own[name].shape:
            fitting[name] = value
    return fitting


def _adapted(weight: Tensor, shape: torch.Size) -> Tensor:
    """The first convolution for another number of channels: each gets the sum over the old ones / their new number.

    So an image whose channels are all alike gives the response that the old weights give to that grey image.
    """
    if weight.shape[1:2] == shape[1:2] or weight.ndim != 4 or weight.shape[0] != shape[0]:
        return weight
    return (weight.sum(dim=1, keepdim=True) / shape[1]).expand(-1, shape[1], -1, -1).contiguous()
