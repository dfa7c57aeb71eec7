"""Keep examples whose mean follows that of their class: herding."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import unit_vectors
from data_redundancy.selection.result import Selection

_TIE = 1e-12
"""Products closer than this are equal: their last digits depend on the machine."""


def select(pool: Pool, num_pruned: Mapping[int, int]) -> Selection:
    """In every class keeps, one after the other, the example that brings the mean of those kept nearest to the class's.

    Features are embeddings scaled to length one: only where all are of one length does the highest product bring the
    mean nearest. The weights start as the mean of the class, where the paper leaves it open; the example with the
    highest product with them is kept, and the mean less that example is added to them. None is kept twice, for a keep
    list holds an example once; the paper's herding may repeat itself. Of equal products (to 1e-12) the lowest index is
    taken.

    Args:
      pool: with embeddings.
      num_pruned: for every label, how many of its examples go.

    Raises:
      InputError: the pool has no embeddings.

    References:
      Welling, "Herding Dynamical Weights to Learn", ICML 2009, equations 6 and 7.
    """
    embeddings = embeddings_of(pool, "herding")
    return keep_by_class("herding", pool, num_pruned, lambda members, num_kept, _: herd(embeddings[members], num_kept))


def herd(x: np.ndarray, count: int) -> np.ndarray:
    """The rows of x [n, D] chosen, in the order of their choice, [count] int64."""
    unit = unit_vectors(x)
    mean = unit.mean(axis=0)
    weights = mean.copy()
    chosen = np.empty(count, np.int64)
    is_left = np.ones(len(unit), bool)
    for i in range(count):
        product = np.where(is_left, unit @ weights, -np.inf)
        chosen[i] = np.argmax(product >= product.max() - _TIE)
        is_left[chosen[i]] = False
        weights += mean - unit[chosen[i]]
    return chosen
