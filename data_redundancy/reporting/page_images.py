"""The images of a data set for people to look at, from memory or from its records."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, gallery

_BATCH = 64


def splits(config: ConfigDict, dataset: data.Dataset) -> tuple[gallery.Split, gallery.Split]:
    """The training and the test split as the gallery takes them."""
    return tuple(_split(config, split) for split in (dataset.train, dataset.test))


def image_shape(config: ConfigDict, dataset: data.Dataset) -> tuple[int, int, int]:
    """(H, W, C) of the small images: those in memory as they are, those of streams cut to squares."""
    if config.input.mode == "stream":
        return gallery.SIDE, gallery.SIDE, dataset.train.num_channels
    return dataset.train.images.shape[1:]


def _split(config: ConfigDict, split: Any) -> gallery.Split:
    if config.input.mode == "stream":
        images, ids = _streamed(config, split), lambda index: split.name_examples(index).tolist()
    else:
        images, ids = _in_memory(split), _column(split.tfds_ids)
    return gallery.Split(labels=split.labels, ids=ids, files=_column(split.file_names), images=images)


def _column(names: np.ndarray | None) -> gallery.Names:
    return lambda index: [None] * len(index) if names is None else names[index].tolist()


def _in_memory(split: data.Split) -> gallery.Images:
    return lambda index, _: (split.images[i] for i in index)


def _streamed(config: ConfigDict, split: Any) -> gallery.Images:
    """Central squares, small or as training sees them."""

    def images(index: np.ndarray, small: bool) -> Iterator[np.ndarray]:
        from data_redundancy.data.tfds.image_stream import ImageStream

        stream = ImageStream(
            split,
            image_size=gallery.SIDE if small else config.input.image_size,
            threads=config.input.threads,
            on_corrupt=config.input.corrupt,
        )
        # All batches are of one size: the last is filled with what it begins with.
        batches = [np.resize(index[first : first + _BATCH], _BATCH) for first in range(0, len(index), _BATCH)]
        decoded = (image for batch in stream.inference(batches, central_fraction=1.0) for image in batch.image)
        for _, image in zip(range(len(index)), decoded, strict=False):
            yield image

    return images
