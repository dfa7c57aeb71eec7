"""Agglomerative trees in SciPy's format, and the partitions they contain."""

import operator

import numpy as np
import scipy.cluster.hierarchy
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from data_redundancy.clustering.distances import check_embeddings, cosine_distances
from data_redundancy.errors import InputError

LINKAGES = ("complete", "average", "single")


def check_method(method: str) -> None:
    """Raises InputError where `method` is not a linkage."""
    if method not in LINKAGES:
        raise InputError(f"linkage {method!r} is not one of {', '.join(LINKAGES)}")


def linkage(x: ArrayLike, method: str = "complete") -> np.ndarray:
    """Clusters the rows of `x` bottom-up under the cosine distance.

    Args:
      x: [n, D] floats or integers.
      method: the distance between clusters: that of their farthest members (`complete`), of their nearest members
        (`single`), or the mean over all pairs (`average`).

    Returns:
      Z [n-1, 4] float64 as `scipy.cluster.hierarchy.linkage` defines it: row i merges clusters `Z[i, 0]` and `Z[i, 1]`
      at height `Z[i, 2]` into cluster n+i of `Z[i, 3]` rows; heights do not decrease. One row of `x` gives [0, 4].

    Raises:
      InputError: an unknown linkage, or rows without a direction (see `check_embeddings`).

    References:
      Müllner, "Modern hierarchical, agglomerative clustering algorithms", 2011, https://arxiv.org/abs/1109.2378
    """
    check_method(method)
    x = check_embeddings(x, "x")
    if len(x) == 1:
        return np.zeros((0, 4))
    return scipy.cluster.hierarchy.linkage(squareform(cosine_distances(x), checks=False), method)


def cut_tree(Z: np.ndarray, num_clusters: int) -> np.ndarray:
    """The partition into exactly `num_clusters` that the first merges of a tree make.

    Args:
      Z: [n-1, 4], as from `linkage`.
      num_clusters: from 1 to n.

    Returns:
      [n] int64, the cluster of every row, from 0; clusters are numbered by their lowest member.

    Raises:
      InputError: `num_clusters` is out of range.
    """
    num_rows = len(Z) + 1
    num_merges = num_rows - _check_num_clusters(num_clusters, num_rows)
    merged = Z[:num_merges, :2].astype(np.int64)
    parents = np.repeat(np.arange(num_rows, num_rows + num_merges), 2)
    num_nodes = num_rows + num_merges
    graph = coo_array((np.ones(2 * num_merges, bool), (parents, merged.ravel())), shape=(num_nodes, num_nodes))
    _, component = connected_components(graph, directed=False)
    return number_by_lowest_member(component[:num_rows])


def _check_num_clusters(num_clusters: int, num_rows: int) -> int:
    try:
        in_range = 1 <= operator.index(num_clusters) <= num_rows
    except TypeError:
        in_range = False
    if not in_range:
        raise InputError(f"num_clusters: {num_clusters!r}, but an integer from 1 to {num_rows} is needed")
    return operator.index(num_clusters)


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


def cut(x: ArrayLike, num_clusters: int, method: str = "complete") -> np.ndarray:
    """Clusters the rows of `x` bottom-up under the cosine distance until `num_clusters` are left.

    Args:
      x: [n, D] floats or integers.
      num_clusters: from 1 to n.
      method: the linkage, see `linkage`.

    Returns:
      [n] int64, the cluster of every row, from 0; clusters are numbered by their lowest member.

    Raises:
      InputError: `num_clusters` out of range, an unknown linkage, or rows without a direction.
    """
    x = check_embeddings(x, "x")
    _check_num_clusters(num_clusters, len(x))  # before the work, not after it
    return cut_tree(linkage(x, method), num_clusters)
