"""Keep examples that lie far from each other: greedy k-center."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import Selection


def select(pool: Pool, num_pruned: Mapping[int, int]) -> Selection:
    """In every class keeps, one after the other, the example farthest from those kept so far.

    The first is the one nearest to the class's mean, where the paper starts from examples that are labelled already.
    Distances are Euclidean, between embeddings as they are; of equal ones the lowest index is taken. The largest
    distance of any example to what is kept is at most twice the least possible (but for the choice of the first).

    Args:
      pool: with embeddings.
      num_pruned: for every label, how many of its examples go.

    Raises:
      InputError: the pool has no embeddings.

    References:
      Sener, Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018, algorithm 1.
    """
    embeddings = embeddings_of(pool, "kcenter")
    return keep_by_class(
        "kcenter", pool, num_pruned, lambda members, num_kept, _: farthest_first(embeddings[members], num_kept)
    )


def farthest_first(x: np.ndarray, count: int) -> np.ndarray:
    """The rows of x [n, D] chosen, in the order of their choice, [count] int64."""
    x = x.astype(np.float64)
    x -= x.mean(axis=0)  # squares of what all rows have in common would only take digits away
    squares = np.einsum("nd,nd->n", x, x)
    chosen = np.empty(count, np.int64)
    chosen[0] = _first_of_lowest(squares)
    nearest = np.full(len(x), np.inf)  # squared distance of every row to the nearest one chosen
    for i in range(count):
        if i:
            chosen[i] = np.argmax(nearest)
        distance = squares - 2 * (x @ x[chosen[i]]) + squares[chosen[i]]
        np.minimum(nearest, np.maximum(distance, 0), out=nearest)
        nearest[chosen[i]] = -1  # below copies of it that are not chosen
        nearest[chosen[:i]] = -1
    return chosen


def _first_of_lowest(distance: np.ndarray) -> int:
    """The first of those that differ from the lowest only in their last digits, which depend on the machine."""
    return int(np.argmax(distance <= distance.min() + 1e-12 * distance.max()))
