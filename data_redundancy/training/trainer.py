"""Training runs: one trainer compiles once and trains any number of keep lists and seeds."""

import collections
import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from etils import epath

from data_redundancy import metrics, parallel, stopping
from data_redundancy.data.batches import train_batches
from data_redundancy.errors import Stopped
from data_redundancy.training import optimizers
from data_redundancy.training.checkpoint import Checkpoints
from data_redundancy.training.inference import make_evaluator
from data_redundancy.training.inputs import Input, Steps
from data_redundancy.training.profile import Profile
from data_redundancy.training.schedule import learning_rates
from data_redundancy.training.state import TrainState, make_initializer
from data_redundancy.training.step import Augmentation, make_train_steps
from data_redundancy.training.stopwatch import Stopwatch, in_short

CPU_STEPS_PER_CALL, ACCELERATOR_STEPS_PER_CALL = 1, 25
IN_FLIGHT = 2
"""Calls that an accelerator has before it while the host prepares more."""

log = logging.getLogger("data_redundancy")


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How to train; the fields mean what configs/default.py says of them."""

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
    directory: epath.Path
    keep: np.ndarray
    seed: int
    num_steps: int
    warmup_steps: int


class Trainer:
    """Trains and evaluates one model on subsets of one data set."""

    def __init__(self, model: nn.Module, settings: TrainSettings, *, num_classes: int, train: Input, test: Input):
        """Builds the functions; they are compiled when first called.

        Args:
            model: made for the axis `parallel.AXIS`.
            settings: how to train.
            num_classes: number of the model's logits.
            train: the split to train on.
            test: the split to evaluate on.

        Raises:
            InputError: if the devices do not divide a batch size.
        """
        parallel.check_batch_size(settings.batch_size, "train.batch_size")
        parallel.check_batch_size(settings.eval_batch_size, "embed.batch_size")
        self.train_split = train
        self._settings = settings
        self._optimizer = optimizers.create(
            settings.optimizer,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            trust_coefficient=settings.trust_coefficient,
        )
        self._create_state = make_initializer(
            model, self._optimizer, image_shape=train.image_shape, with_average=settings.ema_decay is not None
        )
        self._train_steps = make_train_steps(
            model,
            self._optimizer,
            train.load,
            label_smoothing=settings.label_smoothing,
            augmentation=Augmentation(pad=settings.pad, flip=settings.flip, cutout=settings.cutout),
            ema_decay=settings.ema_decay,
        )
        self._evaluate = make_evaluator(model, num_classes, test, batch_size=settings.eval_batch_size)

    def restore(self, run: Run) -> TrainState | None:
        """The newest whole checkpoint of a run, or None without one."""
        with self._checkpoints(run) as checkpoints:
            return checkpoints.restore(self._create_state)[0]

    def train(self, run: Run, *, parameter_overview: bool = False) -> dict[str, Any]:
        """Trains to the last step, from the newest checkpoint where there is one, and evaluates there.

        Returns:
            What `evaluate` gives for the test split, plus "steps" and "train_seconds" (of this process's part of the
            run, compilation included).

        Raises:
            Stopped: if SIGTERM came meanwhile, once a checkpoint is saved.
        """
        start = time.monotonic()
        with self._checkpoints(run) as checkpoints:
            state, sums = self._start(run, checkpoints)
            if parameter_overview:
                metrics.log_parameter_overview(state.params)
            with stopping.deferred():
                state, told_to_stop = self._train_from(state, sums, run, checkpoints)
                checkpoints.wait()
            if told_to_stop or stopping.requested():
                at = f"step {int(state.step)} of {run.num_steps}"
                raise Stopped(f"told to stop (SIGTERM): {run.name} is saved at {at}")
        result = self._evaluate(state.variables)
        return {**result, "steps": run.num_steps, "train_seconds": time.monotonic() - start}

    def _checkpoints(self, run: Run) -> Checkpoints:
        return Checkpoints(run.directory / "checkpoints", keep=self._settings.keep_checkpoints)

    def _start(self, run: Run, checkpoints: Checkpoints) -> tuple[TrainState, metrics.Sums]:
        state, sums = checkpoints.restore(self._create_state)
        if state is None:
            return parallel.replicate(self._create_state(np.uint32(run.seed))), metrics.Sums()
        log.info("%s: resumed at step %d of %d", run.name, int(state.step), run.num_steps)
        return state, metrics.Sums(sums)

    def _train_from(
        self, state: TrainState, sums: metrics.Sums, run: Run, checkpoints: Checkpoints
    ) -> tuple[TrainState, bool]:
        """Trains until the last step, or until a process is told to stop; the state is being saved then."""
        settings, seed = self._settings, np.uint32(run.seed)
        rates = learning_rates(peak=settings.learning_rate, num_steps=run.num_steps, warmup_steps=run.warmup_steps)
        step = int(state.step)
        told, told_to_stop = _ToldToStop(), False
        stopwatch = Stopwatch(run.name, batch_size=settings.batch_size)
        spans = list(_spans(step, run.num_steps, settings.steps_per_call))
        batches = self.train_split.train_batches(self._calls(run, spans), seed=run.seed)
        writer = metrics.MetricWriter(run.directory, resume_step=step) if parallel.is_main_process() else None
        with (
            contextlib.closing(writer) if writer else contextlib.nullcontext(),
            Profile(run.directory, num_steps=settings.profile_steps, first=step, stop=run.num_steps) as profile,
            metrics.progress(run.name, total=run.num_steps, unit="steps", initial=step) as bar,
        ):
            for first, stop in spans:
                profile.at(first, state)
                with stopwatch.waiting():
                    batch = next(batches)
                state, added, stops = self._train_steps(
                    state, self.train_split.data, seed, batch, rates[first:stop], told.flags()
                )
                sums.add(added)
                told_to_stop = told.by_anyone(stops)
                save = _passes(first, stop, settings.checkpoint_every_steps) or stop == run.num_steps
                shown = None
                # Logging at every save too makes the windows of a resumed run those of the uninterrupted one.
                if save or _passes(first, stop, settings.log_every_steps):
                    scalars, timing = sums.means(), stopwatch.window(stop)
                    shown = {**scalars, **in_short(timing)}
                    if writer:
                        with stopwatch.aside():
                            writer.write(stop, {**scalars, "learning_rate": float(rates[stop - 1])}, timing)
                if save or told_to_stop:
                    with stopwatch.aside():
                        if writer:
                            writer.flush()
                        checkpoints.save(state, sums.so_far())
                bar.update(stop, shown)
                if told_to_stop:
                    break
            profile.at(int(state.step), state)
        return state, told_to_stop

    def _calls(self, run: Run, spans: list[tuple[int, int]]) -> Iterator[Steps]:
        """This process's rows of the batches of every call."""
        for first, stop in spans:
            batches = train_batches(
                run.keep,
                batch_size=self._settings.batch_size,
                seed=run.seed,
                first_step=first,
                num_steps=stop - first,
            )
            yield Steps(*(parallel.own_part(x, axis=1) for x in (batches.index, batches.epoch)))


