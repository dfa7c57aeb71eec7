"""Orbax checkpoints of a training run."""

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.runtime import devices
from data_redundancy.store import filesystems
from data_redundancy.training.state import TrainState

log = logging.getLogger("data_redundancy")


class Checkpoints:
    """The checkpoints of one run, by step; the newest few are kept.

    The main process alone saves and reads them, as host arrays, so that they restore onto any number of devices and
    processes, all of which then have the same. They are written in the background, under a temporary name until they
    are complete: a run killed while saving goes on from the step before. A digest is saved beside the state, by which
    damage is noticed.
    """

    def __init__(self, directory: epath.Path, *, keep: int):
        """Opens (and creates) `directory`, which must be absolute."""
        self._directory = directory
        self._damaged: list[int] = []
        self._manager = None
        if devices.is_main_process():
            directory.mkdir(parents=True, exist_ok=True)
            me = jax.process_index()
            alone = ocp.options.MultiprocessingOptions(
                primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
            )
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep, create=False, enable_async_checkpointing=True, multiprocessing_options=alone
            )
            self._manager = ocp.CheckpointManager(directory, options=options, item_names=("state", "about"))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        if self._manager:
            self._manager.close()

    def save(self, state: TrainState, sums: dict[str, float] | None = None) -> None:
        """Copies `state` to the host and begins to write it; waits only for the one before.

        Args:
            state: replicated.
            sums: of metrics since they were last written.
        """
        if not self._manager:
            return
        # Not before: what could not be read may be whole, and only a run that goes on makes it anew.
        for step in self._damaged:
            self._manager.delete(step)
        self._damaged.clear()
        state = jax.device_get(state)
        about = {"sha256": _digest(state), "sums": sums}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about))
        self._manager.save(int(state.step), args=items)

    def wait(self) -> None:
        """Waits until all that was saved is on disk, and raises what kept it from getting there."""
        if self._manager:
            self._manager.wait_until_finished()

    def restore(self, create_state: Callable[[int], TrainState]) -> tuple[TrainState | None, dict[str, float] | None]:
        """The newest checkpoint that is whole, replicated over the devices.

        Damaged ones are reported, and removed when the run saves again.

        Args:
            create_state: gives the shapes and dtypes.

        Returns:
            The state and the sums saved with it, or None where there is no checkpoint.

        Raises:
            InputError: if there are some, but none is whole.
        """
        shapes = jax.eval_shape(create_state, np.uint32(0))
        state, about = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shapes), None
        if self._manager:
            state, about = self._newest_whole(state)
        about = json.loads(devices.text_from_main(json.dumps(about)))
        if about is None:
            return None, None
        return devices.replicate(devices.from_main(state)), about["sums"]

    def _newest_whole(self, like: TrainState) -> tuple[TrainState, dict[str, Any] | None]:
        """What was saved last, or `like` and None where there is nothing."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            found, reason = self._restore_whole(step, like)
            if found is not None:
                return found["state"], found["about"]
            log.warning("%s: checkpoint of step %d is damaged (%s)", self._directory.parent, step, reason)
            self._damaged.append(step)
        if self._damaged:
            raise InputError(
                f"{self._directory}: no checkpoint is whole (steps {', '.join(map(str, self._damaged))}); remove the "
                f"directory {self._directory.parent} to train again from the start"
            )
        return like, None

    def _restore_whole(self, step: int, like: Any) -> tuple[Any, str]:
        """What was saved, or why it cannot be had."""
        items = ocp.args.Composite(state=ocp.args.StandardRestore(like), about=ocp.args.JsonRestore())
        try:
            found = self._manager.restore(step, args=items)
        except Exception as error:  # whatever the many readers of a damaged file say
            if filesystems.passes(error):
                raise
            return None, (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if _digest(found["state"]) != found["about"]["sha256"]:
            return None, "its content has changed"
        return found, ""


def _digest(state: Any) -> str:
    """SHA-256 over all arrays of a state, with their paths, shapes and dtypes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
