"""Herding: keep examples whose mean follows the mean of their class."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays
from data_redundancy.selection.vectors import float64_unit_vectors

_TIE = 1e-12
"""Products that differ by no more than this count as equal, since their last digits depend on the machine."""


def select(pool: Pool, num_pruned: Mapping[int, int]) -> SelectionArrays:
    """Keeps, in every class, one by one, the example that brings the mean of the kept ones nearest to the class mean.

    Features are embeddings scaled to length one: only for features of equal length does the highest product bring the
    mean nearest. The weights start as the mean of the class; the paper leaves their start open. In every step, the
    example with the highest product with the weights is kept, and the mean minus that example is added to the weights.
    Of products that are equal (to 1e-12), the lowest index is taken. In the paper an example may be drawn repeatedly;
    here each is kept once.

    Args:
        pool: with embeddings.
        num_pruned: for every label, how many of its examples to prune.

    Raises:
        InputError: the pool has no embeddings.

    References:
        Welling, "Herding Dynamical Weights to Learn", ICML 2009, equations 6 and 7.
    """
    embeddings = embeddings_of(pool, "herding")
    return keep_by_class("herding", pool, num_pruned, lambda members, num_kept, _: herd(embeddings[members], num_kept))


def herd(x: np.ndarray, count: int) -> np.ndarray:
    """Returns the chosen rows of x [n, D] in the order of their choice, [count] int64."""
    unit = float64_unit_vectors(x)
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
