"""The compiled functions of training: several steps per call, the sums of an evaluation, and embeddings.

Each is mapped over all devices. The functions for trial parallelism are vectorised over the runs of a device as well.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from data_redundancy.data.augment import augment, example_keys
from data_redundancy.runtime import devices
from data_redundancy.training.inputs import DeviceBatch, Load
from data_redundancy.training.state import TrainState, updated_average

Sums = dict[str, jax.Array]
"""Sums over examples, by name."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Augmentation of training images on the devices.

    Attributes:
        pad: pixels of zeros added on every side before a random crop of the original size; 0 for none.
        flip: whether to mirror images left-right with probability one half.
        cutout: side of a square that is set to zero around a random centre; 0 for none.
    """

    pad: int
    flip: bool
    cutout: int


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """Settings of a training step.

    Attributes:
        label_smoothing: share of the target that is spread over all classes.
        augmentation: augmentation of the images.
        ema_decay: decay of the averages of the variables; None for no averages.
    """

    label_smoothing: float
    augmentation: Augmentation
    ema_decay: float | None = None


def make_train_steps(
    model: nn.Module, optimizer: optax.GradientTransformationExtraArgs, load: Load, settings: StepSettings
) -> Callable:
    """Builds the pmapped function that takes several training steps of one run.

    Args:
        model: the model, made for the axis `devices.AXIS`.
        optimizer: the optimizer; its update takes a `learning_rate`.
        load: returns the images of a batch.
        settings: settings of a step.

    Returns:
        A function of (state, data, seed, batch, learning_rate, stop). `batch` is this process's part [devices, steps,
        b, ...] of the batches, with "index", "epoch" and the arrays that `load` needs; `learning_rate` is [steps];
        `stop` is [devices] int32. It returns

        - the new state; the memory of the old one is reused,
        - sums over the examples of all steps and devices: "loss", "accuracy" (the number of correct ones) and "count".
          Examples of weight 0 count in none of these and have no gradient, but BatchNorm sees their images,
        - the sum of `stop` over all devices.
    """
    step = _Step(model, optimizer, load, settings, axis=devices.AXIS)

    def train_steps(
        state: TrainState, data: Any, seed: Any, batch: Any, learning_rate: jax.Array, stop: jax.Array
    ) -> tuple[TrainState, Sums, jax.Array]:
        state, sums = _take_steps(step, state, data, seed, batch, learning_rate)
        return state, jax.lax.psum(sums, devices.AXIS), jax.lax.psum(stop, devices.AXIS)

    return devices.pmap(
        train_steps, in_axes=(None, None, None, 0, None, 0), out_axes=(None, None, None), donate_argnums=(0,)
    )


def make_trial_parallel_train_steps(
    model: nn.Module, optimizer: optax.GradientTransformationExtraArgs, load: Load, settings: StepSettings
) -> Callable:
    """Builds the pmapped function that takes several training steps of many runs, each of which is on one device.

    Args:
        model: the model.
        optimizer: the optimizer; its update takes a `learning_rate`.
        load: returns the images of a batch.
        settings: settings of a step.

    Returns:
        A function like that of `make_train_steps`, but state and seed are [devices, runs, ...], the batch is [devices,
        steps, runs, B], and the sums are [devices, runs].
    """
    step = _Step(model.clone(axis_name=None), optimizer, load, settings, axis=None, over_runs=jax.vmap)

    def train_steps(
        states: TrainState, data: Any, seeds: Any, batch: Any, learning_rate: jax.Array, stop: jax.Array
    ) -> tuple[TrainState, Sums, jax.Array]:
        states, sums = _take_steps(step, states, data, seeds, batch, learning_rate)
        return states, sums, jax.lax.psum(stop, devices.AXIS)

    return devices.pmap(train_steps, in_axes=(0, None, 0, 0, None, 0), out_axes=(0, 0, None), donate_argnums=(0,))


def _single_run(function: Callable, in_axes: Any = 0) -> Callable:
    """Returns the function itself, in place of `jax.vmap` where a device has one run."""
    del in_axes
    return function


@dataclasses.dataclass(frozen=True)
class _Step:
    """One training step on one device, of one run or of several.

    Attributes:
        model: the model, made for `axis`.
        optimizer: the optimizer; its update takes a `learning_rate`.
        load: returns the images of a batch.
        settings: settings of a step.
        axis: the mapped axis over which batches are split; None if each device has whole batches.
        over_runs: `jax.vmap` if state, seed and batch have a leading axis of runs, else `_single_run`.
    """

    model: nn.Module
    optimizer: optax.GradientTransformationExtraArgs
    load: Load
    settings: StepSettings
    axis: str | None
    over_runs: Callable[..., Callable] = _single_run

    def __call__(
        self, state: TrainState, data: Any, seed: Any, batch: Any, learning_rate: jax.Array
    ) -> tuple[TrainState, Sums]:
        """Returns the new state and the device's sums."""
        examples = self.over_runs(self._augmented, in_axes=(None, 0, 0))(data, seed, batch)
        gradient = jax.grad(self._total_loss, has_aux=True)
        grads, (batch_stats, sums) = gradient(state.params, state.batch_stats, examples)
        grads = self._over_devices(jax.lax.pmean, grads)
        update = self.over_runs(self._updated, in_axes=(0, 0, 0, None))
        return update(state, grads, batch_stats, learning_rate), sums

    def _augmented(self, data: Any, seed: Any, batch: Any) -> DeviceBatch:
        examples = self.load(data, batch)
        keys = example_keys(seed, batch["epoch"], batch["index"])
        settings = dataclasses.asdict(self.settings.augmentation)
        return examples.replace(images=augment(keys, examples.images, **settings))

    def _total_loss(self, params: Any, batch_stats: Any, examples: DeviceBatch) -> tuple[jax.Array, tuple[Any, Sums]]:
        """Returns the loss, summed over the runs, with the new running averages and the sums of each run."""
        # Runs share no parameters, so the gradient of the total has the gradient of each run. Gradients of each run's
        # loss would become convolutions with kernels of the size of the images; the gradient of the total becomes
        # grouped convolutions, for which the libraries of accelerators have fast kernels.
        losses, others = self.over_runs(self._loss)(params, batch_stats, examples)
        return losses.sum(), others

    def _loss(self, params: Any, batch_stats: Any, examples: DeviceBatch) -> tuple[jax.Array, tuple[Any, Sums]]:
        """Returns the loss of one run, with the new running averages and the sums."""
        variables = {"params": params, "batch_stats": batch_stats}
        (logits, _), updated = self.model.apply(variables, examples.images, train=True, mutable=["batch_stats"])
        labels, weight = examples.labels, examples.weight
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), self.settings.label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets) * weight
        correct = (logits.argmax(-1) == labels) & (weight > 0)
        # Devices may have different numbers of examples with a weight. Each divides by the mean of these numbers, so
        # that the mean of the devices' gradients is the gradient of the mean loss.
        total = self._over_devices(jax.lax.psum, weight.sum())
        count = jnp.maximum(total, 1) / self._over_devices(jax.lax.psum, 1)
        sums = {"loss": losses.sum(), "accuracy": correct.sum(), "count": (weight > 0).sum()}
        return losses.sum() / count, (updated["batch_stats"], sums)

    def _updated(self, state: TrainState, grads: Any, batch_stats: Any, learning_rate: jax.Array) -> TrainState:
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params, learning_rate=learning_rate)
        params = optax.apply_updates(state.params, updates)
        average = updated_average(state, params, batch_stats, decay=self.settings.ema_decay)
        return TrainState(state.step + 1, params, batch_stats, opt_state, average)

    def _over_devices(self, reduce: Callable, x: Any) -> Any:
        return x if self.axis is None else reduce(x, self.axis)


