"""Agglomerative trees in SciPy's format and their cuts, exact and equal on every machine."""

import operator

import numpy as np
from numpy.typing import ArrayLike

from data_redundancy.clustering.distances import check_embeddings, fixed_point_unit_vectors
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.partitions import components, number_by_lowest_member, partition
from data_redundancy.clustering.search import first_merges
from data_redundancy.errors import InputError, choice_error

LINKAGES = ("complete", "average", "single")


def check_linkage(linkage: str) -> None:
    """Raises InputError unless `linkage` is one of `LINKAGES`."""
    if linkage not in LINKAGES:
        raise choice_error("linkage", linkage, LINKAGES)


def linkage(x: ArrayLike, linkage: str = "complete") -> np.ndarray:
    """Clusters the rows of `x` bottom-up under the cosine distance.

    The result is the same to the last bit on every machine. Distances up to 2^-47, which is an angle of 1.2e-7, count
    as zero. Copies of a unit vector merge first. With complete linkage, of pairs of clusters at equal distances the one
    with the lowest members merges first: the lowest member of one cluster is compared first, then that of the other.
    With single linkage, the lowest pair of rows decides in the same way. With average linkage, mean distances are
    rounded, so that pairs with equal means may merge in either order.

    Many equal distances are slow: if all distances are equal, every round merges only one pair of clusters.

    Args:
        x: [n, D] floats or integers.
        linkage: the distance between clusters: of their farthest members (`complete`), of their nearest members
            (`single`), or the mean over all pairs of members (`average`).

    Returns:
        Z [n-1, 4] float64 as `scipy.cluster.hierarchy.linkage` defines it: row i merges clusters `Z[i, 0]` and
        `Z[i, 1]` at height `Z[i, 2]` into cluster n+i of `Z[i, 3]` rows; heights do not decrease. If `x` has one row,
        Z is [0, 4].

    Raises:
        InputError: the linkage is unknown, a row has no direction (see `check_embeddings`), or memory does not suffice.

    References:
        Müllner, "Modern hierarchical, agglomerative clustering algorithms", 2011, https://arxiv.org/abs/1109.2378
    """
    check_linkage(linkage)
    units = fixed_point_unit_vectors(x)
    return to_linkage(len(units), first_merges(units, len(units) - 1, linkage))


def cut(x: ArrayLike, num_clusters: int, linkage: str = "complete") -> np.ndarray:
    """Clusters the rows of `x` bottom-up under the cosine distance until `num_clusters` are left.

    Only the merges down to that number are computed. With complete and single linkage, and a number close to n, the
    cost is that of the few pairs of rows that are close.

    Args:
        x: [n, D] floats or integers.
        num_clusters: from 1 to n.
        linkage: see `linkage`.

    Returns:
        [n] int64, the cluster of every row, from 0; clusters are numbered by their lowest members.

    Raises:
        InputError: `num_clusters` is out of range, the linkage is unknown, a row has no direction, or memory does not
            suffice.
    """
    check_linkage(linkage)
    x = check_embeddings(x, "x")
    num_merges = len(x) - _check_num_clusters(num_clusters, len(x))
    return partition(len(x), first_merges(fixed_point_unit_vectors(x), num_merges, linkage))


def cut_tree(Z: np.ndarray, num_clusters: int, num_rows: int | None = None) -> np.ndarray:
    """Returns the partition into `num_clusters` clusters that the first merges of a tree make.

    Args:
        Z: [m, 4], a tree as returned by `linkage`, or its first m merges.
        num_clusters: from n-m to n.
        num_rows: n, for a truncated tree; by default m+1.

    Returns:
        [n] int64, the cluster of every row, from 0; clusters are numbered by their lowest members.

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
        raise InputError("num_clusters", num_clusters, f"must be an integer from {least} to {num_rows}")
    return operator.index(num_clusters)


def to_linkage(num_rows: int, merges: Merges) -> np.ndarray:
    """Converts merges to SciPy's format.

    Args:
        num_rows: n.
        merges: m merges of n rows, in order.

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
