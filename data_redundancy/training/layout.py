"""The interface between the trainer and the ways to distribute training runs over devices."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from data_redundancy.data.batches import TrainBatches
from data_redundancy.training.settings import Run
from data_redundancy.training.state import TrainState


class Layout(Protocol):
    """A way to distribute training runs over the devices.

    `DataParallel` trains one run on all devices. `TrialParallel` trains many runs at the same time, each on one device.
    A layout has its own form of the state ("placed"), of a call's batches and of metrics; only its own methods read
    them.
    """

    def place(self, states: Sequence[TrainState]) -> TrainState:
        """Puts the states of the runs on the devices.

        Args:
            states: the state of each run.

        Returns:
            The placed state.
        """

    def batches(self, runs: Sequence[Run], calls: Iterable[Sequence[TrainBatches]]) -> Iterator[Any]:
        """Yields the batches of each call, as `train_steps` takes them.

        Args:
            runs: the runs.
            calls: for each call, the batches of each run.
        """

    def train_steps(
        self, state: TrainState, runs: Sequence[Run], batch: Any, learning_rates: np.ndarray, stop_flags: np.ndarray
    ) -> tuple[TrainState, dict[str, Any], jax.Array]:
        """Takes the steps of one call.

        Args:
            state: the placed state; its memory is reused.
            runs: the runs.
            batch: the call's item of `batches`.
            learning_rates: [steps] float32.
            stop_flags: [local devices] int32.

        Returns:
            The new placed state, the sums of metrics over the steps, and the sum of the flags over all devices.
        """

    def states(self, state: TrainState, num_runs: int) -> list[TrainState]:
        """Returns the state of each run.

        Args:
            state: the placed state.
            num_runs: the number of runs.
        """

    def split_metrics(self, metrics: dict[str, Any], num_runs: int) -> list[dict[str, float]]:
        """Returns the metrics of each run.

        Args:
            metrics: the metrics of all runs, from sums of `train_steps`.
            num_runs: the number of runs.
        """

    def join_metrics(self, metrics: Sequence[dict[str, float]]) -> dict[str, Any]:
        """Returns the metrics of all runs from the metrics of each run; the inverse of `split_metrics`."""

    def evaluate(self, state: TrainState, num_runs: int) -> list[dict[str, Any]]:
        """Evaluates each run on the test split.

        Args:
            state: the placed state.
            num_runs: the number of runs.

        Returns:
            The results of each run, as of `inference.evaluate`.
        """
