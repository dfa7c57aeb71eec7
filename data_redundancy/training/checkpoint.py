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
from jax.typing import ArrayLike

from data_redundancy.errors import InputError
from data_redundancy.runtime import devices
from data_redundancy.store import filesystems
from data_redundancy.training.state import TrainState

log = logging.getLogger("data_redundancy")


class Checkpoints:
    """The checkpoints of one run, by step; the newest ones are kept.

    Only the main process saves and reads them, as host arrays, so that they restore onto any number of devices and
    processes, with the same state on each. They are written in the background, under a temporary name until they are
    complete: a run that is killed while saving resumes from the checkpoint before. A digest saved with the state
    detects damage.
    """

    def __init__(self, directory: epath.Path, *, keep: int):
        """Opens a directory of checkpoints.

        Args:
            directory: absolute path; created if it does not exist.
            keep: the number of newest checkpoints to keep.
        """
        self._directory = directory
        self._damaged: list[int] = []
        self._manager: Any = None  # on the main process only
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

    def __exit__(self, *_: object) -> None:
        if self._manager:
            self._manager.close()

    def save(self, state: TrainState, sums: dict[str, float] | None = None) -> None:
        """Copies `state` to the host and begins to write it; waits only for the checkpoint before.

        Args:
            state: the state, replicated.
            sums: sums of metrics since they were last written.
        """
        if not self._manager:
            return
        # Not earlier: a checkpoint that could not be read may be intact, and only a run that resumes replaces it.
        for step in self._damaged:
            self._manager.delete(step)
        self._damaged.clear()
        state = jax.device_get(state)
        about = {"sha256": _digest(state), "sums": sums}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about))
        self._manager.save(int(state.step), args=items)

    def wait(self) -> None:
        """Waits until all checkpoints are on disk, and raises the error of one that could not be written."""
        if self._manager:
            self._manager.wait_until_finished()

    def restore(
        self, create_state: Callable[[ArrayLike], TrainState]
    ) -> tuple[TrainState | None, dict[str, float] | None]:
        """Restores the newest undamaged checkpoint.

        Damaged checkpoints are reported, and removed when the run saves again.

        Args:
            create_state: returns the state of a run for a seed; only its shapes and dtypes are used.

        Returns:
            The state, replicated over the devices, and the sums saved with it; None and None if there is no checkpoint.

        Raises:
            InputError: if there are checkpoints, but all are damaged.
        """
        shapes = jax.eval_shape(create_state, np.uint32(0))
        state, about = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shapes), None
        if self._manager:
            state, about = self._newest_undamaged(state)
        about = json.loads(devices.text_from_main(json.dumps(about)))
        if about is None:
            return None, None
        return devices.replicate(devices.from_main(state)), about["sums"]

    def _newest_undamaged(self, like: TrainState) -> tuple[TrainState, dict[str, Any] | None]:
        """Returns the newest state and its description, or `like` and None if there is no checkpoint."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            found, reason = self._restore_undamaged(step, like)
            if found is not None:
                return found["state"], found["about"]
            log.warning("%s: checkpoint of step %d is damaged (%s)", self._directory.parent, step, reason)
            self._damaged.append(step)
        if self._damaged:
            raise InputError(
                self._directory,
                None,
                f"has damaged checkpoints only (steps {', '.join(map(str, self._damaged))})",
                f"Remove the directory {self._directory.parent} to train again from the start",
            )
        return like, None

    def _restore_undamaged(self, step: int, like: Any) -> tuple[Any, str]:
        """Returns the items of a checkpoint and an empty string, or None and the reason why it cannot be restored."""
        items = ocp.args.Composite(state=ocp.args.StandardRestore(like), about=ocp.args.JsonRestore())
        try:
            found = self._manager.restore(step, args=items)
        except Exception as error:  # the readers of a damaged file raise errors of many types
            if filesystems.passes(error):
                raise
            return None, (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if _digest(found["state"]) != found["about"]["sha256"]:
            return None, "its content has changed"
        return found, ""


def _digest(state: Any) -> str:
    """Returns the SHA-256 of all arrays of a state, with their paths, shapes and dtypes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
