"""Metrics: sums on the device, metrics.jsonl and TensorBoard files, and progress on the terminal."""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from data_redundancy.store import filesystems

log = logging.getLogger("data_redundancy")


class Sums:
    """Adds dictionaries of sums on the device, and divides them once by their entry "count".

    The sums are all scalars, or all arrays of one shape that have an entry for each of many runs.
    """

    def __init__(self, so_far: dict[str, Any] | None = None):
        self._sums = so_far

    def add(self, sums: dict[str, Any]) -> None:
        """Adds one dictionary. Does not wait for the device."""
        self._sums = sums if self._sums is None else jax.tree.map(lambda a, b: a + b, self._sums, sums)

    def so_far(self) -> dict[str, Any] | None:
        """Returns the sums, from which another object can continue, or None if nothing has been added."""
        return None if self._sums is None else {name: x.tolist() for name, x in jax.device_get(self._sums).items()}

    def means(self) -> dict[str, Any]:
        """Returns every sum but "count", divided by it: a float, or a list for many runs. Starts over from zero."""
        sums, self._sums = jax.device_get(self._sums), None
        count = np.asarray(sums.pop("count"), np.float64)
        return {name: (np.asarray(value, np.float64) / count).tolist() for name, value in sums.items()}


class MetricWriter:
    """Writes scalars to DIRECTORY/metrics.jsonl, one JSON object per line, and to TensorBoard if it is installed.

    A run that resumes at a step first removes the lines after that step, so that the file is the same as that of an
    uninterrupted run. For this, call `flush` before saving a checkpoint: a file in a bucket cannot be appended to, so
    lines are written there by `flush`, by `close`, and by `write` if the last time was long ago.
    """

    def __init__(self, directory: epath.Path, *, resume_step: int = 0):
        """Opens the files.

        Args:
            directory: gets metrics.jsonl, timing.jsonl and the files of TensorBoard.
            resume_step: the step after which existing lines are removed.
        """
        self._file = _open_lines(directory / "metrics.jsonl", resume_step)
        self._timing = _open_lines(directory / "timing.jsonl", resume_step)
        self._tensorboard = _tensorboard_writer(directory)

    def write(self, step: int, scalars: dict[str, float], timing: Mapping[str, float] = MappingProxyType({})) -> None:
        """Adds one line {"step": step, ...}, and the same scalars to TensorBoard.

        Args:
            step: the last step that the scalars describe.
            scalars: metrics that are the same whenever the run is repeated.
            timing: durations and rates, which differ from run to run; written to timing.jsonl.
        """
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        if timing:
            self._timing.write(json.dumps({"step": step, **timing}) + "\n")
        if self._tensorboard is not None:
            self._tensorboard.write_scalars(step, {**scalars, **timing})

    def flush(self) -> None:
        """Waits until all lines are in their files."""
        self._file.flush()
        self._timing.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        self._file.close()
        self._timing.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def _open_lines(path: epath.Path, resume_step: int) -> "_AppendedFile | _RewrittenFile":
    """Opens a file that has a step in each line, without the lines after `resume_step`."""
    kept = []
    if path.exists():
        kept = [line + "\n" for line in path.read_text().splitlines() if _step_of(line) <= resume_step]
    return _RewrittenFile(path, kept) if filesystems.is_remote(path) else _AppendedFile(path, kept)


class _AppendedFile:
    """A text file on a local disk, to which each line is appended at once."""

    def __init__(self, path: epath.Path, lines: list[str]):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(path.suffix + ".partial")
        partial.write_text("".join(lines))
        os.replace(partial, path)
        self._file = path.open("a")

    def write(self, line: str) -> None:
        self._file.write(line)
        self._file.flush()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _RewrittenFile:
    """A text file in a bucket, which is always written as a whole."""

    SECONDS_BETWEEN = 60.0

    def __init__(self, path: epath.Path, lines: list[str]):
        self._path, self._lines = path, lines
        self._rewrite()

    def write(self, line: str) -> None:
        self._lines.append(line)
        if time.monotonic() - self._last > self.SECONDS_BETWEEN:
            self._rewrite()

    def flush(self) -> None:
        if self._written < len(self._lines):
            self._rewrite()

    def close(self) -> None:
        self.flush()

    def _rewrite(self) -> None:
        self._path.write_text("".join(self._lines))
        self._written, self._last = len(self._lines), time.monotonic()


class Progress:
    """A progress bar with rate and remaining time on a terminal; otherwise a log line every few seconds."""

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, label: str, *, total: int, unit: str, initial: int = 0):
        """Shows the bar.

        Args:
            label: what is being done.
            total: the amount of work.
            unit: the unit of work, in the plural.
            initial: how much of it is done already.
        """
        self._label, self._total, self._unit, self._initial = label, total, unit, initial
        self._shown: dict[str, str] = {}
        self._start = self._last_line = time.monotonic()
        self._bar = None
        if _stderr_is_terminal() and log.isEnabledFor(logging.INFO):
            self._bar = tqdm(total=total, initial=initial, desc=label, unit=f" {unit}", dynamic_ncols=True, leave=False)

    def update(self, done: int, numbers: Mapping[str, float | str] | None = None) -> None:
        """Shows that `done` of the total are done.

        Args:
            done: how much work is done.
            numbers: values to show beside it; the last ones if None.
        """
        if numbers is not None:
            self._shown = {name: x if isinstance(x, str) else f"{x:.4g}" for name, x in numbers.items()}
        if self._bar is not None:
            self._bar.set_postfix(self._shown, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        finished_quickly = now - self._start < self.SECONDS_BETWEEN_LINES
        if finished_quickly or (done < self._total and now - self._last_line < self.SECONDS_BETWEEN_LINES):
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
def progress(label: str, *, total: int, unit: str, initial: int = 0) -> Iterator[Progress]:
    """Yields a `Progress` that is closed when the block ends; see `Progress` for the arguments."""
    bar = Progress(label, total=total, unit=unit, initial=initial)
    try:
        yield bar
    finally:
        bar.close()


def _stderr_is_terminal() -> bool:
    """Returns whether a bar can be drawn; the terminal of some containers has no size, and a bar would be invisible."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


def log_parameter_overview(params: Any) -> None:
    """Logs the number of parameters, with a table of them if clu is installed."""
    total = sum(np.size(x) for x in jax.tree.leaves(params))
    try:
        from clu import parameter_overview
    except ImportError:
        log.info("parameters: %s", f"{total:,}")
        return
    table = parameter_overview.get_parameter_overview(params, include_stats=False)
    log.info("parameters: %s\n%s", f"{total:,}", table)


def _tensorboard_writer(directory: epath.Path) -> Any:
    """Returns clu's writer of TensorBoard files, or None if TensorFlow or clu is not installed."""
    try:
        import tensorflow as tf
        from clu import metric_writers
    except ImportError:
        log.info("TensorFlow or clu is not installed: metrics are written to metrics.jsonl only")
        return None
    tf.config.set_visible_devices([], "GPU")
    return metric_writers.SummaryWriter(str(directory))


def _step_of(line: str) -> float:
    """Returns the step of a line of metrics.jsonl; infinity for a line that was truncated while being written."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")
