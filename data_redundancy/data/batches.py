"""Which examples each step sees: indices only, computed on the host, as pure functions of (seed, step)."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np


@dataclasses.dataclass(frozen=True)
class TrainBatches:
    """A run of consecutive training batches.

    Attributes:
        index: [steps, B] int32, positions in canonical order.
        epoch: [steps, B] int32, the epoch each row belongs to.
    """

    index: np.ndarray
    epoch: np.ndarray


def train_batches(keep: np.ndarray, *, batch_size: int, seed: int, first_step: int, num_steps: int) -> TrainBatches:
    """The batches of steps `first_step` to `first_step + num_steps - 1`.

    Epochs follow each other without a gap: a batch may hold the end of one and the start of the next, so that every
    example is seen exactly once per epoch and no remainder is dropped, whatever the batch size.

    Args:
        keep: [K] int64 indices to train on.
        batch_size: rows per step over all devices; may exceed K.
        seed: seed of the run; the order of epoch e depends on (seed, e) alone.
        first_step: the step to begin with, from 0.
        num_steps: how many batches.
    """
    position = np.arange(first_step * batch_size, (first_step + num_steps) * batch_size)
    epoch, offset = np.divmod(position, len(keep))
    index = np.empty_like(position)
    key = _Key(keep)
    for e in range(epoch[0], epoch[-1] + 1):
        index[epoch == e] = _epoch_order(key, seed, e)[offset[epoch == e]]
    shape = (num_steps, batch_size)
    return TrainBatches(index.reshape(shape).astype(np.int32), epoch.reshape(shape).astype(np.int32))


class _Key:
    """A keep list as a key of a cache: by identity, and so without looking at a million numbers in every step."""

    def __init__(self, keep: np.ndarray):
        self.keep = keep

    def __hash__(self) -> int:
        return id(self.keep)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.keep is self.keep


@functools.lru_cache(maxsize=2)  # a batch may hold the end of one epoch and the start of the next
def _epoch_order(key: _Key, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(key.keep)


def inference_batches(
    start: int, stop: int, *, batch_size: int, num_batches: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Covers the rows [start, stop) in order, padded to `num_batches` full batches.

    `num_batches` may exceed what the rows need: processes with fewer rows still run as many batches as the others.

    Yields:
        index [batch_size] int32 and mask [batch_size] bool, False where a row only fills the batch up.
    """
    for first in range(start, start + num_batches * batch_size, batch_size):
        index = np.arange(first, first + batch_size)
        mask = index < stop
        yield np.where(mask, index, 0).astype(np.int32), mask
