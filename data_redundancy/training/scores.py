"""How much training makes of every example: error norms, gradient norms, forgetting events.

References:
    el2n: Paul, Ganguli and Dziugaite (2021), "Deep Learning on a Data Diet", definition 2.
    grad_norm: Vodrahalli, Li and Malik (2018), "Are All Training Examples Created Equal? An Empirical Study", of a
        trained network; GraNd of Paul et al., definition 1, is the mean of the same over runs, early on.
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
from data_redundancy.training.inputs import Examples, Input

GRADIENT_BYTES = 2**30
"""What the gradients that a device takes at a time may need: one of all parameters for every example."""


def error_norms(model: nn.Module, variables: Any, examples: Examples) -> jax.Array:
    """EL2N [b] float32: the Euclidean norm of the predicted probabilities minus the one-hot label."""
    logits, _ = model.apply(variables, examples.images, train=False)
    errors = jax.nn.softmax(logits) - jax.nn.one_hot(examples.labels, logits.shape[-1])
    return jnp.linalg.norm(errors, axis=-1)


def gradient_norms(model: nn.Module, variables: Any, examples: Examples) -> jax.Array:
    """The Euclidean norm [b] float32 of the gradient of each example's cross-entropy by all parameters.

    BatchNorm uses its running averages, for a loss that depends on the one example alone. Weight decay and label
    smoothing are left out.
    """

    def loss(params, image, label):
        logits, _ = model.apply({**variables, "params": params}, image[None], train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits[0], label)

    gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(variables["params"], examples.images, examples.labels)
    return jax.vmap(optax.tree.norm)(gradients)


def mistakes(model: nn.Module, variables: Any, examples: Examples) -> jax.Array:
    """1 [b] float32 for every example that is not classified as its label, else 0."""
    logits, _ = model.apply(variables, examples.images, train=False)
    return (logits.argmax(-1) != examples.labels).astype(jnp.float32)


def forgetting_events(mistaken: np.ndarray) -> np.ndarray:
    """How many times an example is forgotten: right in one evaluation and wrong in the next.

    The paper looks at an example whenever it is in a minibatch; here all are evaluated after every epoch, without
    augmentation, in eval mode. So all are seen with the same parameters, and a mistake is not one of the augmentation;
    what happens within an epoch is not seen.

    An example that is wrong in every evaluation is never learned: the paper counts infinitely many events. For means
    over runs these are T + 1, more than any other example can have.

    Args:
        mistaken: [T, N] bool, of evaluations in order.

    Returns:
        [N] float32.
    """
    events = np.sum(~mistaken[:-1] & mistaken[1:], axis=0)
    return np.where(mistaken.all(axis=0), len(mistaken) + 1, events).astype(np.float32)


class Scorer:
    """Scores every example of a split; compiles each of the functions once."""

    def __init__(self, model: nn.Module, split: Input, *, batch_size: int):
        """Compiles nothing yet.

        Args:
            model: computes in float32.
            split: where its images are; they are not augmented.
            batch_size: rows per call over all devices, a multiple of the number of devices; fewer where the gradients
                of so many would need too much memory.
        """
        self._split, self._batch_size = split, batch_size
        functions = (error_norms, gradient_norms, mistakes)
        self._over_devices = {function: _over_devices(function, model, split.load) for function in functions}

    def error_norms(self, variables: Any) -> np.ndarray:
        """EL2N [N] float32 in canonical order; 0 for an image that cannot be decoded.

        Args:
            variables: the model's, replicated.
        """
        return self._score(error_norms, variables, self._batch_size)

    def gradient_norms(self, variables: Any) -> np.ndarray:
        """The same, `gradient_norms`."""
        num_bytes = sum(x.nbytes for x in jax.tree.leaves(variables["params"]))
        return self._score(gradient_norms, variables, gradient_batch(self._batch_size, num_bytes))

    def mistaken(self, variables: Any) -> np.ndarray:
        """The examples that are not classified as their label, [N] bool; not one that cannot be decoded."""
        return self._score(mistakes, variables, self._batch_size) > 0

    def _score(self, function: Callable, variables: Any, batch_size: int) -> np.ndarray:
        found, label = [np.zeros(0, np.float32)], function.__name__.replace("_", " ")
        with metrics.progress(label, total=self._split.num_examples, unit="images") as bar:
            for first, rows in rows_in_order(
                self._over_devices[function], variables, self._split, batch_size=batch_size
            ):
                found.append(rows)
                bar.update(first + len(rows))
        return devices.gather_rows(np.concatenate(found))


def gradient_batch(batch_size: int, num_bytes: int) -> int:
    """Rows per call over all devices, at most `batch_size`, whose gradients of `num_bytes` each a device can hold."""
    num_devices = jax.device_count()
    return num_devices * max(1, min(batch_size // num_devices, GRADIENT_BYTES // num_bytes))


def _over_devices(function: Callable, model: nn.Module, load: Callable) -> Callable:
    """The pmapped function of (variables, data, batch [devices, b, ...]) to scores [devices, b] float32."""

    def score(variables, data, batch):
        # By default GPUs multiply float32 as TF32 and TPUs as bfloat16.
        with jax.default_matmul_precision("highest"):
            examples = load(data, batch)
            return function(model, variables, examples) * examples.weight

    return devices.pmap(score, in_axes=(None, None, 0), out_axes=0)
