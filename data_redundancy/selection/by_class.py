"""Helpers of the methods that choose the examples to keep class by class, without clusters or representatives."""

from collections.abc import Callable, Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays


def keep_by_class(
    method: str,
    pool: Pool,
    num_pruned: Mapping[int, int],
    choose: Callable[[np.ndarray, int, int], np.ndarray],
) -> SelectionArrays:
    """Makes a selection by choosing within every class.

    Args:
        method: the name of the method.
        pool: the data set.
        num_pruned: for every label, how many of its examples to prune.
        choose: a function of a class's members [n] int64 (ascending indices), the number to keep (1 to n) and the
            label. It returns the positions in members to keep, [k] integers in any order. It is not called for classes
            of which nothing is pruned.

    Returns:
        The selection, without clusters; pruned examples have no representative.
    """
    num_examples = len(pool.labels)
    kept = np.ones(num_examples, bool)
    for label, members in pool.members_by_class().items():
        if num_pruned[label]:
            kept[members] = False
            kept[members[choose(members, len(members) - num_pruned[label], label)]] = True
    return SelectionArrays(
        method=method,
        prune_fraction=sum(num_pruned.values()) / num_examples,
        keep=np.flatnonzero(kept),
        cluster=np.full(num_examples, -1, np.int64),
        representative=np.where(kept, np.arange(num_examples), -1),
        distance=np.where(kept, 0.0, np.nan),
    )


def embeddings_of(pool: Pool, method: str) -> np.ndarray:
    """Returns the embeddings of a pool, [N, D].

    Args:
        pool: the data set.
        method: the name of the method that needs them.

    Raises:
        InputError: the pool has no embeddings.
    """
    if pool.embeddings is None:
        raise InputError("embeddings", None, f"must be given for the method {method!r}")
    return pool.embeddings


def highest(score: np.ndarray, count: int) -> np.ndarray:
    """Returns the positions of the `count` highest scores [n], [count] int64; of equal scores, the first positions."""
    return np.argsort(-score, kind="stable")[:count]
