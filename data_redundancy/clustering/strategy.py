"""Chooses the algorithm that clusters a class, and estimates its time and memory, before any work is done.

The constants were measured on two cores of a processor, in nanoseconds. The choice depends only on their ratios;
`speed` scales the times to the current machine.
"""

import dataclasses
import functools
import math
import time
from dataclasses import dataclass

import jax
import numpy as np

from data_redundancy.clustering.distances import float64_device
from data_redundancy.errors import InputError

# The number of pairs per row within the height at which a share of the rows is merged. Measured on embeddings of
# natural images by trained ResNets, and rounded up: too many cost little, too few need another pass. The clusters do
# not depend on these numbers.
_SHARES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_PAIRS_PER_ROW = (0.002, 0.03, 0.25, 0.7, 2.2, 6.0, 13.0, 26.0, 46.0, 90.0, 200.0, 800.0, 5000.0)

BYTES_PER_PAIR = 130
"""The peak memory per pair, which is reached when the pairs are sorted."""

SMALL_CLASS_ROWS = 4096
"""The largest number of rows for which all similarities are computed at once and kept, on CPUs."""

_CONTRACT_TO_SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class _UnitCosts:
    """The costs of operations in nanoseconds.

    Attributes:
        flop: a floating-point operation of the first pass.
        entry: a similarity of the first pass, in addition to the product.
        flop64: a floating-point operation of exact distances.
        entry64: an exact distance, in addition to the product.
        dense: the agglomeration, per entry of the first matrix, for every linkage.
    """

    flop: float
    entry: float
    flop64: float
    entry64: float
    dense: dict[str, float]


_CPU = _UnitCosts(1 / 150, 0.6, 1 / 80, 12, {"complete": 45, "average": 60, "single": 12})
# From the data sheet of a data centre accelerator, not measured.
_ACCELERATOR = _UnitCosts(1 / 50_000, 0.01, 1 / 20_000, 0.1, {"complete": 0.1, "average": 0.2, "single": 12})


@dataclass(frozen=True)
class Strategy:
    """How to cluster one class.

    Attributes:
        num_rows: n.
        num_merges: how many merges to compute.
        graph_merges: how many of them to find on the graph of close pairs. The others are found on the matrix of
            distances between the clusters that are left then.
        seconds: the expected time, on the machine of the constants; see `speed`.
        peak_bytes: the expected peak memory.
        max_pairs: how many pairs the graph may hold, because of memory or because the matrix would be faster.
        memory_limit: in bytes.
        base_bytes: the part of `memory_limit` that the vectors take.
    """

    num_rows: int
    num_merges: int
    graph_merges: int
    seconds: float
    peak_bytes: float
    max_pairs: int = 0
    memory_limit: float = 0.0
    base_bytes: float = 0.0

    @property
    def algorithm(self) -> str:
        """The algorithm: `graph`, `matrix`, or `graph, then matrix`."""
        if self.graph_merges >= self.num_merges:
            return "graph"
        return "graph, then matrix" if self.graph_merges else "matrix"


@functools.cache
def speed() -> float:
    """Measures how much faster this processor multiplies matrices than the one that the constants were measured on."""
    if float64_device().platform != "cpu":
        return 1.0
    matrix = jax.device_put(np.ones((1024, 1024), np.float32), float64_device())
    product = jax.jit(lambda a: (a @ a).sum())
    seconds = np.inf
    for _ in range(3):  # the first call compiles
        start = time.perf_counter()
        product(matrix).block_until_ready()
        seconds = min(seconds, time.perf_counter() - start)
    return 2 * 1024**3 * _CPU.flop * 1e-9 / seconds


def pairs_per_row(share: float) -> float:
    """Estimates the number of pairs per row up to the height at which a share of the rows is merged."""
    return float(np.exp(np.interp(share, _SHARES, np.log(_PAIRS_PER_ROW))))


