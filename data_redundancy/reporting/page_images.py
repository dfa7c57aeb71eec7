"""Images for the report's page, from memory or from the records of the data set."""

from collections.abc import Iterator

import numpy as np

from data_redundancy import data, gallery
from data_redundancy.data.splits import StreamedSplit
from data_redundancy.data.tfds.image_stream import ImageStream
from data_redundancy.experiment.experiment import Experiment

_BATCH = 64


def splits(experiment: Experiment) -> tuple[gallery.PageSplit, gallery.PageSplit]:
    """Returns the training and the test split in the form that the gallery reads."""
    dataset = experiment.dataset
    return _split(experiment, dataset.train), _split(experiment, dataset.test)


def image_shape(experiment: Experiment) -> tuple[int, int, int]:
    """Returns the shape (H, W, C) of the small images; streamed images are cropped to squares."""
    train = experiment.dataset.train
    if isinstance(train, StreamedSplit):
        return gallery.SIDE, gallery.SIDE, train.num_channels
    height, width, channels = train.images.shape[1:]
    return height, width, channels


def _split(experiment: Experiment, split: data.Split | StreamedSplit) -> gallery.PageSplit:
    if isinstance(split, StreamedSplit):
        names = split.name_examples
        images, ids = _streamed(experiment, split), lambda index: names(index).tolist()
    else:
        images, ids = _in_memory(split), _column(split.tfds_ids)
    return gallery.PageSplit(labels=split.labels, ids=ids, files=_column(split.file_names), images=images)


def _column(names: np.ndarray | None) -> gallery.Names:
    return lambda index: [None] * len(index) if names is None else names[index].tolist()


def _in_memory(split: data.Split) -> gallery.Images:
    return lambda index, _: (split.images[i] for i in index)


def _streamed(experiment: Experiment, split: StreamedSplit) -> gallery.Images:
    """Returns the function that reads central squares, small or at the size used in training."""
    settings = experiment.config.input

    def images(index: np.ndarray, small: bool) -> Iterator[np.ndarray]:
        stream = ImageStream(
            split,
            image_size=gallery.SIDE if small else settings.image_size,
            threads=settings.threads,
            on_corrupt=settings.corrupt,
        )
        # All batches have the same size: the last one is filled by repeating its images.
        batches = [np.resize(index[first : first + _BATCH], _BATCH) for first in range(0, len(index), _BATCH)]
        decoded = (image for batch in stream.inference(batches, central_fraction=1.0) for image in batch.image)
        for _, image in zip(range(len(index)), decoded, strict=False):
            yield image

    return images
