"""Trial parallelism: many runs at the same time, each on one device.

A small model leaves an accelerator idle, so every device trains several whole runs, each with all of its batches.
Devices exchange nothing. All runs have the same shapes and learning rates, and are at the same step. The results equal
the results of data parallelism up to rounding, because sums are computed in another order. Images must be in memory,
and there must be one process.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.typing import ArrayLike

from data_redundancy.data.batches import TrainBatches
from data_redundancy.runtime import devices
from data_redundancy.training.inference import accuracies, trial_parallel_sums
from data_redundancy.training.inputs import InMemory
from data_redundancy.training.settings import Run, TrainSettings
from data_redundancy.training.state import TrainState
from data_redundancy.training.step import make_trial_parallel_evaluate, make_trial_parallel_train_steps

SHARE_OF_MEMORY = 0.8
"""The share of a device's free memory that runs may use; the compiler's experiments and fragmentation need the rest."""

MAX_RUNS_PER_DEVICE = 32
"""The most runs on a device: more would not speed up a device that is busy by then, but an interruption would lose more
work, and more files would be open."""


class TrialParallel:
    """The layout of many runs, each on one device; see `Layout` for its methods.

    Arrays of all runs have the shape [devices, runs per device, ...]. Copies of the first run fill the last places.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: optax.GradientTransformationExtraArgs,
        settings: TrainSettings,
        *,
        num_classes: int,
        train: InMemory,
        test: InMemory,
    ):
        """Builds the functions; they are compiled when first called.

        Args:
            model: the model.
            optimizer: the optimizer; its update takes a `learning_rate`.
            settings: how to train.
            num_classes: number of the model's logits.
            train: the split to train on.
            test: the split to evaluate on.
        """
        self._train, self._test, self._settings = train, test, settings
        self._train_steps: Any = make_trial_parallel_train_steps(model, optimizer, train.load, settings.step)
        self._model_evaluate = make_trial_parallel_evaluate(model, num_classes, test.load)

    def place(self, states: Sequence[TrainState]) -> TrainState:
        """Puts the state of each run on its device."""
        return devices.spread(jax.tree.map(lambda *rows: _stack_runs(rows), *jax.device_get(states)))

    def batches(self, runs: Sequence[Run], calls: Iterable[Sequence[TrainBatches]]) -> Iterator[dict[str, np.ndarray]]:
        """Yields "index" and "epoch" of each call, [devices, steps, runs per device, B] int32 each."""
        for call in calls:
            yield {
                name: np.moveaxis(_stack_runs([getattr(batches, name) for batches in call]), 2, 1)
                for name in ("index", "epoch")
            }

    def train_steps(
        self, state: TrainState, runs: Sequence[Run], batch: Any, learning_rates: np.ndarray, stop_flags: np.ndarray
    ) -> tuple[TrainState, dict[str, Any], jax.Array]:
        """Takes the steps of one call."""
        seeds = _stack_runs([np.uint32(run.seed) for run in runs])
        return self._train_steps(state, self._train.data, seeds, batch, learning_rates, stop_flags)

    def states(self, state: TrainState, num_runs: int) -> list[TrainState]:
        """Returns the state of each run, on the host."""
        return _unstack_runs(jax.device_get(state), num_runs)

    def split_metrics(self, metrics: dict[str, Any], num_runs: int) -> list[dict[str, float]]:
        """Returns the metrics of each run."""
        columns = {name: np.ravel(values).tolist() for name, values in metrics.items()}
        return [{name: column[run] for name, column in columns.items()} for run in range(num_runs)]

    def join_metrics(self, metrics: Sequence[dict[str, float]]) -> dict[str, Any]:
        """Returns the metrics of all runs from the metrics of each run; the inverse of `split_metrics`."""
        return {name: _stack_runs([of_run[name] for of_run in metrics]) for name in metrics[0]}

    def evaluate(self, state: TrainState, num_runs: int) -> list[dict[str, Any]]:
        """Evaluates each run on the test split."""
        # No larger batches than in training, because the number of runs was chosen by the memory that training needs.
        batch_size = min(self._settings.eval_batch_size, self._settings.batch_size)
        sums = trial_parallel_sums(self._model_evaluate, state.variables, self._test, batch_size=batch_size)
        return [accuracies(of_run) for of_run in _unstack_runs(sums, num_runs)]

    def max_runs_per_device(self, create_state: Callable[[ArrayLike], TrainState]) -> int:
        """Returns how many runs fit into the memory of every device, 0 if not even one; compiles the steps twice.

        Args:
            create_state: returns the state of a run for a seed; only its shapes and dtypes are used.
        """
        stats = jax.local_devices()[0].memory_stats()
        one, two = (self._bytes(create_state, runs) for runs in (1, 2))
        free = SHARE_OF_MEMORY * (stats["bytes_limit"] - stats["bytes_in_use"])
        return max(0, min(MAX_RUNS_PER_DEVICE, 1 + math.floor((free - one) / max(two - one, 1))))

    def _bytes(self, create_state: Callable[[ArrayLike], TrainState], runs: int) -> int:
        """Returns the memory that one call needs on a device with a number of runs, without the data set."""
        memory = self._lower(create_state, runs).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    def _lower(self, create_state: Callable[[ArrayLike], TrainState], runs: int) -> Any:
        """Returns the lowered program of one call with a number of runs on every device."""
        shape = (jax.local_device_count(), runs)

        def shapes_of_runs(tree: Any) -> Any:
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*shape, *x.shape), x.dtype), tree)

        steps, seed = self._settings.steps_per_call, np.uint32(0)
        indices = jax.ShapeDtypeStruct((shape[0], steps, runs, self._settings.batch_size), np.int32)
        return self._train_steps.lower(
            shapes_of_runs(jax.eval_shape(create_state, seed)),
            self._train.data,
            shapes_of_runs(seed),
            {"index": indices, "epoch": indices},
            np.zeros(steps, np.float32),
            np.zeros(shape[0], np.int32),
        )


def _stack_runs(values: Sequence[Any]) -> np.ndarray:
    """Stacks the values of all runs to [devices, runs per device, ...]; copies of the first fill the last places."""
    num_devices = jax.local_device_count()
    missing = -len(values) % num_devices
    rows = np.stack([*values, *[values[0]] * missing])
    return rows.reshape(num_devices, -1, *rows.shape[1:])


def _unstack_runs(tree: Any, num_runs: int) -> list[Any]:
    """Returns the tree of each run from a tree of host arrays; the inverse of `_stack_runs` for every array."""
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
    return [jax.tree.map(lambda x, run=run: x[run], rows) for run in range(num_runs)]
