"""Which member of a cluster is kept, by rules that share one signature, and how far the others are from it."""

import math
from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import cdist

from data_redundancy.errors import InputError

_TIE = 1e-12  # cosines and distances closer than this are equal: rounding would decide between them
_BLOCK = 2**22  # distances held at a time: 32 MiB

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`rule(embeddings, cluster, merges)` of one class, as the functions below say."""


def centroid(embeddings: np.ndarray, cluster: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """The member nearest to the cluster's centre: of highest cosine to the mean of the members' unit vectors.

    Ties go to the lowest index. All clusters of two are ties, and so are clusters whose mean is zero: they have no
    centre.

    Args:
      embeddings: [n, D] floats, no zero vectors. A copy in float64 is made: give a class at a time.
      cluster: [n] integers, the cluster of every row.
      merges: not used; part of the signature that all rules share.

    Returns:
      [n] int64, the row that represents each row's cluster.

    Raises:
      InputError: the lengths differ.
    """
    order, starts, sizes = _sorted_by_cluster(embeddings, cluster)
    unit = unit_vectors(embeddings[order])
    mean = np.add.reduceat(unit, starts) / sizes[:, None]
    length = np.linalg.norm(mean, axis=1)
    # Where arithmetic cannot or need not decide, every cosine is within the tolerance.
    tolerance = np.where((sizes <= 2) | (length < _TIE), np.inf, _TIE)
    centre = mean / np.maximum(length, _TIE)[:, None]
    cosine = np.einsum("nd,nd->n", unit, np.repeat(centre, sizes, axis=0))
    return _lowest_of_highest(cosine, tolerance, order, starts, sizes)


def medoid(embeddings: np.ndarray, cluster: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """The member nearest to all members: of smallest mean Euclidean distance |u_i - u_j| between unit vectors.

    The sum of cosine distances would bring nothing new: sum_j (1 - <u_i, u_j>) = m - <u_i, sum_j u_j> is smallest where
    the cosine to the mean is highest, which is `centroid`. Distances that are not squared are drawn less by outliers.

    Means closer than 1e-12 are ties, which go to the lowest index. All clusters of two are ties.

    Args:
      embeddings: [n, D] floats, no zero vectors. A copy in float64 is made: give a class at a time.
      cluster: [n] integers, the cluster of every row. Of a large cluster's distances some rows are held at a time.
      merges: not used; part of the signature that all rules share.

    Returns:
      [n] int64, the row that represents each row's cluster.

    Raises:
      InputError: the lengths differ.
    """
    order, starts, sizes = _sorted_by_cluster(embeddings, cluster)
    unit = unit_vectors(embeddings[order])
    distance = np.zeros(len(order))
    undecided = sizes > 2
    for start, size in zip(starts[undecided].tolist(), sizes[undecided].tolist(), strict=True):
        distance[start : start + size] = _mean_distances(unit[start : start + size])
    return _lowest_of_highest(-distance, np.full(len(sizes), _TIE), order, starts, sizes)


def nested(embeddings: np.ndarray, cluster: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """A member that already represented a part of the cluster, so that deeper cuts keep a subset of shallower ones.

    The merges are made again in their order. Of the representatives of the two clusters that a merge joins, the one of
    higher cosine to the mean of the merged cluster's unit vectors goes on; closer than 1e-12, in a cluster of two, or
    where the mean is zero, the lowest index does.

    Args:
      embeddings: [n, D] floats, no zero vectors. Two copies in float64 are made: give a class at a time.
      cluster: [n] integers, the cluster of every row.
      merges: [k, 4] floats, the merges that made the clusters: the first rows of a linkage as SciPy defines it.

    Returns:
      [n] int64, the row that represents each row's cluster.

    Raises:
      InputError: the lengths differ, or other merges than those given make these clusters.
    """
    _check_lengths(embeddings, cluster)
    kept = _walk(unit_vectors(embeddings), merges)
    ids, position = np.unique(cluster, return_inverse=True)
    if not np.array_equal(np.sort(position[kept]), np.arange(len(ids))):
        raise InputError(
            f"merges: {len(merges)} merges of {len(cluster)} rows do not make the {len(ids)} clusters given"
        )
    return kept[np.argsort(position[kept])][position]


REPRESENTATIVES: dict[str, Rule] = {"centroid": centroid, "medoid": medoid, "nested": nested}


def _check_lengths(embeddings: np.ndarray, cluster: np.ndarray) -> None:
    if len(embeddings) != len(cluster):
        raise InputError(f"cluster: {len(cluster)} entries for {len(embeddings)} embeddings")


def _sorted_by_cluster(embeddings: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order [n] that brings clusters together, and in it the start and the size of every cluster, [k] each."""
    _check_lengths(embeddings, cluster)
    order = np.argsort(cluster, kind="stable")
    _, starts, sizes = np.unique(cluster[order], return_index=True, return_counts=True)
    return order, starts, sizes


