"""The jitted functions over all devices: several training steps a call, evaluation sums, embeddings."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from data_redundancy.data.augment import augment, example_keys
from data_redundancy.runtime import devices
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
        model: made for the axis `devices.AXIS`.
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
    take_steps = _steps_taker(
        model,
        optimizer,
        load,
        label_smoothing=label_smoothing,
        augmentation=augmentation,
        ema_decay=ema_decay,
        axis=devices.AXIS,
        each=lambda function, in_axes=0: function,
    )

    def train_steps(state: TrainState, data, seed, batch, learning_rate, stop):
        state, sums = take_steps(state, data, seed, batch, learning_rate)
        return state, jax.lax.psum(sums, devices.AXIS), jax.lax.psum(stop, devices.AXIS)

    return devices.pmap(
        train_steps, in_axes=(None, None, None, 0, None, 0), out_axes=(None, None, None), donate_argnums=(0,)
    )


def make_train_steps_together(
    model: nn.Module, optimizer: optax.GradientTransformationExtraArgs, load: Load, **settings
) -> Callable:
    """Builds the pmapped function that takes several training steps of many runs, each of which one device has whole.

    Args:
        model: as for `make_train_steps`, and so are the other arguments.
        optimizer: the same.
        load: the same.
        **settings: the same.

    Returns:
        As `make_train_steps`, but state and seed are [devices, runs, ...], batch is [devices, steps, runs, B], and the
        sums are [devices, runs].
    """
    take_steps = _steps_taker(model.clone(axis_name=None), optimizer, load, **settings, axis=None, each=jax.vmap)

    def train_steps(states: TrainState, data, seeds, batch, learning_rate, stop):
        states, sums = take_steps(states, data, seeds, batch, learning_rate)
        return states, sums, jax.lax.psum(stop, devices.AXIS)

    return devices.pmap(train_steps, in_axes=(0, None, 0, 0, None, 0), out_axes=(0, 0, None), donate_argnums=(0,))


def _steps_taker(
    model: nn.Module,
    optimizer: optax.GradientTransformationExtraArgs,
    load: Load,
    *,
    label_smoothing: float,
    augmentation: Augmentation,
    ema_decay: float | None = None,
    axis: str | None,
    each: Callable,
) -> Callable:
    """The function of (state, data, seed, batch, learning_rate) on one device, to the new state and the device's sums.

    Args:
        model: made for `axis`.
        optimizer: as for `make_train_steps`, and so are the others.
        load: the same.
        label_smoothing: the same.
        augmentation: the same.
        ema_decay: the same.
        axis: mapped axis over which batches are split; None where a device has whole ones.
        each: `jax.vmap` where state, seed and every step's batch have a leading axis of runs; otherwise what leaves a
            function as it is.
    """

    def over_axis(reduce: Callable, x: Any) -> Any:
        return x if axis is None else reduce(x, axis)

    def loss_fn(params, batch_stats, examples):
        variables = {"params": params, "batch_stats": batch_stats}
        (logits, _), updated = model.apply(variables, examples.images, train=True, mutable=["batch_stats"])
        labels, weight = examples.labels, examples.weight
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets) * weight
        correct = (logits.argmax(-1) == labels) & (weight > 0)
        # Devices may have differently many examples that count: with the mean number of them, gradients average right.
        count = jnp.maximum(over_axis(jax.lax.psum, weight.sum()), 1) / over_axis(jax.lax.psum, 1)
        sums = {"loss": losses.sum(), "accuracy": correct.sum(), "count": (weight > 0).sum()}
        return losses.sum() / count, (updated["batch_stats"], sums)

    def total_loss(params, batch_stats, examples):
        # Runs share no parameters: the gradient of the total is that of each. Taken of the total, and not of each, it
        # is grouped convolutions, as accelerators' libraries know them.
        losses, others = each(loss_fn)(params, batch_stats, examples)
        return losses.sum(), others

    def augmented(data, seed, batch):
        examples = load(data, batch)
        keys = example_keys(seed, batch["epoch"], batch["index"])
        return examples.replace(images=augment(keys, examples.images, **dataclasses.asdict(augmentation)))

    def updated(state, grads, batch_stats, learning_rate):
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, learning_rate=learning_rate)
        params = optax.apply_updates(state.params, updates)
        average = updated_average(state, params, batch_stats, decay=ema_decay)
        return TrainState(state.step + 1, params, batch_stats, opt_state, average)

    def take_steps(state: TrainState, data, seed, batch, learning_rate):
        def step(state, inputs):
            batch, learning_rate = inputs
            examples = each(augmented, in_axes=(None, 0, 0))(data, seed, batch)
            gradient = jax.grad(total_loss, has_aux=True)
            grads, (batch_stats, sums) = gradient(state.params, state.batch_stats, examples)
            grads = over_axis(jax.lax.pmean, grads)
            return each(updated, in_axes=(0, 0, 0, None))(state, grads, batch_stats, learning_rate), sums

        return _scan(step, state, (batch, learning_rate))

    return take_steps


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
    sums_of = _evaluation_sums(model, num_classes, load)

    def evaluate(variables, data, batch, mask):
        return jax.lax.psum(sums_of(variables, data, batch, mask), devices.AXIS)

    return devices.pmap(evaluate, in_axes=(None, None, 0, 0), out_axes=None)


def make_evaluate_together(model: nn.Module, num_classes: int, load: Load) -> Callable:
    """As `make_evaluate`, of many runs.

    Variables and sums are [devices, runs, ...]; every device has to be given all rows of the batch [devices, b].
    """
    sums_of = jax.vmap(_evaluation_sums(model, num_classes, load), in_axes=(0, None, None, None))
    return devices.pmap(sums_of, in_axes=(0, None, 0, 0), out_axes=0)


def _evaluation_sums(model: nn.Module, num_classes: int, load: Load) -> Callable:
    """The function of (variables, data, batch, mask) to the sums of one device."""

    def sums_of(variables, data, batch, mask):
        examples = load(data, batch)
        weight = mask * examples.weight
        logits, _ = model.apply(variables, examples.images, train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, examples.labels)
        counted = jax.nn.one_hot(examples.labels, num_classes, dtype=jnp.int32) * weight[:, None].astype(jnp.int32)
        return {
            "loss": jnp.sum(losses * weight),
            "correct": jnp.sum(counted * (logits.argmax(-1) == examples.labels)[:, None], axis=0),
            "count": jnp.sum(counted, axis=0),
        }

    return sums_of


def make_embed(model: nn.Module, load: Load) -> Callable:
    """Builds the pmapped function of (variables, data, batch [devices, b, ...]) that embeds [devices, b, D] float32."""

    def embed(variables, data, batch):
        # By default GPUs multiply float32 as TF32 and TPUs as bfloat16.
        with jax.default_matmul_precision("highest"):
            _, embedding = model.apply(variables, load(data, batch).images, train=False)
        return embedding

    return devices.pmap(embed, in_axes=(None, None, 0), out_axes=0)
