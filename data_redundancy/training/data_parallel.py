"""One run at a time: every batch is split over all devices of all processes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
import optax

from data_redundancy.data.batches import TrainBatches
from data_redundancy.runtime import devices
from data_redundancy.training.inference import make_evaluator
from data_redundancy.training.inputs import Input, Steps
from data_redundancy.training.settings import Run, TrainSettings
from data_redundancy.training.state import TrainState
from data_redundancy.training.step import make_train_steps


class Alone:
    """How a trainer lays out one run; `Together` has the same methods for many."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: optax.GradientTransformationExtraArgs,
        settings: TrainSettings,
        *,
        num_classes: int,
        train: Input,
        test: Input,
    ):
        """Builds the functions, of a model made for the axis `devices.AXIS`; the rest is what `Trainer` takes."""
        self._train = train
        self._train_steps = make_train_steps(model, optimizer, train.load, **settings.of_steps)
        self._evaluate = make_evaluator(model, num_classes, test, batch_size=settings.eval_batch_size)

    def place(self, states: Sequence[TrainState]) -> TrainState:
        """Puts the states of the runs on the devices."""
        return devices.replicate(states[0])

    def batches(self, runs: Sequence[Run], calls: Iterable[list[TrainBatches]]) -> Iterator[Any]:
        """What `train_steps` takes, of the runs' batches in every call."""
        steps = (Steps(*(devices.own_part(x, axis=1) for x in (call.index, call.epoch))) for (call,) in calls)
        return self._train.train_batches(steps, seed=runs[0].seed)

    def train_steps(
        self, state: TrainState, runs: Sequence[Run], batch: Any, rates: np.ndarray, flags: np.ndarray
    ) -> tuple[TrainState, dict[str, Any], Any]:
        """Takes the steps of one call: gives the new state, sums of metrics and the sum of the flags."""
        return self._train_steps(state, self._train.data, np.uint32(runs[0].seed), batch, rates, flags)

    def states(self, state: TrainState, num_runs: int) -> list[TrainState]:
        """The state of each run, for its checkpoint."""
        return [state]

    def numbers(self, numbers: dict[str, Any], num_runs: int) -> list[dict[str, float]]:
        """What was summed up of each run."""
        return [numbers]

    def joined(self, numbers: Sequence[dict[str, float]]) -> dict[str, Any]:
        """The inverse of `numbers`."""
        return numbers[0]

    def evaluate(self, state: TrainState, num_runs: int) -> list[dict[str, Any]]:
        """The results of each run on the test split, see `inference.evaluate`."""
        return [self._evaluate(state.variables)]
