"""Selection: which examples are kept, by methods that share one signature."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from data_redundancy.errors import InputError
from data_redundancy.selection import agglomerative, allocation, random_subset
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import REPRESENTATIVES
from data_redundancy.selection.result import Selection

__all__ = ["ALLOCATIONS", "METHODS", "REPRESENTATIVES", "Method", "Pool", "Selection", "select"]


class Method(Protocol):
    """Chooses which examples of a pool to keep, given how many of every class go."""

    def __call__(self, pool: Pool, num_pruned: Mapping[int, int], *, representative: str, seed: int) -> Selection:
        """Returns a selection that removes exactly `num_pruned[label]` examples of every class."""


METHODS: dict[str, Method] = {"agglomerative": agglomerative.select, "random": random_subset.select}
ALLOCATIONS = ("per_class", "global")


def select(
    pool: Pool,
    *,
    method: str,
    prune_fraction: float,
    allocation: str = "per_class",
    representative: str = "centroid",
    seed: int = 0,
) -> Selection:
    """Selects the examples to keep.

    Args:
      pool: the data set, with what the method and the allocation look at.
      method: one of `METHODS`.
      prune_fraction: the share of examples to remove, at least 0 and less than 1; of N examples exactly
        `round(prune_fraction * N)` go.
      allocation: what that means for a class: the same share of every class (`per_class`), or whatever lies below one
        height of all trees (`global`). It does not depend on the method, so that random subsets are of the same size.
      representative: for methods that make clusters; which member of each is kept, one of `REPRESENTATIVES`.
      seed: for methods that draw at random; not negative.

    Returns:
      The selection.

    Raises:
      InputError: an unknown method, allocation or rule for representatives, a prune fraction out of range or too large
        to leave one example of every class, a negative seed, or a pool without what is needed.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if representative not in REPRESENTATIVES:
        raise InputError(f"representative {representative!r} is not one of {', '.join(REPRESENTATIVES)}")
    if seed < 0:
        raise InputError(f"seed: {seed}, but 0 or more is needed")
    num_pruned = _allocate(pool, prune_fraction, allocation)
    selection = METHODS[method](pool, num_pruned, representative=representative, seed=seed)
    return dataclasses.replace(selection, prune_fraction=prune_fraction)


def _allocate(pool: Pool, prune_fraction: float, name: str) -> dict[int, int]:
    if name not in ALLOCATIONS:
        raise InputError(f"allocation {name!r} is not one of {', '.join(ALLOCATIONS)}")
    class_sizes = pool.class_sizes()
    num_pruned = allocation.num_pruned(len(pool.labels), prune_fraction)
    if name == "per_class":
        return allocation.per_class(class_sizes, num_pruned)
    if pool.dendrograms is None:
        raise InputError("allocation 'global' needs dendrograms: cluster the classes first, or choose per_class")
    heights = {label: pool.dendrograms.heights(label) for label in class_sizes}
    return allocation.global_height(heights, class_sizes, num_pruned)
