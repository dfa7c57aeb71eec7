"""Traces of training by JAX's profiler."""

import contextlib
import logging
from typing import Any

import jax
from etils import epath

WARM = 10
"""Steps before a trace begins, in which functions are compiled and queues fill."""

log = logging.getLogger("data_redundancy")


class Profile(contextlib.ExitStack):
    """Traces some steps of a run into DIRECTORY/profile/, where TensorBoard's profile plugin finds them.

    Every process traces its own devices. As a context manager, it ends the trace if an error ends the run.
    """

    def __init__(self, directory: epath.Path, *, num_steps: int, first: int, stop: int):
        """Plans the trace.

        Args:
            directory: the directory of the run.
            num_steps: the number of steps to trace; 0 for no trace.
            first: the first step that this process takes.
            stop: the step before which it stops.
        """
        super().__init__()
        self._directory, self._num_steps, self._stop = directory / "profile", num_steps, stop
        self._begin = first + WARM if num_steps and first < stop else None  # None: no trace is to begin
        self._end: int | None = None  # None: no trace is running

    def at(self, step: int, state: Any) -> None:
        """Begins or ends the trace; must be called before every call of the training function, and after the last.

        Args:
            step: the number of steps that the run has taken.
            state: the result of the last call. The trace begins and ends when the devices have computed it.
        """
        if self._begin is not None and self._begin <= step < self._stop:
            self._begin, self._end = None, min(step + self._num_steps, self._stop)
            jax.block_until_ready(state)
            self.enter_context(jax.profiler.trace(str(self._directory)))
        elif self._end is not None and step >= self._end:
            self._end = None
            jax.block_until_ready(state)
            self.close()
        elif self._begin is not None and step >= self._stop:
            log.warning(
                "%s: no step was traced (profile_steps=%d): the trace begins with the first call after %d steps, which "
                "this run did not reach",
                self._directory.parent,
                self._num_steps,
                WARM,
            )
