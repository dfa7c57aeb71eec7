"""Keep a random subset of every class: what any other method has to beat."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.by_class import keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import Selection


def select(pool: Pool, num_pruned: Mapping[int, int], *, seed: int = 0) -> Selection:
    """Draws the examples to remove from every class, without replacement.

    What is drawn from a class depends on the seed, its label, its members and its count, not on other classes. With
    one seed, a larger count removes what a smaller one removes, and more.

    Args:
      pool: only its labels are looked at.
      num_pruned: for every label, how many of its examples go.
      seed: not negative.

    Returns:
      The selection, without clusters; redundant examples have no representative.
    """
    return keep_by_class(
        "random",
        pool,
        num_pruned,
        lambda members, num_kept, label: np.random.default_rng([seed, label]).permutation(len(members))[-num_kept:],
    )