def first_pairs_per_row(num_rows: int, share: float) -> float:
    """Returns how many pairs per row to search for first: few, if another search is cheap.

    Args:
        num_rows: n.
        share: the share of the rows to merge.
    """
    is_cheap = num_rows <= SMALL_CLASS_ROWS and float64_device().platform == "cpu"
    return pairs_per_row(share) * (0.3 if is_cheap else 1.0)


def choose_strategy(
    num_rows: int,
    num_dimensions: int,
    num_merges: int,
    linkage: str,
    memory_limit: float,
    algorithm: str | None = None,
    *,
    label: int | None = None,
) -> Strategy:
    """Chooses the strategy that is expected to be the fastest among those that fit into memory.

    Args:
        num_rows: n.
        num_dimensions: D.
        num_merges: how many merges to compute, up to n-1.
        linkage: the linkage.
        memory_limit: in bytes.
        algorithm: `graph`, `matrix` or `graph, then matrix`, to consider only this one.
        label: the class, to name it in an error; None if there is only one.

    Raises:
        InputError: no strategy fits, or the algorithm cannot compute these merges.
    """
    strategies = _strategies(num_rows, num_dimensions, num_merges, linkage)
    strategies = [s for s in strategies if algorithm in (None, s.algorithm)]
    if not strategies:
        requirement = f"cannot find {num_merges} merges of {num_rows} rows by {linkage} linkage"
        raise InputError("algorithm", algorithm, requirement)
    fitting = [s for s in strategies if s.peak_bytes <= memory_limit]
    if not fitting:
        smallest = min(strategies, key=lambda s: s.peak_bytes)
        raise _too_large(smallest, num_dimensions, linkage, memory_limit, label)
    fastest = min(fitting, key=lambda s: s.seconds)
    base_bytes = _base_bytes(num_rows, num_dimensions)
    max_pairs = (memory_limit - base_bytes) / BYTES_PER_PAIR
    matrix = [s for s in fitting if s.graph_merges == 0]
    if matrix and algorithm is None:
        max_pairs = min(max_pairs, matrix[0].seconds * 1e9 / _nanoseconds_per_pair(num_dimensions))
    return dataclasses.replace(
        fastest, max_pairs=max(num_rows, int(max_pairs)), memory_limit=memory_limit, base_bytes=base_bytes
    )


def _strategies(num_rows: int, num_dimensions: int, num_merges: int, linkage: str) -> list[Strategy]:
    """Returns estimates for all strategies that can compute the merges."""
    choices = _graph_merges(num_rows, num_merges, linkage)
    return [_estimate(num_rows, num_dimensions, num_merges, graph_merges, linkage) for graph_merges in choices]


def _graph_merges(num_rows: int, num_merges: int, linkage: str) -> list[int]:
    """Returns the possible numbers of merges to find on the graph."""
    if linkage == "average" or num_merges == 0:
        return [0]  # a mean distance may be small although some of the distances are large
    if linkage == "single":
        return [0, num_merges]
    contractions = [int(share * num_rows) for share in _CONTRACT_TO_SHARES]
    return [0, *(m for m in contractions if m < num_merges), num_merges]


def _estimate(num_rows: int, num_dimensions: int, num_merges: int, graph_merges: int, linkage: str) -> Strategy:
    costs = _CPU if float64_device().platform == "cpu" else _ACCELERATOR
    nanoseconds, extra_bytes = 0.0, 0.0
    all_pairs = num_rows * (num_rows - 1) / 2
    if graph_merges:
        pairs = min(all_pairs, num_rows * first_pairs_per_row(num_rows, graph_merges / num_rows))
        nanoseconds += all_pairs * (2 * num_dimensions * costs.flop + costs.entry)
        nanoseconds += pairs * _nanoseconds_per_pair(num_dimensions) + 3e6
        extra_bytes = pairs * BYTES_PER_PAIR + (4 * num_rows**2 if num_rows <= SMALL_CLASS_ROWS else 0)
    if graph_merges < num_merges:
        num_left = num_rows - graph_merges
        nanoseconds += all_pairs * (8 * num_dimensions * costs.flop64 + costs.entry64)
        nanoseconds += num_left**2 * costs.dense[linkage]
        # After merges on the graph, the vectors are copied in the order of clusters.
        sorted_bytes = 8 * num_rows * num_dimensions if graph_merges else 0
        extra_bytes = max(extra_bytes, _matrix_bytes(num_left) + sorted_bytes)
    peak_bytes = _base_bytes(num_rows, num_dimensions) + extra_bytes
    return Strategy(num_rows, num_merges, graph_merges, nanoseconds * 1e-9, peak_bytes)


