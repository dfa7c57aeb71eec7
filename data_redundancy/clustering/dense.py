"""Agglomerative clustering on the matrix of all distances, on the host.

Complete and average linkage merge, in rounds, all pairs of clusters that are each other's nearest. Single linkage would
need thousands of rounds; it follows the minimum spanning tree instead.
"""

from collections.abc import Iterator

import numpy as np

from data_redundancy.clustering.distances import Units, block_distances, padded_size
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.neighbours import Graph

BLOCK_ROWS = 1024

_JOIN = {"complete": np.maximum, "single": np.minimum, "average": np.add}
_NEUTRAL = {"complete": -np.inf, "single": np.inf, "average": 0.0}


def cluster_distances(units: Units, starts: np.ndarray, linkage: str) -> np.ndarray:
    """Computes the matrix of distances between clusters.

    Args:
        units: n unit vectors, sorted by cluster.
        starts: [K] ascending integers, the first vector of each cluster.
        linkage: the largest distance between members (`complete`), the smallest (`single`), or the sum of all distances
            (`average`, for which every cluster must be a single vector).

    Returns:
        [K, K] float64, symmetric; the diagonal is meaningless.
    """
    join = _JOIN[linkage]
    between = np.full((len(starts), len(starts)), _NEUTRAL[linkage])
    # At least four blocks per side, since almost half of the pairs of blocks are mirrored and need not be computed.
    step = min(BLOCK_ROWS, padded_size(-(-len(units) // 4)))
    blocks = [_Block(starts, start, min(start + step, len(units))) for start in range(0, len(units), step)]
    for number, a in enumerate(blocks):
        for b in blocks[number:]:
            distances = a.reduce(b.reduce(block_distances(units[a.rows], units[b.rows]), join, axis=1), join, axis=0)
            part = between[a.clusters, b.clusters]
            join(part, distances, out=part)
            if a is not b:
                # A cluster that lies in both blocks is also joined with itself, which changes only the diagonal.
                mirrored = between[b.clusters, a.clusters]
                join(mirrored, distances.T, out=mirrored)
    return between


class _Block:
    """A range of rows, and the clusters that these belong to."""

    def __init__(self, starts: np.ndarray, start: int, stop: int):
        first, end = np.searchsorted(starts, start, side="right") - 1, np.searchsorted(starts, stop)
        self.rows, self.clusters = slice(start, stop), slice(first, end)
        self._starts = np.maximum(starts[first:end] - start, 0)
        self._is_finest = len(self._starts) == stop - start

    def reduce(self, distances: np.ndarray, join: np.ufunc, *, axis: int) -> np.ndarray:
        """Joins the distances of rows, along an axis, to distances of clusters."""
        return distances if self._is_finest else join.reduceat(distances, self._starts, axis=axis)


def agglomerate(between: np.ndarray, sizes: np.ndarray, linkage: str) -> Merges:
    """Computes all merges of complete or average linkage, in rounds.

    A round merges all pairs of clusters that are each other's nearest. Of clusters at equal distances, the one with the
    lowest row counts as the nearest. Only clusters affected by a merge look up their nearest cluster again.

    Args:
        between: [K, K] float64, as returned by `cluster_distances`; is overwritten.
        sizes: [K] integers, the number of members of each cluster.
        linkage: `complete` or `average`.

    Returns:
        The K-1 merges; clusters are identified by their lowest row.
    """
    state = _Rounds(between, sizes.astype(np.float64), linkage)
    merges = [Merges.none()]
    while state.num_alive > 1:
        height, low, high = state.merge()
        merges.append(Merges(height, low, high, np.zeros(len(low), np.int64)))
    return Merges.concatenate(merges)


class _Rounds:
    """The distances between the remaining clusters, and the nearest cluster of each."""

    def __init__(self, between: np.ndarray, sizes: np.ndarray, linkage: str):
        np.fill_diagonal(between, np.inf)
        self._between, self._sizes, self._linkage, self._join = between, sizes, linkage, _JOIN[linkage]
        self._rows: np.ndarray = np.arange(len(sizes))
        self._alive: np.ndarray = np.ones(len(sizes), bool)
        self._reached: np.ndarray = np.zeros(len(sizes))
        self._nearest: np.ndarray = np.empty(len(sizes), np.int64)
        self._distance: np.ndarray = np.empty(len(sizes))
        self.num_alive = len(sizes)
        if self.num_alive > 1:
            self._look_up(np.arange(len(sizes)))

    def merge(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Carries out one round; returns the heights, and the lowest rows of the clusters that it merged, [m] each."""
        position = np.arange(len(self._rows))
        is_first = self._alive & (self._nearest[self._nearest] == position) & (position < self._nearest)
        low = np.flatnonzero(is_first)
        high = self._nearest[low]
        # Rounding may make an average slightly smaller than the heights of its parts.
        height = np.maximum(self._distance[low], np.maximum(self._reached[low], self._reached[high]))
        merged = height, self._rows[low], self._rows[high]
        self._reached[low] = height
        self.num_alive -= len(low)
        if self.num_alive > 1:
            stale = self._join_rows(low, high)
            if self.num_alive < 0.7 * len(self._rows):
                stale = self._compact(stale)
            self._look_up(np.flatnonzero(stale & self._alive))
        return merged

    def _join_rows(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Updates distances after merges; returns which clusters may have another nearest cluster now, [K] bool."""
        between = self._between
        for some in self._slices(len(low)):
            joined = self._join(between[low[some]], between[high[some]])
            joined[:, low] = self._join(joined[:, low], joined[:, high])
            joined[:, high] = np.inf
            between[low[some]] = joined
        among = between[np.ix_(low, low)]
        if self._linkage == "average":
            # A sum depends on the order of its terms. The upper triangle is used for both.
            among = np.triu(among) + np.triu(among, 1).T
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

    def _compact(self, stale: np.ndarray) -> np.ndarray:
        """Moves the remaining clusters to the front of the matrix, in place; returns their part of `stale`."""
        keep = np.flatnonzero(self._alive)
        for row, source in enumerate(keep):
            self._between[row, : len(keep)] = self._between[source][keep]
        self._between = self._between[: len(keep), : len(keep)]
        new_position = np.cumsum(self._alive) - 1
        self._nearest = new_position[self._nearest[keep]]
        self._rows, self._sizes, self._distance = self._rows[keep], self._sizes[keep], self._distance[keep]
        self._reached, self._alive = self._reached[keep], self._alive[keep]
        return stale[keep]

    def _look_up(self, rows: np.ndarray) -> None:
        """Looks up the nearest clusters of some rows of the matrix."""
        for some in self._slices(len(rows)):
            distances = self._distances_of(self._between[rows[some]], self._sizes[rows[some]])
            nearest = distances.argmin(axis=1)
            self._nearest[rows[some]] = nearest
            self._distance[rows[some]] = distances[np.arange(len(nearest)), nearest]

    def _slices(self, num_rows: int) -> Iterator[slice]:
        """Divides rows of the matrix into slices small enough that copies of them take little memory."""
        step = max(1, 2**22 // len(self._rows))
        return (slice(start, start + step) for start in range(0, num_rows, step))

    def _distances_of(self, rows: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Returns distances [m, K], given rows of the matrix [m, K] and the sizes of their clusters [m]."""
        return rows / (sizes[:, None] * self._sizes) if self._linkage == "average" else rows


def minimum_spanning_tree(between: np.ndarray) -> Graph:
    """Computes the minimum spanning tree by Prim's algorithm. Its edges are the pairs at which single linkage merges.

    Args:
        between: [n, n] float64, symmetric.

    Returns:
        The n-1 edges. Edges are compared by (distance, lower row, higher row), so that the tree is unique.
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
        outside, distance, inside = np.delete(outside, chosen), np.delete(distance, chosen), np.delete(inside, chosen)
        from_new = between[new, outside]
        nearer = (from_new < distance) | ((from_new == distance) & (new < inside))
        distance[nearer], inside[nearer] = from_new[nearer], new
    return Graph(pairs[:, 0], pairs[:, 1], between[pairs[:, 0], pairs[:, 1]])
