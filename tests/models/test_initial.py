"""Initial weights from torchvision's own entries, from files, and from another arm; none of it from the network."""

import contextlib
import functools
import hashlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights
from torchvision.models.detection._utils import overwrite_eps

from missrate.core.errors import ConfigError
from missrate.core.recipe import Recipe
from missrate.core.view import View
from missrate.models import _initial
from missrate.models._build import build_model
from missrate.models._initial import initialise

torch.set_num_threads(1)

SMALL = {"backbone": "resnet18", "fpn_channels": 32, "mask_channels": 32, "mask_layers": 2, "box_channels": 64}
NAME = "ResNet18_Weights.IMAGENET1K_V1"


def maskrcnn(*, context: int = 1, **config: Any) -> Any:
    recipe = Recipe(
        arm="a", model="maskrcnn", config=SMALL | config, view=View(context_slices=context), init="backbone:x"
    )
    return build_model(recipe)


def unet(context: int = 1, encoder: str = "resnet18") -> Any:
    loss = {"name": "cross_entropy"}
    view = View(context_slices=context)
    return build_model(Recipe(arm="a", model="unet2d", config={"encoder": encoder}, loss=loss, view=view))


@pytest.fixture(scope="module")
def foreign() -> dict[str, Tensor]:
    """A classifier of torchvision, as its weight files hold one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return dict(resnet18().state_dict())


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)


def saved(path: Path, state: Any) -> str:
    """The file as an init writes it, with its hash."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return f"{path}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"


def start(model: nn.Module, init: str, **more: Any) -> list[str]:
    return initialise(model, init, arm_weights=more.get("arm_weights"), offline=more.get("offline", True))


def test_random_loads_nothing(no_socket: None) -> None:
    model = unet()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert start(model, "random") == ["random: nothing was loaded"]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("build", [unet, maskrcnn])
def test_backbone_from_a_file(
    build: Any, suffix: str, tmp_path: Path, foreign: dict[str, Tensor], no_socket: None
) -> None:
    model = build(context=3)
    lines = start(model, f"backbone:{saved(tmp_path / f'w{suffix}', foreign)}")
    own = model.backbone().state_dict()
    assert all(torch.equal(foreign[key], value) for key, value in own.items())
    count = sum(not key.endswith("num_batches_tracked") for key in own)
    assert f"loaded {count} of the {count} tensors" in lines[0]
    assert len(lines) == 2
    assert lines[1] in (
        "left out, not in the model: fc.weight, fc.bias",
        "left out, not in the model: fc.bias, fc.weight",
    )


@pytest.mark.parametrize("context", [1, 5])
def test_the_first_convolution_sees_a_grey_image_as_before(
    context: int, tmp_path: Path, foreign: dict[str, Tensor], no_socket: None
) -> None:
    model = unet(context)
    lines = start(model, f"backbone:{saved(tmp_path / 'w.pth', foreign)}")
    grey = torch.rand(1, 1, 32, 32)
    expected = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), foreign["conv1.weight"])
    got = nn.functional.conv2d(grey.expand(-1, context, -1, -1), model.backbone().conv1.weight)
    assert torch.allclose(expected, got, atol=1e-5)
    assert f"adapted to other channels: conv1.weight (64, 3, 7, 7) for (64, {context}, 7, 7)" in lines


def test_backbone_out_of_a_whole_detector(tmp_path: Path, no_socket: None) -> None:
    source, model = maskrcnn(), unet(3)
    start(model, f"backbone:{saved(tmp_path / 'w.pth', {'model': source.net.state_dict()})}")
    expected = source.backbone().state_dict()
    assert all(torch.equal(expected[key], value) for key, value in model.backbone().state_dict().items())


def test_a_backbone_is_filled_wholly_or_refused(tmp_path: Path, foreign: dict[str, Tensor], no_socket: None) -> None:
    init = f"backbone:{saved(tmp_path / 'w.pth', foreign)}"
    with pytest.raises(ConfigError, match="whole backbone, so perhaps its depth differs"):
        start(unet(encoder="resnet34"), init)


