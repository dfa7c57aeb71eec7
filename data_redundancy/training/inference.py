"""Evaluation and embedding of whole splits, in canonical order, on any number of devices and processes."""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from data_redundancy.data.batches import inference_batches
from data_redundancy.runtime import devices
from data_redundancy.training.inputs import Input
from data_redundancy.training.settings import IN_FLIGHT
from data_redundancy.training.step import make_embed, make_evaluate


def evaluate(model_evaluate: Callable, variables: Any, split: Input, *, batch_size: int) -> dict[str, Any]:
    """Evaluates a model on every example of a split.

    Args:
        model_evaluate: the result of `make_evaluate`.
        variables: the variables of the model, replicated.
        split: the source of the images.
        batch_size: rows per call over all devices, a multiple of the number of devices; the result does not depend on
            it.

    Returns:
        {"accuracy": float, "loss": float, "class_accuracy": [num_classes] float64, NaN for a class without examples}.
    """
    return accuracies(_sums(model_evaluate, variables, split, batch_size=batch_size, own=devices.own_part))


def make_evaluator(
    model: nn.Module, num_classes: int, split: Input, *, batch_size: int
) -> Callable[[Any], dict[str, Any]]:
    """Returns `evaluate` as a function of the variables alone, compiled once for many evaluations of one model."""
    model_evaluate = make_evaluate(model, num_classes, split.load)
    return lambda variables: evaluate(model_evaluate, variables, split, batch_size=batch_size)


def trial_parallel_sums(model_evaluate: Callable, variables: Any, split: Input, *, batch_size: int) -> dict[str, Any]:
    """Computes the sums over a split that `accuracies` takes, for many runs.

    Args:
        model_evaluate: the result of `make_trial_parallel_evaluate`.
        variables: the variables of all runs, [devices, runs, ...].
        split: the source of the images.
        batch_size: rows per call, all of which go to every device.

    Returns:
        Arrays [devices, runs, ...] on the host.
    """
    num_devices = jax.local_device_count()
    return _sums(
        model_evaluate, variables, split, batch_size=batch_size, own=lambda rows: np.concatenate([rows] * num_devices)
    )


def accuracies(sums: dict[str, Any]) -> dict[str, Any]:
    """Returns the result of `evaluate` from the sums of one run over a split."""
    correct, count = sums["correct"].astype(np.float64), sums["count"]
    class_accuracy = np.divide(correct, count, out=np.full(len(count), np.nan), where=count > 0)
    return {
        "accuracy": float(correct.sum() / count.sum()),
        "loss": float(sums["loss"] / count.sum()),
        "class_accuracy": class_accuracy,
    }


def _sums(
    model_evaluate: Callable,
    variables: Any,
    split: Input,
    *,
    batch_size: int,
    own: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
    """Returns the sums over all batches, on the host; `own` returns this process's rows from the rows of a batch."""
    num_examples = split.num_examples
    rows = inference_batches(0, num_examples, batch_size=batch_size, num_batches=-(-num_examples // batch_size))
    owned = ((own(index), own(mask)) for index, mask in rows)
    calls = (
        model_evaluate(variables, split.data, batch, devices.stack_local(mask))
        for batch, mask in _batches(split, owned)
    )
    return functools.reduce(lambda total, sums: jax.tree.map(np.add, total, sums), _in_flight(calls))


def embed(
    model: nn.Module, variables: Any, split: Input, *, batch_size: int, chunk_rows: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Embeds this process's rows of a split.

    Args:
        model: the model, made to compute in float32.
        variables: the variables of the model, replicated.
        split: the source of the images.
        batch_size: rows per call over all devices, a multiple of the number of devices.
        chunk_rows: rows of a chunk of the array to be written. The rows of each process start at a multiple of it, so
            that no two processes write the same chunk.

    Yields:
        The first row and the embeddings [n, D] float32 of consecutive blocks, in order, without padding.
    """
    yield from rows_in_order(
        make_embed(model, split.load), variables, split, batch_size=batch_size, chunk_rows=chunk_rows
    )


def rows_in_order(
    function: Callable, variables: Any, split: Input, *, batch_size: int, chunk_rows: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """Applies a pmapped function to this process's rows of a split.

    Args:
        function: a function of (variables, data, batch [devices, b, ...]) that returns an array [devices, b, ...].
        variables: the variables, replicated.
        split: the source of the images.
        batch_size: rows per call over all devices, a multiple of the number of devices.
        chunk_rows: the rows of each process start at a multiple of this.

    Yields:
        The first row and the results [n, ...] of consecutive blocks, in order, without padding.
    """
    shares = [devices.row_share(split.num_examples, chunk_rows, process) for process in range(jax.process_count())]
    local_batch = batch_size // jax.process_count()
    num_batches = max(-(-(stop - start) // local_batch) for start, stop in shares)
    start, stop = shares[jax.process_index()]
    blocks = inference_batches(start, stop, batch_size=local_batch, num_batches=num_batches)
    first = start
    calls = ((function(variables, split.data, batch), mask) for batch, mask in _batches(split, blocks))
    for rows, mask in _in_flight(calls):
        rows = rows.reshape(-1, *rows.shape[2:])[mask]
        if len(rows):
            yield first, rows
            first += len(rows)


def _batches(split: Input, rows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields the batches of indices with their masks; a split may take indices ahead of the batches that it yields."""
    masks: collections.deque[np.ndarray] = collections.deque()

    def indices() -> Iterator[np.ndarray]:
        for index, mask in rows:
            masks.append(mask)
            yield index

    for batch in split.inference_batches(indices()):
        yield batch, masks.popleft()


def _in_flight(calls: Iterable[Any]) -> Iterator[Any]:
    """Yields the results of calls on the host, `IN_FLIGHT` calls late, so that the devices always have work."""
    waiting: collections.deque[Any] = collections.deque()
    for call in calls:
        waiting.append(call)
        if len(waiting) > IN_FLIGHT:
            yield jax.device_get(waiting.popleft())
    for call in waiting:
        yield jax.device_get(call)
