"""Many runs at once: a small model leaves an accelerator idle, so every device trains several whole runs.

A run is on one device, with all of its batches; nothing passes between devices. All runs have the same shapes and the
same learning rates, and are at the same step. What comes out is what the runs give alone but for rounding: sums are
taken in another order. With images in memory and one process only.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from data_redundancy.data.batches import TrainBatches
from data_redundancy.runtime import devices
from data_redundancy.training.inference import accuracies, evaluate_together
from data_redundancy.training.inputs import InMemory
from data_redundancy.training.settings import Run, TrainSettings
from data_redundancy.training.state import TrainState
from data_redundancy.training.step import make_evaluate_together, make_train_steps_together

SHARE_OF_MEMORY = 0.8
"""Of what a device has free, for the runs; the rest is for what the compiler tries out, and for gaps."""
MOST_PER_DEVICE = 32
"""More runs would make a device that is busy by then no faster; being cut off would cost more, and so would files."""


class Together:
    """How a trainer lays out many runs: rows [devices, runs per device, ...], the last ones filled up with the first.

    Methods are those of `Alone`.
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
        """Builds the functions; arguments are those of `Alone`."""
        self._train, self._test, self._settings = train, test, settings
        self._train_steps = make_train_steps_together(model, optimizer, train.load, **settings.of_steps)
        self._model_evaluate = make_evaluate_together(model, num_classes, test.load)

    def place(self, states: Sequence[TrainState]) -> TrainState:
        """Puts the states on the devices, each on one."""
        return devices.spread(jax.tree.map(lambda *rows: _rows(rows), *jax.device_get(states)))

    def batches(self, runs: Sequence[Run], calls: Iterable[list[TrainBatches]]) -> Iterator[dict[str, np.ndarray]]:
        """Arrays [devices, steps, runs per device, B] of every call, "index" and "epoch"."""
        for call in calls:
            yield {name: np.moveaxis(_rows([getattr(b, name) for b in call]), 2, 1) for name in ("index", "epoch")}

    def train_steps(
        self, state: TrainState, runs: Sequence[Run], batch: Any, rates: np.ndarray, flags: np.ndarray
    ) -> tuple[TrainState, dict[str, Any], Any]:
        """Takes the steps of one call."""
        seeds = _rows([np.uint32(run.seed) for run in runs])
        return self._train_steps(state, self._train.data, seeds, batch, rates, flags)

    def states(self, state: TrainState, num_runs: int) -> list[TrainState]:
        """The state of each run, on the host."""
        return _each(jax.device_get(state), num_runs)

    def numbers(self, numbers: dict[str, Any], num_runs: int) -> list[dict[str, float]]:
        """What was summed up of each run."""
        columns = {name: np.ravel(values).tolist() for name, values in numbers.items()}
        return [{name: column[run] for name, column in columns.items()} for run in range(num_runs)]

    def joined(self, numbers: Sequence[dict[str, float]]) -> dict[str, Any]:
        """The inverse of `numbers`."""
        return {name: _rows([of_run[name] for of_run in numbers]) for name in numbers[0]}

    def evaluate(self, state: TrainState, num_runs: int) -> list[dict[str, Any]]:
        """The results of each run on the test split."""
        # No more rows at once than in training, whose memory is what the number of runs was chosen by.
        batch_size = min(self._settings.eval_batch_size, self._settings.batch_size)
        totals = evaluate_together(self._model_evaluate, state.variables, self._test, batch_size=batch_size)
        return [accuracies(of_run) for of_run in _each(totals, num_runs)]

    def runs_that_fit(self, create_state) -> int:
        """How many runs every device has memory for, 0 where it is less than one; compiles the steps twice.

        Args:
            create_state: gives the shapes and dtypes of a run's state.
        """
        stats = jax.local_devices()[0].memory_stats()
        one, two = (self._bytes(create_state, runs) for runs in (1, 2))
        free = SHARE_OF_MEMORY * (stats["bytes_limit"] - stats["bytes_in_use"])
        return max(0, min(MOST_PER_DEVICE, 1 + math.floor((free - one) / max(two - one, 1))))

    def _bytes(self, create_state, runs: int) -> int:
        """What the steps of one call take on a device, the data set aside."""
        memory = self._lower(create_state, runs).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    def _lower(self, create_state, runs: int) -> Any:
        """The program of one call, with so many runs on every device."""
        shape = (jax.local_device_count(), runs)

        def rows(tree: Any) -> Any:
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*shape, *x.shape), x.dtype), tree)

        steps, seed = self._settings.steps_per_call, np.uint32(0)
        indices = jax.ShapeDtypeStruct((shape[0], steps, runs, self._settings.batch_size), np.int32)
        return self._train_steps.lower(
            rows(jax.eval_shape(create_state, seed)),
            self._train.data,
            rows(seed),
            {"index": indices, "epoch": indices},
            np.zeros(steps, np.float32),
            np.zeros(shape[0], np.int32),
        )


def _rows(values: Sequence[Any]) -> np.ndarray:
    """Stacks what there is of every run to [devices, runs per device, ...]; the first stands in for those missing."""
    num_devices = jax.local_device_count()
    missing = -len(values) % num_devices
    rows = np.stack([*values, *[values[0]] * missing])
    return rows.reshape(num_devices, -1, *rows.shape[1:])


def _each(tree: Any, num_runs: int) -> list[Any]:
    """The inverse of `_rows` for every array of a tree on the host."""
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
    return [jax.tree.map(lambda x, run=run: x[run], rows) for run in range(num_runs)]
