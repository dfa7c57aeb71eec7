"""How the processes of a job notice that one of them has failed, and end together.

Every process writes a heartbeat to the key-value store of JAX's coordination service and reads the heartbeats of the
others. A process that fails writes why, and the others end for the same reason; a process without a heartbeat is given
up after `SILENCE_S`. Process 0 runs the service, so JAX aborts the other processes at once if process 0 disappears.
"""

import contextlib
import json
import os
import sys
import threading
import time
from typing import Any

import jax

from data_redundancy.errors import STOPPED, ProcessLostError

SILENCE_S = 30.0
"""A process is given up after this many seconds without a heartbeat."""
_BEAT_S = 0.5
_FAREWELLS = 10
_PREFIX = "data_redundancy/"


class Watch(threading.Thread):
    """A thread that writes the heartbeat of this process and checks the heartbeats of the others."""

    def __init__(self, barrier_timeout_s: float):
        """Makes the thread; JAX must have joined the processes.

        Args:
            barrier_timeout_s: how long a barrier waits for the other processes, in seconds.
        """
        super().__init__(name="watch", daemon=True)
        # JAX has no public access to its key-value store; Orbax uses this attribute too.
        from jax._src import distributed as jax_distributed

        self._client: Any = jax_distributed.global_state.client
        self._own, self._count = jax.process_index(), jax.process_count()
        self._ending = threading.Lock()
        self._barrier_timeout_s = barrier_timeout_s
        self._barriers = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Writes and checks heartbeats until `stop` is called, another process ends the job, or one is lost."""
        beat = 0
        heard: dict[int, tuple[str | None, float]] = {}
        while not self._stopped.is_set():
            beat += 1
            try:
                self._client.key_value_set(f"{_PREFIX}alive/{self._own}", str(beat), allow_overwrite=True)
                entries = dict(self._client.key_value_dir_get(_PREFIX))
            except Exception:  # this process ends, or process 0 is gone, in which case JAX ends this one
                return
            if end := entries.get(f"{_PREFIX}end"):
                cause = json.loads(end)
                self._end(cause["code"], f"stopped because process {cause['process']} stopped: {cause['message']}")
            now = time.monotonic()
            for process in range(self._count):
                last = entries.get(f"{_PREFIX}alive/{process}")
                if process not in heard or heard[process][0] != last:
                    heard[process] = (last, now)
                elif now - heard[process][1] > SILENCE_S:
                    self._end(STOPPED, f"process {process} has not responded for {SILENCE_S:g} s")
            self._stopped.wait(_BEAT_S)

    def stop(self) -> None:
        """Ends the thread, and waits until it has ended."""
        self._stopped.set()
        self.join()

    def barrier(self, name: str) -> None:
        """Waits until every process has called this method.

        Args:
            name: says in an error which barrier it is; may differ between processes.

        Raises:
            ProcessLostError: if a process does not call it in time.
        """
        self._barriers += 1
        timeout_ms = round(1000 * self._barrier_timeout_s)
        try:
            # Barriers are identified by numbers, because a name may contain a path that differs between hosts.
            self._client.wait_at_barrier(f"{_PREFIX}{self._barriers}", timeout_in_ms=timeout_ms)
        except Exception as error:
            self.wait_to_be_ended()
            raise ProcessLostError(
                f"another process did not reach the barrier {name!r} within barrier_timeout_s="
                f"{self._barrier_timeout_s:g}"
            ) from error

    def end_all(self, code: int, message: str) -> None:
        """Makes all processes end with an exit code and a message; does not return."""
        with self._ending:  # the lock is never released, so that nothing else ends this process now
            cause = json.dumps({"code": code, "message": message, "process": self._own})
            with contextlib.suppress(Exception):  # another process was first
                self._client.key_value_set(f"{_PREFIX}end", cause)
            self._leave(code)

    def wait_to_be_ended(self) -> None:
        """Gives another process, whose failure may be why this one fails, the time to end this one."""
        time.sleep(4 * _BEAT_S)

    def _end(self, code: int, message: str) -> None:
        if not self._ending.acquire(blocking=False):
            time.sleep(60)  # the main thread is ending this process
        print(f"data-redundancy: {' '.join(message.split())}", file=sys.stderr, flush=True)
        self._leave(code)

    def _leave(self, code: int) -> None:
        """Ends this process. Process 0 waits for the others: its end stops the service, and JAX then aborts them."""
        try:
            self._client.key_value_set(f"{_PREFIX}ended/{self._own}", "1", allow_overwrite=True)
            for _ in range(_FAREWELLS if self._own == 0 else 0):
                time.sleep(_BEAT_S)
                if len(self._client.key_value_dir_get(f"{_PREFIX}ended/")) == self._count:
                    break
        finally:
            _exit(code)


def _exit(code: int) -> None:
    """Ends this process without JAX's shutdown, which would wait for processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
