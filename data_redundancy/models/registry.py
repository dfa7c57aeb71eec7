"""Models by name."""

import flax.linen as nn
from jax.typing import DTypeLike

from data_redundancy.errors import InputError, choice_error
from data_redundancy.models.cifar_resnet import CifarResNet
from data_redundancy.models.imagenet_resnet import STEMS, ImageNetResNet

# By name: the blocks per stage and the width.
_CIFAR_MODELS = {
    "resnet8": (1, 1),
    "resnet20": (3, 1),
    "resnet32": (5, 1),
    "resnet56": (9, 1),
    "wrn16_4": (2, 4),
    "wrn28_10": (4, 10),
}

# By name: the blocks of every stage, and whether they are bottlenecks. The name with the suffix `_v2` is version 2.
_IMAGENET_MODELS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
_V2 = "_v2"


def names() -> list[str]:
    """Returns all model names, those for small images first."""
    return [*_CIFAR_MODELS, *(f"{name}{suffix}" for name in _IMAGENET_MODELS for suffix in ("", _V2))]


def create(
    name: str,
    *,
    num_classes: int,
    width: int = 1,
    dtype: DTypeLike,
    axis_name: str | None = None,
    stem: str | None = None,
) -> nn.Module:
    """Creates the named model.

    Args:
        name: one of `names()`.
        num_classes: number of logits.
        width: multiplies the channels of the named model (wrn28_10 is already ten times as wide as a resnet).
        dtype: dtype of the computation; parameters are always float32.
        axis_name: mapped axis over which BatchNorm averages its statistics in training, or None for one device.
        stem: one of `STEMS`, or None for the stem that the model was published with: "small" for the models for small
            images, which have no other, "imagenet" for the others.

    Returns:
        A Flax module; `apply(variables, images, train=...)` returns logits and embeddings.

    Raises:
        InputError: if the name or the stem is unknown, or the model does not have that stem.
    """
    if name not in names():
        raise choice_error("name", name, names())
    if stem not in (None, *STEMS):
        raise choice_error("stem", stem, (None, *STEMS))
    if name in _CIFAR_MODELS:
        if stem == "imagenet":
            raise InputError("stem", stem, f"must be None or small for {name}, a model for small images")
        cifar_blocks, own_width = _CIFAR_MODELS[name]
        return CifarResNet(
            num_classes=num_classes, blocks=cifar_blocks, width=width * own_width, dtype=dtype, axis_name=axis_name
        )
    blocks, bottleneck = _IMAGENET_MODELS[name.removesuffix(_V2)]
    return ImageNetResNet(
        num_classes=num_classes,
        blocks=blocks,
        bottleneck=bottleneck,
        pre_activation=name.endswith(_V2),
        stem=stem or "imagenet",
        width=width,
        dtype=dtype,
        axis_name=axis_name,
    )
