"""Keep examples to which the others are similar: facility location, by lazy greedy maximisation."""

import heapq
from collections.abc import Callable, Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import unit_vectors
from data_redundancy.selection.result import Selection

MATRIX_BYTES = 2 * 2**30
"""Up to this size the similarities of a class are held; beyond it a row is computed whenever it is looked at."""
_BLOCK = 1024


def select(pool: Pool, num_pruned: Mapping[int, int]) -> Selection:
    """In every class keeps, one after the other, the example that adds most to f(S) = sum_i max_{j in S} s(i, j).

    s is (1 + cosine similarity) / 2. A gain never grows (f is submodular), so the gains known from before are upper
    bounds, and most need not be computed again. Of equal gains the lowest index is taken. f of what is kept is at least
    1 - 1/e of the largest possible.

    Args:
      pool: with embeddings.
      num_pruned: for every label, how many of its examples go.

    Raises:
      InputError: the pool has no embeddings.

    References:
      Wei, Iyer, Bilmes, "Submodularity in Data Subset Selection and Active Learning", ICML 2015.
      Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978: lazy evaluation.
    """
    embeddings = embeddings_of(pool, "facility_location")
    return keep_by_class(
        "facility_location", pool, num_pruned, lambda members, num_kept, _: lazy_greedy(embeddings[members], num_kept)
    )


def lazy_greedy(x: np.ndarray, count: int) -> np.ndarray:
    """The rows of x [n, D] chosen, in the order of their choice, [count] int64."""
    unit = unit_vectors(x).astype(np.float32)
    similar = _similarities(unit)
    covered = np.zeros(len(unit), np.float32)  # similarity of every row to the most similar one chosen
    first = (1 + unit @ unit.sum(axis=0, dtype=np.float64)) * 0.5 + (len(unit) - 1) * 0.5
    bounds = [(-gain, row) for row, gain in enumerate(first.tolist())]
    heapq.heapify(bounds)
    chosen = np.empty(count, np.int64)
    for i in range(count):
        gain, row = None, None
        while row is None or (bounds and bounds[0] < (gain, row)):
            candidate = heapq.heappop(bounds)[1] if row is None else heapq.heapreplace(bounds, (gain, row))[1]
            gain, row = -float(np.maximum(similar(candidate) - covered, 0).sum(dtype=np.float64)), candidate
        chosen[i] = row
        np.maximum(covered, similar(row), out=covered)
    return chosen


def _similarities(unit: np.ndarray) -> Callable[[int], np.ndarray]:
    """A function from a row's number to its similarities to all rows, [n] float32."""
    if unit.nbytes // unit.shape[1] * len(unit) > MATRIX_BYTES:
        return lambda row: (1 + unit @ unit[row]) * np.float32(0.5)
    matrix = unit @ unit.T
    matrix += 1
    matrix *= np.float32(0.5)
    return lambda row: matrix[row]
