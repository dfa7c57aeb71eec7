"""The sources of a split's images in training: the devices' memory, or a stream that is decoded when needed.

Both sources have the same interface. `data` is what the compiled functions need on the devices all the time; `load`
returns the images of a batch inside a compiled function; `train_batches` and `inference_batches` make batches from
indices. All further processing of the images is independent of the source.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.data.augment import normalise
from data_redundancy.runtime import devices

if TYPE_CHECKING:
    from data_redundancy.data.tfds.image_stream import Batch, ImageStream


class DeviceBatch(flax.struct.PyTreeNode):
    """A batch of images inside a compiled function.

    Attributes:
        images: [b, H, W, C] float32, normalised, not augmented.
        labels: [b] int32.
        weight: [b] float32; 0 for an image that could not be decoded, else 1.
    """

    images: jax.Array
    labels: jax.Array
    weight: jax.Array


class Normalisation(flax.struct.PyTreeNode):
    """Mean and standard deviation of every channel, [C] float32, in units of 0..255."""

    mean: jax.Array
    std: jax.Array


class DeviceData(flax.struct.PyTreeNode):
    """A split in the memory of a device.

    Attributes:
        images: [N, H, W, C] uint8.
        labels: [N] int32.
        normalisation: statistics that normalise the images.
    """

    images: jax.Array
    labels: jax.Array
    normalisation: Normalisation


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean and the standard deviation of every channel.

    Args:
        images: [N, H, W, C] uint8.

    Returns:
        Mean [C] and standard deviation [C] float32; the latter is at least 1.
    """
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    values = np.arange(256)
    mean = counts @ values / counts.sum(1)
    std = np.sqrt(counts @ values**2 / counts.sum(1) - mean**2)
    return mean.astype(np.float32), np.maximum(std, 1.0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Steps:
    """The consecutive training steps of one call: this process's rows of their batches.

    Attributes:
        index: [steps, n] int32, positions of the images in the split.
        epoch: [steps, n] int32, the epoch of each row.
    """

    index: np.ndarray
    epoch: np.ndarray


class InMemory:
    """A split in the memory of every device."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, mean: ArrayLike, std: ArrayLike):
        """Puts the split on every device.

        Args:
            images: [N, H, W, C] uint8.
            labels: [N] int32.
            mean: [C], in units of 0..255; subtracted from the images.
            std: [C], in units of 0..255; the images are divided by it.
        """
        num_examples, height, width, channels = images.shape
        self.num_examples, self.image_shape = num_examples, (height, width, channels)
        self.data = DeviceData(devices.replicate(images), devices.replicate(labels), _normalisation(mean, std))

    @staticmethod
    def load(data: DeviceData, batch: dict[str, jax.Array]) -> DeviceBatch:
        """Gathers the rows batch["index"] [b]; for use inside compiled functions."""
        images = normalise(data.images[batch["index"]], data.normalisation.mean, data.normalisation.std)
        return DeviceBatch(images, data.labels[batch["index"]], jnp.ones(len(images), jnp.float32))

    def train_batches(self, calls: Iterable[Steps], *, seed: int) -> Iterator[dict[str, np.ndarray]]:
        """Yields for each call "index" and "epoch", [local devices, steps, b] each."""
        del seed  # only streams need it: images in memory are augmented on the devices
        for steps in calls:
            yield {name: devices.stack_local(x, axis=1) for name, x in vars(steps).items()}

    def inference_batches(self, indices: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Yields "index" [local devices, b] for each array of indices [n]."""
        for index in indices:
            yield {"index": devices.stack_local(index)}


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """How images of a stream are cropped.

    Attributes:
        crop: crops for training: "random" (Inception's) or "center" (as in evaluation).
        min_area: the smallest share of an image's area that a random crop takes.
        central_fraction: side of central crops, as a share of the shorter side of the image.
    """

    crop: str
    min_area: float
    central_fraction: float


class Streamed:
    """A split whose images are read, decoded and cropped when they are needed."""

    def __init__(
        self,
        stream: ImageStream,
        settings: StreamSettings,
        *,
        num_examples: int,
        image_shape: tuple[int, int, int],
        mean: ArrayLike,
        std: ArrayLike,
        ahead: int = 2,
    ):
        """Reads nothing yet.

        Args:
            stream: the images of the split.
            settings: how to crop.
            num_examples: the number N of images in the split.
            image_shape: (H, W, C) of the cropped images.
            mean: [C], in units of 0..255; subtracted from the images.
            std: [C], in units of 0..255; the images are divided by it.
            ahead: batches to keep on the devices beyond the one in use.
        """
        self.num_examples, self.image_shape = num_examples, image_shape
        self._stream, self._settings, self._ahead = stream, settings, ahead
        self.data = _normalisation(mean, std)

    @staticmethod
    def load(data: Normalisation, batch: dict[str, jax.Array]) -> DeviceBatch:
        """Normalises the images of a batch; for use inside compiled functions.

        An image that could not be decoded becomes the mean, to have little effect on BatchNorm's statistics.
        """
        images = normalise(batch["image"], data.mean, data.std)
        images = jnp.where(batch["valid"][:, None, None, None], images, 0)
        return DeviceBatch(images, batch["label"], batch["valid"].astype(images.dtype))

    def train_batches(self, calls: Iterable[Steps], *, seed: int) -> Iterator[dict[str, jax.Array]]:
        """Yields for each call "index", "epoch", "image", "label" and "valid" on the devices.

        Args:
            calls: the steps of each call.
            seed: seed of the run, for random crops.

        Yields:
            Arrays [local devices, steps, b, ...].
        """
        tracked, taken = _track(calls)
        rows = ((index, epoch) for steps in tracked for index, epoch in zip(steps.index, steps.epoch, strict=True))
        images = self._stream.train(rows, seed=seed, **dataclasses.asdict(self._settings))
        return devices.put_on_devices(_grouped_by_call(images, taken), ahead=self._ahead)

    def inference_batches(self, indices: Iterable[np.ndarray]) -> Iterator[dict[str, jax.Array]]:
        """Yields a batch of arrays [local devices, b, ...] on the devices for each array of indices [n]."""
        images = self._stream.inference(indices, central_fraction=self._settings.central_fraction)
        batches = ({name: devices.stack_local(x) for name, x in _fields(batch).items()} for batch in images)
        return devices.put_on_devices(batches, ahead=self._ahead)


Input = InMemory | Streamed
"""The source of a split's images."""

Load = Callable[[Any, dict[str, jax.Array]], DeviceBatch]
"""A source's `load`: a function of its `data` and a batch."""


def _normalisation(mean: ArrayLike, std: ArrayLike) -> Normalisation:
    """Puts the statistics on every device."""
    return Normalisation(
        devices.replicate(np.asarray(mean, np.float32)), devices.replicate(np.asarray(std, np.float32))
    )


def _track(calls: Iterable[Steps]) -> tuple[Iterator[Steps], list[Steps]]:
    """Returns the calls, and a list to which each is added when a stream takes it, which is ahead of its images."""
    taken: list[Steps] = []

    def take() -> Iterator[Steps]:
        for steps in calls:
            taken.append(steps)
            yield steps

    return take(), taken


def _grouped_by_call(images: Iterator[Batch], taken: list[Steps]) -> Iterator[dict[str, np.ndarray]]:
    """Joins the batches of single steps to the batches of calls."""
    for first in images:
        steps = taken.pop(0)
        batches = [_fields(first), *(_fields(next(images)) for _ in steps.index[1:])]
        stacked = {name: _stack([batch[name] for batch in batches]) for name in batches[0]}
        yield {name: devices.stack_local(x, axis=1) for name, x in {**stacked, "epoch": steps.epoch}.items()}


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Stacks arrays as `np.stack` does, without copying a single array, which may be large."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _fields(batch: Batch) -> dict[str, np.ndarray]:
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