class _ToldToStop:
    """Whether any process has been told to stop: all learn it at the same step, through the sum of their flags.

    So as not to wait for the devices, an accelerator's flags are looked at a few calls late. That also keeps the host
    from running ahead, with a batch in the devices' memory for every call. A process that is alone knows at once.
    """

    def __init__(self):
        self._under_way = collections.deque()
        self._late = 0 if jax.default_backend() == "cpu" else IN_FLIGHT

    def flags(self) -> np.ndarray:
        """[local devices] int32, what this process puts in."""
        return np.full(jax.local_device_count(), stopping.requested(), np.int32)

    def by_anyone(self, stops: jax.Array) -> bool:
        """Takes the sum that a call gives; tells of one that is ready."""
        self._under_way.append(stops)
        told = len(self._under_way) > self._late and bool(self._under_way.popleft() > 0)
        return told or (jax.process_count() == 1 and stopping.requested())


def default_steps_per_call(*, streams: bool) -> int:
    """Many on an accelerator, which small models leave waiting for the host; one on CPU, where steps are unrolled.

    One for streamed images too: these are large, and so is the work of a step.
    """
    return CPU_STEPS_PER_CALL if streams or jax.default_backend() == "cpu" else ACCELERATOR_STEPS_PER_CALL


def _spans(step: int, num_steps: int, steps_per_call: int) -> Iterator[tuple[int, int]]:
    """The steps [first, stop) of every call; they end at multiples: resumed or not, the same compiled programs run."""
    while step < num_steps:
        stop = min(num_steps, step - step % steps_per_call + steps_per_call)
        yield step, stop
        step = stop


def _passes(step: int, stop: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (step, stop]."""
    return stop // every > step // every
