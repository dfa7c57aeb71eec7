"""The share of training time that is spent waiting for input."""

import contextlib
import logging
import time
from collections.abc import Iterator

import jax

log = logging.getLogger("data_redundancy")

BOTTLENECK = 0.2
"""The share of time waiting for input above which a warning is logged."""

LONG_ENOUGH_S = 1.0
"""Shorter windows are too imprecise for a warning."""


class Stopwatch:
    """Splits the time of a window of steps into waiting for input and computing.

    A call returns before the devices have computed it, but only a few calls are under way at a time. So over a window,
    the time that is not spent waiting for input is the time of the devices. The time of writing metrics and checkpoints
    counts as neither.
    """

    def __init__(self, name: str, *, batch_size: int):
        """Starts the first window.

        Args:
            name: name of the run, for the warning.
            batch_size: images of a step over all devices.
        """
        self._name, self._batch_size = name, batch_size
        self._warned = False
        self._steps_before: int | None = None  # None in the first window, which compiles
        self._start_window()

    def _start_window(self) -> None:
        self._start, self._waited = time.monotonic(), 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of the block as waiting for input."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def excluded(self) -> Iterator[None]:
        """Excludes the time of the block from the window."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._start += time.monotonic() - start

    def window(self, step: int) -> dict[str, float]:
        """Ends a window at `step` and starts the next.

        Returns:
            "input_wait_ms" and "compute_ms" per step, and "images_per_s_per_device". Empty for a window without steps,
            and for the first window, in which the functions are compiled.
        """
        first, self._steps_before = self._steps_before, step
        seconds, waited = time.monotonic() - self._start, self._waited
        self._start_window()
        if first is None or step == first:
            return {}
        steps, share = step - first, waited / seconds
        if share > BOTTLENECK and seconds >= LONG_ENOUGH_S and not self._warned:
            self._warned = True
            log.warning(
                "%s: input is the bottleneck: for %.0f%% of the time, the devices wait for images (more decoding "
                "threads or cores, faster disks, or smaller images would help)",
                self._name,
                100 * share,
            )
        return {
            "input_wait_ms": 1e3 * waited / steps,
            "compute_ms": 1e3 * (seconds - waited) / steps,
            "images_per_s_per_device": self._batch_size * steps / seconds / jax.device_count(),
        }


def seconds_per_step(timing: dict[str, float]) -> float:
    """Returns the seconds per step from a result of `Stopwatch.window` that is not empty."""
    return (timing["input_wait_ms"] + timing["compute_ms"]) / 1e3


def summary(timing: dict[str, float]) -> dict[str, str]:
    """Returns a result of `Stopwatch.window` as text for a progress line; empty for an empty one."""
    if not timing:
        return {}
    share = timing["input_wait_ms"] / (timing["input_wait_ms"] + timing["compute_ms"])
    return {"input wait": f"{share:.0%}", "images/s per device": f"{timing['images_per_s_per_device']:.3g}"}
