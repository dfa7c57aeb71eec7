"""Greedy k-center: keep examples that are far from each other."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import embeddings_of, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays

_TIE = 1e-12
"""Squared distances that differ by less than this share of the largest squared distance to the mean count as equal,
since their last digits depend on the machine."""
_CANDIDATES = 256
_ROWS = 8192  # compared with new centres at a time


def select(pool: Pool, num_pruned: Mapping[int, int]) -> SelectionArrays:
    """Keeps, in every class, one after another the example farthest from those kept so far.

    Distances are Euclidean, between embeddings that are not scaled. Of equal distances, the lowest index is taken. The
    largest distance of any example to the nearest kept one is at most twice the smallest possible, given the first
    example.

    Differences from the paper: The first example is the one nearest to the mean of the class; the paper starts from
    examples that are already labelled. The paper, which has no labels, selects from the whole data set at once; here
    that is the case if the whole data set is one class (`scope="dataset"`). The second step of the paper, which lowers
    the largest distance further with an integer programming solver, is omitted, as in other comparisons.

    Args:
        pool: with embeddings.
        num_pruned: for every label, how many of its examples to prune.

    Raises:
        InputError: the pool has no embeddings.

    References:
        Sener, Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018,
        algorithm 1.
    """
    embeddings = embeddings_of(pool, "kcenter")
    return keep_by_class(
        "kcenter", pool, num_pruned, lambda members, num_kept, _: farthest_first(embeddings[members], num_kept)
    )


def farthest_first(x: np.ndarray, count: int) -> np.ndarray:
    """Returns the chosen rows of x [n, D] in the order of their choice, [count] int64."""
    x = x.astype(np.float64)
    x -= x.mean(axis=0)  # a common offset would cost digits in the squares
    squares = np.einsum("nd,nd->n", x, x)
    tie = _TIE * squares.max()
    chosen = np.empty(count, np.int64)
    chosen[0] = np.argmax(squares <= squares.min() + tie)
    nearest = np.full(len(x), np.inf)  # squared distance of every row to the nearest chosen row
    num_included, num_chosen = 0, 1  # `nearest` takes account of the first `num_included` chosen rows
    while num_chosen < count:
        _include(nearest, x, squares, chosen[num_included:num_chosen])
        nearest[chosen[num_included:num_chosen]] = -np.inf
        num_included = num_chosen
        more = _next(nearest, x, squares, tie)[: count - num_chosen]
        chosen[num_chosen : num_chosen + len(more)] = more
        num_chosen += len(more)
    return chosen


def _include(nearest: np.ndarray, x: np.ndarray, squares: np.ndarray, centres: np.ndarray) -> None:
    """Updates, in place, the squared distances to the nearest chosen row for newly chosen rows.

    Args:
        nearest: [n] floats.
        x: [n, D] float64.
        squares: [n], the squared lengths of x.
        centres: [k] integers, the newly chosen rows.
    """
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        distance = (-2 * x[centres]) @ x[rows].T
        distance += squares[centres, None]
        np.minimum(nearest[rows], np.maximum(distance.min(axis=0) + squares[rows], 0), out=nearest[rows])


def _next(nearest: np.ndarray, x: np.ndarray, squares: np.ndarray, tie: float) -> np.ndarray:
    """Returns the rows to choose next, one or more, in the order of their choice.

    The distance of a row to the nearest chosen row never grows. It is therefore enough to compare the farthest rows
    with each other, as long as one of them is farther than every other row was before. That replaces a pass over all
    rows per choice by matrix products.

    Args:
        nearest: [n] floats, the squared distance of every row to the nearest chosen row; -inf for chosen rows.
        x: [n, D] float64.
        squares: [n], the squared lengths of x.
        tie: squared distances that differ by less count as equal.
    """
    farthest = nearest.max()
    if farthest <= tie:
        return np.flatnonzero(nearest >= 0)  # all distances are equal, and remain so
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
