"""Partitions of rows into clusters."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_redundancy.clustering.merges import Merges


def number_by_lowest_member(cluster: np.ndarray) -> np.ndarray:
    """Renumbers clusters 0..K-1 in the order of their lowest members.

    Args:
        cluster: [n] integers, arbitrary ids.

    Returns:
        [n] int64, the same partition.
    """
    _, first, inverse = np.unique(cluster, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]


def partition(num_rows: int, merges: Merges) -> np.ndarray:
    """Returns the clusters after some merges of rows, [num_rows] int64 from 0, numbered by their lowest members."""
    return number_by_lowest_member(components(num_rows, merges.low, merges.high))


def components(num_nodes: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the connected component of every node of a graph, [num_nodes] integers.

    Args:
        num_nodes: the number of nodes.
        first: [E] integers, one end of every edge.
        second: [E] integers, the other end.
    """
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(num_nodes, num_nodes))
    return connected_components(edges, directed=False)[1]
