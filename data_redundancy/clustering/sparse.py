"""Agglomerative clustering on a graph of close pairs, in memory proportional to the number of pairs.

Complete linkage joins two clusters at the largest distance between their members. A merge at a height of at most t
therefore involves no pair farther apart than t, and two clusters can merge up to t only if *all* pairs between them are
in the graph of pairs up to t. That graph is both necessary and sufficient for the merges up to t.

The order of merges matters little. Two clusters that are each other's nearest can be merged at once, because complete
linkage is reducible: merging other clusters brings none of them nearer, so that nothing can come between the two
(Müllner 2011, section 3.2). All such pairs are therefore merged together, in rounds on whole arrays.

Ties are broken by a total order of pairs of clusters: (distance, lowest member of one cluster, lowest member of the
other), the lower of the two members first. This order is reducible as well: if the distance to a merged cluster equals
that to one of its parts, the lowest member of the merged cluster is that of one of its parts, whose pair came no
earlier. Rounds therefore give the same merges as merging the first pair, one at a time. Along the tree the order only
rises, so that sorting the merges by it gives the sequence.

References:
    Müllner, "Modern hierarchical, agglomerative clustering algorithms", 2011, https://arxiv.org/abs/1109.2378
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.neighbours import Graph


def complete_linkage(num_rows: int, graph: Graph) -> Merges:
    """Computes all merges of complete linkage up to a height.

    Args:
        num_rows: n.
        graph: all pairs of rows up to that height.

    Returns:
        The merges, in no particular order.
    """
    edges = _Edges.of(num_rows, graph)
    heights, merges = edges.heights, [Merges.none()]
    while len(edges):
        rank, low, high = edges.reciprocal_nearest()
        merges.append(Merges(heights[rank], low, high, np.zeros(len(low), np.int64)))
        edges = edges.after(low, high)
    return Merges.concatenate(merges)


def single_linkage(num_rows: int, graph: Graph) -> Merges:
    """Computes all merges of single linkage up to a height, along the minimum spanning forest.

    Args:
        num_rows: n.
        graph: all pairs of rows up to that height, or the edges of a spanning tree.

    Returns:
        The merges; at equal distances in the order of the lower, then of the higher row of a pair.
    """
    order = np.lexsort((graph.second, graph.first, graph.distance))
    # Weights are ranks, which are distinct and not zero: SciPy takes a weight of zero for a missing edge.
    weights = csr_array((np.arange(1.0, len(order) + 1), (graph.first[order], graph.second[order])), (num_rows,) * 2)
    in_forest = order[np.sort(minimum_spanning_tree(weights).data).astype(np.int64) - 1]
    lowest = list(range(num_rows))
    low, high = [], []
    for a, b in zip(graph.first[in_forest].tolist(), graph.second[in_forest].tolist(), strict=True):
        a, b = _lowest_member(lowest, a), _lowest_member(lowest, b)
        low.append(min(a, b))
        high.append(max(a, b))
        lowest[high[-1]] = low[-1]
    return Merges(
        graph.distance[in_forest], np.array(low, np.int64), np.array(high, np.int64), np.arange(len(in_forest))
    )


def _lowest_member(parent: list[int], row: int) -> int:
    """Returns the lowest member of a row's cluster, the root of its path, and halves the path."""
    while parent[row] != row:
        parent[row] = row = parent[parent[row]]
    return row


@dataclass(frozen=True, eq=False)
class _Edges:
    """The pairs of clusters whose members are all close, in the order in which they would merge.

    Attributes:
        num_rows: n.
        heights: [R] float64, the distinct distances, ascending.
        rank: [E] integers, the position in `heights` of the distance of every edge.
        low: [E] int64, the lowest member of one cluster.
        high: [E] int64, the lowest member of the other cluster.
        has_ties: whether distances are equal, so that members decide the order.
    """

    num_rows: int
    heights: np.ndarray
    rank: np.ndarray
    low: np.ndarray
    high: np.ndarray
    has_ties: bool

    @classmethod
    def of(cls, num_rows: int, graph: Graph) -> "_Edges":
        """Returns the edges before the first merge."""
        heights, rank = np.unique(graph.distance, return_inverse=True)
        edges = cls(num_rows, heights, rank, graph.first, graph.second, len(heights) < len(rank))
        return edges._sorted()

    def __len__(self) -> int:
        return len(self.rank)

    def _sorted(self) -> "_Edges":
        keys = (self.high, self.low, self.rank) if self.has_ties else (self.rank,)
        return self._where(np.lexsort(keys))

    def _where(self, which: np.ndarray) -> "_Edges":
        parts = self.rank[which], self.low[which], self.high[which]
        return _Edges(self.num_rows, self.heights, *parts, self.has_ties)

    def reciprocal_nearest(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns rank, low and high of the edges that are the first edge of both their clusters."""
        first = np.empty(self.num_rows, np.int64)
        backwards = np.arange(len(self) - 1, -1, -1)
        # Of several values for one position, NumPy assigns the last one: here the first edge of a cluster.
        ends = np.stack([self.low[::-1], self.high[::-1]], axis=1).ravel()
        first[ends] = np.repeat(backwards, 2)
        position = np.arange(len(self))
        chosen = np.flatnonzero((first[self.low] == position) & (first[self.high] == position))
        return self.rank[chosen], self.low[chosen], self.high[chosen]

    def after(self, low: np.ndarray, high: np.ndarray) -> "_Edges":
        """Returns the edges after merging the clusters `low` with the clusters `high`."""
        merged_into = np.arange(self.num_rows)
        merged_into[high] = low
        num_parts = np.ones(self.num_rows, np.int8)
        num_parts[low] = 2
        a, b = merged_into[self.low], merged_into[self.high]
        is_changed = (num_parts[a] == 2) | (num_parts[b] == 2)
        changed = np.flatnonzero(is_changed & (a != b))
        a, b = a[changed], b[changed]
        a, b = np.minimum(a, b), np.maximum(a, b)
        # The last edge between two clusters has their distance, if every pair of their parts has an edge.
        last, count = _groups(a * self.num_rows + b)
        last = last[count == num_parts[a[last]] * num_parts[b[last]]]
        unchanged = np.flatnonzero(~is_changed)
        position = np.concatenate([unchanged, changed[last]])
        order = np.argsort(position)
        edges = _Edges(
            self.num_rows,
            self.heights,
            self.rank[position[order]],
            np.concatenate([self.low[unchanged], a[last]])[order],
            np.concatenate([self.high[unchanged], b[last]])[order],
            self.has_ties,
        )
        return edges._sorted() if self.has_ties else edges


def _groups(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the last position of every distinct key, and the number of its occurrences, [G] integers each."""
    if not len(key):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(key)
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return np.maximum.reduceat(order, starts), np.diff(np.append(starts, len(key)))
