"""Selection: which examples are kept, by methods that share one signature."""

import dataclasses
import functools
from collections.abc import Callable

from data_redundancy.errors import InputError
from data_redundancy.selection import (
    agglomerative,
    allocation,
    ccs,
    cost,
    facility_location,
    herding,
    kcenter,
    prototypes,
    random_subset,
    semdedup,
    top_score,
)
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.representative import REPRESENTATIVES
from data_redundancy.selection.result import Selection

__all__ = [
    "ALLOCATIONS",
    "METHODS",
    "OPTIONS",
    "REPRESENTATIVES",
    "Method",
    "Pool",
    "Selection",
    "expected_cost",
    "select",
]


@dataclasses.dataclass(frozen=True)
class Method:
    """A rule for what to keep.

    Attributes:
      choose: from a pool, for every label how many of its examples go, and the options it takes, to a selection that
        removes exactly so many.
      needs: what the pool must have beside labels: `embeddings`, `dendrograms`, `scores`.
      takes: the names of its options, keys of `OPTIONS` or `seed`, for those that draw at random.
    """

    choose: Callable[..., Selection]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


METHODS: dict[str, Method] = {
    "agglomerative": Method(agglomerative.select, ("embeddings", "dendrograms"), ("representative",)),
    "random": Method(random_subset.select, (), ("seed",)),
    "kcenter": Method(kcenter.select, ("embeddings",)),
    "herding": Method(herding.select, ("embeddings",)),
    "prototypes": Method(prototypes.select, ("embeddings",), ("centre", "end", "seed")),
    "semdedup": Method(semdedup.select, ("embeddings",), ("seed",)),
    "facility_location": Method(facility_location.select, ("embeddings",)),
    **{score: Method(functools.partial(top_score.select, score=score), ("scores",)) for score in top_score.SCORES},
    "ccs": Method(ccs.select, ("scores",), ("score", "hardest_pruned", "seed")),
}
OPTIONS: dict[str, tuple[str, ...] | None] = {
    "representative": tuple(REPRESENTATIVES),
    "centre": prototypes.CENTRES,
    "end": prototypes.ENDS,
    "score": top_score.SCORES,
    "hardest_pruned": None,
}
"""What options of methods may be; None for a number, which the method checks."""
ALLOCATIONS = ("per_class", "global")


def select(
    pool: Pool,
    *,
    method: str,
    prune_fraction: float,
    allocation: str = "per_class",
    seed: int = 0,
    representative: str = "centroid",
    centre: str = "kmeans",
    end: str = "hard",
    score: str = "el2n",
    hardest_pruned: float = 0.0,
) -> Selection:
    """Selects the examples to keep.

    Args:
      pool: the data set, with what the method and the allocation look at.
      method: one of `METHODS`.
      prune_fraction: the share of examples to remove, at least 0 and less than 1; of N examples exactly
        `round(prune_fraction * N)` go.
      allocation: what that means for a class: the same share of every class (`per_class`), or whatever lies below one
        height of all trees (`global`). It does not depend on the method, so that random subsets are of the same size.
      seed: for methods that draw at random; not negative.
      representative: of `agglomerative`; which member of a cluster is kept, one of `REPRESENTATIVES`.
      centre: of `prototypes`; see there, as for the next.
      end: of `prototypes`.
      score: of `ccs`; see there, as for the next.
      hardest_pruned: of `ccs`.

    Returns:
      The selection.

    Raises:
      InputError: an unknown method, allocation or option, a prune fraction out of range or too large
        to leave one example of every class, a negative seed, or a pool without what is needed.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not one of {', '.join(METHODS)}")
    options = {
        "seed": seed,
        "representative": representative,
        "centre": centre,
        "end": end,
        "score": score,
        "hardest_pruned": hardest_pruned,
    }
    for name, allowed in OPTIONS.items():
        if allowed is not None and options[name] not in allowed:
            raise InputError(f"{name} {options[name]!r} is not one of {', '.join(allowed)}")
    if seed < 0:
        raise InputError(f"seed: {seed}, but 0 or more is needed")
    num_pruned = _allocate(pool, prune_fraction, allocation)
    taken = {name: options[name] for name in METHODS[method].takes}
    selection = METHODS[method].choose(pool, num_pruned, **taken)
    return dataclasses.replace(selection, prune_fraction=prune_fraction)


def expected_cost(
    pool: Pool,
    *,
    method: str,
    prune_fraction: float,
    allocation: str = "per_class",
    centre: str = "kmeans",
) -> cost.Cost:
    """What `select` is expected to take with these arguments; see there. Its other ones make no difference.

    Raises:
      InputError: as `select` does, for what goes into how many are to go.
    """
    return cost.expected(pool, method, _allocate(pool, prune_fraction, allocation), centre=centre)


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
