"""Training runs: one trainer compiles once and trains any number of keep lists and seeds, one or many at a time."""

import collections
import contextlib
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from data_redundancy.data.batches import TrainBatches, train_batches
from data_redundancy.errors import Stopped
from data_redundancy.runtime import devices, stopping
from data_redundancy.store import metrics
from data_redundancy.training import optimizers
from data_redundancy.training.checkpoint import Checkpoints
from data_redundancy.training.data_parallel import Alone
from data_redundancy.training.inputs import Input
from data_redundancy.training.profile import Profile
from data_redundancy.training.schedule import learning_rates
from data_redundancy.training.settings import Run, TrainSettings, Visits
from data_redundancy.training.state import TrainState, make_initializer
from data_redundancy.training.stopwatch import Stopwatch, in_short
from data_redundancy.training.trial_parallel import Together

CPU_STEPS_PER_CALL, ACCELERATOR_STEPS_PER_CALL = 1, 25
IN_FLIGHT = 2
"""Calls that an accelerator has before it while the host prepares more."""

log = logging.getLogger("data_redundancy")


class Trainer:
    """Trains and evaluates one model on subsets of one data set."""

    def __init__(self, model: nn.Module, settings: TrainSettings, *, num_classes: int, train: Input, test: Input):
        """Builds the functions; they are compiled when first called.

        Args:
            model: made for the axis `devices.AXIS`.
            settings: how to train.
            num_classes: number of the model's logits.
            train: the split to train on.
            test: the split to evaluate on.

        Raises:
            InputError: if the devices do not divide a batch size.
        """
        devices.check_batch_size(settings.batch_size, "train.batch_size")
        devices.check_batch_size(settings.eval_batch_size, "embed.batch_size")
        self.train_split, self.test_split = train, test
        self._settings = settings
        optimizer = optimizers.create(
            settings.optimizer,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            trust_coefficient=settings.trust_coefficient,
        )
        self._create_state = make_initializer(
            model, optimizer, image_shape=train.image_shape, with_average=settings.ema_decay is not None
        )
        parts = {"num_classes": num_classes, "train": train, "test": test}
        self._alone = Alone(model, optimizer, settings, **parts)
        self._together = functools.cache(lambda: Together(model, optimizer, settings, **parts))

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
        return self._train([run], self._alone, parameter_overview=parameter_overview)[0]

    def train_together(self, runs: Sequence[Run]) -> list[dict[str, Any]]:
        """As `train`, many runs at the same time, see `together`; with images in memory, and one process.

        Args:
            runs: of the same length and warm-up, all at the same step (see `step_of`).

        Returns:
            The result of each; "train_seconds" is its share of the time.

        Raises:
            Stopped: as `train` does.
            ValueError: if they are not at one step.
        """
        return self._train(runs, self._together())

    def visit(self, run: Run, steps: Sequence[int], look: Callable[[int, TrainState], None]) -> None:
        """Trains to the last of some steps, from the newest checkpoint where there is one, with a look at each.

        Args:
            run: its learning rates are those of all its steps, though it may end before.
            steps: ascending.
            look: is given the step and the state, replicated, when the checkpoint of the step is saved; and again where
                the run goes on from there.

        Raises:
            Stopped: if SIGTERM came meanwhile, once a checkpoint is saved.
        """
        self._train_to_end([run], self._alone, Visits(tuple(steps), look))

    def step_of(self, run: Run) -> int:
        """The step from which a run would go on: that of its newest whole checkpoint, 0 without one."""
        if not (run.directory / "checkpoints").exists():  # which restoring would create
            return 0
        state = self.restore(run)
        return 0 if state is None else int(state.step)

    def runs_that_fit(self) -> int:
        """How many runs `train_together` has memory for on every device; 0 where it is less than one.

        On CPU 0: nothing is idle there that could be used, and the grouped convolutions that several runs make of one
        are slow (benchmarks/trials.py: two or four ResNet-8 at once train a tenth of the images per second).
        """
        return 0 if jax.default_backend() == "cpu" else self._together().runs_that_fit(self._create_state)

    def _train(
        self, runs: Sequence[Run], layout: Alone | Together, *, parameter_overview: bool = False
    ) -> list[dict[str, Any]]:
        start = time.monotonic()
        state = self._train_to_end(runs, layout, parameter_overview=parameter_overview)
        results = layout.evaluate(state, len(runs))
        seconds = (time.monotonic() - start) / len(runs)
        return [{**result, "steps": runs[0].num_steps, "train_seconds": seconds} for result in results]

    def _train_to_end(
        self,
        runs: Sequence[Run],
        layout: Alone | Together,
        visits: Visits | None = None,
        *,
        parameter_overview: bool = False,
    ) -> TrainState:
        """The state at the last step, or at that of the visits."""
        visits = visits or Visits((runs[0].num_steps,))
        with contextlib.ExitStack() as stack:
            checkpoints = [stack.enter_context(self._checkpoints(run)) for run in runs]
            state, step, sums = self._start(runs, layout, checkpoints)
            if parameter_overview:
                metrics.log_parameter_overview(state.params)
            with stopping.deferred():
                state, step, told_to_stop = self._train_from(state, step, sums, runs, layout, checkpoints, visits)
                for of_run in checkpoints:
                    of_run.wait()
            if told_to_stop or stopping.requested():
                at = f"step {step} of {visits.steps[-1]}"
                raise Stopped(f"told to stop (SIGTERM): {_name(runs)} is saved at {at}")
        return state

    def _checkpoints(self, run: Run) -> Checkpoints:
        return Checkpoints(run.directory / "checkpoints", keep=self._settings.keep_checkpoints)

    def _start(
        self, runs: Sequence[Run], layout: Alone | Together, checkpoints: Sequence[Checkpoints]
    ) -> tuple[TrainState, int, metrics.Sums]:
        """The state of all runs, their step and the sums since their last lines."""
        found = [of_run.restore(self._create_state) for of_run in checkpoints]
        states = [
            self._create_state(np.uint32(run.seed)) if at is None else at
            for run, (at, _) in zip(runs, found, strict=True)
        ]
        step, *others = {int(state.step) for state in states}
        if others:
            raise ValueError(f"{_name(runs)} are at different steps, {step} and {others[0]}")
        if step:
            log.info("%s: resumed at step %d of %d", _name(runs), step, runs[0].num_steps)
        known = [sums for _, sums in found if sums]
        if not known:
            return layout.place(states), step, metrics.Sums()
        none = dict.fromkeys(known[0], 0)  # of a run that wrote a line just then
        return layout.place(states), step, metrics.Sums(layout.joined([sums or none for _, sums in found]))

    def _train_from(
        self,
        state: TrainState,
        step: int,
        sums: metrics.Sums,
        runs: Sequence[Run],
        layout: Alone | Together,
        checkpoints: Sequence[Checkpoints],
        visits: Visits,
    ) -> tuple[TrainState, int, bool]:
        """Trains to the last step of the visits, or until a process is told to stop; the state is being saved then."""
        settings, (num_steps, warmup_steps) = self._settings, (runs[0].num_steps, runs[0].warmup_steps)
        rates = learning_rates(peak=settings.learning_rate, num_steps=num_steps, warmup_steps=warmup_steps)
        told, told_to_stop = _ToldToStop(), False
        stopwatch = Stopwatch(_name(runs), batch_size=settings.batch_size * len(runs))
        spans = list(_spans(step, visits.steps, settings.steps_per_call))
        batches = layout.batches(runs, self._calls(runs, spans))
        with (
            contextlib.ExitStack() as stack,
            Profile(runs[0].directory, num_steps=settings.profile_steps, first=step, stop=visits.steps[-1]) as profile,
            metrics.progress(_name(runs), total=visits.steps[-1], unit="steps", initial=step) as bar,
        ):
            writers = [stack.enter_context(contextlib.closing(writer)) for writer in _writers(runs, step)]
            self._visit(step, state, visits, checkpoints)
            for first, stop in spans:
                profile.at(first, state)
                with stopwatch.waiting():
                    batch = next(batches)
                state, added, stops = layout.train_steps(state, runs, batch, rates[first:stop], told.flags())
                step = stop
                sums.add(added)
                told_to_stop = told.by_anyone(stops)
                save = _passes(first, stop, settings.checkpoint_every_steps) or stop in visits.steps
                shown = None
                # Logging at every save too makes the windows of a resumed run those of the uninterrupted one.
                if save or _passes(first, stop, settings.log_every_steps):
                    scalars, timing = layout.numbers(sums.means(), len(runs)), stopwatch.window(stop)
                    shown = {**scalars[0], **in_short(timing)}
                    with stopwatch.aside():
                        for writer, of_run in zip(writers, scalars, strict=False):
                            writer.write(stop, {**of_run, "learning_rate": float(rates[stop - 1])}, timing)
                if save or told_to_stop:
                    with stopwatch.aside():
                        for writer in writers:
                            writer.flush()
                        self._save(state, sums, layout, checkpoints)
                bar.update(stop, shown)
                if told_to_stop:
                    break
                with stopwatch.aside():
                    self._visit(step, state, visits, checkpoints)
            profile.at(step, state)
        return state, step, told_to_stop

    def _visit(self, step: int, state: TrainState, visits: Visits, checkpoints: Sequence[Checkpoints]) -> None:
        if visits.look is None or step not in visits.steps:
            return
        for of_run in checkpoints:
            of_run.wait()
        # It may take long, and nothing of the run would be lost.
        with stopping.heeded():
            visits.look(step, state)

    def _save(
        self, state: TrainState, sums: metrics.Sums, layout: Alone | Together, checkpoints: Sequence[Checkpoints]
    ) -> None:
        num_runs, so_far = len(checkpoints), sums.so_far()
        of_runs = [None] * num_runs if so_far is None else layout.numbers(so_far, num_runs)
        for of_run, its_state, its_sums in zip(checkpoints, layout.states(state, num_runs), of_runs, strict=True):
            of_run.save(its_state, its_sums)

    def _calls(self, runs: Sequence[Run], spans: list[tuple[int, int]]) -> Iterator[list[TrainBatches]]:
        """The batches of each run in every call."""
        batch_size = self._settings.batch_size
        for first, stop in spans:
            yield [
                train_batches(run.keep, batch_size=batch_size, seed=run.seed, first_step=first, num_steps=stop - first)
                for run in runs
            ]


def _name(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return runs[0].name
    return f"a batch of {len(runs)} trials ({runs[0].name} to {runs[-1].name})"


def _writers(runs: Sequence[Run], step: int) -> list[metrics.MetricWriter]:
    """One for each run that goes on at `step`, on the main process; none elsewhere."""
    return [metrics.MetricWriter(run.directory, resume_step=step) for run in runs if devices.is_main_process()]


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


def _spans(step: int, stops: Sequence[int], steps_per_call: int) -> Iterator[tuple[int, int]]:
    """The steps [first, stop) of every call from `step` to the last of some stops, at each of which one ends.

    They are counted from the stop before: resumed or not, the same compiled programs run, few where stops are regular.
    """
    ends = [
        min(start + steps_per_call, stop)
        for before, stop in itertools.pairwise((0, *stops))
        for start in range(before, stop, steps_per_call)
    ]
    for end in ends:
        if end > step:
            yield step, end
            step = end


def _passes(step: int, stop: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (step, stop]."""
    return stop // every > step // every
