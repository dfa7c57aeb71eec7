"""Orbax checkpoints of a training run."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
import orbax.checkpoint as ocp

from data_redundancy import parallel
from data_redundancy.training.state import TrainState


class Checkpoints:
    """The checkpoints of one run, by step; the newest few are kept.

    States are saved as the host arrays of the main process, so that they restore onto any number of devices. Orbax
    writes a step under a temporary name and renames it when complete: a run killed while saving goes on from the step
    before.
    """

    def __init__(self, directory: pathlib.Path, *, keep: int):
        """Opens (and creates) `directory`, which must be absolute."""
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, None without one."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Saves `state` under its step; returns when it is on disk."""
        self._manager.save(int(state.step), args=ocp.args.StandardSave(jax.device_get(state)))

    def restore(self, create_state: Callable[[int], TrainState]) -> TrainState:
        """The newest checkpoint, replicated over the devices; of the shapes and dtypes that `create_state` gives."""
        shapes = jax.eval_shape(create_state, np.uint32(0))
        like = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shapes)
        return parallel.replicate(self._manager.restore(self.latest_step(), args=ocp.args.StandardRestore(like)))
