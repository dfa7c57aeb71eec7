"""Orbax checkpoints of a training run."""

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from data_redundancy import parallel
from data_redundancy.errors import InputError
from data_redundancy.training.state import TrainState

log = logging.getLogger("data_redundancy")


class Checkpoints:
    """The checkpoints of one run, by step; the newest few are kept.

    States are saved as the host arrays of the main process, so that they restore onto any number of devices and
    processes. They are written in the background, under a temporary name until they are complete: a run killed while
    saving goes on from the step before. A digest is saved beside the state, by which damage is noticed.
    """

    def __init__(self, directory: epath.Path, *, keep: int):
        """Opens (and creates) `directory`, which must be absolute."""
        self._directory = directory
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(directory, options=options, item_names=("state", "about"))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, None without one."""
        return self._manager.latest_step()

    def save(self, state: TrainState, sums: dict[str, float] | None = None) -> None:
        """Copies `state` to the host and begins to write it; waits only for the one before.

        Args:
            state: replicated.
            sums: of metrics since they were last written.
        """
        state = jax.device_get(state)
        about = {"sha256": _digest(state), "sums": sums}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about))
        self._manager.save(int(state.step), args=items)

    def wait(self) -> None:
        """Waits until all that was saved is on disk, and raises what kept it from getting there."""
        self._manager.wait_until_finished()

    def restore(self, create_state: Callable[[int], TrainState]) -> tuple[TrainState | None, dict[str, float] | None]:
        """The newest checkpoint that is whole, replicated over the devices.

        Damaged ones are reported, and removed once an older one has taken their place.

        Args:
            create_state: gives the shapes and dtypes.

        Returns:
            The state and the sums saved with it, or None where there is no checkpoint.

        Raises:
            InputError: if there are some, but none is whole.
        """
        shapes = jax.eval_shape(create_state, np.uint32(0))
        like = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shapes)
        steps = sorted(self._manager.all_steps(), reverse=True)
        damaged = []
        for step in steps:
            found, reason = self._restore_whole(step, like)
            if found is not None:
                for newer in damaged:  # the run will save these steps again
                    self._manager.delete(newer)
                return parallel.replicate(found["state"]), found["about"]["sums"]
            log.warning("%s: checkpoint of step %d is damaged (%s)", self._directory.parent, step, reason)
            damaged.append(step)
        if damaged:
            raise InputError(
                f"{self._directory}: no checkpoint is whole (steps {', '.join(map(str, damaged))}); remove the "
                f"directory {self._directory.parent} to train again from the start"
            )
        return None, None

    def _restore_whole(self, step: int, like: Any) -> tuple[Any, str]:
        """What was saved, or why it cannot be had; on several processes the same for all."""
        items = ocp.args.Composite(state=ocp.args.StandardRestore(like), about=ocp.args.JsonRestore())
        try:
            found = self._manager.restore(step, args=items)
            reason = "" if _digest(found["state"]) == found["about"]["sha256"] else "its content has changed"
        except Exception as error:  # whatever the many readers of a damaged file say
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        whole = parallel.gather_rows(np.array([not reason])).all()
        return (found, "") if whole else (None, reason or "another process cannot read it")


def _digest(state: Any) -> str:
    """SHA-256 over all arrays of a state, with their paths, shapes and dtypes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
