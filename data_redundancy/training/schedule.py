"""Durations and the learning rate."""

import numpy as np
import optax

from data_redundancy.errors import InputError


def num_steps(
    *, steps: int | None, epochs: float | None, num_examples: int, batch_size: int, field: str = "train"
) -> int:
    """A duration in steps, whichever way it was given; `steps` wins where both are.

    Raises:
        InputError: if neither is given, or the duration is not positive.
    """
    if steps is None and epochs is None:
        raise InputError(f"{field}.steps=None, {field}.epochs=None: one of them must be set")
    if steps is not None:
        if steps < 1:
            raise InputError(f"{field}.steps={steps}: must be at least 1")
        return steps
    if epochs <= 0:
        raise InputError(f"{field}.epochs={epochs}: must be greater than 0")
    return max(1, round(epochs * num_examples / batch_size))


def learning_rates(*, peak: float, num_steps: int, warmup_steps: int) -> np.ndarray:
    """Linear warm-up from 0 to `peak`, then a cosine to 0 (Loshchilov and Hutter 2017, without restarts).

    Returns:
        [num_steps] float32, the learning rate of every step.

    Raises:
        InputError: if the warm-up takes all of the training.
    """
    if not 0 <= warmup_steps < num_steps:
        raise InputError(f"warm-up of {warmup_steps} steps: must be at least 0 and less than all {num_steps} steps")
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, num_steps)
    return np.asarray(schedule(np.arange(num_steps)), np.float32)
