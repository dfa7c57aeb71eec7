"""Partitions: which cluster every row belongs to."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_redundancy.clustering.merges import Merges


def number_by_lowest_member(cluster: np.ndarray) -> np.ndarray:
    """Renumbers clusters 0..K-1 in the order in which they first appear.

    Args:
      cluster: [n] integers, any ids.

    Returns:
      [n] int64, the same partition.
    """
    _, first, inverse = np.unique(cluster, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]


def partition(num_rows: int, merges: Merges) -> np.ndarray:
    """The clusters that merges make of `num_rows` rows, [n] int64 from 0, numbered by their lowest member."""
    return number_by_lowest_member(components(num_rows, merges.low, merges.high))


def components(num_nodes: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The connected component of every node, [num_nodes] integers, given the edges' two ends."""
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(num_nodes, num_nodes))
    return connected_components(edges, directed=False)[1]
