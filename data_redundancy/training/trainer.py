"""Training runs: a trainer compiles once and trains any number of keep lists and seeds, one or many at a time."""

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
from data_redundancy.errors import Stopped, arguments_named
from data_redundancy.runtime import devices, stopping
from data_redundancy.store import metrics
from data_redundancy.training import optimizers
from data_redundancy.training.checkpoint import Checkpoints
from data_redundancy.training.data_parallel import DataParallel
from data_redundancy.training.inputs import InMemory, Input
from data_redundancy.training.layout import Layout
from data_redundancy.training.profile import Profile
from data_redundancy.training.schedule import learning_rates
from data_redundancy.training.settings import Milestones, Run, TrainSettings
from data_redundancy.training.state import TrainState, make_initializer
from data_redundancy.training.stop_signal import StopSignal
from data_redundancy.training.stopwatch import Stopwatch, seconds_per_step, summary
from data_redundancy.training.trial_parallel import TrialParallel

log = logging.getLogger("data_redundancy")


class Trainer:
    """Trains and evaluates one model on subsets of one data set.

    Attributes:
        train_split: the split to train on.
        test_split: the split to evaluate on.
    """

    def __init__(self, model: nn.Module, settings: TrainSettings, *, num_classes: int, train: Input, test: Input):
        """Builds the functions; they are compiled when first called.

        Args:
            model: the model, made for the axis `devices.AXIS`.
            settings: how to train.
            num_classes: number of the model's logits.
            train: the split to train on.
            test: the split to evaluate on.

        Raises:
            InputError: naming `batch_size`, `eval_batch_size` or `optimizer` of the settings, if the number of devices
                does not divide a batch size, or the optimizer is unknown.
        """
        devices.check_batch_size(settings.batch_size, "batch_size")
        devices.check_batch_size(settings.eval_batch_size, "eval_batch_size")
        self.train_split, self.test_split = train, test
        self._model, self._num_classes, self._settings = model, num_classes, settings
        with arguments_named({"name": "optimizer"}):
            self._optimizer = optimizers.create(
                settings.optimizer,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                trust_coefficient=settings.trust_coefficient,
            )
        self._create_state = make_initializer(
            model, self._optimizer, image_shape=train.image_shape, with_average=settings.ema_decay is not None
        )
        self._data_parallel = DataParallel(
            model, self._optimizer, settings, num_classes=num_classes, train=train, test=test
        )
        self._report_speed: Callable[[float, int], None] | None = None

    @functools.cached_property
    def _trial_parallel(self) -> TrialParallel:
        train, test = self.train_split, self.test_split
        if not isinstance(train, InMemory) or not isinstance(test, InMemory):
            raise TypeError("runs can be trained in parallel only with images in memory")
        return TrialParallel(
            self._model, self._optimizer, self._settings, num_classes=self._num_classes, train=train, test=test
        )

    def on_first_speed(self, report: Callable[[float, int], None]) -> None:
        """Registers a function to be called once, when the speed of training is first known.

        Args:
            report: called with the seconds per step of a run, which is its share of the time if runs are trained in
                parallel, and the last step of the run.
        """
        self._report_speed = report

    def restore(self, run: Run) -> TrainState | None:
        """Returns the newest undamaged checkpoint of a run, or None if it has no checkpoint.

        Raises:
            InputError: if there are checkpoints, but all are damaged.
        """
        with self._checkpoints(run) as checkpoints:
            return checkpoints.restore(self._create_state)[0]

    def train(self, run: Run, *, parameter_overview: bool = False) -> dict[str, Any]:
        """Trains a run to its last step, from the newest checkpoint if there is one, and evaluates it.

        Args:
            run: the run.
            parameter_overview: whether to log a table of the parameters.

        Returns:
            The result of `evaluate` on the test split, plus "steps" and "train_seconds" (of this process's part of the
            run, including compilation).

        Raises:
            InputError: if all checkpoints of the run are damaged, or its warm-up is not shorter than the run.
            Stopped: if SIGTERM arrives meanwhile, after a checkpoint is saved.
        """
        return self._train([run], self._data_parallel, parameter_overview=parameter_overview)[0]

    def train_in_parallel(self, runs: Sequence[Run]) -> list[dict[str, Any]]:
        """Trains and evaluates many runs at the same time, see `TrialParallel`.

        Images must be in memory, and there must be one process.

        Args:
            runs: runs with the same number of steps and of warm-up steps, all at the same step (see `step_of`).

        Returns:
            The result of each run, as of `train`; "train_seconds" is its share of the time.

        Raises:
            InputError: as `train` does.
            Stopped: if SIGTERM arrives meanwhile, after a checkpoint of each run is saved.
            ValueError: if the runs are at different steps.
        """
        return self._train(runs, self._trial_parallel)

    def train_with_callback(self, run: Run, steps: Sequence[int], callback: Callable[[int, TrainState], None]) -> None:
        """Trains a run to the last of some steps, from the newest checkpoint if there is one.

        Args:
            run: the run. Its learning rates are those for all of its steps, though training may end earlier.
            steps: the steps at which to call `callback`, ascending.
            callback: called with the step and the state, replicated, after the checkpoint of the step is saved; and
                again if the run resumes from that checkpoint.

        Raises:
            InputError: as `train` does.
            Stopped: if SIGTERM arrives meanwhile, after a checkpoint is saved.
        """
        self._train_to_end([run], self._data_parallel, Milestones(tuple(steps), callback))

    def step_of(self, run: Run) -> int:
        """Returns the step from which a run would resume, that of its newest undamaged checkpoint; 0 if it has none."""
        if not (run.directory / "checkpoints").exists():  # restoring would create it
            return 0
        state = self.restore(run)
        return 0 if state is None else int(state.step)

    def max_runs_per_device(self) -> int:
        """Returns how many runs of `train_in_parallel` fit into the memory of every device, 0 if not even one.

        On CPU it is 0, because a run leaves nothing idle there, and the grouped convolutions of several runs are slow:
        two or four ResNet-8 at once train a tenth of the images per second (benchmarks/trials.py).
        """
        return 0 if jax.default_backend() == "cpu" else self._trial_parallel.max_runs_per_device(self._create_state)

    def _train(self, runs: Sequence[Run], layout: Layout, *, parameter_overview: bool = False) -> list[dict[str, Any]]:
        start = time.monotonic()
        state = self._train_to_end(runs, layout, parameter_overview=parameter_overview)
        results = layout.evaluate(state, len(runs))
        seconds = (time.monotonic() - start) / len(runs)
        return [{**result, "steps": runs[0].num_steps, "train_seconds": seconds} for result in results]

    def _train_to_end(
        self,
        runs: Sequence[Run],
        layout: Layout,
        milestones: Milestones | None = None,
        *,
        parameter_overview: bool = False,
    ) -> TrainState:
        """Returns the placed state after the last milestone, by default after the last step."""
        milestones = milestones or Milestones((runs[0].num_steps,))
        with contextlib.ExitStack() as stack:
            checkpoints = [stack.enter_context(self._checkpoints(run)) for run in runs]
            state, step, sums = self._start(runs, layout, checkpoints)
            if parameter_overview:
                metrics.log_parameter_overview(state.params)
            with stopping.deferred():
                state, step, stop = self._train_from(state, step, sums, runs, layout, checkpoints, milestones)
                for of_run in checkpoints:
                    of_run.wait()
            if stop or stopping.requested():
                raise Stopped(f"stopped by SIGTERM: saved {_name(runs)} at step {step} of {milestones.steps[-1]}")
        return state

    def _checkpoints(self, run: Run) -> Checkpoints:
        return Checkpoints(run.directory / "checkpoints", keep=self._settings.keep_checkpoints)

    def _start(
        self, runs: Sequence[Run], layout: Layout, checkpoints: Sequence[Checkpoints]
    ) -> tuple[TrainState, int, metrics.Sums]:
        """Returns the placed state of the runs, their step, and the sums of metrics since they were last written."""
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
        zeros: dict[str, float] = dict.fromkeys(known[0], 0)  # for a run that had just written its metrics
        return layout.place(states), step, metrics.Sums(layout.join_metrics([sums or zeros for _, sums in found]))

    def _train_from(
        self,
        state: TrainState,
        step: int,
        sums: metrics.Sums,
        runs: Sequence[Run],
        layout: Layout,
        checkpoints: Sequence[Checkpoints],
        milestones: Milestones,
    ) -> tuple[TrainState, int, bool]:
        """Trains to the last milestone, or until a process receives SIGTERM.

        Returns:
            The placed state, which is being saved; its step; and whether training was stopped.
        """
        settings, (num_steps, warmup_steps) = self._settings, (runs[0].num_steps, runs[0].warmup_steps)
        rates = learning_rates(peak=settings.learning_rate, num_steps=num_steps, warmup_steps=warmup_steps)
        signal, stopped = StopSignal(), False
        stopwatch = Stopwatch(_name(runs), batch_size=settings.batch_size * len(runs))
        spans = list(_spans(step, milestones.steps, settings.steps_per_call))
        batches, last = layout.batches(runs, self._calls(runs, spans)), milestones.steps[-1]
        with (
            contextlib.ExitStack() as stack,
            Profile(runs[0].directory, num_steps=settings.profile_steps, first=step, stop=last) as profile,
            metrics.progress(_name(runs), total=last, unit="steps", initial=step) as bar,
        ):
            writers = [stack.enter_context(contextlib.closing(writer)) for writer in _writers(runs, step)]
            self._call_back(step, state, milestones, checkpoints)
            for first, stop in spans:
                profile.at(first, state)
                with stopwatch.waiting():
                    batch = next(batches)
                state, added, flag_sum = layout.train_steps(state, runs, batch, rates[first:stop], signal.flags())
                step = stop
                sums.add(added)
                stopped = signal.received(flag_sum)
                save = _passes(first, stop, settings.checkpoint_every_steps) or stop in milestones.steps
                shown: dict[str, float | str] | None = None
                # Metrics are written at every save too, so that a resumed run averages them over the same windows.
                if save or _passes(first, stop, settings.log_every_steps):
                    scalars, timing = layout.split_metrics(sums.means(), len(runs)), stopwatch.window(stop)
                    shown = {**scalars[0], **summary(timing)}
                    with stopwatch.excluded():
                        for writer, of_run in zip(writers, scalars, strict=False):
                            writer.write(stop, {**of_run, "learning_rate": float(rates[stop - 1])}, timing)
                        self._speed_known(timing, len(runs), last)
                if save or stopped:
                    with stopwatch.excluded():
                        for writer in writers:
                            writer.flush()
                        self._save(state, sums, layout, checkpoints)
                bar.update(stop, shown)
                if stopped:
                    break
                with stopwatch.excluded():
                    self._call_back(step, state, milestones, checkpoints)
            profile.at(step, state)
        return state, step, stopped

    def _speed_known(self, timing: dict[str, float], num_runs: int, last_step: int) -> None:
        """Calls the function of `on_first_speed`, if the timing is not empty and the function was not called before."""
        if timing and self._report_speed is not None:
            report, self._report_speed = self._report_speed, None
            report(seconds_per_step(timing) / num_runs, last_step)

    def _call_back(
        self, step: int, state: TrainState, milestones: Milestones, checkpoints: Sequence[Checkpoints]
    ) -> None:
        """Calls the milestones' function if this step is one of them, after its checkpoint is on disk."""
        if milestones.callback is None or step not in milestones.steps:
            return
        for of_run in checkpoints:
            of_run.wait()
        # The function may take long, and SIGTERM may end it, because the run loses nothing.
        with stopping.heeded():
            milestones.callback(step, state)

    def _save(self, state: TrainState, sums: metrics.Sums, layout: Layout, checkpoints: Sequence[Checkpoints]) -> None:
        num_runs, so_far = len(checkpoints), sums.so_far()
        of_runs = [None] * num_runs if so_far is None else layout.split_metrics(so_far, num_runs)
        for of_run, its_state, its_sums in zip(checkpoints, layout.states(state, num_runs), of_runs, strict=True):
            of_run.save(its_state, its_sums)

    def _calls(self, runs: Sequence[Run], spans: list[tuple[int, int]]) -> Iterator[list[TrainBatches]]:
        """Yields the batches of each run for every call."""
        batch_size = self._settings.batch_size
        for first, stop in spans:
            yield [
                train_batches(run.keep, batch_size=batch_size, seed=run.seed, first_step=first, num_steps=stop - first)
                for run in runs
            ]


def _name(runs: Sequence[Run]) -> str:
    """Returns the name of the runs for messages."""
    if len(runs) == 1:
        return runs[0].name
    return f"{len(runs)} runs ({runs[0].name} to {runs[-1].name})"


def _writers(runs: Sequence[Run], step: int) -> list[metrics.MetricWriter]:
    """Opens the metrics of each run, which resumes at `step`, on the main process; returns none on the others."""
    return [metrics.MetricWriter(run.directory, resume_step=step) for run in runs if devices.is_main_process()]


def _spans(step: int, stops: Sequence[int], steps_per_call: int) -> Iterator[tuple[int, int]]:
    """Yields the steps [first, stop) of each call.

    Calls are counted from the stop before, so that a resumed run uses the same compiled programs as an uninterrupted
    one. For regular stops, these are few.

    Args:
        step: the first step.
        stops: ascending steps at each of which a call must end; the last call ends at the last of them.
        steps_per_call: the most steps of a call.
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
    """Returns whether a multiple of `every` lies in (step, stop]."""
    return stop // every > step // every
