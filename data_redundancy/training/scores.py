"""Scores of the importance of every example for training: error norms, gradient norms, forgetting events.

References:
    el2n: Paul, Ganguli and Dziugaite (2021), "Deep Learning on a Data Diet", definition 2.
    grad_norm: Vodrahalli, Li and Malik (2018), "Are All Training Examples Created Equal? An Empirical Study", for a
        trained network; GraNd of Paul et al., definition 1, is the mean of the same norm over runs, early in training.
    forgetting: Toneva et al. (2019), "An Empirical Study of Example Forgetting during Deep Neural Network Learning".
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_redundancy.runtime import devices
from data_redundancy.store import metrics
from data_redundancy.training.inference import rows_in_order
from data_redundancy.training.inputs import DeviceBatch, Input, Load

GRADIENT_BYTES = 2**30
"""The most memory of a device for the gradients of one call: each example has a gradient by all parameters."""

Score = Callable[[nn.Module, Any, DeviceBatch], jax.Array]
"""A function of (model, variables, batch) that returns scores [b] float32."""


def error_norms(model: nn.Module, variables: Any, batch: DeviceBatch) -> jax.Array:
    """Computes EL2N, [b] float32: the Euclidean norm of the predicted probabilities minus the one-hot label."""
    logits, _ = model.apply(variables, batch.images, train=False)
    errors = jax.nn.softmax(logits) - jax.nn.one_hot(batch.labels, logits.shape[-1])
    return jnp.linalg.norm(errors, axis=-1)


def gradient_norms(model: nn.Module, variables: Any, batch: DeviceBatch) -> jax.Array:
    """Computes the Euclidean norm [b] float32 of the gradient of each example's cross-entropy by all parameters.

    BatchNorm uses its running averages, so that the loss of an example depends on that example alone. Weight decay and
    label smoothing are left out.
    """

    def loss(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        logits, _ = model.apply({**variables, "params": params}, image[None], train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits[0], label)

    gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(variables["params"], batch.images, batch.labels)
    return jax.vmap(optax.tree.norm)(gradients)


def mistakes(model: nn.Module, variables: Any, batch: DeviceBatch) -> jax.Array:
    """Returns 1 for every example that is not classified as its label, else 0, [b] float32."""
    logits, _ = model.apply(variables, batch.images, train=False)
    return (logits.argmax(-1) != batch.labels).astype(jnp.float32)


def forgetting_events(mistaken: np.ndarray) -> np.ndarray:
    """Counts how many times each example is forgotten: right in one evaluation and wrong in the next.

    The paper evaluates an example whenever it is in a minibatch. Here, all examples are evaluated after every epoch,
    without augmentation and in eval mode. So all are evaluated with the same parameters, and no mistake is due to
    augmentation, but changes within an epoch are missed.

    An example that is wrong in every evaluation is never learned: the paper counts infinitely many events. Here it
    counts T + 1, more than any other example can have, so that means over runs are finite.

    Args:
        mistaken: [T, N] bool, whether each example is wrong in each evaluation, in order.

    Returns:
        [N] float32.
    """
    events = np.sum(~mistaken[:-1] & mistaken[1:], axis=0)
    return np.where(mistaken.all(axis=0), len(mistaken) + 1, events).astype(np.float32)


class Scorer:
    """Scores every example of a split; compiles each scoring function once."""

    def __init__(self, model: nn.Module, split: Input, *, batch_size: int):
        """Compiles nothing yet.

        Args:
            model: the model, made to compute in float32.
            split: the source of the images, which are not augmented.
            batch_size: rows per call over all devices, a multiple of the number of devices; smaller for gradient norms
                if the gradients would need too much memory.
        """
        self._split, self._batch_size = split, batch_size
        functions: tuple[Score, ...] = (error_norms, gradient_norms, mistakes)
        self._over_devices = {function: _over_devices(function, model, split.load) for function in functions}

    def error_norms(self, variables: Any) -> np.ndarray:
        """Computes EL2N, [N] float32 in canonical order; 0 for an image that cannot be decoded.

        Args:
            variables: the variables of the model, replicated.
        """
        return self._score(error_norms, variables, self._batch_size)

    def gradient_norms(self, variables: Any) -> np.ndarray:
        """Computes gradient norms, [N] float32 in canonical order; 0 for an image that cannot be decoded.

        Args:
            variables: the variables of the model, replicated.
        """
        num_bytes = sum(x.nbytes for x in jax.tree.leaves(variables["params"]))
        return self._score(gradient_norms, variables, gradient_batch(self._batch_size, num_bytes))

    def mistaken(self, variables: Any) -> np.ndarray:
        """Returns whether each example is not classified as its label, [N] bool; False if it cannot be decoded.

        Args:
            variables: the variables of the model, replicated.
        """
        return self._score(mistakes, variables, self._batch_size) > 0

    def _score(self, function: Score, variables: Any, batch_size: int) -> np.ndarray:
        found = [np.zeros(0, np.float32)]
        with metrics.progress(_TITLES[function], total=self._split.num_examples, unit="images") as bar:
            for first, rows in rows_in_order(
                self._over_devices[function], variables, self._split, batch_size=batch_size
            ):
                found.append(rows)
                bar.update(first + len(rows))
        return devices.gather_rows(np.concatenate(found))


def gradient_batch(batch_size: int, num_bytes: int) -> int:
    """Returns the rows per call over all devices for which a device can hold the gradients.

    Args:
        batch_size: the most rows.
        num_bytes: size of the gradient of one row.
    """
    num_devices = jax.device_count()
    return num_devices * max(1, min(batch_size // num_devices, GRADIENT_BYTES // num_bytes))


_TITLES: dict[Score, str] = {
    error_norms: "error norms",
    gradient_norms: "gradient norms",
    mistakes: "mistakes",
}
"""The titles of progress lines."""


def _over_devices(function: Score, model: nn.Module, load: Load) -> Callable:
    """Returns the pmapped function of (variables, data, batch [devices, b, ...]) to scores [devices, b] float32."""

    def score(variables: Any, data: Any, batch: Any) -> jax.Array:
        # By default GPUs multiply float32 as TF32 and TPUs as bfloat16.
        with jax.default_matmul_precision("highest"):
            loaded = load(data, batch)
            return function(model, variables, loaded) * loaded.weight

    return devices.pmap(score, in_axes=(None, None, 0), out_axes=0)
