"""The jitted functions over all devices: several training steps a call, evaluation sums, embeddings."""

from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_redundancy import parallel
from data_redundancy.data.augment import augment, example_keys, normalise
from data_redundancy.training.state import TrainState


class DeviceData(flax.struct.PyTreeNode):
    """A split that lives on every device, and the statistics that normalise it.

    Attributes:
        images: [N, H, W, C] uint8.
        labels: [N] int32.
        mean: [C] float32 per-channel mean, in units of 0..255.
        std: [C] float32 per-channel standard deviation.
    """

    images: jax.Array
    labels: jax.Array
    mean: jax.Array
    std: jax.Array


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [C] float32 of every channel of uint8 images [N, H, W, C] (std is at least 1)."""
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    values = np.arange(256)
    mean = counts @ values / counts.sum(1)
    std = np.sqrt(counts @ values**2 / counts.sum(1) - mean**2)
    return mean.astype(np.float32), np.maximum(std, 1.0).astype(np.float32)


def make_train_steps(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    label_smoothing: float,
    pad: int,
    flip: bool,
    cutout: int,
) -> Callable:
    """Builds the pmapped function that takes several training steps.

    Returns:
        A function of (state, data, seed, index, epoch, learning_rate), where index and epoch are this process's part
        [devices, steps, B / all devices] of the batches and learning_rate is [steps]. It gives the new state (the old
        one is donated) and sums over the examples of all steps and devices: "loss", "accuracy" (the
        correct ones) and "count".
    """

    def loss_fn(params, batch_stats, images, labels):
        variables = {"params": params, "batch_stats": batch_stats}
        (logits, _), updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
        return losses.mean(), (updated["batch_stats"], losses.sum(), (logits.argmax(-1) == labels).sum())

    def train_steps(state: TrainState, data: DeviceData, seed, index, epoch, learning_rate):
        def step(state, batch):
            index, epoch, learning_rate = batch
            images = normalise(data.images[index], data.mean, data.std)
            images = augment(example_keys(seed, epoch, index), images, pad=pad, flip=flip, cutout=cutout)
            gradient = jax.grad(loss_fn, has_aux=True)(state.params, state.batch_stats, images, data.labels[index])
            grads, (batch_stats, loss, correct) = gradient
            grads = jax.lax.pmean(grads, parallel.AXIS)
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, optax.tree.scale(-learning_rate, updates))
            state = TrainState(step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state)
            return state, {"loss": loss, "accuracy": correct, "count": jnp.int32(index.size)}

        state, sums = _scan(step, state, (index, epoch, learning_rate))
        return state, jax.lax.psum(sums, parallel.AXIS)

    return parallel.pmap(
        train_steps, in_axes=(None, None, None, 0, 0, None), out_axes=(None, None), donate_argnums=(0,)
    )


def _scan(step: Callable, state: TrainState, batches: Any) -> tuple[TrainState, Any]:
    """`lax.scan` over the batches that adds up what the steps return.

    XLA's CPU backend runs convolutions inside a loop, even one of a single turn, several times slower than outside one:
    there the steps are written out.
    """
    if len(batches[0]) == 1:
        return step(state, jax.tree.map(lambda x: x[0], batches))
    state, sums = jax.lax.scan(step, state, batches, unroll=jax.default_backend() == "cpu")
    return state, jax.tree.map(lambda x: x.sum(0), sums)


def make_evaluate(model: nn.Module, num_classes: int) -> Callable:
    """Builds the pmapped function that scores one batch.

    Returns:
        A function of (variables, data, index, mask), the last two [devices, b]. It gives sums over all devices:
        {"loss": scalar, "correct": [num_classes], "count": [num_classes]} of the examples whose mask is True.
    """

    def evaluate(variables, data: DeviceData, index, mask):
        labels = data.labels[index]
        logits, _ = model.apply(variables, normalise(data.images[index], data.mean, data.std), train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        counted = jax.nn.one_hot(labels, num_classes, dtype=jnp.int32) * mask[:, None]
        sums = {
            "loss": jnp.sum(losses * mask),
            "correct": jnp.sum(counted * (logits.argmax(-1) == labels)[:, None], axis=0),
            "count": jnp.sum(counted, axis=0),
        }
        return jax.lax.psum(sums, parallel.AXIS)

    return parallel.pmap(evaluate, in_axes=(None, None, 0, 0), out_axes=None)


def make_embed(model: nn.Module) -> Callable:
    """Builds the pmapped function of (variables, data, index [devices, b]) that embeds [devices, b, D] float32."""

    def embed(variables, data: DeviceData, index):
        # By default GPUs multiply float32 as TF32 and TPUs as bfloat16.
        with jax.default_matmul_precision("highest"):
            _, embedding = model.apply(variables, normalise(data.images[index], data.mean, data.std), train=False)
        return embedding

    return parallel.pmap(embed, in_axes=(None, None, 0), out_axes=0)
