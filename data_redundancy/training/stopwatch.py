"""Where the time of training goes: waiting for input, or computing."""

import contextlib
import logging
import time
from collections.abc import Iterator

import jax

log = logging.getLogger("data_redundancy")

BOTTLENECK = 0.2
"""A greater share of the time spent waiting for input is worth a warning."""
LONG_ENOUGH_S = 1.0
"""Shorter windows say too little to warn."""


class Stopwatch:
    """Splits the time of a window of steps into input wait and compute.

    A call returns before the devices are done, but no more than a few are ever under way: over a window the rest of the
    time is what the devices took. What is written meanwhile, lines and checkpoints, counts as neither.
    """

    def __init__(self, name: str, *, batch_size: int):
        """`name` is the run's, for the warning; batch_size counts the images of a step over all devices."""
        self._name, self._batch_size = name, batch_size
        self._warned = False
        self._steps_before: int | None = None  # of the first window, which compiles, nothing is said
        self._start_window()

    def _start_window(self) -> None:
        self._start, self._waited = time.monotonic(), 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The time of the block is input wait."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """The time of the block belongs to no window."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._start += time.monotonic() - start

    def window(self, step: int) -> dict[str, float]:
        """Ends a window at `step`.

        Returns:
            {"input_wait_ms" and "compute_ms" per step, "images_per_s_per_device"}; nothing for the first window, in
            which the functions are compiled.
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
                "%s: input is the bottleneck: %.0f%% of the time the devices wait for images (input.threads, faster "
                "disks, more cores, or a smaller input.image_size would help)",
                self._name,
                100 * share,
            )
        return {
            "input_wait_ms": 1e3 * waited / steps,
            "compute_ms": 1e3 * (seconds - waited) / steps,
            "images_per_s_per_device": self._batch_size * steps / seconds / jax.device_count(),
        }


def in_short(timing: dict[str, float]) -> dict[str, str]:
    """What `window` gave, for a line of progress."""
    if not timing:
        return {}
    share = timing["input_wait_ms"] / (timing["input_wait_ms"] + timing["compute_ms"])
    return {"input wait": f"{share:.0%}", "images/s per device": f"{timing['images_per_s_per_device']:.3g}"}
