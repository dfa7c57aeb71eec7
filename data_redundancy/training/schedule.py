"""Durations in steps, and the learning rates of a run."""

import numpy as np
import optax

from data_redundancy.errors import InputError


def duration(*, steps: int | None, epochs: float | None, num_examples: int, batch_size: int) -> int:
    """Returns a duration in steps, given in steps or in epochs.

    Args:
        steps: number of steps, or None.
        epochs: number of passes over the examples, or None; ignored if `steps` is set.
        num_examples: examples per epoch.
        batch_size: examples per step.

    Raises:
        InputError: if both `steps` and `epochs` are None, or the one that counts is negative.
    """
    if steps is not None:
        if steps < 0:
            raise InputError("steps", steps, "must not be negative")
        return steps
    if epochs is None:
        raise InputError("steps", None, "must be set, unless the duration is given in epochs")
    if epochs < 0:
        raise InputError("epochs", epochs, "must not be negative")
    return round(epochs * num_examples / batch_size)


def scaled_learning_rate(learning_rate: float, *, batch_size: int, given_for: int | None) -> float:
    """Returns the learning rate scaled in proportion to the batch size (Goyal et al. 2017).

    Args:
        learning_rate: the rate for batches of `given_for` examples.
        batch_size: examples per step.
        given_for: the batch size that the rate is given for; None to return the rate unchanged.
    """
    return learning_rate if given_for is None else learning_rate * batch_size / given_for


def learning_rates(*, peak: float, num_steps: int, warmup_steps: int) -> np.ndarray:
    """Returns the learning rate of every step, [num_steps] float32.

    It rises linearly from 0 to `peak`, then falls to 0 along a cosine (Loshchilov and Hutter 2017, without restarts).

    Raises:
        InputError: if `warmup_steps` is negative or not less than `num_steps`.
    """
    if not 0 <= warmup_steps < num_steps:
        raise InputError("warmup_steps", warmup_steps, f"must be at least 0 and less than num_steps={num_steps}")
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, num_steps)
    return np.asarray(schedule(np.arange(num_steps)), np.float32)
