"""The indices of the examples in each batch, computed on the host as pure functions of (seed, step)."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np


@dataclasses.dataclass(frozen=True)
class TrainBatches:
    """Consecutive training batches.

    Attributes:
        index: [steps, B] int32, positions in canonical order.
        epoch: [steps, B] int32, the epoch of each entry of `index`.
    """

    index: np.ndarray
    epoch: np.ndarray


def train_batches(keep: np.ndarray, *, batch_size: int, seed: int, first_step: int, num_steps: int) -> TrainBatches:
    """Returns the batches of the steps `first_step` to `first_step + num_steps - 1`.

    Epochs follow each other without a gap: a batch may contain the end of one epoch and the start of the next. So, for
    every batch size, each example is seen exactly once per epoch.

    Args:
        keep: [K] int64, the indices of the examples to train on.
        batch_size: the number of examples per step over all devices; may exceed K.
        seed: seed of the run; the order of epoch e depends on (seed, e) alone.
        first_step: the first step, from 0.
        num_steps: the number of batches.
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
    """A keep list as the key of a cache, compared by identity, because comparing a million numbers would be slow."""

    def __init__(self, keep: np.ndarray):
        self.keep = keep

    def __hash__(self) -> int:
        return id(self.keep)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.keep is self.keep


@functools.lru_cache(maxsize=2)  # a batch may contain the end of one epoch and the start of the next
def _epoch_order(key: _Key, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(key.keep)


def inference_batches(
    start: int, stop: int, *, batch_size: int, num_batches: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Divides the rows [start, stop) into batches, in order, and pads these to `num_batches` full batches.

    Args:
        start: the first row.
        stop: the row after the last one.
        batch_size: the number of entries per batch.
        num_batches: the number of batches; may exceed what the rows need, because processes with fewer rows must run
            as many batches as the others.

    Yields:
        index [batch_size] int32 and mask [batch_size] bool, which is False for entries that are padding.
    """
    for first in range(start, start + num_batches * batch_size, batch_size):
        index = np.arange(first, first + batch_size)
        mask = index < stop
        yield np.where(mask, index, 0).astype(np.int32), mask
