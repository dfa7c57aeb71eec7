"""Metrics as sums and counts, and where they go: metrics.jsonl, TensorBoard, the terminal."""

import contextlib
import json
import logging
import os
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

log = logging.getLogger("data_redundancy")


class Sums:
    """Adds up dictionaries of sums, on the device, and divides once by their "count"."""

    def __init__(self):
        self._sums: dict[str, Any] | None = None

    def add(self, sums: dict[str, Any]) -> None:
        """Adds one dictionary; does not wait for the device."""
        self._sums = sums if self._sums is None else jax.tree.map(lambda a, b: a + b, self._sums, sums)

    def means(self) -> dict[str, float]:
        """Every sum but "count", divided by it; starts over."""
        sums, self._sums = jax.device_get(self._sums), None
        count = float(sums.pop("count"))
        return {name: float(value) / count for name, value in sums.items()}


class MetricWriter:
    """Writes scalars to DIRECTORY/metrics.jsonl, one JSON object a line, and to TensorBoard where it is installed.

    A run that resumes at a step first drops the lines after it, so that the file is that of a run never cut off.
    """

    def __init__(self, directory: pathlib.Path, *, resume_step: int = 0):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "metrics.jsonl"
        kept = []
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= resume_step]
        partial = path.with_suffix(".jsonl.partial")
        partial.write_text("".join(line + "\n" for line in kept))
        os.replace(partial, path)
        self._file = path.open("a")
        self._tensorboard = _tensorboard_writer(directory)

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Appends one line {"step": step, ...} and the same scalars to TensorBoard."""
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()
        if self._tensorboard is not None:
            self._tensorboard.write_scalars(step, scalars)

    def close(self) -> None:
        """Flushes and closes the files."""
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


class Progress:
    """A bar with rate and time left on a terminal; plain log lines, at most one every few seconds, elsewhere."""

    def __init__(self, label: str, *, total: int, unit: str, initial: int = 0, seconds_between_lines: float = 10.0):
        self._label, self._total, self._unit, self._initial = label, total, unit, initial
        self._between = seconds_between_lines
        self._shown: dict[str, str] = {}
        self._start = self._last_line = time.monotonic()
        self._bar = None
        if _stderr_is_terminal():
            self._bar = tqdm(total=total, initial=initial, desc=label, unit=f" {unit}", dynamic_ncols=True, leave=False)

    def update(self, done: int, numbers: dict[str, float] | None = None) -> None:
        """Says that `done` of the total are done; the newest `numbers` are shown beside it."""
        if numbers is not None:
            self._shown = {name: f"{value:.4g}" for name, value in numbers.items()}
        if self._bar is not None:
            self._bar.set_postfix(self._shown, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        finished_quickly = now - self._start < self._between
        if finished_quickly or (done < self._total and now - self._last_line < self._between):
            return
        self._last_line = now
        rate = (done - self._initial) / max(now - self._start, 1e-9)
        left = tqdm.format_interval((self._total - done) / rate) if rate > 0 else "?"
        parts = [f"{self._label}: {done}/{self._total} {self._unit}", f"{rate:.3g} {self._unit}/s", f"{left} left"]
        log.info(", ".join(parts + [f"{name} {value}" for name, value in self._shown.items()]))

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()


@contextlib.contextmanager
def progress(label: str, *, total: int, unit: str, initial: int = 0):
    """A `Progress` that is closed at the end."""
    bar = Progress(label, total=total, unit=unit, initial=initial)
    try:
        yield bar
    finally:
        bar.close()


def _stderr_is_terminal() -> bool:
    """Whether there is a terminal to draw on: some containers give one without a size, where a bar shows nothing."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


def log_parameter_overview(params: Any) -> None:
    """Logs a table of all parameters (clu's, where it is installed) and their number."""
    total = sum(np.size(x) for x in jax.tree.leaves(params))
    try:
        from clu import parameter_overview
    except ImportError:
        log.info("parameters: %s", f"{total:,}")
        return
    table = parameter_overview.get_parameter_overview(params, include_stats=False)
    log.info("parameters: %s\n%s", f"{total:,}", table)


def _tensorboard_writer(directory: pathlib.Path):
    try:
        import tensorflow as tf
        from clu import metric_writers
    except ImportError:
        log.info("TensorFlow or clu is not installed: metrics go to metrics.jsonl only")
        return None
    tf.config.set_visible_devices([], "GPU")
    return metric_writers.SummaryWriter(str(directory))


def _step_of(line: str) -> float:
    """The step of a line of metrics.jsonl; infinity for one that was cut off while being written."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")
