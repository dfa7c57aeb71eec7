"""Where a split's images come from while training: the devices' own memory, or a stream that is decoded as it goes.

Both say what the compiled functions need on the devices all the time (`data`), how these get at the images of a batch
(`load`), and make batches of the indices that are asked for. What happens to the images then is the same for both.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from data_redundancy.data.augment import normalise
from data_redundancy.runtime import devices


class Examples(flax.struct.PyTreeNode):
    """A batch inside a compiled function.

    Attributes:
        images: [b, H, W, C] float32, normalised, not augmented.
        labels: [b] int32.
        weight: [b] float32; 0 for an image that could not be decoded, else 1.
    """

    images: jax.Array
    labels: jax.Array
    weight: jax.Array


class Normalisation(flax.struct.PyTreeNode):
    """Per-channel mean and standard deviation [C] float32, in units of 0..255."""

    mean: jax.Array
    std: jax.Array


class DeviceData(flax.struct.PyTreeNode):
    """A split that lives on every device.

    Attributes:
        images: [N, H, W, C] uint8.
        labels: [N] int32.
        normalisation: its statistics.
    """

    images: jax.Array
    labels: jax.Array
    normalisation: Normalisation


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [C] float32 of every channel of uint8 images [N, H, W, C] (std is at least 1)."""
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    values = np.arange(256)
    mean = counts @ values / counts.sum(1)
    std = np.sqrt(counts @ values**2 / counts.sum(1) - mean**2)
    return mean.astype(np.float32), np.maximum(std, 1.0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Steps:
    """Consecutive training steps that one call takes: this process's rows of their batches.

    Attributes:
        index: [steps, n] int32.
        epoch: [steps, n] int32.
    """

    index: np.ndarray
    epoch: np.ndarray


class InMemory:
    """A split in the memory of every device."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, mean: np.ndarray, std: np.ndarray):
        """Puts images [N, H, W, C] uint8 and labels [N] int32 on every device; mean, std [C] normalise them."""
        self.num_examples, self.image_shape = len(labels), images.shape[1:]
        self.data = devices.replicate(
            DeviceData(images, labels, Normalisation(np.asarray(mean, np.float32), np.asarray(std, np.float32)))
        )

    @staticmethod
    def load(data: DeviceData, batch: dict[str, jax.Array]) -> Examples:
        """Gathers the rows batch["index"] [b]; for use inside compiled functions."""
        images = normalise(data.images[batch["index"]], data.normalisation.mean, data.normalisation.std)
        return Examples(images, data.labels[batch["index"]], np.ones(len(images), np.float32))

    def train_batches(self, calls: Iterable[Steps], *, seed: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches [local devices, steps, b]: "index" and "epoch"."""
        del seed  # the devices augment
        for steps in calls:
            yield {name: devices.stack_local(x, axis=1) for name, x in vars(steps).items()}

    def inference_batches(self, indices: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Batches [local devices, b] of the rows [n] asked for."""
        for index in indices:
            yield {"index": devices.stack_local(index)}


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """How images of a stream are cropped; the fields mean what configs/default.py says of them."""

    crop: str
    min_area: float
    central_fraction: float


class Streamed:
    """A split that is read, decoded and cropped as it is needed."""

    def __init__(
        self,
        stream: Any,
        settings: StreamSettings,
        *,
        num_examples: int,
        image_shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        ahead: int = 2,
    ):
        """Opens nothing yet.

        Args:
            stream: a `data.streaming.ImageStream` of the split.
            settings: how to crop.
            num_examples: the split's N.
            image_shape: (H, W, C) of what the stream gives.
            mean: [C], in units of 0..255.
            std: [C], the same.
            ahead: batches kept on the devices beyond the one in use.
        """
        self.num_examples, self.image_shape = num_examples, tuple(image_shape)
        self._stream, self._settings, self._ahead = stream, settings, ahead
        self.data = devices.replicate(Normalisation(np.asarray(mean, np.float32), np.asarray(std, np.float32)))

    @staticmethod
    def load(data: Normalisation, batch: dict[str, jax.Array]) -> Examples:
        """Normalises the images that are part of the batch; for use inside compiled functions.

        One that could not be decoded becomes the mean of all, so as to weigh little in BatchNorm's statistics.
        """
        images = normalise(batch["image"], data.mean, data.std)
        images = jnp.where(batch["valid"][:, None, None, None], images, 0)
        return Examples(images, batch["label"], batch["valid"].astype(images.dtype))

    def train_batches(self, calls: Iterable[Steps], *, seed: int) -> Iterator[dict[str, jax.Array]]:
        """Batches [local devices, steps, b, ...] on the devices: "index", "epoch", "image", "label", "valid"."""
        asked, sizes = _remember(calls)
        rows = ((index, epoch) for steps in asked for index, epoch in zip(steps.index, steps.epoch, strict=True))
        images = self._stream.train(rows, seed=seed, **dataclasses.asdict(self._settings))
        return devices.put_on_devices(_grouped(images, sizes), ahead=self._ahead)

    def inference_batches(self, indices: Iterable[np.ndarray]) -> Iterator[dict[str, jax.Array]]:
        """Batches [local devices, b, ...] on the devices of the rows [n] asked for."""
        images = self._stream.inference(indices, central_fraction=self._settings.central_fraction)
        batches = ({name: devices.stack_local(x) for name, x in _fields(batch).items()} for batch in images)
        return devices.put_on_devices(batches, ahead=self._ahead)


Input = InMemory | Streamed
Load = Callable[[Any, dict[str, jax.Array]], Examples]


def _remember(calls: Iterable[Steps]) -> tuple[Iterator[Steps], list[Steps]]:
    """The calls, and a list to which each is added as it is taken: the stream takes them ahead of the batches."""
    taken: list[Steps] = []

    def take():
        for steps in calls:
            taken.append(steps)
            yield steps

    return take(), taken


def _grouped(images: Iterator[Any], taken: list[Steps]) -> Iterator[dict[str, np.ndarray]]:
    """Puts the batches of single steps together by the calls they belong to."""
    for first in images:
        steps = taken.pop(0)
        batches = [_fields(first), *(_fields(next(images)) for _ in steps.index[1:])]
        stacked = {name: _stack([batch[name] for batch in batches]) for name in batches[0]}
        yield {name: devices.stack_local(x, axis=1) for name, x in {**stacked, "epoch": steps.epoch}.items()}


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """As `np.stack`; a single one, which may be large, is not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _fields(batch: Any) -> dict[str, np.ndarray]:
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
