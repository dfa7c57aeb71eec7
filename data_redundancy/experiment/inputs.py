"""The images of a config as training and inference read them: in the devices' memory, or streamed."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, training
from data_redundancy.data.splits import StreamedSplit
from data_redundancy.data.tfds.image_stream import ImageStream
from data_redundancy.errors import InputError
from data_redundancy.training.inputs import Input

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""The channel means of ImageNet's training images, for pixels from 0 to 255."""
IMAGENET_STD = (58.395, 57.12, 57.375)


def make(config: ConfigDict, dataset: data.Dataset) -> tuple[Input, Input]:
    """Returns the training and the test split of a data set as training reads them.

    Raises:
        InputError: if `input.mean` does not have one number per channel.
    """
    train, test = dataset.train, dataset.test
    if isinstance(train, StreamedSplit) or isinstance(test, StreamedSplit):
        assert isinstance(train, StreamedSplit)
        assert isinstance(test, StreamedSplit)
        return _streamed(config, train), _streamed(config, test)
    mean, std = _statistics(config, train.images.shape[-1]) or training.channel_statistics(train.images)
    return (
        training.InMemory(train.images, train.labels, mean=np.asarray(mean), std=np.asarray(std)),
        training.InMemory(test.images, test.labels, mean=np.asarray(mean), std=np.asarray(std)),
    )


def _streamed(config: ConfigDict, split: StreamedSplit) -> training.Streamed:
    settings, channels = config.input, split.num_channels
    mean, std = _statistics(config, channels) or _imagenet_statistics(channels)
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


def _imagenet_statistics(channels: int) -> tuple[Sequence[float], Sequence[float]]:
    """Returns ImageNet's statistics; unless there are 3 channels, their means over ImageNet's channels."""
    if channels == len(IMAGENET_MEAN):
        return IMAGENET_MEAN, IMAGENET_STD
    return (float(np.mean(IMAGENET_MEAN)),) * channels, (float(np.mean(IMAGENET_STD)),) * channels


def _statistics(config: ConfigDict, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
    """Returns the mean and standard deviation that the config sets, or None."""
    mean, std = config.input.mean, config.input.std
    if not mean:
        return None
    if len(mean) != channels:
        raise InputError("input.mean", tuple(mean), f"must have a number for each of {channels} channels")
    return mean, std
