"""Models by name."""

import functools

import flax.linen as nn
from jax.typing import DTypeLike

from data_redundancy.errors import InputError
from data_redundancy.models.cifar_resnet import CifarResNet

_MODELS = {
    "resnet8": functools.partial(CifarResNet, blocks=1),
    "resnet20": functools.partial(CifarResNet, blocks=3),
    "resnet32": functools.partial(CifarResNet, blocks=5),
    "resnet56": functools.partial(CifarResNet, blocks=9),
    "wrn16_4": functools.partial(CifarResNet, blocks=2, width=4),
    "wrn28_10": functools.partial(CifarResNet, blocks=4, width=10),
}


def names() -> list[str]:
    """All model names."""
    return sorted(_MODELS)


def create(name: str, *, num_classes: int, width: int = 1, dtype: DTypeLike, axis_name: str | None = None) -> nn.Module:
    """Makes the named model.

    Args:
        name: one of `names()`.
        num_classes: number of logits.
        width: multiplies the channels of the named model (wrn28_10 is already ten times as wide as a resnet).
        dtype: compute dtype; parameters are float32 always.
        axis_name: mapped axis for BatchNorm's statistics while training.

    Returns:
        A Flax module; `apply(variables, images, train=...)` gives logits and embedding.

    Raises:
        InputError: for an unknown name.
    """
    if name not in _MODELS:
        raise InputError(f"model.name={name!r}: must be one of {', '.join(names())}")
    factory = _MODELS[name]
    return factory(
        num_classes=num_classes, width=width * factory.keywords.get("width", 1), dtype=dtype, axis_name=axis_name
    )