def test_full_loads_what_fits_and_lists_the_rest(tmp_path: Path, no_socket: None) -> None:
    source, model = maskrcnn(fpn_channels=64), maskrcnn()
    head, *rest = start(model, f"full:{saved(tmp_path / 'w.pth', source.net.state_dict())}")
    assert torch.equal(model.net.backbone.body.conv1.weight, source.net.backbone.body.conv1.weight)
    assert "tensors of MaskRCNN" in head
    assert len(rest) == 1
    assert "roi_heads.box_head.fc6.weight (64, 3136) for (64, 1568)" in rest[0]


def name_of_2019(name: str) -> str:
    name = name.replace("rpn.head.conv.0.0", "rpn.head.conv")
    name = re.sub(r"(fpn\.\w+_blocks\.\d)\.0", r"\1", name)
    return re.sub(r"mask_head\.(\d)\.0", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}", name)


def test_the_names_of_2019_are_understood(tmp_path: Path, no_socket: None) -> None:
    """torchvision's COCO file has the names from before its layers were wrapped; torchvision reads the same file."""
    source, model = maskrcnn(), maskrcnn()
    for parameter in source.parameters():
        nn.init.constant_(parameter, 0.125)
    old = {name_of_2019(name): value for name, value in source.net.state_dict().items()}
    assert len(old.keys() - source.net.state_dict().keys()) == 2 * (4 + 4 + 1 + 2)
    maskrcnn().net.load_state_dict(dict(old))
    lines = start(model, f"full:{saved(tmp_path / 'w.pth', old)}")
    assert len(lines) == 1, "all of it was loaded"
    assert all((p == 0.125).all() for p in model.parameters())


