"""Agglomeration on the matrix of all distances.

Complete and average linkage: in rounds that merge all clusters that are each other's nearest. Single linkage, which
would take thousands of rounds: along the minimum spanning tree.
"""

from collections.abc import Iterator

import numpy as np

from data_redundancy.clustering.distances import Units, block_distances, padded_size
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.neighbours import Graph

BLOCK_ROWS = 1024

_JOIN = {"complete": np.maximum, "single": np.minimum, "average": np.add}
_NEUTRAL = {"complete": -np.inf, "single": np.inf, "average": 0.0}


def cluster_distances(units: Units, starts: np.ndarray, method: str) -> np.ndarray:
    """The distances between clusters.

    Args:
      units: n unit vectors, cluster by cluster.
      starts: [K] ascending integers, where each cluster begins.
      method: the linkage: the largest distance between members (`complete`), the smallest (`single`), or the sum of all
        (`average`; every cluster is one vector then).

    Returns:
      [K, K] float64, symmetric; what is on the diagonal means nothing.
    """
    join = _JOIN[method]
    between = np.full((len(starts), len(starts)), _NEUTRAL[method])
    # At least four to a side, as half of them are left out.
    step = min(BLOCK_ROWS, padded_size(-(-len(units) // 4)))
    blocks = [_Block(starts, start, min(start + step, len(units))) for start in range(0, len(units), step)]
    for number, a in enumerate(blocks):
        for b in blocks[number:]:
            distances = a.reduce(b.reduce(block_distances(units[a.rows], units[b.rows]), join, axis=1), join, axis=0)
            part = between[a.clusters, b.clusters]
            join(part, distances, out=part)
            if a is not b:
                # Of a cluster that lies in both blocks, what is within it does no harm: that is the diagonal.
                mirrored = between[b.clusters, a.clusters]
                join(mirrored, distances.T, out=mirrored)
    return between


class _Block:
    """Some rows and the clusters they belong to."""

    def __init__(self, starts: np.ndarray, start: int, stop: int):
        first, end = np.searchsorted(starts, start, side="right") - 1, np.searchsorted(starts, stop)
        self.rows, self.clusters = slice(start, stop), slice(first, end)
        self._starts = np.maximum(starts[first:end] - start, 0)
        self._is_finest = len(self._starts) == stop - start

    def reduce(self, distances: np.ndarray, join: np.ufunc, *, axis: int) -> np.ndarray:
        return distances if self._is_finest else join.reduceat(distances, self._starts, axis=axis)


def agglomerate(between: np.ndarray, sizes: np.ndarray, method: str) -> Merges:
    """All merges of complete or average linkage, by rounds on the host.

    A round merges all pairs of clusters that are each other's nearest; of equally near ones that of the lowest row
    counts as the nearest. Only what a merge touches is looked at again.

    Args:
      between: [K, K] float64 as from `cluster_distances`; is overwritten.
      sizes: [K] integers, members of each cluster.
      method: the linkage.

    Returns:
      The K-1 merges; clusters are called by their lowest row.
    """
    state = _Rounds(between, sizes.astype(np.float64), method)
    merges = [Merges.none()]
    while state.num_alive > 1:
        height, low, high = state.merge()
        merges.append(Merges(height, low, high, np.zeros(len(low), np.int64)))
    return Merges.concatenate(merges)


class _Rounds:
    """The distances between the clusters that are left, and the nearest of each."""

    def __init__(self, between: np.ndarray, sizes: np.ndarray, method: str):
        np.fill_diagonal(between, np.inf)
        self._between, self._sizes, self._method, self._join = between, sizes, method, _JOIN[method]
        self._rows = np.arange(len(sizes))
        self._alive = np.ones(len(sizes), bool)
        self._reached = np.zeros(len(sizes))
        self._nearest = np.empty(len(sizes), np.int64)
        self._distance = np.empty(len(sizes))
        self.num_alive = len(sizes)
        if self.num_alive > 1:
            self._look_again(np.arange(len(sizes)))

    def merge(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Carries out one round; gives the heights and the lowest rows of what it merged."""
        position = np.arange(len(self._rows))
        is_first = self._alive & (self._nearest[self._nearest] == position) & (position < self._nearest)
        low = np.flatnonzero(is_first)
        high = self._nearest[low]
        # Rounding may put an average a little below those it is made of.
        height = np.maximum(self._distance[low], np.maximum(self._reached[low], self._reached[high]))
        merged = height, self._rows[low], self._rows[high]
        self._reached[low] = height
        self.num_alive -= len(low)
        if self.num_alive > 1:
            stale = self._join_rows(low, high)
            if self.num_alive < 0.7 * len(self._rows):
                stale = self._drop_dead(stale)
            self._look_again(np.flatnonzero(stale & self._alive))
        return merged

    def _join_rows(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Updates distances; says which clusters may have another nearest one now."""
        between = self._between
        for some in self._slices(len(low)):
            joined = self._join(between[low[some]], between[high[some]])
            joined[:, low] = self._join(joined[:, low], joined[:, high])
            joined[:, high] = np.inf
            between[low[some]] = joined
        among = between[np.ix_(low, low)]
        if self._method == "average":
            among = np.triu(among) + np.triu(among, 1).T  # sums depend on the order of adding: one of the two counts
        np.fill_diagonal(among, np.inf)
        between[np.ix_(low, low)] = among
        self._sizes[low] += self._sizes[high]
        self._alive[high] = False
        is_stale = np.zeros(len(self._rows), bool)
        is_stale[low] = is_stale[high] = True
        is_stale |= is_stale[self._nearest]
        for some in self._slices(len(low)):
            rows = low[some]
            is_stale |= self._distances_of(between[rows], self._sizes[rows]).min(axis=0) <= self._distance
            between[:, rows] = between[rows].T
        between[:, high] = between[high] = np.inf
        return is_stale

    def _drop_dead(self, stale: np.ndarray) -> np.ndarray:
        """Moves what is left to the front of the matrix, in place."""
        keep = np.flatnonzero(self._alive)
        for row, source in enumerate(keep):
            self._between[row, : len(keep)] = self._between[source][keep]
        self._between = self._between[: len(keep), : len(keep)]
        new_position = np.cumsum(self._alive) - 1
        self._nearest = new_position[self._nearest[keep]]
        self._rows, self._sizes, self._distance, self._reached, self._alive = (
            a[keep] for a in (self._rows, self._sizes, self._distance, self._reached, self._alive)
        )
        return stale[keep]

    def _look_again(self, rows: np.ndarray) -> None:
        for some in self._slices(len(rows)):
            distances = self._distances_of(self._between[rows[some]], self._sizes[rows[some]])
            nearest = distances.argmin(axis=1)
            self._nearest[rows[some]] = nearest
            self._distance[rows[some]] = distances[np.arange(len(nearest)), nearest]

    def _slices(self, num_rows: int) -> Iterator[slice]:
        """So many rows of the matrix at a time that copies of them are small beside it."""
        step = max(1, 2**22 // len(self._rows))
        return (slice(start, start + step) for start in range(0, num_rows, step))

    def _distances_of(self, rows: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        return rows / (sizes[:, None] * self._sizes) if self._method == "average" else rows


def span(between: np.ndarray) -> Graph:
    """The minimum spanning tree, by Prim's algorithm: the pairs at which single linkage merges.

    Args:
      between: [n, n] float64, symmetric.

    Returns:
      The n-1 pairs of rows that connect all rows, the first ones in the order of (distance, lower row, higher row).
    """
    num_rows = len(between)
    outside = np.arange(1, num_rows)
    distance, inside = between[0, 1:].copy(), np.zeros(num_rows - 1, np.int64)
    pairs = np.empty((num_rows - 1, 2), np.int64)
    for step in range(num_rows - 1):
        ties = np.flatnonzero(distance == distance.min())
        ends = np.minimum(outside[ties], inside[ties]), np.maximum(outside[ties], inside[ties])
        chosen = ties[np.lexsort(ends[::-1])[0]] if len(ties) > 1 else ties[0]
        new = outside[chosen]
        pairs[step] = sorted((inside[chosen], new))
        outside, distance, inside = (np.delete(a, chosen) for a in (outside, distance, inside))
        from_new = between[new, outside]
        nearer = (from_new < distance) | ((from_new == distance) & (new < inside))
        distance[nearer], inside[nearer] = from_new[nearer], new
    return Graph(pairs[:, 0], pairs[:, 1], between[pairs[:, 0], pairs[:, 1]])