def _lowest_of_highest(
    score: np.ndarray, tolerance: np.ndarray, order: np.ndarray, starts: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """In every cluster the lowest row whose score is within the tolerance of the highest, [n] for every row.

    Args:
      score: [n] floats, in the order given by `order`.
      tolerance: [k] floats, of every cluster.
      order: [n], as the next two from `_sorted_by_cluster`.
      starts: [k].
      sizes: [k].
    """
    highest = np.maximum.reduceat(score, starts)
    is_best = np.repeat(highest, sizes) - score < np.repeat(tolerance, sizes)
    lowest = np.minimum.reduceat(np.where(is_best, order, len(order)), starts)
    representative = np.empty(len(order), np.int64)
    representative[order] = np.repeat(lowest, sizes)
    return representative


def _walk(unit: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """Makes the merges [k, 4] in their order; the `nested` representatives of the clusters that remain, [n-k] int64."""
    total = unit.copy()  # of the members' unit vectors, in the row of their representative
    representative = list(range(len(unit)))  # of every node of the tree
    is_kept = np.ones(len(unit), bool)
    nodes = merges[:, :2].astype(np.int64).tolist()
    for (left, right), size in zip(nodes, merges[:, 3].tolist(), strict=True):
        low, high = sorted((representative[left], representative[right]))
        merged = total[low] + total[high]
        length = math.sqrt(merged @ merged)
        is_decided = size > 2 and length >= _TIE * size
        is_high = is_decided and (unit[high] - unit[low]) @ merged >= _TIE * length
        chosen, dropped = (high, low) if is_high else (low, high)
        total[chosen] = merged
        representative.append(chosen)
        is_kept[dropped] = False
    return np.flatnonzero(is_kept)


def _mean_distances(unit: np.ndarray) -> np.ndarray:
    """The mean Euclidean distance of every row to all rows, [size]."""
    size = len(unit)
    num_rows = max(1, _BLOCK // size)
    # Coordinate by coordinate: a matrix product would lose half of the digits where vectors are close.
    blocks = [cdist(unit[start : start + num_rows], unit).mean(axis=1) for start in range(0, size, num_rows)]
    return np.concatenate(blocks)


def distance_to(embeddings: np.ndarray, representative: np.ndarray) -> np.ndarray:
    """The cosine distance of every example to its representative.

    Args:
      embeddings: [n, D] floats, no zero vectors.
      representative: [n] integers, the row that represents each row.

    Returns:
      [n] float64 within [0, 2]; exactly 0 for a representative itself and for its exact duplicates.
    """
    unit = unit_vectors(embeddings)
    unit -= unit[representative]
    # 1 - <u,v> = |u-v|^2 / 2 for unit vectors, and the right-hand side does not cancel where they are close.
    return np.minimum(np.einsum("nd,nd->n", unit, unit) / 2, 2.0)


def unit_vectors(embeddings: np.ndarray) -> np.ndarray:
    """Scales every row to length one, [n, D] float64; rows may be of any magnitude but zero."""
    unit = embeddings.astype(np.float64)
    unit /= np.abs(unit).max(axis=1, keepdims=True)  # squares of very large or small values would overflow or vanish
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit
