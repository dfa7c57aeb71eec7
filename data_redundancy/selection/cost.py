"""Estimates the time and memory of a selection from counts, before it starts.

The functions below count operations. Each kind of operation has a price in nanoseconds, measured on one core of an AMD
EPYC (virtual machine, one thread, 64 and 512 dimensions, 1,000 to 50,000 examples per class) and rounded up; two cores
are faster. Some counts depend on the data (iterations of k-means, evaluations of lazy greedy). For these, the constants
are what was observed on embeddings that imitate natural images (`benchmarks.selection`), rounded up.

Methods without an entry in `_ESTIMATES` take negligible time: they sort, draw, or cut trees. The cost of clustering is
estimated by `clustering.strategy`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from data_redundancy.selection import facility_location, prototypes, semdedup
from data_redundancy.selection.pool import Pool

_FLOP = 1 / 25
"""Nanoseconds per operation in a product of float64 matrices."""
_ENTRY = 1.5
"""Nanoseconds to read one entry of such a product."""
_STREAMED = 0.75
"""Nanoseconds per float64 of a matrix times a vector, limited by memory bandwidth; less if the matrix is cached."""
_EVALUATIONS = 14
"""Gains that facility location evaluates per example it keeps."""
_ITERATIONS = 100
"""Iterations of k-means."""
_COPIES = 3
"""Float64 copies of a class's embeddings at the peak of scaling them to unit vectors."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """The expected cost of a selection.

    Attributes:
        seconds: on one core of the reference machine, see the module.
        peak_bytes: including the embeddings, excluding other memory of the process.
    """

    seconds: float
    peak_bytes: float


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """The counts that determine the cost of selecting from one class.

    Attributes:
        size: n, the number of examples.
        num_kept: k, how many of them are kept.
        num_dimensions: D.
    """

    size: int
    num_kept: int
    num_dimensions: int


Estimate = Callable[[ClassCounts], tuple[float, float]]
"""A function from a class to nanoseconds, and the bytes needed beside copies of its embeddings."""


def expected(pool: Pool, method: str, num_pruned: Mapping[int, int], *, centre: str) -> Cost:
    """Estimates the cost of a method.

    Args:
        pool: the data set; only labels and the shape of the embeddings are read.
        method: the name of the method.
        num_pruned: for every label, how many of its examples to prune. Classes with 0 cost nothing.
        centre: the option of `prototypes`.
    """
    if pool.embeddings is None:
        return Cost(0.0, 0.0)
    if method == "prototypes":
        return _prototypes(pool.embeddings, pool.labels if pool.classes is None else pool.classes, centre)
    num_bytes = pool.embeddings.nbytes
    if method not in _ESTIMATES:
        return Cost(0.0, num_bytes)
    num_dimensions = pool.embeddings.shape[1]
    sizes = pool.class_sizes()
    counts = [ClassCounts(n, n - num_pruned[label], num_dimensions) for label, n in sizes.items() if num_pruned[label]]
    estimates = [_ESTIMATES[method](of_class) for of_class in counts]
    copies = _COPIES * 8 * num_dimensions * max((of_class.size for of_class in counts), default=0)
    return Cost(
        1e-9 * sum(nanoseconds for nanoseconds, _ in estimates),
        num_bytes + copies + max((extra_bytes for _, extra_bytes in estimates), default=0),
    )


def _prototypes(embeddings: np.ndarray, classes: np.ndarray, centre: str) -> Cost:
    num_examples, num_dimensions = embeddings.shape
    num_centres = prototypes.num_prototypes(classes) if centre == "kmeans" else 0
    return Cost(
        1e-9 * _kmeans(num_examples, num_centres, num_dimensions),
        embeddings.nbytes + _COPIES * 8 * embeddings.size + 4 * embeddings.size,
    )


def _kcenter(counts: ClassCounts) -> tuple[float, float]:
    entries = counts.size * counts.num_kept
    return entries * (2 * counts.num_dimensions * _FLOP + _ENTRY), 0


def _herding(counts: ClassCounts) -> tuple[float, float]:
    return counts.size * counts.num_kept * (counts.num_dimensions * _STREAMED + _ENTRY), 0


def _facility_location(counts: ClassCounts) -> tuple[float, float]:
    matrix_bytes = 4 * counts.size**2
    evaluations = counts.num_kept * _EVALUATIONS
    # If the matrix does not fit, most evaluations still find their row among those held.
    computed_rows = counts.size if matrix_bytes <= facility_location.HELD_BYTES else max(counts.size, evaluations / 2)
    nanoseconds = computed_rows * counts.size * (2 * counts.num_dimensions * _FLOP + 4 * _ENTRY)
    nanoseconds += evaluations * counts.size * _ENTRY
    return nanoseconds, min(matrix_bytes, facility_location.HELD_BYTES)


def _semdedup(counts: ClassCounts) -> tuple[float, float]:
    num_clusters = math.ceil(counts.size / semdedup.CLUSTER_SIZE)
    pairs = counts.size * semdedup.CLUSTER_SIZE * 2  # twice as many as with clusters of equal sizes
    nanoseconds = pairs * (2 * counts.num_dimensions * _FLOP + _ENTRY)
    nanoseconds += _kmeans(counts.size, num_clusters, counts.num_dimensions)
    return nanoseconds, 4 * counts.size * counts.num_dimensions


def _kmeans(size: int, num_clusters: int, num_dimensions: int) -> float:
    if num_clusters < 2:
        return 0.0
    # The k-means++ start tries about 2 + log(k) candidates per centre.
    iterations = _ITERATIONS + 2 + np.log(num_clusters)
    return size * num_clusters * iterations * (2 * num_dimensions * _FLOP + _ENTRY)


_ESTIMATES: dict[str, Estimate] = {
    "kcenter": _kcenter,
    "herding": _herding,
    "facility_location": _facility_location,
    "semdedup": _semdedup,
}
