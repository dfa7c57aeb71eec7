"""Where the images of a config come from while training: shared by the stages that train and embed."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, training
from data_redundancy.errors import InputError

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Per channel, of ImageNet's training images, in units of 0..255: what everybody who trains on them takes."""
IMAGENET_STD = (58.395, 57.12, 57.375)


def make(config: ConfigDict, dataset: data.Dataset) -> tuple[training.InMemory | training.Streamed, ...]:
    """The training and the test split of a data set, as training takes them.

    Raises:
        InputError: if `input.mean` is for another number of channels than images have.
    """
    if config.input.mode == "stream":
        return tuple(_streamed(config, split) for split in (dataset.train, dataset.test))
    mean, std = _statistics(config, dataset.train.images.shape[-1])
    if mean is None:
        mean, std = training.channel_statistics(dataset.train.images)
    return tuple(
        training.InMemory(split.images, split.labels, mean=mean, std=std) for split in (dataset.train, dataset.test)
    )


def _streamed(config: ConfigDict, split: Any) -> training.Streamed:
    from data_redundancy.data.tfds.image_stream import ImageStream

    settings, channels = config.input, split.num_channels
    mean, std = _statistics(config, channels)
    if mean is None:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        if channels != len(mean):
            mean, std = (np.mean(mean),) * channels, (np.mean(std),) * channels
    stream = ImageStream(
        split,
        image_size=settings.image_size,
        threads=settings.threads,
        on_corrupt=settings.corrupt,
        prefetch=settings.prefetch,
    )
    return training.Streamed(
        stream,
        training.StreamSettings(
            crop=settings.crop, min_area=settings.min_area, central_fraction=settings.central_fraction
        ),
        num_examples=len(split.labels),
        image_shape=(settings.image_size, settings.image_size, channels),
        mean=mean,
        std=std,
        ahead=settings.prefetch,
    )


def _statistics(config: ConfigDict, channels: int) -> tuple[Any, Any]:
    mean, std = config.input.mean, config.input.std
    if not mean:
        return None, None
    if len(mean) != channels:
        raise InputError(f"--config.input.mean={tuple(mean)}: must have a number for each of {channels} channels")
    return mean, np.maximum(std, 1e-3)