def _take_steps(
    step: _Step, state: TrainState, data: Any, seed: Any, batches: Any, learning_rates: jax.Array
) -> tuple[TrainState, Sums]:
    """Takes one step for each batch and returns the new state and the sums over the steps.

    The steps are unrolled on CPU, where XLA runs convolutions inside of loops several times slower than outside, even
    in a loop of a single iteration.
    """

    def take(state: TrainState, inputs: Any) -> tuple[TrainState, Sums]:
        batch, learning_rate = inputs
        return step(state, data, seed, batch, learning_rate)

    inputs = (batches, learning_rates)
    if len(learning_rates) == 1:
        return take(state, jax.tree.map(lambda x: x[0], inputs))
    state, sums = jax.lax.scan(take, state, inputs, unroll=jax.default_backend() == "cpu")
    return state, jax.tree.map(lambda x: x.sum(0), sums)


def make_evaluate(model: nn.Module, num_classes: int, load: Load) -> Callable:
    """Builds the pmapped function that evaluates one batch.

    Args:
        model: the model.
        num_classes: number of the model's logits.
        load: returns the images of a batch.

    Returns:
        A function of (variables, data, batch, mask): batch is [devices, b, ...], mask [devices, b] bool. It returns
        sums over all devices: {"loss": scalar, "correct": [num_classes], "count": [num_classes]}, of the examples whose
        mask is True and that could be decoded.
    """
    sums_of = _evaluation_sums(model, num_classes, load)

    def evaluate(variables: Any, data: Any, batch: Any, mask: jax.Array) -> Sums:
        return jax.lax.psum(sums_of(variables, data, batch, mask), devices.AXIS)

    return devices.pmap(evaluate, in_axes=(None, None, 0, 0), out_axes=None)


def make_trial_parallel_evaluate(model: nn.Module, num_classes: int, load: Load) -> Callable:
    """Builds the pmapped function that evaluates one batch for many runs.

    Args:
        model: the model.
        num_classes: number of the model's logits.
        load: returns the images of a batch.

    Returns:
        A function like that of `make_evaluate`, but variables and sums are [devices, runs, ...], and every device must
        get all rows of the batch.
    """
    sums_of = jax.vmap(_evaluation_sums(model, num_classes, load), in_axes=(0, None, None, None))
    return devices.pmap(sums_of, in_axes=(0, None, 0, 0), out_axes=0)


def _evaluation_sums(model: nn.Module, num_classes: int, load: Load) -> Callable[[Any, Any, Any, jax.Array], Sums]:
    """Returns the function of (variables, data, batch, mask) that computes the sums of one device."""

    def sums_of(variables: Any, data: Any, batch: Any, mask: jax.Array) -> Sums:
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
    """Builds the pmapped function that embeds one batch.

    Args:
        model: the model.
        load: returns the images of a batch.

    Returns:
        A function of (variables, data, batch [devices, b, ...]) that returns embeddings [devices, b, D] float32.
    """

    def embed(variables: Any, data: Any, batch: Any) -> jax.Array:
        # By default GPUs multiply float32 as TF32 and TPUs as bfloat16.
        with jax.default_matmul_precision("highest"):
            outputs: Any = model.apply(variables, load(data, batch).images, train=False)
        return outputs[1]

    return devices.pmap(embed, in_axes=(None, None, 0), out_axes=0)
