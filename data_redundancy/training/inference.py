"""Evaluation and embedding: complete, in canonical order, on any number of devices and processes."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from data_redundancy import parallel
from data_redundancy.data.batches import inference_batches
from data_redundancy.training.step import DeviceData, make_embed, make_evaluate


def evaluate(model_evaluate, variables: Any, data: DeviceData, *, batch_size: int) -> dict[str, Any]:
    """Scores every example of `data` once.

    Args:
        model_evaluate: what `make_evaluate` built.
        variables: the model's variables, replicated.
        data: the split, replicated.
        batch_size: rows per call over all devices, a multiple of the number of devices; the result does not depend on
            it.

    Returns:
        {"accuracy": float, "loss": float, "class_accuracy": [num_classes] float64, NaN for a class without examples}.
    """
    num_examples = len(data.labels)
    totals = None
    for index, mask in inference_batches(
        0, num_examples, batch_size=batch_size, num_batches=-(-num_examples // batch_size)
    ):
        sums = jax.device_get(model_evaluate(variables, data, parallel.split_batch(index), parallel.split_batch(mask)))
        totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
    correct, count = totals["correct"].astype(np.float64), totals["count"]
    class_accuracy = np.divide(correct, count, out=np.full(len(count), np.nan), where=count > 0)
    return {
        "accuracy": float(correct.sum() / num_examples),
        "loss": float(totals["loss"] / num_examples),
        "class_accuracy": class_accuracy,
    }


def embed(
    model: nn.Module, variables: Any, data: DeviceData, *, batch_size: int, chunk_rows: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Embeds this process's rows of `data`.

    Args:
        model: computes in float32.
        variables: its variables, replicated.
        data: the split, replicated.
        batch_size: rows per call over all devices, a multiple of the number of devices.
        chunk_rows: a process's rows start at a multiple of this (but for the first), and so do no two processes write
            one chunk of the store.

    Yields:
        The first row and the embeddings [n, D] float32 of consecutive blocks, in order, without padding.
    """
    embed_batch = make_embed(model)
    num_examples = len(data.labels)
    shares = [parallel.row_share(num_examples, chunk_rows, process) for process in range(jax.process_count())]
    local_batch = batch_size // jax.process_count()
    num_batches = max(-(-(stop - start) // local_batch) for start, stop in shares)
    start, stop = shares[jax.process_index()]
    for index, mask in inference_batches(start, stop, batch_size=local_batch, num_batches=num_batches):
        rows = np.asarray(embed_batch(variables, data, parallel.stack_local(index)))
        rows = rows.reshape(-1, rows.shape[-1])[mask]
        if len(rows):
            yield int(index[0]), rows


def make_evaluator(model: nn.Module, num_classes: int, *, batch_size: int):
    """`evaluate` with its compiled function, for many evaluations of one model."""
    model_evaluate = make_evaluate(model, num_classes)
    return lambda variables, data: evaluate(model_evaluate, variables, data, batch_size=batch_size)