def test_eps_of_the_coco_file_is_repeated_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_socket: None
) -> None:
    source, model = maskrcnn(norm="frozen_batch"), maskrcnn(norm="frozen_batch")
    for name, value in source.net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(1e-6, 1e-3)
    source.net.backbone.body.bn1.running_var[0] = 5.6e-45
    source.net.backbone.body.bn1.weight[0] = 1e-25
    file = saved(tmp_path / "coco.pth", source.net.state_dict())
    monkeypatch.setattr(_initial, "COCO_V1_SHA256", file.partition("=")[2][:8])
    start(model, f"full:{file}")
    overwrite_eps(source.net, 0.0)
    image = torch.rand(1, 3, 32, 32)
    model.requires_grad_(False)
    source.requires_grad_(False)
    for level, expected in source.backbone()(image).items():
        got = model.backbone()(image)[level]
        assert torch.allclose(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    rebuilt = maskrcnn(norm="frozen_batch")
    rebuilt.load_state_dict(model.state_dict())
    assert torch.equal(rebuilt.backbone()(image)["3"], model.backbone()(image)["3"])


def test_arm_goes_on_from_another_arm(tmp_path: Path, no_socket: None) -> None:
    source, model = unet(1), unet(3)
    nn.init.constant_(source.net.segmentation_head[0].bias, 0.5)
    safetensors.torch.save_file(source.state_dict(), tmp_path / "weights.safetensors")
    lines = start(model, "arm:pretrain", arm_weights=tmp_path / "weights.safetensors")
    assert lines[1:] == ["adapted to other channels: net.encoder.conv1.weight (64, 1, 7, 7) for (64, 3, 7, 7)"]
    assert model.net.segmentation_head[0].bias.item() == 0.5
    with pytest.raises(ConfigError, match="must name an arm that was trained"):
        start(model, "arm:pretrain")


def test_files_that_are_refused(tmp_path: Path, foreign: dict[str, Tensor], no_socket: None) -> None:
    path = tmp_path / "w.pth"
    good = saved(path, foreign)
    with pytest.raises(ConfigError, match="must be given with its hash"):
        start(unet(), f"backbone:{path}")
    with pytest.raises(ConfigError, match="must have the SHA-256"):
        start(unet(), f"backbone:{path}#sha256={'0' * 64}")
    with pytest.raises(ConfigError, match="must be a readable file"):
        start(unet(), f"backbone:{good.replace('w.pth', 'x.pth')}")
    with pytest.raises(ConfigError, match="of which none fits"):
        start(unet(), f"full:{saved(path, {'a.weight': torch.zeros(3)})}")
    with pytest.raises(ConfigError, match="of which none fits"):
        start(unet(), f"backbone:{saved(path, {'a.weight': torch.zeros(3)})}")
    with pytest.raises(ConfigError, match="must hold a state dict"):
        start(unet(), f"full:{saved(path, [1, 2])}")
    with pytest.raises(ConfigError, match="must be a file of tensors and nothing else"):
        start(unet(), f"full:{saved(path, {'a': Path('code would run here')})}")


def test_weights_lie_below_the_study_and_are_asked_for_before_it_runs(
    tmp_path: Path, foreign: dict[str, Tensor], no_socket: None
) -> None:
    (tmp_path / "my weights").mkdir()
    sha256 = saved(tmp_path / "my weights" / "w.pth", foreign).partition("#")[2]
    init = f"backbone:my weights/w.pth#{sha256}"
    assert Recipe(arm="a", model="unet2d", init=init).init == init
    _initial.require_weights(init, offline=True, folder=tmp_path)
    initialise(unet(), init, arm_weights=None, offline=True, folder=tmp_path)
    _initial.require_weights("arm:other", offline=True)
    for wrong, folder, message in (
        (init, tmp_path / "elsewhere", "must be a readable file"),
        (init[:-1] + ("0" if init[-1] != "0" else "1"), tmp_path, "must have the SHA-256"),
        ("backbone:w.pth", tmp_path, "must be given with its hash"),
        ("full:ResNet18_Weight.IMAGENET1K_V1", tmp_path, "Perhaps 'ResNet18_Weights.IMAGENET1K_V1'"),
    ):
        with pytest.raises(ConfigError, match=message):
            _initial.require_weights(wrong, offline=True, folder=folder)


def test_unknown_name_gives_the_near_one(no_socket: None) -> None:
    with pytest.raises(ConfigError, match=r"Perhaps 'ResNet18_Weights.IMAGENET1K_V1'"):
        start(unet(), "backbone:ResNet18_Weight.IMAGENET1K_V1")
    with pytest.raises(ConfigError, match=r"Perhaps 'MaskRCNN_ResNet50_FPN_Weights.COCO_V1'"):
        start(unet(), "full:MaskRCNN_ResNet50_FPN_Weights.COCO")


def test_offline_reads_the_cache_and_names_the_file_to_put_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: dict[str, Tensor], no_socket: None
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    cached = tmp_path / "checkpoints" / Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    with pytest.raises(ConfigError, match=f"must lie at {cached} to be used offline"):
        start(unet(), f"backbone:{NAME}")
    cached.parent.mkdir()
    torch.save(foreign, cached)
    with pytest.raises(ConfigError, match="must have a SHA-256 that begins with f37072fd"):
        start(unet(), f"backbone:{NAME}")
    named_by_hash = cached.with_name(f"w-{hashlib.sha256(cached.read_bytes()).hexdigest()[:8]}.pth")
    cached.rename(named_by_hash)
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", f"https://nowhere.invalid/{named_by_hash.name}")
    assert "loaded 100 of the 100" in start(unet(), f"backbone:{NAME}")[0]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server on 127.0.0.1 that gives away the folder's files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_download_by_torchvisions_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: dict[str, Tensor]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    torch.save(foreign, tmp_path / "w.pth")
    name = f"resnet18-{hashlib.sha256((tmp_path / 'w.pth').read_bytes()).hexdigest()[:8]}.pth"
    (tmp_path / "w.pth").rename(tmp_path / name)
    (tmp_path / "resnet18-00000000.pth").write_bytes(b"something else")
    entry = ResNet18_Weights.IMAGENET1K_V1.value
    with served(tmp_path) as address:
        monkeypatch.setattr(entry, "url", f"{address}/resnet18-00000000.pth")
        with pytest.raises(ConfigError, match="could not be downloaded: invalid hash value"):
            start(unet(3), f"backbone:{NAME}", offline=False)
        monkeypatch.setattr(entry, "url", f"{address}/{name}")
        model = unet(3)
        start(model, f"backbone:{NAME}", offline=False)
    assert torch.equal(model.backbone().conv1.weight, foreign["conv1.weight"])
    assert (tmp_path / "cache" / "hub" / "checkpoints" / name).is_file()
    start(unet(3), f"backbone:{NAME}", offline=True)
    monkeypatch.setattr(entry, "url", f"{address}/resnet18-11111111.pth")
    with pytest.raises(ConfigError, match="by hand"):
        start(unet(3), f"backbone:{NAME}", offline=False)


def test_the_coco_file_is_the_one_that_torchvision_names() -> None:
    assert f"-{_initial.COCO_V1_SHA256}." in MaskRCNN_ResNet50_FPN_Weights.COCO_V1.url
