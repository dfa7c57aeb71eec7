"""Models by name."""

import functools

import flax.linen as nn
from jax.typing import DTypeLike

from data_redundancy.errors import InputError
from data_redundancy.models.cifar_resnet import CifarResNet
from data_redundancy.models.imagenet_resnet import STEMS, ImageNetResNet

_CIFAR_MODELS = {
    "resnet8": functools.partial(CifarResNet, blocks=1),
    "resnet20": functools.partial(CifarResNet, blocks=3),
    "resnet32": functools.partial(CifarResNet, blocks=5),
    "resnet56": functools.partial(CifarResNet, blocks=9),
    "wrn16_4": functools.partial(CifarResNet, blocks=2, width=4),
    "wrn28_10": functools.partial(CifarResNet, blocks=4, width=10),
}

_IMAGENET_MODELS = {
    f"{name}{suffix}": functools.partial(
        ImageNetResNet, blocks=blocks, bottleneck=bottleneck, pre_activation=pre_activation
    )
    for name, blocks, bottleneck in (
        ("resnet18", (2, 2, 2, 2), False),
        ("resnet34", (3, 4, 6, 3), False),
        ("resnet50", (3, 4, 6, 3), True),
        ("resnet101", (3, 4, 23, 3), True),
        ("resnet152", (3, 8, 36, 3), True),
    )
    for suffix, pre_activation in (("", False), ("_v2", True))
}


def names() -> list[str]:
    """All model names, those for small images first."""
    return [*_CIFAR_MODELS, *_IMAGENET_MODELS]


def create(
    name: str,
    *,
    num_classes: int,
    width: int = 1,
    dtype: DTypeLike,
    axis_name: str | None = None,
    stem: str | None = None,
) -> nn.Module:
    """Makes the named model.

    Args:
        name: one of `names()`.
        num_classes: number of logits.
        width: multiplies the channels of the named model (wrn28_10 is already ten times as wide as a resnet).
        dtype: compute dtype; parameters are float32 always.
        axis_name: mapped axis for BatchNorm's statistics while training.
        stem: one of `STEMS`, or None for the one the model is known with: "small" for those of CIFAR, which have no
            other, "imagenet" for those of ImageNet.

    Returns:
        A Flax module; `apply(variables, images, train=...)` gives logits and embedding.

    Raises:
        InputError: for an unknown name or stem, or a stem that the model does not have.
    """
    if name not in names():
        raise InputError(f"model.name={name!r}: must be one of {', '.join(names())}")
    if stem not in (None, *STEMS):
        raise InputError(f"model.stem={stem!r}: must be None (the model's own) or one of {', '.join(STEMS)}")
    if name in _CIFAR_MODELS:
        if stem == "imagenet":
            raise InputError(f"model.stem={stem!r}: model.name={name!r} is for small images, must be None or small")
        factory = _CIFAR_MODELS[name]
    else:
        factory = functools.partial(_IMAGENET_MODELS[name], stem=stem or "imagenet")
    return factory(
        num_classes=num_classes, width=width * factory.keywords.get("width", 1), dtype=dtype, axis_name=axis_name
    )
