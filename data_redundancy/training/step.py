"""The jitted functions over all devices: several training steps a call, evaluation sums, embeddings."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from data_redundancy import parallel
from data_redundancy.data.augment import augment, example_keys
from data_redundancy.training.inputs import Load
from data_redundancy.training.state import TrainState, updated_average


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to training images on the devices; the fields mean what configs/default.py says of them."""

    pad: int
    flip: bool
    cutout: int


def make_train_steps(
    model: nn.Module,
    optimizer: optax.GradientTransformationExtraArgs,
    load: Load,
    *,
    label_smoothing: float,
    augmentation: Augmentation,
    ema_decay: float | None = None,
) -> Callable:
    """Builds the pmapped function that takes several training steps.

    Args:
        model: made for the axis `parallel.AXIS`.
        optimizer: its update takes a `learning_rate`.
        load: how to get at a batch's images.
        label_smoothing: share of the target spread over all classes.
        augmentation: of the images.
        ema_decay: of the average of the variables, or None for none.

    Returns:
        A function of (state, data, seed, batch, learning_rate, stop): batch is this process's part [devices, steps, b,
        ...] of the batches, with "index", "epoch" and what `load` needs; learning_rate is [steps]; stop [devices]
        int32 is passed through. It gives the new state (the old one is donated) and sums over the examples of all
        steps and devices: "loss", "accuracy" (the correct ones) and "count"; and the sum of stop. Examples of weight 0
        count in none of these and give no gradient; BatchNorm sees their images.
    """

    def loss_fn(params, batch_stats, images, labels, weight):
        variables = {"params": params, "batch_stats": batch_stats}
        (logits, _), updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets) * weight
        correct = (logits.argmax(-1) == labels) & (weight > 0)
        # Devices may have differently many examples that count: with the mean number of them, gradients average right.
        num_devices = jax.lax.psum(1, parallel.AXIS)
        count = jnp.maximum(jax.lax.psum(weight.sum(), parallel.AXIS), 1) / num_devices
        return losses.sum() / count, (updated["batch_stats"], losses.sum(), correct.sum())

    def train_steps(state: TrainState, data, seed, batch, learning_rate, stop):
        def step(state, inputs):
            batch, learning_rate = inputs
            examples = load(data, batch)
            keys = example_keys(seed, batch["epoch"], batch["index"])
            images = augment(keys, examples.images, **dataclasses.asdict(augmentation))
            gradient = jax.grad(loss_fn, has_aux=True)
            grads, (batch_stats, loss, correct) = gradient(
                state.params, state.batch_stats, images, examples.labels, examples.weight
            )
            grads = jax.lax.pmean(grads, parallel.AXIS)
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params, learning_rate=learning_rate)
            params = optax.apply_updates(state.params, updates)
            average = updated_average(state, params, batch_stats, decay=ema_decay)
            state = TrainState(state.step + 1, params, batch_stats, opt_state, average)
            return state, {"loss": loss, "accuracy": correct, "count": (examples.weight > 0).sum()}

        state, sums = _scan(step, state, (batch, learning_rate))
        return state, jax.lax.psum(sums, parallel.AXIS), jax.lax.psum(stop, parallel.AXIS)

    return parallel.pmap(
        train_steps, in_axes=(None, None, None, 0, None, 0), out_axes=(None, None, None), donate_argnums=(0,)
    )


def _scan(step: Callable, state: TrainState, batches: Any) -> tuple[TrainState, Any]:
    """`lax.scan` over the batches that adds up what the steps return.

    XLA's CPU backend runs convolutions inside a loop, even one of a single turn, several times slower than outside one:
    there the steps are written out.
    """
    if len(jax.tree.leaves(batches)[0]) == 1:
        return step(state, jax.tree.map(lambda x: x[0], batches))
    state, sums = jax.lax.scan(step, state, batches, unroll=jax.default_backend() == "cpu")
    return state, jax.tree.map(lambda x: x.sum(0), sums)


def make_evaluate(model: nn.Module, num_classes: int, load: Load) -> Callable:
    """Builds the pmapped function that scores one batch.

    Returns:
        A function of (variables, data, batch, mask): batch is [devices, b, ...], mask [devices, b] bool. It gives sums
        over all devices: {"loss": scalar, "correct": [num_classes], "count": [num_classes]} of the examples whose mask
        is True and that could be decoded.
    """

    def evaluate(variables, data, batch, mask):
        examples = load(data, batch)
        weight = mask * examples.weight
        logits, _ = model.apply(variables, examples.images, train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, examples.labels)
        counted = jax.nn.one_hot(examples.labels, num_classes, dtype=jnp.int32) * weight[:, None].astype(jnp.int32)
        sums = {
            "loss": jnp.sum(losses * weight),
            "correct": jnp.sum(counted * (logits.argmax(-1) == examples.labels)[:, None], axis=0),
            "count": jnp.sum(counted, axis=0),
        }
        return jax.lax.psum(sums, parallel.AXIS)

    return parallel.pmap(evaluate, in_axes=(None, None, 0, 0), out_axes=None)


def make_embed(model: nn.Module, load: Load) -> Callable:
    """Builds the pmapped function of (variables, data, batch [devices, b, ...]) that embeds [devices, b, D] float32."""

    def embed(variables, data, batch):
        # By default GPUs multiply float32 as TF32 and TPUs as bfloat16.
        with jax.default_matmul_precision("highest"):
            _, embedding = model.apply(variables, load(data, batch).images, train=False)
        return embedding

    return parallel.pmap(embed, in_axes=(None, None, 0), out_axes=0)
