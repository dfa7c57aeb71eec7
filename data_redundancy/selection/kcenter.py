"""Keep examples that lie far from each other: greedy k-center."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import Selection

_TIE = 1e-12
"""Squared distances closer than this share of the largest to the mean are equal: last digits depend on the machine."""
_CANDIDATES = 256
_ROWS = 8192  # compared with new centres at a time


def select(pool: Pool, num_pruned: Mapping[int, int]) -> Selection:
    """In every class keeps, one after the other, the example farthest from those kept so far.

    The first is the one nearest to the class's mean, where the paper starts from examples that are labelled already.
    The paper, which has no labels, goes over the whole data set, as this does where the scope is that. Distances are
    Euclidean, between embeddings as they are; of equal ones the lowest index is taken. The largest distance of any
    example to what is kept is at most twice the least possible (but for the choice of the first). The paper's second
    step, which lowers that distance further with a solver of integer programs, is left out, as others do.

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
    tie = _TIE * squares.max()
    chosen = np.empty(count, np.int64)
    chosen[0] = np.argmax(squares <= squares.min() + tie)
    nearest = np.full(len(x), np.inf)  # squared distance of every row to the nearest one chosen
    known, done = 0, 1
    while done < count:
        _bring_nearer(nearest, x, squares, chosen[known:done])
        nearest[chosen[known:done]] = -np.inf
        known = done
        more = _next(nearest, x, squares, tie)[: count - done]
        chosen[done : done + len(more)] = more
        done += len(more)
    return chosen


def _bring_nearer(nearest: np.ndarray, x: np.ndarray, squares: np.ndarray, centres: np.ndarray) -> None:
    """Lowers the squared distances `nearest` [n] to what they are with more centres, [k] rows of x [n, D]."""
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        distance = (-2 * x[centres]) @ x[rows].T
        distance += squares[centres, None]
        np.minimum(nearest[rows], np.maximum(distance.min(axis=0) + squares[rows], 0), out=nearest[rows])


def _next(nearest: np.ndarray, x: np.ndarray, squares: np.ndarray, tie: float) -> np.ndarray:
    """The rows to choose next, one or more, in order.

    A row's distance to what is chosen never grows. So the farthest rows are compared among themselves only, for as long
    as one of them is farther than all others were before: matrix products take the place of one pass over all rows for
    every choice.

    Args:
      nearest: [n] floats, the squared distance of every row to the nearest one chosen; -inf for those chosen.
      x: [n, D] float64.
      squares: [n], of their lengths.
      tie: squared distances that differ by less are equal.
    """
    farthest = nearest.max()
    if farthest <= tie:
        return np.flatnonzero(nearest >= 0)  # they are all equal, and stay so
    candidates, others = np.arange(len(x)), -np.inf
    if len(x) > _CANDIDATES:
        candidates = np.sort(np.argpartition(nearest, -_CANDIDATES)[-_CANDIDATES:])
        others = nearest[candidates].min()
    if farthest - tie <= others:
        return np.array([np.argmax(nearest >= farthest - tie)])
    near, rows = nearest[candidates], x[candidates]
    between = np.maximum(squares[candidates, None] - 2 * (rows @ rows.T) + squares[candidates], 0)
    chosen = []
    while np.isfinite(near.max()) and near.max() - tie > others:
        position = np.argmax(near >= near.max() - tie)
        chosen.append(candidates[position])
        np.minimum(near, between[position], out=near)
        near[position] = -np.inf
    return np.array(chosen)
