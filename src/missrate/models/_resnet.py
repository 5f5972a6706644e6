"""What the models with a ResNet inside share: its first convolution, freezing by hand, grey images in [0, 1]."""

from torch import Tensor, nn

GREY_MEAN, GREY_STD = 0.45, 0.225
"""The mean of ImageNet's three means and standard deviations: a grey image has no colour to tell them apart."""

STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


def begin(body: nn.Module, channels: int) -> None:
    """Gives a ResNet a random first convolution for ``channels`` inputs whose outputs have about unit variance.

    Batch norm's statistics begin at variance 1. torchvision scales by the number of outputs, which for one grey channel
    gives .004: evaluation mode is then wrong for some 80 steps, a good part of a short training.
    """
    conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(conv1.weight, mode="fan_in", nonlinearity="relu")
    body.conv1 = conv1


def freeze(body: nn.Module, trainable_stages: int) -> list[nn.Module]:
    """Makes all but the last ``trainable_stages`` (0 to 5) stages of a ResNet constant and returns their modules.

    torchvision ignores its own switch when no weights are given, so it is done by hand. A frozen stage at random
    weights stays random.
    """
    frozen = [body.get_submodule(name) for stage in STAGES[: len(STAGES) - trainable_stages] for name in stage]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def standardise(image: Tensor) -> Tensor:
    """[0, 1] to about the range that ImageNet's networks were trained on; any shape."""
    return (image - GREY_MEAN) / GREY_STD
