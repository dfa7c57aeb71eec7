"""Evaluation and embedding: complete, in canonical order, on any number of devices and processes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from data_redundancy.data.batches import inference_batches
from data_redundancy.runtime import devices
from data_redundancy.training.inputs import Input
from data_redundancy.training.step import make_embed, make_evaluate

IN_FLIGHT = 2
"""Calls whose results are not waited for yet: more would only hold more batches in the devices' memory."""


def evaluate(model_evaluate, variables: Any, split: Input, *, batch_size: int) -> dict[str, Any]:
    """Scores every example of a split once.

    Args:
        model_evaluate: what `make_evaluate` built.
        variables: the model's variables, replicated.
        split: where its images are.
        batch_size: rows per call over all devices, a multiple of the number of devices; the result does not depend on
            it.

    Returns:
        {"accuracy": float, "loss": float, "class_accuracy": [num_classes] float64, NaN for a class without examples}.
    """
    return accuracies(_totals(model_evaluate, variables, split, batch_size=batch_size, own=devices.own_part))


def evaluate_together(model_evaluate, variables: Any, split: Input, *, batch_size: int) -> dict[str, Any]:
    """The sums over a split of every run, [devices, runs, ...] each; for `accuracies`, one run after the other.

    Args:
        model_evaluate: what `make_evaluate_together` built.
        variables: of all runs [devices, runs, ...].
        split: where its images are.
        batch_size: rows per call, of which every device gets all.
    """
    num_devices = jax.local_device_count()
    return _totals(
        model_evaluate, variables, split, batch_size=batch_size, own=lambda rows: np.concatenate([rows] * num_devices)
    )


def accuracies(totals: dict[str, Any]) -> dict[str, Any]:
    """What `evaluate` gives, from the sums of one run."""
    correct, count = totals["correct"].astype(np.float64), totals["count"]
    class_accuracy = np.divide(correct, count, out=np.full(len(count), np.nan), where=count > 0)
    return {
        "accuracy": float(correct.sum() / count.sum()),
        "loss": float(totals["loss"] / count.sum()),
        "class_accuracy": class_accuracy,
    }


def _totals(model_evaluate, variables: Any, split: Input, *, batch_size: int, own: Callable) -> dict[str, Any]:
    """Sums over all batches, on the host; `own` gives this process's rows of a batch's rows."""
    num_examples = split.num_examples
    rows = inference_batches(0, num_examples, batch_size=batch_size, num_batches=-(-num_examples // batch_size))
    owned = ((own(index), own(mask)) for index, mask in rows)
    calls = (
        model_evaluate(variables, split.data, batch, devices.stack_local(mask))
        for batch, mask in _batches(split, owned)
    )
    totals = None
    for sums in _wait_behind(calls):
        totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
    return totals


def embed(
    model: nn.Module, variables: Any, split: Input, *, batch_size: int, chunk_rows: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Embeds this process's rows of a split.

    Args:
        model: computes in float32.
        variables: its variables, replicated.
        split: where its images are.
        batch_size: rows per call over all devices, a multiple of the number of devices.
        chunk_rows: a process's rows start at a multiple of this (but for the first), and so do no two processes write
            one chunk of the store.

    Yields:
        The first row and the embeddings [n, D] float32 of consecutive blocks, in order, without padding.
    """
    yield from rows_in_order(
        make_embed(model, split.load), variables, split, batch_size=batch_size, chunk_rows=chunk_rows
    )


def rows_in_order(
    function: Callable, variables: Any, split: Input, *, batch_size: int, chunk_rows: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """What a pmapped function makes of this process's rows of a split.

    Args:
        function: of (variables, data, batch [devices, b, ...]) to an array [devices, b, ...].
        variables: replicated.
        split: where its images are.
        batch_size: as for `embed`.
        chunk_rows: the same.

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
    for rows, mask in _wait_behind(calls):
        rows = rows.reshape(-1, *rows.shape[2:])[mask]
        if len(rows):
            yield first, rows
            first += len(rows)


def make_evaluator(model: nn.Module, num_classes: int, split: Input, *, batch_size: int):
    """`evaluate` with its compiled function, for many evaluations of one model."""
    model_evaluate = make_evaluate(model, num_classes, split.load)
    return lambda variables: evaluate(model_evaluate, variables, split, batch_size=batch_size)


def _batches(split: Input, rows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[Any, np.ndarray]]:
    """The batches of indices, with their masks; a split may take indices ahead of the batches it gives."""
    masks = []

    def indices():
        for index, mask in rows:
            masks.append(mask)
            yield index

    for batch in split.inference_batches(indices()):
        yield batch, masks.pop(0)


def _wait_behind(calls: Iterable[Any]) -> Iterator[Any]:
    """The results of calls, on the host, a few calls late: the devices are never without work."""
    waiting = []
    for call in calls:
        waiting.append(call)
        if len(waiting) > IN_FLIGHT:
            yield jax.device_get(waiting.pop(0))
    for call in waiting:
        yield jax.device_get(call)
