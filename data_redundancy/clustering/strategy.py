"""Which way to cluster, what it will take, and whether it fits: decided before any work is done.

The constants were measured on two cores of a processor, in nanoseconds; the choice between ways depends on their
ratios only, and `speed` scales the times to the machine at hand.
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

# Pairs within the height at which a share of the rows is merged, for every row: as found in embeddings of natural
# images by trained ResNets, rounded up: some more cost little, too few another pass. No result depends on it.
_SHARES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_PAIRS_PER_ROW = (0.002, 0.03, 0.25, 0.7, 2.2, 6.0, 13.0, 26.0, 46.0, 90.0, 200.0, 800.0, 5000.0)

BYTES_PER_PAIR = 130
"""At the peak, while the pairs are sorted."""

WHOLE = 4096
"""Up to so many rows a processor computes all similarities at once, and keeps them."""

_CONTRACT_TO_SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Costs:
    """What work costs, in nanoseconds.

    Attributes:
      flop: of the first pass.
      entry: for each of its similarities, beside the product.
      flop64: of exact distances.
      entry64: for each of them, beside the product.
      dense: for each entry of the first matrix, to agglomerate it.
    """

    flop: float
    entry: float
    flop64: float
    entry64: float
    dense: dict[str, float]


_PROCESSOR = Costs(1 / 150, 0.6, 1 / 80, 12, {"complete": 45, "average": 60, "single": 12})
# Of a data centre's accelerator, from its data sheet, not measured.
_ACCELERATOR = Costs(1 / 50_000, 0.01, 1 / 20_000, 0.1, {"complete": 0.1, "average": 0.2, "single": 12})


@dataclass(frozen=True)
class Strategy:
    """How one class will be clustered.

    Attributes:
      num_rows: n.
      num_merges: how many are wanted.
      graph_merges: how many of them are found on the graph of close pairs; the others on the matrix of distances
        between the clusters that are left then.
      seconds: expected, on two cores; see `speed`.
      peak_bytes: expected.
      max_pairs: how many the graph may hold: there is no memory for more, or the matrix would be cheaper.
      memory_limit: in bytes.
      base_bytes: what the vectors take of that.
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
    def way(self) -> str:
        """In words."""
        if self.graph_merges >= self.num_merges:
            return "graph"
        return "graph, then matrix" if self.graph_merges else "matrix"


@functools.cache
def speed() -> float:
    """How much faster this processor multiplies matrices than the one where the constants were measured."""
    if float64_device().platform != "cpu":
        return 1.0
    matrix = jax.device_put(np.ones((1024, 1024), np.float32), float64_device())
    product = jax.jit(lambda a: (a @ a).sum())
    seconds = np.inf
    for _ in range(3):  # the first call compiles
        start = time.perf_counter()
        product(matrix).block_until_ready()
        seconds = min(seconds, time.perf_counter() - start)
    return 2 * 1024**3 * _PROCESSOR.flop * 1e-9 / seconds


def pairs_per_row(share: float) -> float:
    """A guess of how many pairs there are, for every row, up to the height at which a share of the rows is merged."""
    return float(np.exp(np.interp(share, _SHARES, np.log(_PAIRS_PER_ROW))))


def pairs_to_start_with(num_rows: int, share: float) -> float:
    """How many pairs, for every row, to look for at first: few where looking again costs little."""
    return pairs_per_row(share) * (0.3 if num_rows <= WHOLE and float64_device().platform == "cpu" else 1.0)


def choose_strategy(
    num_rows: int, num_dimensions: int, num_merges: int, method: str, memory_limit: float, way: str | None = None
) -> Strategy:
    """Chooses the way that is expected to be the fastest among those that fit.

    Args:
      num_rows: n.
      num_dimensions: D.
      num_merges: how many merges are wanted, up to n-1.
      method: the linkage.
      memory_limit: in bytes.
      way: `graph`, `matrix` or `graph, then matrix`, to leave no choice.

    Returns:
      The plan.

    Raises:
      InputError: nothing fits.
    """
    ways = [_estimate(num_rows, num_dimensions, num_merges, m, method) for m in _choices(num_rows, num_merges, method)]
    ways = [p for p in ways if way is None or p.way == way]
    if not ways:
        raise InputError(f"way {way!r}: no way to find {num_merges} merges of {num_rows} rows by {method} linkage")
    fitting = [p for p in ways if p.peak_bytes <= memory_limit]
    if not fitting:
        least = min(ways, key=lambda p: p.peak_bytes)
        raise InputError(_too_large(least, num_dimensions, method, memory_limit))
    best = min(fitting, key=lambda p: p.seconds)
    base = _base_bytes(num_rows, num_dimensions)
    most = (memory_limit - base) / BYTES_PER_PAIR
    matrix = [p for p in fitting if p.graph_merges == 0]
    if matrix and way is None:
        most = min(most, matrix[0].seconds * 1e9 / _nanoseconds_of_pair(num_dimensions))
    return dataclasses.replace(best, max_pairs=max(num_rows, int(most)), memory_limit=memory_limit, base_bytes=base)


