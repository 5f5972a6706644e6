"""What the models with a ResNet inside share: freezing stages by hand, and grey images in [0, 1]."""

from torch import Tensor, nn

GREY_MEAN, GREY_STD = 0.45, 0.225
"""The mean of ImageNet's three means and standard deviations: a grey image has no colour to tell them apart."""

STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


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
