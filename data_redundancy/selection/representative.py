"""Rules that choose the member of a cluster to keep, and the distances of the other members to it."""

import math
from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import cdist

from data_redundancy.errors import InputError
from data_redundancy.selection.vectors import float64_unit_vectors

_TIE = 1e-12  # cosines and distances that differ by less count as equal, since rounding would decide between them
_BLOCK = 2**22  # distances in memory at a time: 32 MiB

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`rule(embeddings, cluster, merges)` for one class, see `centroid`, `medoid` and `nested`."""


def centroid(embeddings: np.ndarray, cluster: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """Chooses the member nearest to the centre: with the highest cosine to the mean of the members' unit vectors.

    Of cosines that are equal (to 1e-12), the lowest index is chosen. That includes all clusters of two members, and
    clusters whose mean is zero, which have no centre.

    Args:
        embeddings: [n, D] floats of one class, no zero vectors. A float64 copy is made.
        cluster: [n] integers, the cluster of every row.
        merges: not used; part of the common signature of all rules.

    Returns:
        [n] int64, the row that represents the cluster of each row.

    Raises:
        InputError: the lengths differ.
    """
    order, starts, sizes = _sorted_by_cluster(embeddings, cluster)
    unit = float64_unit_vectors(embeddings[order])
    mean = np.add.reduceat(unit, starts) / sizes[:, None]
    length = np.linalg.norm(mean, axis=1)
    # Where cosines cannot or need not decide, an infinite tolerance makes all members equal.
    tolerance = np.where((sizes <= 2) | (length < _TIE), np.inf, _TIE)
    centre = mean / np.maximum(length, _TIE)[:, None]
    cosine = np.einsum("nd,nd->n", unit, np.repeat(centre, sizes, axis=0))
    return _lowest_of_highest(cosine, tolerance, order, starts, sizes)


def medoid(embeddings: np.ndarray, cluster: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """Chooses the member nearest to all members: with the smallest mean Euclidean distance |u_i - u_j| of unit vectors.

    The mean cosine distance would choose the same member as `centroid`: sum_j (1 - <u_i, u_j>) = m - <u_i, sum_j u_j>
    is smallest where the cosine to the mean is highest. Distances that are not squared are less sensitive to outliers.

    Of means that are equal (to 1e-12), the lowest index is chosen. That includes all clusters of two members.

    Args:
        embeddings: [n, D] floats of one class, no zero vectors. A float64 copy is made.
        cluster: [n] integers, the cluster of every row. The distances of a large cluster are computed in blocks.
        merges: not used; part of the common signature of all rules.

    Returns:
        [n] int64, the row that represents the cluster of each row.

    Raises:
        InputError: the lengths differ.
    """
    order, starts, sizes = _sorted_by_cluster(embeddings, cluster)
    unit = float64_unit_vectors(embeddings[order])
    distance = np.zeros(len(order))
    undecided = sizes > 2
    for start, size in zip(starts[undecided].tolist(), sizes[undecided].tolist(), strict=True):
        distance[start : start + size] = _mean_distances(unit[start : start + size])
    return _lowest_of_highest(-distance, np.full(len(sizes), _TIE), order, starts, sizes)


def nested(embeddings: np.ndarray, cluster: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """Chooses a member that already represented a part of the cluster.

    With this rule, deeper cuts of a tree keep a subset of what shallower cuts keep. The merges are replayed in order.
    Each merge joins two clusters that have a representative. The representative with the higher cosine to the mean of
    the merged cluster's unit vectors remains. If the cosines are equal (to 1e-12), the merged cluster has two members,
    or the mean is zero, the lower index remains.

    Args:
        embeddings: [n, D] floats of one class, no zero vectors. Two float64 copies are made.
        cluster: [n] integers, the cluster of every row.
        merges: [k, 4] floats, the merges that made the clusters: the first rows of a SciPy linkage.

    Returns:
        [n] int64, the row that represents the cluster of each row.

    Raises:
        InputError: the lengths differ, or the merges do not make these clusters.
    """
    _check_lengths(embeddings, cluster)
    kept = _replay(float64_unit_vectors(embeddings), merges)
    ids, position = np.unique(cluster, return_inverse=True)
    if not np.array_equal(np.sort(position[kept]), np.arange(len(ids))):
        requirement = f"must make the {len(ids)} clusters, but {len(merges)} merges of {len(cluster)} rows do not"
        raise InputError("merges", None, requirement)
    return kept[np.argsort(position[kept])][position]


REPRESENTATIVES: dict[str, Rule] = {"centroid": centroid, "medoid": medoid, "nested": nested}


def _check_lengths(embeddings: np.ndarray, cluster: np.ndarray) -> None:
    if len(embeddings) != len(cluster):
        raise InputError(
            "cluster",
            None,
            f"must have one entry per embedding, but has {len(cluster)} for {len(embeddings)} embeddings",
        )


def _sorted_by_cluster(embeddings: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorts rows by cluster.

    Args:
        embeddings: [n, D], for the validation of its length.
        cluster: [n] integers.

    Returns:
        The stable sorting order [n], and the start and size of every cluster in that order, [k] each.
    """
    _check_lengths(embeddings, cluster)
    order = np.argsort(cluster, kind="stable")
    _, starts, sizes = np.unique(cluster[order], return_index=True, return_counts=True)
    return order, starts, sizes


