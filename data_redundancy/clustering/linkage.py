"""Agglomerative trees in SciPy's format, and the partitions they contain: exact, and the same on every machine."""

import operator

import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.clustering.distances import check_embeddings, unit_vectors
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.partitions import components, number_by_lowest_member, partition
from data_redundancy.clustering.search import LINKAGES, first_merges
from data_redundancy.errors import InputError


def check_method(method: str) -> None:
    """Raises InputError where `method` is not a linkage."""
    if method not in LINKAGES:
        raise InputError(f"linkage {method!r} is not one of {', '.join(LINKAGES)}")


def linkage(x: ArrayLike, method: str = "complete") -> np.ndarray:
    """Clusters the rows of `x` bottom-up under the cosine distance.

    Distances are those of `distances`, the same to the last bit on every machine; up to 2^-47, an angle of 1.2e-7, they
    are zero. Copies of a unit vector merge first. Ties of complete linkage go to the pair of clusters with the lowest
    members: that of the one, then that of the other. Ties of single linkage go to the lowest pair of rows. Means of
    average linkage are rounded, so that equal ones may come in either order.

    Many equal distances make work: where all are equal, only one pair of clusters merges in a round.

    Args:
      x: [n, D] floats or integers.
      method: the distance between clusters: that of their farthest members (`complete`), of their nearest members
        (`single`), or the mean over all pairs (`average`).

    Returns:
      Z [n-1, 4] float64 as `scipy.cluster.hierarchy.linkage` defines it: row i merges clusters `Z[i, 0]` and `Z[i, 1]`
      at height `Z[i, 2]` into cluster n+i of `Z[i, 3]` rows; heights do not decrease. One row of `x` gives [0, 4].

    Raises:
      InputError: an unknown linkage, rows without a direction (see `check_embeddings`), or more of them than there is
        memory for.

    References:
      Müllner, "Modern hierarchical, agglomerative clustering algorithms", 2011, https://arxiv.org/abs/1109.2378
    """
    check_method(method)
    units = unit_vectors(x)
    return to_linkage(len(units), first_merges(units, len(units) - 1, method))


def cut(x: ArrayLike, num_clusters: int, method: str = "complete") -> np.ndarray:
    """Clusters the rows of `x` bottom-up under the cosine distance until `num_clusters` are left.

    Only the merges down to that number are looked for: with complete and single linkage, and a number near n, time and
    memory go into the few pairs of rows that are close.

    Args:
      x: [n, D] floats or integers.
      num_clusters: from 1 to n.
      method: the linkage, see `linkage`.

    Returns:
      [n] int64, the cluster of every row, from 0; clusters are numbered by their lowest member.

    Raises:
      InputError: `num_clusters` out of range, an unknown linkage, rows without a direction, or more of them than there
        is memory for.
    """
    check_method(method)
    x = check_embeddings(x, "x")
    num_merges = len(x) - _check_num_clusters(num_clusters, len(x))  # before the work, not after it
    return partition(len(x), first_merges(unit_vectors(x), num_merges, method))


def cut_tree(Z: np.ndarray, num_clusters: int, num_rows: int | None = None) -> np.ndarray:
    """The partition into exactly `num_clusters` that the first merges of a tree make.

    Args:
      Z: [m, 4], as from `linkage`, or the first m merges of such a tree.
      num_clusters: from n-m to n.
      num_rows: n, where the tree is truncated; by default m+1.

    Returns:
      [n] int64, the cluster of every row, from 0; clusters are numbered by their lowest member.

    Raises:
      InputError: `num_clusters` is out of range.
    """
    num_rows = len(Z) + 1 if num_rows is None else num_rows
    num_merges = num_rows - _check_num_clusters(num_clusters, num_rows, least=num_rows - len(Z))
    merged = Z[:num_merges, :2].astype(np.int64)
    parents = np.repeat(np.arange(num_rows, num_rows + num_merges), 2)
    component = components(num_rows + num_merges, parents, merged.ravel())
    return number_by_lowest_member(component[:num_rows])


def _check_num_clusters(num_clusters: int, num_rows: int, least: int = 1) -> int:
    try:
        in_range = least <= operator.index(num_clusters) <= num_rows
    except TypeError:
        in_range = False
    if not in_range:
        raise InputError(f"num_clusters: {num_clusters!r}, but an integer from {least} to {num_rows} is needed")
    return operator.index(num_clusters)


def to_linkage(num_rows: int, merges: Merges) -> np.ndarray:
    """Merges in SciPy's format.

    Args:
      num_rows: n.
      merges: m of them, in order.

    Returns:
      [m, 4] float64, see `linkage`.
    """
    node, size = list(range(num_rows)), [1] * num_rows
    pairs, sizes = [], []
    for number, (low, high) in enumerate(zip(merges.low.tolist(), merges.high.tolist(), strict=True), num_rows):
        pairs.append(sorted((node[low], node[high])))
        size[low] += size[high]
        sizes.append(size[low])
        node[low] = number
    columns = np.array(pairs, np.float64).reshape(-1, 2)
    return np.column_stack([columns, merges.height, np.array(sizes, np.float64)])
