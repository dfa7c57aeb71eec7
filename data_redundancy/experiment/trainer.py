"""The trainer of a config: its model, its settings and its images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import psutil
from ml_collections import ConfigDict

from data_redundancy import data, models, training
from data_redundancy.errors import InputError, arguments_named
from data_redundancy.experiment import inputs
from data_redundancy.experiment.durations import gigabytes_text
from data_redundancy.runtime import devices
from data_redundancy.training.schedule import scaled_learning_rate

_FIELDS = {
    "batch_size": "train.batch_size",
    "eval_batch_size": "embed.batch_size",
    **{name: f"model.{name}" for name in ("name", "width", "stem")},
}

_COPIES = 3
"""The least number of float32 values per parameter in training: the parameter, its gradient and its momentum."""


def make_trainer(config: ConfigDict, dataset: data.Dataset) -> training.Trainer:
    """Builds the trainer, which puts the images on the devices.

    Raises:
        InputError: if the batch size exceeds the data set or is not a multiple of the number of devices; the model is
            unknown or exceeds the memory of a device; or the images do not fit `input.mean`.
    """
    num_train = len(dataset.train.labels)
    if config.train.batch_size > num_train:
        raise InputError(
            "train.batch_size", config.train.batch_size, f"must be at most {num_train:,}, the number of training images"
        )
    with arguments_named(_FIELDS):
        model = models.create(
            config.model.name,
            num_classes=len(dataset.class_names),
            width=config.model.width,
            stem=config.model.stem,
            dtype=jnp.dtype(config.train.dtype),
            axis_name=devices.AXIS,
        )
        train_input, test_input = inputs.make(config, dataset)
        _check_memory(model, train_input.image_shape, width=config.model.width)
        return training.Trainer(
            model,
            _settings(config, eval_batch_size=_eval_batch_size(config, dataset)),
            num_classes=len(dataset.class_names),
            train=train_input,
            test=test_input,
        )


def _check_memory(model: nn.Module, image_shape: tuple[int, int, int], *, width: int) -> None:
    """Raises InputError if the state of a training run alone exceeds the memory of a device."""

    def init() -> Any:
        return model.init(jax.random.key(0), jnp.zeros((1, *image_shape)), train=False)["params"]

    num_parameters = sum(x.size for x in jax.tree.leaves(jax.eval_shape(init)))
    needed = _COPIES * 4 * num_parameters
    stats = jax.local_devices()[0].memory_stats()
    available = stats["bytes_limit"] if stats else psutil.virtual_memory().total / jax.local_device_count()
    if needed > available:
        raise InputError(
            "model.width",
            width,
            f"makes a model of {num_parameters:,} parameters, which take {gigabytes_text(needed)} in training, but a "
            f"device has {gigabytes_text(available)}",
            "Use a narrower model",
        )


def _settings(config: ConfigDict, *, eval_batch_size: int) -> training.TrainSettings:
    train = config.train
    streams = config.input.mode == "stream"
    return training.TrainSettings(
        batch_size=train.batch_size,
        learning_rate=scaled_learning_rate(
            train.learning_rate, batch_size=train.batch_size, given_for=train.learning_rate_batch_size
        ),
        optimizer=train.optimizer,
        momentum=train.momentum,
        weight_decay=train.weight_decay,
        trust_coefficient=train.trust_coefficient,
        label_smoothing=train.label_smoothing,
        ema_decay=train.ema_decay,
        pad=train.pad,
        flip=train.flip,
        cutout=train.cutout,
        steps_per_call=train.steps_per_call or training.default_steps_per_call(streams=streams),
        log_every_steps=train.log_every_steps,
        checkpoint_every_steps=train.checkpoint_every_steps,
        keep_checkpoints=train.keep_checkpoints,
        profile_steps=train.profile_steps,
        eval_batch_size=eval_batch_size,
    )


def _eval_batch_size(config: ConfigDict, dataset: data.Dataset) -> int:
    """Returns the batch size of inference; it does not exceed the data set, because batches are padded to it."""
    return clipped_batch_size(config.embed.batch_size, max(len(dataset.train.labels), len(dataset.test.labels)))


def clipped_batch_size(batch_size: int, num_examples: int) -> int:
    """Returns the batch size, or the smallest one that holds all examples, if that is less.

    A batch size that is not a multiple of the number of devices is returned unchanged; the trainer raises an error.

    Args:
        batch_size: batch size in the config.
        num_examples: number of examples of the larger split.
    """
    num_devices = jax.device_count()
    if batch_size % num_devices:
        return batch_size
    return min(batch_size, num_devices * -(-num_examples // num_devices))
