"""Which member of a cluster is kept, and how far the others are from it."""

import numpy as np

from data_redundancy.errors import InputError

_TIE = 1e-12  # cosines closer than this are equal: rounding would decide between them


def centroid(embeddings: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The member nearest to the cluster's centre: of highest cosine to the mean of the members' unit vectors.

    Ties go to the lowest index. All clusters of two are ties, and so are clusters whose mean is zero: they have no
    centre.

    Args:
      embeddings: [n, D] floats, no zero vectors. A copy in float64 is made: give a class at a time.
      cluster: [n] integers, the cluster of every row.

    Returns:
      [n] int64, the row that represents each row's cluster.

    Raises:
      InputError: the lengths differ.
    """
    if len(embeddings) != len(cluster):
        raise InputError(f"cluster: {len(cluster)} entries for {len(embeddings)} embeddings")
    order = np.argsort(cluster, kind="stable")
    _, starts, sizes = np.unique(cluster[order], return_index=True, return_counts=True)
    unit = unit_vectors(embeddings[order])
    mean = np.add.reduceat(unit, starts) / sizes[:, None]
    length = np.linalg.norm(mean, axis=1)
    # Where arithmetic cannot or need not decide, every cosine is within the tolerance.
    tolerance = np.where((sizes <= 2) | (length < _TIE), np.inf, _TIE)
    centre = mean / np.maximum(length, _TIE)[:, None]
    cosine = np.einsum("nd,nd->n", unit, np.repeat(centre, sizes, axis=0))
    highest = np.maximum.reduceat(cosine, starts)
    nearest = np.repeat(highest, sizes) - cosine < np.repeat(tolerance, sizes)
    lowest = np.minimum.reduceat(np.where(nearest, order, len(order)), starts)
    representative = np.empty(len(order), np.int64)
    representative[order] = np.repeat(lowest, sizes)
    return representative


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
