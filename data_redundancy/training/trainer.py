"""Training runs: one trainer compiles once and trains any number of keep lists and seeds."""

import contextlib
import dataclasses
import logging
import pathlib
import time
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from data_redundancy import metrics, parallel
from data_redundancy.data.batches import train_batches
from data_redundancy.training.checkpoint import Checkpoints
from data_redundancy.training.inference import make_evaluator
from data_redundancy.training.schedule import learning_rates
from data_redundancy.training.state import TrainState, make_initializer, sgd
from data_redundancy.training.step import DeviceData, channel_statistics, make_train_steps

CPU_STEPS_PER_CALL, ACCELERATOR_STEPS_PER_CALL = 1, 25

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How to train; the fields mean what configs/default.py says of them."""

    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    label_smoothing: float
    pad: int
    flip: bool
    cutout: int
    steps_per_call: int | None
    log_every_steps: int
    checkpoint_every_steps: int
    keep_checkpoints: int
    eval_batch_size: int


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: shown beside its progress.
        directory: absolute; gets checkpoints/, metrics.jsonl and TensorBoard's files.
        keep: [K] indices to train on.
        seed: of initialisation, order and augmentation.
        num_steps: length of the run.
        warmup_steps: steps of linear warm-up.
    """

    name: str
    directory: pathlib.Path
    keep: np.ndarray
    seed: int
    num_steps: int
    warmup_steps: int


class Trainer:
    """Trains and evaluates one model on subsets of one data set, which stays in every device's memory."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        *,
        num_classes: int,
        train_images: np.ndarray,
        train_labels: np.ndarray,
        test_images: np.ndarray,
        test_labels: np.ndarray,
    ):
        """Puts both splits on the devices.

        Args:
            model: made for the axis `parallel.AXIS`.
            settings: how to train.
            num_classes: number of the model's logits.
            train_images: [N, H, W, C] uint8; their channel statistics normalise both splits in every run.
            train_labels: [N] int32.
            test_images: [M, H, W, C] uint8.
            test_labels: [M] int32.

        Raises:
            InputError: if the devices do not divide a batch size.
        """
        parallel.check_batch_size(settings.batch_size, "train.batch_size")
        parallel.check_batch_size(settings.eval_batch_size, "embed.batch_size")
        mean, std = channel_statistics(train_images)
        if settings.steps_per_call is None:
            settings = dataclasses.replace(settings, steps_per_call=default_steps_per_call())
        self._settings = settings
        self._optimizer = sgd(momentum=settings.momentum, weight_decay=settings.weight_decay)
        self._create_state = make_initializer(model, self._optimizer, image_shape=train_images.shape[1:])
        self.train_data = parallel.replicate(DeviceData(train_images, train_labels, mean, std))
        self._test_data = parallel.replicate(DeviceData(test_images, test_labels, mean, std))
        self._train_steps = make_train_steps(
            model,
            self._optimizer,
            label_smoothing=settings.label_smoothing,
            pad=settings.pad,
            flip=settings.flip,
            cutout=settings.cutout,
        )
        self._evaluate = make_evaluator(model, num_classes, batch_size=settings.eval_batch_size)

    def restore(self, run: Run) -> TrainState | None:
        """The newest checkpoint of a run, or None without one."""
        with Checkpoints(run.directory / "checkpoints", keep=self._settings.keep_checkpoints) as checkpoints:
            if checkpoints.latest_step() is None:
                return None
            return checkpoints.restore(self._create_state)

    def train(self, run: Run, *, parameter_overview: bool = False) -> dict[str, Any]:
        """Trains to the last step, from the newest checkpoint where there is one, and evaluates there.

        Returns:
            What `evaluate` gives for the test split, plus "steps" and "train_seconds" (of this process's part of the
            run, compilation included).
        """
        start = time.monotonic()
        with Checkpoints(run.directory / "checkpoints", keep=self._settings.keep_checkpoints) as checkpoints:
            state = self._start(run, checkpoints)
            if parameter_overview:
                metrics.log_parameter_overview(state.params)
            state = self._train_from(state, run, checkpoints)
        result = self._evaluate(state.variables, self._test_data)
        return {**result, "steps": run.num_steps, "train_seconds": time.monotonic() - start}

    def _start(self, run: Run, checkpoints: Checkpoints) -> TrainState:
        if checkpoints.latest_step() is None:
            return parallel.replicate(self._create_state(np.uint32(run.seed)))
        state = checkpoints.restore(self._create_state)
        log.info("%s: resumed at step %d of %d", run.name, int(state.step), run.num_steps)
        return state

    def _train_from(self, state: TrainState, run: Run, checkpoints: Checkpoints) -> TrainState:
        settings, seed = self._settings, np.uint32(run.seed)
        rates = learning_rates(peak=settings.learning_rate, num_steps=run.num_steps, warmup_steps=run.warmup_steps)
        step = int(state.step)
        sums = metrics.Sums()
        writer = metrics.MetricWriter(run.directory, resume_step=step) if parallel.is_main_process() else None
        with (
            contextlib.closing(writer) if writer else contextlib.nullcontext(),
            metrics.progress(run.name, total=run.num_steps, unit="steps", initial=step) as bar,
        ):
            while step < run.num_steps:
                # Calls end at multiples of steps_per_call: resumed or not, the same compiled programs run.
                stop = min(run.num_steps, step - step % settings.steps_per_call + settings.steps_per_call)
                batches = train_batches(
                    run.keep,
                    batch_size=settings.batch_size,
                    seed=run.seed,
                    first_step=step,
                    num_steps=stop - step,
                )
                index, epoch = (parallel.split_batch(x, axis=1) for x in (batches.index, batches.epoch))
                state, added = self._train_steps(state, self.train_data, seed, index, epoch, rates[step:stop])
                sums.add(added)
                save = _passes(step, stop, settings.checkpoint_every_steps) or stop == run.num_steps
                scalars = None
                # Logging at every save too makes the windows of a resumed run those of the uninterrupted one.
                if save or _passes(step, stop, settings.log_every_steps):
                    scalars = sums.means()
                    if writer:
                        writer.write(stop, {**scalars, "learning_rate": float(rates[stop - 1])})
                if save:
                    checkpoints.save(state)
                bar.update(stop, scalars)
                step = stop
        return state


def default_steps_per_call() -> int:
    """Many on an accelerator, which small models leave waiting for the host; one on CPU, where steps are unrolled."""
    return CPU_STEPS_PER_CALL if jax.default_backend() == "cpu" else ACCELERATOR_STEPS_PER_CALL


def _passes(step: int, stop: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (step, stop]."""
    return stop // every > step // every
