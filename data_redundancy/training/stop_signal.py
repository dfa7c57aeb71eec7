"""An agreement of all processes on when to stop training."""

import collections

import jax
import numpy as np

from data_redundancy.runtime import stopping
from data_redundancy.training.settings import IN_FLIGHT


class StopSignal:
    """Whether any process has received SIGTERM; all processes learn it at the same step, from the sum of their flags.

    To avoid waiting for an accelerator, the sum of a call is read `IN_FLIGHT` calls later. This also keeps the host
    from running far ahead of the devices, with a batch in their memory for every call. A single process knows at once.
    """

    def __init__(self) -> None:
        self._sums: collections.deque[jax.Array] = collections.deque()
        self._delay = 0 if jax.default_backend() == "cpu" else IN_FLIGHT

    def flags(self) -> np.ndarray:
        """Returns the flags of this process for the next call, [local devices] int32."""
        return np.full(jax.local_device_count(), stopping.requested(), np.int32)

    def received(self, flag_sum: jax.Array) -> bool:
        """Returns whether any process is known to have received the signal.

        Args:
            flag_sum: the sum of the flags of all processes that a call has returned.
        """
        self._sums.append(flag_sum)
        by_anyone = len(self._sums) > self._delay and bool(self._sums.popleft() > 0)
        return by_anyone or (jax.process_count() == 1 and stopping.requested())
