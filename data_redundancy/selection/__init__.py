"""Selection: which examples to keep, by methods with a common signature."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

from data_redundancy.errors import InputError, choice_error
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
from data_redundancy.selection.result import SelectionArrays

__all__ = [
    "ALLOCATIONS",
    "METHODS",
    "OPTIONS",
    "REPRESENTATIVES",
    "Method",
    "Pool",
    "SelectionArrays",
    "expected_cost",
    "select",
]


@dataclasses.dataclass(frozen=True)
class Method:
    """A selection method.

    Attributes:
        choose: a function of a pool, the number of examples to prune for every label, and the options in `takes`. It
            returns a selection that prunes exactly these numbers.
        needs: what the pool must have beside labels: `embeddings`, `dendrograms`, `scores`.
        takes: the names of its options, which are keys of `OPTIONS`, or `seed` if the method draws at random.
    """

    choose: Callable[..., SelectionArrays]
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
"""The allowed values of the options of methods; None for a number, which the method validates."""
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
) -> SelectionArrays:
    """Selects the examples to keep.

    Args:
        pool: the data set, with the arrays that the method and the allocation need.
        method: one of `METHODS`.
        prune_fraction: the share of examples to prune, at least 0 and less than 1. Of N examples, exactly
            `round(prune_fraction * N)` are pruned.
        allocation: how the number to prune is divided among classes: `per_class` prunes the same share of every class,
            `global` prunes what a cut of all trees at one height prunes. The division is the same for every method, so
            that random subsets of the same sizes can be compared.
        seed: seeds methods that draw at random; not negative.
        representative: which member of a cluster `agglomerative` keeps, one of `REPRESENTATIVES`.
        centre: an option of `prototypes`, see `prototypes.select`.
        end: an option of `prototypes`, see `prototypes.select`.
        score: an option of `ccs`, see `ccs.select`.
        hardest_pruned: an option of `ccs`, see `ccs.select`.

    Returns:
        The selection.

    Raises:
        InputError: the method, the allocation or an option is unknown; the prune fraction is out of range or too large
            to keep one example of every class; the seed is negative; or the pool lacks what is needed.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise choice_error("method", method, METHODS)
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
            raise choice_error(name, options[name], allowed)
    if seed < 0:
        raise InputError("seed", seed, "must be at least 0")
    options_of_method = {name: options[name] for name in METHODS[method].takes}
    with _errors_about(prune_fraction):
        num_pruned = _allocate(pool, prune_fraction, allocation)
        selection = METHODS[method].choose(pool, num_pruned, **options_of_method)
    return dataclasses.replace(selection, prune_fraction=prune_fraction)


@contextlib.contextmanager
def _errors_about(prune_fraction: float) -> Iterator[None]:
    """Makes errors about numbers that follow from a prune fraction errors about the fraction."""
    try:
        yield
    except InputError as error:
        if error.argument not in ("prune_fraction", "num_clusters"):
            raise
        raise error.renamed("prune_fraction", prune_fraction) from error


def expected_cost(
    pool: Pool,
    *,
    method: str,
    prune_fraction: float,
    allocation: str = "per_class",
    centre: str = "kmeans",
) -> cost.Cost:
    """Estimates the time and memory of `select` with the same arguments.

    Args:
        pool: the data set; only labels and the shape of the embeddings are read, and heights if `allocation` is
            `global`.
        method: one of `METHODS`.
        prune_fraction: as of `select`.
        allocation: as of `select`.
        centre: as of `select`; its other options do not change the cost.

    Raises:
        InputError: the allocation is unknown or the prune fraction not possible, as in `select`.
    """
    with _errors_about(prune_fraction):
        return cost.expected(pool, method, _allocate(pool, prune_fraction, allocation), centre=centre)


def _allocate(pool: Pool, prune_fraction: float, name: str) -> dict[int, int]:
    if name not in tuple(ALLOCATIONS):
        raise choice_error("allocation", name, ALLOCATIONS)
    class_sizes = pool.class_sizes()
    num_pruned = allocation.num_pruned(len(pool.labels), prune_fraction)
    if name == "per_class":
        return allocation.per_class(class_sizes, num_pruned)
    if pool.dendrograms is None:
        raise InputError("allocation", name, "needs dendrograms", "Cluster the embeddings first, or use per_class")
    heights = {label: pool.dendrograms.heights(label) for label in class_sizes}
    return allocation.global_height(heights, class_sizes, num_pruned)
