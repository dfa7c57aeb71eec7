"""Keep a random subset of every class: what any other method has to beat."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import Selection


def select(pool: Pool, num_pruned: Mapping[int, int], *, representative: str = "centroid", seed: int = 0) -> Selection:
    """Draws the examples to remove from every class, without replacement.

    What is drawn from a class depends on the seed, its label, its members and its count, not on other classes. With
    one seed, a larger count removes what a smaller one removes, and more.

    Args:
      pool: only its labels are looked at.
      num_pruned: for every label, how many of its examples go.
      representative: not used, for there are no clusters; part of the signature that all methods share.
      seed: not negative.

    Returns:
      The selection, without clusters; redundant examples have no representative.
    """
    num_examples = len(pool.labels)
    kept = np.ones(num_examples, bool)
    for label, members in pool.members_by_class().items():
        shuffled = np.random.default_rng([seed, label]).permutation(members)
        kept[shuffled[: num_pruned[label]]] = False
    return Selection(
        method="random",
        prune_fraction=sum(num_pruned.values()) / num_examples,
        keep=np.flatnonzero(kept),
        cluster=np.full(num_examples, -1, np.int64),
        representative=np.where(kept, np.arange(num_examples), -1),
        distance=np.where(kept, 0.0, np.nan),
    )