def _lowest_of_highest(
    score: np.ndarray, tolerance: np.ndarray, order: np.ndarray, starts: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Returns, for every row, the lowest row of its cluster whose score is within the tolerance of the highest, [n].

    Args:
        score: [n] floats, in the order given by `order`.
        tolerance: [k] floats, for every cluster.
        order: [n]; this, `starts` and `sizes` are as returned by `_sorted_by_cluster`.
        starts: [k].
        sizes: [k].
    """
    highest = np.maximum.reduceat(score, starts)
    is_best = np.repeat(highest, sizes) - score < np.repeat(tolerance, sizes)
    lowest = np.minimum.reduceat(np.where(is_best, order, len(order)), starts)
    representative = np.empty(len(order), np.int64)
    representative[order] = np.repeat(lowest, sizes)
    return representative


def _replay(unit: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """Replays merges with the rule of `nested`.

    Args:
        unit: [n, D] float64, unit vectors.
        merges: [k, 4] floats, in order.

    Returns:
        The representatives of the clusters that remain, [n-k] int64, ascending.
    """
    total = unit.copy()  # the sum of a cluster's unit vectors, in the row of its representative
    representative = list(range(len(unit)))  # of every node of the tree
    is_kept = np.ones(len(unit), bool)
    nodes = merges[:, :2].astype(np.int64).tolist()
    for (left, right), size in zip(nodes, merges[:, 3].tolist(), strict=True):
        low, high = sorted((representative[left], representative[right]))
        merged = total[low] + total[high]
        length = math.sqrt(merged @ merged)
        is_decided = size > 2 and length >= _TIE * size
        is_high = is_decided and (unit[high] - unit[low]) @ merged >= _TIE * length
        chosen, pruned = (high, low) if is_high else (low, high)
        total[chosen] = merged
        representative.append(chosen)
        is_kept[pruned] = False
    return np.flatnonzero(is_kept)


def _mean_distances(unit: np.ndarray) -> np.ndarray:
    """Returns the mean Euclidean distance of every row of unit [size, D] to all rows, [size]."""
    size = len(unit)
    num_rows = max(1, _BLOCK // size)
    # Coordinate by coordinate, since a matrix product would lose half of the digits of small distances.
    blocks = [cdist(unit[start : start + num_rows], unit).mean(axis=1) for start in range(0, size, num_rows)]
    return np.concatenate(blocks)


def distance_to(embeddings: np.ndarray, representative: np.ndarray) -> np.ndarray:
    """Returns the cosine distance of every example to its representative.

    Args:
        embeddings: [n, D] floats, no zero vectors.
        representative: [n] integers, the row that represents each row.

    Returns:
        [n] float64 within [0, 2]; exactly 0 for a representative itself and for its exact duplicates.
    """
    unit = float64_unit_vectors(embeddings)
    unit -= unit[representative]
    # 1 - <u,v> = |u-v|^2 / 2 for unit vectors; the right-hand side has no cancellation for close vectors.
    return np.minimum(np.einsum("nd,nd->n", unit, unit) / 2, 2.0)