def _nanoseconds_per_pair(num_dimensions: int) -> float:
    return 700 + 4.5 * num_dimensions


def _base_bytes(num_rows: int, num_dimensions: int) -> float:
    """Returns the memory of the vectors in fixed point and of their copy on the device."""
    return num_rows * num_dimensions * 16 + num_rows * 100 + 2**25


def check_matrix_fits(num_clusters: int, strategy: Strategy, label: int | None = None) -> None:
    """Validates that the matrix of distances between clusters, which may be more than expected, fits into memory.

    Args:
        num_clusters: the number of rows of the matrix.
        strategy: of the class.
        label: the class, to name it in an error; None if there is only one.

    Raises:
        InputError: it does not fit.
    """
    needed = strategy.base_bytes + _matrix_bytes(num_clusters)
    if needed > strategy.memory_limit:
        share = math.floor(100 * (1 - num_clusters / strategy.num_rows)) / 100
        reason = (
            f"{strategy.num_rows:,} different examples with too many close pairs, which leave {num_clusters:,} "
            "clusters for a matrix of distances"
        )
        raise _memory_error(needed, strategy.memory_limit, label, reason, share)


def _matrix_bytes(num_clusters: int) -> float:
    return num_clusters**2 * 8 * 1.1 + 10 * 8 * min(num_clusters, 1024) ** 2


def _too_large(
    smallest: Strategy, num_dimensions: int, linkage: str, memory_limit: float, label: int | None
) -> InputError:
    """Returns the error for a class that no strategy fits; `smallest` is the one with the least memory."""
    num_rows, num_merges = smallest.num_rows, smallest.num_merges
    depth = "the whole tree" if num_merges == num_rows - 1 else f"{100 * num_merges / num_rows:.3g}% of them merged"
    shares = [s for s in np.arange(0.01, 1, 0.01) if int(s * num_rows) < num_merges]
    fitting = [s for s in shares if _least_bytes(num_rows, num_dimensions, s, linkage) <= memory_limit]
    reason = f"{num_rows:,} examples of {num_dimensions} dimensions, {depth} by {linkage} linkage"
    return _memory_error(smallest.peak_bytes, memory_limit, label, reason, max(fitting, default=0))


def _least_bytes(num_rows: int, num_dimensions: int, share: float, linkage: str) -> float:
    """Returns the least peak memory of a strategy that merges a share of the rows."""
    num_merges = int(share * num_rows) + 1
    return min(s.peak_bytes for s in _strategies(num_rows, num_dimensions, num_merges, linkage))


def _memory_error(
    needed: float, memory_limit: float, label: int | None, reason: str, fitting_share: float
) -> InputError:
    """Returns the error for a memory limit that is too low.

    Args:
        needed: in bytes.
        memory_limit: in bytes.
        label: the class; None if there is only one.
        reason: what needs the memory.
        fitting_share: the largest prune fraction that fits into memory, 0 if there is none.
    """
    of_class = f"class {label}: " if label is not None else ""
    return InputError(
        "memory_limit_gb",
        float(f"{memory_limit / 1e9:.3g}"),
        f"must be at least {needed / 1e9:.3g} for {of_class}{reason}",
        f"Prune at most {fitting_share:.2g}, or raise the limit" if fitting_share else None,
    )
