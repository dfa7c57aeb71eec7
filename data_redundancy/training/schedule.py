"""Durations and the learning rate."""

import numpy as np
import optax

from data_redundancy.errors import InputError


def duration(*, steps: int | None, epochs: float | None, num_examples: int, batch_size: int, field: str) -> int:
    """A duration in steps, whichever way it was given; `steps` wins where both are.

    Args:
        steps: number of steps, or None.
        epochs: number of passes over the examples, or None.
        num_examples: examples per epoch.
        batch_size: examples per step.
        field: what the two fields' names start with, such as "train.warmup_".

    Raises:
        InputError: if neither is given, or the one that counts is negative.
    """
    if steps is None and epochs is None:
        raise InputError(f"{field}steps=None, {field}epochs=None: one of them must be set")
    name, value = ("steps", steps) if steps is not None else ("epochs", epochs)
    if value < 0:
        raise InputError(f"{field}{name}={value}: must not be negative")
    return steps if steps is not None else round(epochs * num_examples / batch_size)


def scaled_learning_rate(learning_rate: float, *, batch_size: int, given_for: int | None) -> float:
    """The peak rate at a batch size: as many times as large as the batch is (Goyal et al. 2017).

    Args:
        learning_rate: at a batch of `given_for` examples.
        batch_size: examples per step.
        given_for: None where the rate is to be taken as it is.
    """
    return learning_rate if given_for is None else learning_rate * batch_size / given_for


def learning_rates(*, peak: float, num_steps: int, warmup_steps: int) -> np.ndarray:
    """Linear warm-up from 0 to `peak`, then a cosine to 0 (Loshchilov and Hutter 2017, without restarts).

    Returns:
        [num_steps] float32, the learning rate of every step.

    Raises:
        InputError: if the warm-up takes all of the training.
    """
    if not 0 <= warmup_steps < num_steps:
        raise InputError(f"train.warmup: {warmup_steps} steps of warm-up, but training has only {num_steps} steps")
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, num_steps)
    return np.asarray(schedule(np.arange(num_steps)), np.float32)