def _choices(num_rows: int, num_merges: int, method: str) -> list[int]:
    if method == "average" or num_merges == 0:
        return [0]  # a mean can be small although some of the distances are large
    if method == "single":
        return [0, num_merges]
    contractions = [int(share * num_rows) for share in _CONTRACT_TO_SHARES]
    return [0, *(m for m in contractions if m < num_merges), num_merges]


def _estimate(num_rows: int, num_dimensions: int, num_merges: int, graph_merges: int, method: str) -> Strategy:
    costs = _PROCESSOR if float64_device().platform == "cpu" else _ACCELERATOR
    nanoseconds, extra = 0.0, 0.0
    all_pairs = num_rows * (num_rows - 1) / 2
    if graph_merges:
        pairs = min(all_pairs, num_rows * pairs_to_start_with(num_rows, graph_merges / num_rows))
        nanoseconds += all_pairs * (2 * num_dimensions * costs.flop + costs.entry)
        nanoseconds += pairs * _nanoseconds_of_pair(num_dimensions) + 3e6
        extra = pairs * BYTES_PER_PAIR + (4 * num_rows**2 if num_rows <= WHOLE else 0)
    if graph_merges < num_merges:
        left = num_rows - graph_merges
        nanoseconds += all_pairs * (8 * num_dimensions * costs.flop64 + costs.entry64)
        nanoseconds += left**2 * costs.dense[method]
        # Rows are ordered by cluster.
        extra = max(extra, _matrix_bytes(left) + (8 * num_rows * num_dimensions if graph_merges else 0))
    peak = _base_bytes(num_rows, num_dimensions) + extra
    return Strategy(num_rows, num_merges, graph_merges, nanoseconds * 1e-9, peak)


def _nanoseconds_of_pair(num_dimensions: int) -> float:
    return 700 + 4.5 * num_dimensions


def _base_bytes(num_rows: int, num_dimensions: int) -> float:
    """The vectors: in fixed point, and on the device."""
    return num_rows * num_dimensions * 16 + num_rows * 100 + 2**25


def check_matrix_fits(num_clusters: int, plan: Strategy) -> None:
    """Raises InputError where the matrix of distances between clusters, more than were expected, is too large."""
    needed = plan.base_bytes + _matrix_bytes(num_clusters)
    if needed > plan.memory_limit:
        share = math.floor(100 * (1 - num_clusters / plan.num_rows)) / 100
        raise InputError(
            f"memory: {plan.num_rows:,} different examples have too many close pairs; with {num_clusters:,} clusters "
            f"left, vectors and matrix need {needed / 1e9:.3g} GB, but the limit is {plan.memory_limit / 1e9:.3g} GB"
            + (f"; a max_prune_fraction of {share} would fit" if share else "")
        )


def _matrix_bytes(num_clusters: int) -> float:
    return num_clusters**2 * 8 * 1.1 + 10 * 8 * min(num_clusters, 1024) ** 2


def _too_large(least: Strategy, num_dimensions: int, method: str, memory_limit: float) -> str:
    share = least.num_merges / least.num_rows
    depth = "a whole tree" if least.num_merges == least.num_rows - 1 else f"{100 * share:.3g}% of them to be merged"
    text = (
        f"memory: {least.num_rows:,} examples of {num_dimensions} dimensions need {least.peak_bytes / 1e9:.3g} GB for "
        f"{depth} by {method} linkage, but the limit is {memory_limit / 1e9:.3g} GB"
    )
    shares = [s for s in np.arange(0.01, 1, 0.01) if int(s * least.num_rows) < least.num_merges]
    fitting = [s for s in shares if _least_bytes(least.num_rows, num_dimensions, s, method) <= memory_limit]
    return f"{text}; a max_prune_fraction of {max(fitting):.2g} would fit" if fitting else text


def _least_bytes(num_rows: int, num_dimensions: int, share: float, method: str) -> float:
    num_merges = int(share * num_rows) + 1
    choices = _choices(num_rows, num_merges, method)
    return min(_estimate(num_rows, num_dimensions, num_merges, m, method).peak_bytes for m in choices)
