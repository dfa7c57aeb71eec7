"""Data parallelism: one run at a time, with every batch split over all devices of all processes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from data_redundancy.data.batches import TrainBatches
from data_redundancy.runtime import devices
from data_redundancy.training.inference import make_evaluator
from data_redundancy.training.inputs import Input, Steps
from data_redundancy.training.settings import Run, TrainSettings
from data_redundancy.training.state import TrainState
from data_redundancy.training.step import make_train_steps


class DataParallel:
    """The layout of a single run: the state is replicated, and batches are split; see `Layout` for its methods."""

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
        """Builds the functions; they are compiled when first called.

        Args:
            model: the model, made for the axis `devices.AXIS`.
            optimizer: the optimizer; its update takes a `learning_rate`.
            settings: how to train.
            num_classes: number of the model's logits.
            train: the split to train on.
            test: the split to evaluate on.
        """
        self._train = train
        self._train_steps = make_train_steps(model, optimizer, train.load, settings.step)
        self._evaluate = make_evaluator(model, num_classes, test, batch_size=settings.eval_batch_size)

    def place(self, states: Sequence[TrainState]) -> TrainState:
        """Replicates the state of the run over the devices."""
        return devices.replicate(states[0])

    def batches(self, runs: Sequence[Run], calls: Iterable[Sequence[TrainBatches]]) -> Iterator[Any]:
        """Yields the part of each call's batches that belongs to this process, in the form of the split's source."""
        steps = (Steps(*(devices.own_part(x, axis=1) for x in (call.index, call.epoch))) for (call,) in calls)
        return self._train.train_batches(steps, seed=runs[0].seed)

    def train_steps(
        self, state: TrainState, runs: Sequence[Run], batch: Any, learning_rates: np.ndarray, stop_flags: np.ndarray
    ) -> tuple[TrainState, dict[str, Any], jax.Array]:
        """Takes the steps of one call."""
        return self._train_steps(state, self._train.data, np.uint32(runs[0].seed), batch, learning_rates, stop_flags)

    def states(self, state: TrainState, num_runs: int) -> list[TrainState]:
        """Returns the state of the run, replicated."""
        return [state]

    def split_metrics(self, metrics: dict[str, Any], num_runs: int) -> list[dict[str, float]]:
        """Returns the metrics of the run."""
        return [metrics]

    def join_metrics(self, metrics: Sequence[dict[str, float]]) -> dict[str, Any]:
        """Returns the metrics of the run."""
        return metrics[0]

    def evaluate(self, state: TrainState, num_runs: int) -> list[dict[str, Any]]:
        """Evaluates the run on the test split."""
        return [self._evaluate(state.variables)]
