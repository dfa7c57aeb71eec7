"""One measurement, to be run as a process of its own: seconds and peak memory of one contestant on one input."""

import json
import pathlib
import sys
import time
from typing import Any

import numpy as np

from benchmarks import memory
from benchmarks.clustering.contestants import CONTESTANTS, Contestant

WARM_UP_ROWS = 256


def timed(contestant: Contestant, x: np.ndarray, labels: np.ndarray, fractions: list[float]):
    """Clusters and cuts once at the first fraction: the seconds of that, and the partition at every fraction."""
    start = time.perf_counter()
    cut = contestant(x, labels)
    partitions = [cut(fractions[0])]
    seconds = time.perf_counter() - start
    return seconds, partitions + [cut(fraction) for fraction in fractions[1:]]


def measure(job: dict[str, Any]) -> tuple[dict[str, float | None], list[np.ndarray]]:
    """Runs a job.

    Args:
        job: `input` (directory), `contestant`, `options`, `fractions`, and `warm_up`: `whole` runs everything twice and
            reports both, as programs are compiled for shapes; `small` runs a few rows first; `none` nothing.

    Returns:
        The result and the partition at every fraction.
    """
    directory = pathlib.Path(job["input"])
    x, labels = np.load(directory / "x.npy"), np.load(directory / "labels.npy")
    contestant = CONTESTANTS[job["contestant"]](job["options"])
    before = memory.resident_mb()
    first_seconds = None
    if job["warm_up"] == "whole":
        first_seconds, _ = timed(contestant, x, labels, job["fractions"])
    elif job["warm_up"] == "small":
        timed(contestant, x[:WARM_UP_ROWS], labels[:WARM_UP_ROWS], job["fractions"])
    seconds, partitions = timed(contestant, x, labels, job["fractions"])
    result = {
        "seconds": seconds,
        "first_seconds": seconds if job["warm_up"] == "none" else first_seconds,
        "before_mb": before,
        "peak_mb": memory.peak_mb(),
        "device_peak_mb": memory.device_peak_mb(),
    }
    return result, partitions


def main() -> None:
    directory = pathlib.Path(sys.argv[1])
    result, partitions = measure(json.loads((directory / "job.json").read_text()))
    np.save(directory / "partitions.npy", np.stack(partitions))
    (directory / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
