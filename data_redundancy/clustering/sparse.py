"""Agglomeration on a graph of close pairs: complete linkage up to a height, in memory that grows with the pairs.

Complete linkage joins two clusters at the largest distance between their members. So a merge at a height of t or less
involves no pair farther apart than t, and two clusters can only merge up to t where *all* pairs between them are in the
graph of pairs up to t: the graph holds every merge up to t, and nothing else does.

Which merge comes first matters less than it seems. Two clusters that are each other's nearest can be merged at once:
complete linkage is reducible, that is, merging others moves none of them nearer, so nothing can come between the two
(Müllner 2011, section 3.2). All such pairs are therefore merged together, round after round, on whole arrays.

Ties. Pairs of clusters are ordered by (distance, lowest member of one, lowest member of the other), the lower of these
first. That is a total order, and reducible as well: where the distance to a merged cluster ties with that to
one of its parts, the merged cluster has the lowest member of one of its parts, whose pair came no earlier. So rounds
give what merging the first pair of all, one at a time, gives, and along the tree the order only rises: sorting the
merges by it gives the sequence.

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
    """All merges of complete linkage up to a height.

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
    """All merges of single linkage up to a height: those along the minimum spanning forest.

    Args:
      num_rows: n.
      graph: all pairs of rows up to that height, or those of a spanning tree.

    Returns:
      The merges; equal distances come in the order of the lower, then the higher row of a pair.
    """
    order = np.lexsort((graph.second, graph.first, graph.distance))
    # Weights that all differ, and none of them zero, which would be no edge.
    weights = csr_array((np.arange(1.0, len(order) + 1), (graph.first[order], graph.second[order])), (num_rows,) * 2)
    in_forest = order[np.sort(minimum_spanning_tree(weights).data).astype(np.int64) - 1]
    lowest = list(range(num_rows))
    low, high = [], []
    for a, b in zip(graph.first[in_forest].tolist(), graph.second[in_forest].tolist(), strict=True):
        a, b = _lowest(lowest, a), _lowest(lowest, b)
        low.append(min(a, b))
        high.append(max(a, b))
        lowest[high[-1]] = low[-1]
    return Merges(
        graph.distance[in_forest], np.array(low, np.int64), np.array(high, np.int64), np.arange(len(in_forest))
    )


def _lowest(parent: list[int], row: int) -> int:
    """The lowest member of a row's cluster; halves the paths to it."""
    while parent[row] != row:
        parent[row] = row = parent[parent[row]]
    return row


@dataclass(frozen=True, eq=False)
class _Edges:
    """Pairs of clusters all of whose members are close, in the order in which they would merge."""

    num_rows: int
    heights: np.ndarray  # of every rank
    rank: np.ndarray  # [E] of the distance
    low: np.ndarray
    high: np.ndarray
    has_ties: bool

    @classmethod
    def of(cls, num_rows: int, graph: Graph) -> "_Edges":
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
        """Rank, low and high of the edges that are the first of both their clusters."""
        first = np.empty(self.num_rows, np.int64)
        backwards = np.arange(len(self) - 1, -1, -1)
        # Of several values for one place the last is assigned: here the first edge of a cluster.
        ends = np.stack([self.low[::-1], self.high[::-1]], axis=1).ravel()
        first[ends] = np.repeat(backwards, 2)
        position = np.arange(len(self))
        chosen = np.flatnonzero((first[self.low] == position) & (first[self.high] == position))
        return self.rank[chosen], self.low[chosen], self.high[chosen]

    def after(self, low: np.ndarray, high: np.ndarray) -> "_Edges":
        """The edges after merging the clusters `low` with the clusters `high`."""
        name = np.arange(self.num_rows)
        name[high] = low
        parts = np.ones(self.num_rows, np.int8)
        parts[low] = 2
        a, b = name[self.low], name[self.high]
        is_touched = (parts[a] == 2) | (parts[b] == 2)
        touched = np.flatnonzero(is_touched & (a != b))
        a, b = a[touched], b[touched]
        a, b = np.minimum(a, b), np.maximum(a, b)
        # The last edge between two clusters is their distance, if there is one for every pair of their parts.
        last, count = _groups(a * self.num_rows + b)
        whole = count == parts[a[last]] * parts[b[last]]
        last = last[whole]
        untouched = np.flatnonzero(~is_touched)
        position = np.concatenate([untouched, touched[last]])
        order = np.argsort(position)
        joined = _Edges(
            self.num_rows,
            self.heights,
            self.rank[position[order]],
            np.concatenate([self.low[untouched], a[last]])[order],
            np.concatenate([self.high[untouched], b[last]])[order],
            self.has_ties,
        )
        return joined._sorted() if self.has_ties else joined


def _groups(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last position of every distinct key, and how often it occurs."""
    if not len(key):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(key)
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return np.maximum.reduceat(order, starts), np.diff(np.append(starts, len(key)))
