"""Settings of training, and the runs to train."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from etils import epath

from data_redundancy.training.state import TrainState
from data_redundancy.training.step import Augmentation, StepSettings

IN_FLIGHT = 2
"""Calls of a compiled function that are under way while the host prepares the next one: one that the devices compute
and one that follows without a gap. More would only keep more batches in the devices' memory."""

CPU_STEPS_PER_CALL, ACCELERATOR_STEPS_PER_CALL = 1, 25


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Settings of training.

    Attributes:
        batch_size: images per step over all devices; a multiple of the number of devices.
        learning_rate: learning rate at its peak, after the warm-up.
        optimizer: one of `optimizers.NAMES`.
        momentum: momentum of the optimizer.
        weight_decay: coefficient of half the squared norm of the kernels.
        trust_coefficient: size of an update relative to its kernel's, at a learning rate of 1; "lars" only.
        label_smoothing: share of the target that is spread over all classes.
        ema_decay: decay of the exponential moving average of the variables, which is then what is evaluated; None for
            no average.
        pad: see `Augmentation`.
        flip: see `Augmentation`.
        cutout: see `Augmentation`.
        steps_per_call: steps that one call of the compiled function takes.
        log_every_steps: steps between lines of metrics.
        checkpoint_every_steps: steps between checkpoints.
        keep_checkpoints: the number of newest checkpoints to keep of each run.
        profile_steps: steps to trace with the profiler; 0 for none.
        eval_batch_size: images per call of evaluation over all devices; a multiple of the number of devices.
    """

    batch_size: int
    learning_rate: float
    optimizer: str
    momentum: float
    weight_decay: float
    trust_coefficient: float
    label_smoothing: float
    ema_decay: float | None
    pad: int
    flip: bool
    cutout: int
    steps_per_call: int
    log_every_steps: int
    checkpoint_every_steps: int
    keep_checkpoints: int
    profile_steps: int
    eval_batch_size: int

    @property
    def step(self) -> StepSettings:
        """The settings of a single step."""
        return StepSettings(
            label_smoothing=self.label_smoothing,
            augmentation=Augmentation(pad=self.pad, flip=self.flip, cutout=self.cutout),
            ema_decay=self.ema_decay,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One training run.

    Attributes:
        name: name shown beside the progress.
        directory: absolute path of the directory for checkpoints/, metrics.jsonl and TensorBoard's files.
        keep: [K] indices of the images to train on.
        seed: seed of initialisation, order and augmentation.
        num_steps: length of the run.
        warmup_steps: steps of linear warm-up.
    """

    name: str
    directory: epath.Path
    keep: np.ndarray
    seed: int
    num_steps: int
    warmup_steps: int


@dataclasses.dataclass(frozen=True)
class Milestones:
    """Steps at which training saves a checkpoint and calls a function.

    Attributes:
        steps: the steps, ascending; training ends with the last.
        callback: called with each of the steps and the state after it; None for no call.
    """

    steps: tuple[int, ...]
    callback: Callable[[int, TrainState], None] | None = None


def default_steps_per_call(*, streams: bool) -> int:
    """Returns the default of `TrainSettings.steps_per_call`.

    It is large on accelerators, which otherwise wait for the host between the steps of a small model. It is 1 on CPU,
    where the steps of a call are unrolled and compiled one by one.

    Args:
        streams: whether images are streamed. Then the default is 1, because streamed images are large, and so is the
            work of one step.
    """
    return CPU_STEPS_PER_CALL if streams or jax.default_backend() == "cpu" else ACCELERATOR_STEPS_PER_CALL
