"""Traces of the profiler, on request."""

import contextlib
import logging
from typing import Any

import jax
from etils import epath

WARM = 10
"""Steps that go by before a trace begins: those that compile and fill the queues."""

log = logging.getLogger("data_redundancy")


class Profile(contextlib.ExitStack):
    """Traces some steps of a run into DIRECTORY/profile/, where TensorBoard's profile plugin finds them.

    Every process traces its own devices. As a context manager it ends a trace that an error cuts off.
    """

    def __init__(self, directory: epath.Path, *, num_steps: int, first: int, stop: int):
        """Plans a trace of `num_steps` steps, 0 for none, among the steps [first, stop) that this process takes."""
        super().__init__()
        self._directory, self._num_steps, self._stop = directory / "profile", num_steps, stop
        self._begin = first + WARM if num_steps and first < stop else None  # None: there is no trace to begin any more
        self._end: int | None = None  # None: there is no trace under way

    def at(self, step: int, state: Any) -> None:
        """Begins and ends the trace, where calls end; to be called before every call and after the last one.

        Args:
            step: how many the run has behind it.
            state: what the last call gave. The trace begins and ends when the devices are done with it.
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
                "%s: no step was traced (train.profile_steps=%d): a trace begins with the first call after %d steps, "
                "and the run had none",
                self._directory.parent,
                self._num_steps,
                WARM,
            )
