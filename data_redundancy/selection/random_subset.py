"""Keep a random subset of every class: the baseline for all other methods."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays


def select(pool: Pool, num_pruned: Mapping[int, int], *, seed: int = 0) -> SelectionArrays:
    """Draws the examples to prune from every class, without replacement.

    The draw from a class depends on the seed, the label, the size of the class and the number to prune, but not on
    other classes. With the same seed, a larger number prunes all examples that a smaller number prunes, and more.

    Args:
        pool: only its labels are used.
        num_pruned: for every label, how many of its examples to prune.
        seed: not negative.

    Returns:
        The selection, without clusters; pruned examples have no representative.
    """
    return keep_by_class(
        "random",
        pool,
        num_pruned,
        lambda members, num_kept, label: np.random.default_rng([seed, label]).permutation(len(members))[-num_kept:],
    )
